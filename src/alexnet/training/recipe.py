"""A typed, frozen description of a run, and the named recipes. Field docstrings are the command's help."""

import dataclasses
import functools
import json
import math
import re
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from alexnet import files
from alexnet.errors import WrongUse
from alexnet.files import Misfit, Within, checked

BATCH, SMALL_BATCH = 64, 32


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What determines a training beside its data. The defaults are the recipe ``default``."""

    net: str | None = None
    """Name of a net, or path of a .toml table; not given: paper, or with --from that run's."""

    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    """Of everything random; 0 to 4294967295."""

    epochs: Annotated[int, Within(1, 10**6)] | None = None
    """Passes over the training images; not given: enough for about 160,000 crops, from 24 to 200; with --from for
    16,000, from 10 to 100."""

    batch: Annotated[int, Within(1, 10**6)] | None = None
    """Images a step (the paper: 128); not given: 64, or 32 for fewer than 4,000 training images."""

    accumulate: Annotated[int, Within(1, 10**6)] = 1
    """Parts in which a batch goes through the net, to save memory."""

    initialisation: Literal["table", "he"] = "he"
    """table: as the net's table says (paper 5). he: deviations that keep the signal's size, biases 0."""

    input_scale: Literal["pixels", "deviation"] = "deviation"
    """pixels: 0..255 minus the mean image (paper 2). deviation: that, divided by the pixels' deviation."""

    crop: Annotated[int, Within(1, 4096)] | None = None
    """Side of the random crops (paper 4.1: 224); not given: what the net's table says."""

    mirror: bool = True
    """Mirrors every second crop (paper 4.1)."""

    chunk: Annotated[int, Within(1, 10**6)] = 1
    """Images that share a crop's position and mirror; 1: each its own (paper 4.1). The 2012 source: 32."""

    order: Literal["reshuffled", "fixed", "windows"] = "reshuffled"
    """reshuffled: another order every epoch. fixed: shuffled once, mini-batches keep their members (2012 source).
    windows: shuffled within windows of 8,192 images, made of runs of 256 that lie together: for stores beyond memory
    on slow disks."""

    colour_noise: Annotated[float, Within(0, 100)] = 0.1
    """Strength of the noise along the principal colours (paper 4.1); 0: none."""

    noise_by: Literal["deviation", "eigenvalue"] = "deviation"
    """deviation: times each component's standard deviation (2012 source). eigenvalue: times its eigenvalue, as paper
    4.1 writes; on pixels of 0..255 that is noise of hundreds of grey levels."""

    noise_divisor: Annotated[float, Within(0.01, 100)] = 1.0
    """What images are divided by while noise is on, in training alone (2012 source: 1.1)."""

    noise_until: Annotated[int, Within(0, 10**6)] | None = None
    """Epochs after which the noise, and its divisor, are switched off (2012 source: 67); not given: never."""

    label_smoothing: Annotated[float, Within(0, 0.999)] = 0.0
    """Share of the target spread over all classes (Szegedy and others, 2016)."""

    rate: Annotated[float, Within(0, 1e6)] = 0.01
    """Learning rate at its highest."""

    bias_rate: Annotated[float, Within(0, 1e6)] | None = None
    """Learning rate of the biases (2012 source: 0.02; its CIFAR-10 nets: 0.002); not given: that of the weights."""

    bias_schedule: Literal["same", "constant"] = "same"
    """same: the biases' rate falls with the weights'. constant: it does not (2012 source)."""

    layer_rates: tuple[str, ...] = ()
    """Rates of single layers from an epoch on: conv1@67=1e-5 conv1@72=0 conv1.bias@72=0 (2012 source). A rate of 0
    freezes weights completely: no gradient, no decay, no momentum."""

    layer_decays: tuple[str, ...] = ()
    """Weight decay of single layers: fc10=1.0 (2012 source's CIFAR-10 nets)."""

    freeze: str | None = None
    """With --from: the last of the layers that keep their weights. What they give is computed once: of the ten views
    of paper 4.1, of which each epoch then takes one an image, without colour noise."""

    old_rate: Annotated[float, Within(0, 100)] = 0.1
    """With --from: what the rate of layers that were taken over is multiplied with (2012 source's sixth-layer nets)."""

    schedule: Literal["cosine", "plateau", "steps", "exponential", "stairs", "constant"] = "cosine"
    """cosine: falls to 0 along a half wave. plateau: divided by 10 when validation stalls (paper 5). steps: divided by
    10 after the epochs of falls_after. exponential: to final_rate (source numbers 155, 156). stairs: the same, in as
    many equal steps (source numbers 169, 170)."""

    falls_after: tuple[float, ...] = ()
    """With steps: epochs after which the rate is divided by 10 (2012 source, by hand: 25 51 79; in 2010 23 51 78)."""

    final_rate: Annotated[float, Within(1e-30, 1e6)] = 1e-5
    """With exponential and stairs: the rate of the end."""

    stairs: Annotated[int, Within(2, 10**6)] = 4
    """With stairs: how many."""

    warmup: Annotated[float, Within(0, 1e6)] = 1.0
    """Epochs over which the rate rises from 0."""

    patience: Annotated[int, Within(1, 10**6)] = 5
    """With plateau: epochs without a lower validation error before the rate falls."""

    falls: Annotated[int, Within(0, 100)] = 3
    """With plateau: how often the rate falls (paper 5: three times)."""

    momentum: Annotated[float, Within(0, 0.9999)] = 0.9
    """Paper 5."""

    decay: Annotated[float, Within(0, 1e6)] = 0.0005
    """Weight decay (paper 5); biases have none (2012 source)."""

    precision: Literal["auto", "float32", "float64", "bf16", "fp16"] = "auto"
    """Of products; weights and their updates stay float32. auto: bf16 where the machine has it. float64: all of it, to
    check by."""

    validate_every: Annotated[int, Within(1, 10**6)] = 1
    """Epochs between measurements on the validation split."""

    def __post_init__(self) -> None:
        """Holds every field against its annotation. Raises ``WrongUse`` naming the option that cannot be meant."""
        for name, kind in annotations().items():
            option = f"--{name.replace('_', '-')}"
            try:
                object.__setattr__(self, name, checked(getattr(self, name), kind))
            except Misfit as misfit:
                raise WrongUse(f"{option} {misfit}") from misfit
        if self.batch is not None and self.accumulate > self.batch:
            raise WrongUse(f"--accumulate {self.accumulate}: must be at most the batch, {self.batch}")
        if list(self.falls_after) != sorted(self.falls_after) or min(self.falls_after, default=0) < 0:
            raise WrongUse(f"--falls-after {self.falls_after}: give epochs in rising order")
        if self.schedule == "steps" and not self.falls_after:
            raise WrongUse("--schedule steps: give --falls-after, the epochs after which the rate falls")
        if self.schedule in ("exponential", "stairs") and not self.rate:
            raise WrongUse(f"--schedule {self.schedule}: falls from --rate, which is 0; give one above it")
        if self.epochs is not None and self.warmup > self.epochs:
            raise WrongUse(f"--warmup {self.warmup:g}: must be at most the epochs, {self.epochs}")
        layer_rates(self.layer_rates)
        layer_decays(self.layer_decays)

    def settled(self, images: int, precision: str, crop: int, net: str, fine_tuning: bool = False) -> "Recipe":
        """With what was left open decided: epochs and batch by the number of images, precision by the machine.

        Args:
            images: in training.
            precision: of the machine.
            crop: the side of the net's input.
            net: its name, where the recipe has none.
            fine_tuning: whether it starts from another run.
        """
        few, many, crops = (10, 100, 16_000) if fine_tuning else (24, 200, 160_000)
        return dataclasses.replace(
            self,
            net=self.net or net,
            epochs=self.epochs or max(few, min(many, math.ceil(crops / images))),
            batch=self.batch or (SMALL_BATCH if images < 4000 else BATCH),
            precision=precision,
            crop=self.crop or crop,
        )


@functools.cache
def annotations() -> dict[str, Any]:
    """The annotation of each of a recipe's fields."""
    return typing.get_type_hints(Recipe, include_extras=True)


@dataclasses.dataclass(frozen=True)
class LayerRate:
    """``conv1@72=0``: from an epoch on a layer's weights (``conv1.bias``: biases) have a rate of their own."""

    tensor: str
    epoch: float
    rate: float


NUMBER = r"(\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"  # not negative


def layer_rates(given: Sequence[str]) -> list[LayerRate]:
    """``LAYER@EPOCH=RATE`` in the order of the epochs. Raises ``WrongUse`` naming the one that is wrong."""
    found = []
    for text in given:
        match = re.fullmatch(rf"([^@=]+?)(\.bias)?@{NUMBER}={NUMBER}", text)
        if not match:
            raise WrongUse(f"--layer-rates {text}: give LAYER@EPOCH=RATE, conv1@72=0 or conv1.bias@72=0 say")
        found.append(LayerRate(match[1] + (match[2] or ".weight"), float(match[3]), float(match[4])))
    return sorted(found, key=lambda each: each.epoch)


def layer_decays(given: Sequence[str]) -> dict[str, float]:
    """``LAYER=DECAY`` by the tensor's name. Raises ``WrongUse`` naming the one that is wrong."""
    found = {}
    for text in given:
        match = re.fullmatch(rf"([^@=]+)={NUMBER}", text)
        if not match:
            raise WrongUse(f"--layer-decays {text}: give LAYER=DECAY, fc10=1.0 say")
        found[match[1] + ".weight"] = float(match[2])
    return found


SOURCE = Recipe(
    net="source",
    epochs=91,
    batch=128,
    initialisation="table",
    input_scale="pixels",
    chunk=32,
    order="fixed",
    noise_divisor=1.1,
    noise_until=67,
    bias_rate=0.02,
    bias_schedule="constant",
    layer_rates=("conv1@67=1e-5", "conv1@72=0", "conv1.bias@72=0"),
    schedule="steps",
    falls_after=(25.0, 51.0, 79.0),
    warmup=0.0,
)
CIFAR: dict[str, Any] = {
    "batch": 128,
    "initialisation": "table",
    "input_scale": "pixels",
    "order": "fixed",
    "colour_noise": 0.0,
    "rate": 0.001,
    "bias_rate": 0.002,
    "schedule": "steps",
    "warmup": 0.0,
    "decay": 0.0,
}
CONVOLUTIONS = ("conv1=0.004", "conv2=0.004", "conv3=0.004")
LOCAL = ("local3=0.004", "local4=0.004")

RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "paper": Recipe(
        net="paper",
        epochs=90,
        batch=128,
        initialisation="table",
        input_scale="pixels",
        schedule="plateau",
        warmup=0.0,
    ),
    "source": SOURCE,  # number 145, the run of 2012
    "source-2010": dataclasses.replace(
        SOURCE,
        epochs=93,
        noise_until=68,
        bias_rate=0.002,
        layer_rates=("conv1@68=1e-5", "conv1@72=0", "conv1.bias@72=0"),
        falls_after=(23.0, 51.0, 78.0),
    ),
    # The epochs of cifar-quick and cifar-13 stand nowhere; these are ours.
    "cifar-quick": Recipe(
        **CIFAR,
        net="cifar-quick",
        mirror=False,
        epochs=40,
        falls_after=(30.0,),
        layer_decays=(*CONVOLUTIONS, "fc64=0.03", "fc10=0.03"),
    ),
    "cifar-18": Recipe(
        **CIFAR,
        net="cifar-18",
        mirror=False,
        epochs=140,
        falls_after=(120.0, 130.0),
        layer_decays=(*CONVOLUTIONS, "fc10=1.0"),
    ),
    "cifar-13": Recipe(
        **CIFAR, net="cifar-13", epochs=120, falls_after=(100.0, 110.0), layer_decays=(*LOCAL, "fc10=0.004")
    ),
    "cifar-11": Recipe(
        **CIFAR, net="cifar-11", epochs=520, falls_after=(500.0, 510.0), layer_decays=(*LOCAL, "fc10=0.01")
    ),
}


def named(name: str) -> Recipe:
    """A recipe by name, or from a run's ``recipe.json``. Raises ``WrongUse`` where there is none."""
    if name in RECIPES:
        return RECIPES[name]
    if not name.endswith(".json"):
        near = files.nearest(name, RECIPES)
        raise WrongUse(f"--recipe {name}: unknown; {near}give one of {', '.join(RECIPES)}, or a run's recipe.json")
    if not files.exists(name):
        raise WrongUse(f"--recipe {name}: no such file")
    return from_json(files.read_json(name, dict, "mend it or give another recipe"), f"--recipe {name}")


BESIDE = ("table", "store", "start_from", "start_from_weights", files.SEAL)  # what a run's recipe.json says beside it


def from_json(content: dict[str, Any], where: str) -> Recipe:
    """A recipe from what a run's ``recipe.json`` says.

    Args:
        content: of the file; fields that an older version did not know have their defaults.
        where: what to call it.

    Raises:
        WrongUse: a key or a value that no recipe has.
    """
    fields = annotations()
    lacking = [name for name in ("net", "seed", "epochs", "batch", "rate") if name not in content]
    if lacking:
        raise WrongUse(f"{where}: is no recipe of a run: it has no {lacking[0]!r}")
    for key in content:
        if key not in fields and key not in BESIDE:
            near = files.nearest(key, fields)
            raise WrongUse(f"{where}: {key}: unknown; {near}a recipe has {', '.join(fields)}")
    try:
        return Recipe(**{key: value for key, value in content.items() if key in fields})
    except WrongUse as error:
        raise WrongUse(f"{where}: {error}") from error


def difference(old: dict, new: dict) -> list[str]:
    """What two recipes (as dicts) differ in: ``rate 0.01 -> 0.02``. What an older one did not know has its default.

    Nets are compared by their tables, and a run that weights come from by these weights: either may have moved.
    """
    unknown = {"old_rate": 1.0} if old.get("start_from") is not None and "old_rate" not in old else {}
    old = {**dataclasses.asdict(Recipe()), "start_from": None, **unknown, **old}
    old, new = json.loads(files.to_json(old)), json.loads(files.to_json(new))
    ignored = {files.SEAL, "start_from_weights"} | ({"net"} if old.get("table") == new.get("table") else set())
    if old.get("start_from_weights") and old["start_from_weights"] == new.get("start_from_weights"):
        ignored.add("start_from")
    keys = [key for key in {**old, **new} if key not in ignored]
    return [f"{key} {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
