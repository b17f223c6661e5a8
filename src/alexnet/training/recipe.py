"""A typed, frozen description of a training; the named ones are in ``recipes``. Field docstrings are the help."""

import dataclasses
import functools
import json
import math
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from alexnet import files
from alexnet.errors import UsageError
from alexnet.files import Misfit, Within, checked
from alexnet.files.old_names import FIELDS, VALUES, current_recipe
from alexnet.training.schedule import (
    Constant,
    Cosine,
    Exponential,
    LayerLr,
    LearningRates,
    Linear,
    MultiStep,
    Plateau,
    Schedule,
    Staircase,
    parse_layer_lr,
    parse_layer_weight_decay,
)

BATCH_SIZE, SMALL_BATCH_SIZE, FEW_IMAGES = 64, 32, 4000
FINE_TUNING, FROM_SCRATCH = (10, 100, 16_000), (24, 200, 160_000)  # epochs at least, at most, and crops in all

ScheduleName = Literal["cosine", "linear", "plateau", "multistep", "exponential", "staircase", "constant"]
if TYPE_CHECKING:  # a recipe is made with either, and has the name: options and JSON are flat
    NameOrSchedule = ScheduleName | Schedule
else:
    NameOrSchedule = ScheduleName


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What determines a training besides its data, as it is asked for. The defaults are the recipe ``default``.

    Raises:
        UsageError: an invalid value, named by its option.
    """

    net: str | None = None
    """Name of a net (see `alexnet nets`), or path of a .toml table (default: paper; with --from, that run's net)."""

    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    """Random seed, 0 to 4294967295."""

    epochs: Annotated[int, Within(1, 10**6)] | None = None
    """Passes over the training images (default: as many as make about 160,000 crops, between 24 and 200, and by muon
    half of these; with --from, about 16,000 crops, between 10 and 100)."""

    # data and augmentation

    input_scale: Literal["raw", "standardized"] = "standardized"
    """raw: pixels of 0..255 minus the mean image (paper 2). standardized: the same, divided by their standard
    deviation."""

    crop_size: Annotated[int, Within(1, 4096)] | None = None
    """Side of the crops in pixels (paper 4.1: 224; default: the side of the net's input)."""

    crop_position: Literal["random", "center"] = "random"
    """random: crops of random places of the images (paper 4.1). center: always the central crop, flipped or not."""

    crop_scale: Annotated[float, Within(0.01, 1)] = 1.0
    """Least share of an image's area that a crop shows. Below 1, crops show random areas from this share to the whole
    image, 3:4 to 4:3 wide, resized to --crop-size (Szegedy et al., 2015: 0.08). 1: crops are not resized."""

    crop_margin: Annotated[int, Within(0, 4096)] = 0
    """Pixels around each image in which it is mirrored at its borders, so that random crops may reach beyond it by so
    much. 0: crops lie within the image (paper 4.1)."""

    flip: bool = True
    """Flips every second crop left to right (paper 4.1)."""

    crop_group: Annotated[int, Within(1, 10**6)] = 1
    """Number of consecutive images that share one random crop and flip (paper 4.1: 1; 2012 source: 32)."""

    shuffle: Literal["epoch", "once", "windows"] = "epoch"
    """epoch: a new order every epoch. once: shuffled once, so that mini-batches keep their members (2012 source).
    windows: shuffled within windows of 8,192 images, each read from disk in 32 pieces, for datasets larger than memory
    on slow disks."""

    color_noise: Annotated[float, Within(0, 100)] = 0.1
    """Strength of the color noise, along the principal components of RGB (paper 4.1). 0: none."""

    color_noise_by: Literal["std", "eigenvalue"] = "std"
    """What the noise of a component is multiplied by. std: its standard deviation (2012 source). eigenvalue: its
    eigenvalue, as paper 4.1 writes, which on pixels of 0..255 is noise of hundreds of gray levels."""

    color_noise_divisor: Annotated[float, Within(0.01, 100)] = 1.0
    """Divisor of the training images while color noise is on (2012 source: 1.1)."""

    color_noise_until: Annotated[int, Within(0, 10**6)] | None = None
    """Epochs after which there is no more color noise, and no divisor (2012 source: 67; default: never)."""

    label_smoothing: Annotated[float, Within(0, 0.999)] = 0.0
    """Share of the target that is spread over all classes (Szegedy et al., 2016)."""

    # optimizer

    optimizer: Literal["momentum", "muon"] = "momentum"
    """How gradients move weights. momentum: as paper 5 says. muon: the filters of convolutional and
    locally connected layers move equally far in all directions (Jordan et al., 2024): fewer epochs, a higher --lr."""

    batch_size: Annotated[int, Within(1, 10**6)] | None = None
    """Images per step (paper 5: 128; default: 64, or 32 for fewer than 4,000 training images)."""

    grad_accumulation: Annotated[int, Within(1, 10**6)] = 1
    """Number of parts in which a batch goes through the net, to save memory. Their gradients are summed."""

    init: Literal["net", "he"] = "he"
    """Initial weights and biases. net: as the net's table says (paper 5). he: weights N(0, 2 / inputs), which keep the
    signal's size, and biases 0."""

    learning_rate: Annotated[float, Within(0, 1e6), arg(name="lr", aliases=("--learning-rate",))] = 0.01
    """Learning rate, at its highest."""

    bias_lr: Annotated[float, Within(0, 1e6)] | None = None
    """Learning rate of the biases (2012 source: 0.02; its CIFAR-10 nets: 0.002; default: that of the weights)."""

    layer_lr: tuple[str, ...] = ()
    """Learning rates of single layers from an epoch on, such as conv1@67=1e-5,conv1@72=0,conv1.bias@72=0 (2012 source).
    A rate of 0 freezes weights completely: no gradient, no decay, no momentum."""

    momentum: Annotated[float, Within(0, 0.9999)] = 0.9
    """Momentum (paper 5)."""

    weight_decay: Annotated[float, Within(0, 1e6)] = 0.0005
    """Weight decay (paper 5). Biases have none (2012 source)."""

    layer_weight_decay: tuple[str, ...] = ()
    """Weight decay of single layers, such as conv1=0.004,fc10=1.0 (2012 source's CIFAR-10 nets)."""

    precision: Literal["auto", "float32", "float64", "bf16", "fp16"] = "auto"
    """Precision of matrix products and convolutions. Weights and their updates stay float32. auto: bf16 where the
    machine has it. float64: everything, for checks."""

    freeze: str | None = None
    """With --from: this layer and all before it keep their weights. Their outputs are computed once, for the ten views
    of paper 4.1. Each epoch then takes one view of each image, without color noise (default: none)."""

    pretrained_lr_factor: Annotated[float, Within(0, 100)] = 0.1
    """With --from: factor on the learning rate of the layers taken from that run (2012 source's sixth-layer nets)."""

    # schedule

    schedule: NameOrSchedule = "cosine"
    """How the learning rate falls. cosine: half a cosine wave down to 0. linear: a straight line down to 0. plateau:
    divided by 10 when the validation error stalls (paper 5). multistep: divided by 10 at each milestone. exponential:
    down to --final-lr (source numbers 155, 156). staircase: the same, in equally long stages (source numbers 169, 170).
    constant: not at all."""

    warmup_epochs: Annotated[float, Within(0, 1e6)] = 1.0
    """Epochs in which the learning rate rises from 0 to its highest."""

    milestones: tuple[float, ...] = ()
    """With multistep: epochs at which the learning rate is divided by 10 (2012 source: 25,51,79; in 2010: 23,51,78)."""

    plateau_patience: Annotated[int, Within(1, 10**6)] = 5
    """With plateau: epochs without a lower validation error before the learning rate drops."""

    plateau_drops: Annotated[int, Within(0, 100)] = 3
    """With plateau: how often the learning rate drops (paper 5: three times)."""

    stages: Annotated[int, Within(2, 10**6)] = 4
    """With staircase: number of stages."""

    final_lr: Annotated[float, Within(1e-30, 1e6)] = 1e-5
    """With exponential and staircase: learning rate at the end."""

    bias_schedule: Literal["same", "constant"] = "same"
    """Learning rate of the biases. same: it falls with the weights'. constant: it does not fall (2012 source)."""

    # checkpoints

    validate_every: Annotated[int, Within(1, 10**6)] = 1
    """Measure the validation error every N epochs."""

    def __post_init__(self) -> None:
        """Holds every field against its annotation. Raises ``UsageError`` naming the option that is invalid."""
        if isinstance(self.schedule, Schedule):
            for name, value in self.schedule.flat().items():
                object.__setattr__(self, name, value)
        for name, kind in annotations(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, checked(value, kind))
            except Misfit as misfit:
                new = VALUES.get(name, {}).get(value) if isinstance(value, str) else None
                why = f"{value}: is now {new}" if new else misfit
                raise UsageError(f"{option(name)} {why}") from misfit
        self._check_together()

    def _check_together(self) -> None:
        """Raises ``UsageError`` where fields contradict each other."""
        if self.batch_size is not None and self.grad_accumulation > self.batch_size:
            raise UsageError(
                f"--grad-accumulation {self.grad_accumulation}: must be at most the batch size, {self.batch_size}"
            )
        if list(self.milestones) != sorted(self.milestones) or min(self.milestones, default=0) < 0:
            raise UsageError(f"--milestones {self.milestones}: give epochs in rising order")
        if self.schedule == "multistep" and not self.milestones:
            raise UsageError("--schedule multistep: give --milestones, the epochs at which the rate is divided by 10")
        if self.schedule in ("exponential", "staircase") and not self.learning_rate:
            raise UsageError(f"--schedule {self.schedule}: falls from --lr, which is 0; give one above it")
        if self.epochs is not None and self.warmup_epochs > self.epochs:
            raise UsageError(f"--warmup-epochs {self.warmup_epochs:g}: must be at most the epochs, {self.epochs}")
        if self.crop_position == "center" and self.crop_scale < 1:
            raise UsageError(f"--crop-scale {self.crop_scale:g}: goes with random crops; leave out --crop-position")
        if self.crop_margin and (self.crop_position == "center" or self.crop_scale < 1):
            other = "position center" if self.crop_position == "center" else f"scale {self.crop_scale:g}"
            raise UsageError(
                f"--crop-margin {self.crop_margin}: goes with random crops that are not resized; leave out "
                f"--crop-{other}"
            )
        self._check_frozen_crops()
        parse_layer_lr(self.layer_lr)
        parse_layer_weight_decay(self.layer_weight_decay)

    def _check_frozen_crops(self) -> None:
        """That crops are those whose features frozen layers compute. Raises ``UsageError``."""
        if self.freeze is None:
            return
        for option, value, only in (
            ("position", self.crop_position, "random"),
            ("scale", self.crop_scale, 1),
            ("margin", self.crop_margin, 0),
        ):
            if value != only:
                shown = value if isinstance(value, str) else f"{value:g}"
                raise UsageError(
                    f"--crop-{option} {shown}: frozen layers see the ten views of each image; give --crop-{option} "
                    f"{only}, or leave out --freeze"
                )

    def settled(self, images: int, precision: str, crop_size: int, net: str, fine_tuning: bool = False) -> "Settled":
        """With what was left open decided: epochs and batch size by the number of images, precision by the machine.

        Args:
            images: in training.
            precision: of the machine.
            crop_size: the side of the net's input.
            net: its name, where the recipe has none.
            fine_tuning: whether it starts from another run.
        """
        decided: dict[str, Any] = {
            "net": self.net or net,
            "epochs": self.epochs_for(images, fine_tuning),
            "batch_size": self.batch_size or (SMALL_BATCH_SIZE if images < FEW_IMAGES else BATCH_SIZE),
            "precision": precision,
            "crop_size": self.crop_size or crop_size,
        }
        asked = {field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)}
        return Settled(**{**asked, **decided})

    def epochs_for(self, images: int, fine_tuning: bool = False) -> int:
        """Passes over so many training images: those asked for, or as many as make enough crops; see ``epochs``."""
        fewest, most, crops = FINE_TUNING if fine_tuning else FROM_SCRATCH
        epochs = max(fewest, min(most, math.ceil(crops / images)))
        half = self.optimizer == "muon" and not fine_tuning  # measured on 5,000 photos: docs/recipes.md
        return self.epochs or (math.ceil(epochs / 2) if half else epochs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settled(Recipe):
    """A recipe in which nothing is open any more: what a run trains by, and what its ``recipe.json`` says.

    Where a field may still be None, that is a decision: biases learn as the weights do, color noise never ends.
    """

    net: str = dataclasses.field()
    epochs: Annotated[int, Within(1, 10**6)] = dataclasses.field()
    batch_size: Annotated[int, Within(1, 10**6)] = dataclasses.field()
    crop_size: Annotated[int, Within(1, 4096)] = dataclasses.field()
    precision: Literal["float32", "float64", "bf16", "fp16"] = dataclasses.field()

    @functools.cached_property
    def layer_lr_rules(self) -> tuple[LayerLr, ...]:
        """``layer_lr``, parsed."""
        return parse_layer_lr(self.layer_lr)

    @functools.cached_property
    def layer_weight_decays(self) -> dict[str, float]:
        """``layer_weight_decay``, parsed: by the parameter's name."""
        return parse_layer_weight_decay(self.layer_weight_decay)

    @property
    def whole_filters(self) -> bool:
        """Whether an update needs all of a convolution's filters."""
        return self.optimizer == "muon"

    def learning_rates(self, steps_per_epoch: int) -> LearningRates:
        """The learning rate of each parameter as a function of the step."""
        return LearningRates(
            self._schedule(),
            self.learning_rate,
            self.epochs,
            steps_per_epoch,
            self.warmup_epochs,
            self.bias_lr,
            self.bias_schedule,
            self.layer_lr_rules,
        )

    def _schedule(self) -> Schedule:
        kinds: dict[object, Schedule] = {
            "cosine": Cosine(),
            "linear": Linear(),
            "plateau": Plateau(self.plateau_patience, self.plateau_drops),
            "multistep": MultiStep(*self.milestones),
            "exponential": Exponential(self.final_lr),
            "staircase": Staircase(self.stages, self.final_lr),
            "constant": Constant(),
        }
        return kinds[self.schedule]


@functools.cache
def annotations(kind: type[Recipe] = Recipe) -> dict[str, Any]:
    """The annotation of each of a recipe's fields."""
    return typing.get_type_hints(kind, include_extras=True)


def option(field: str) -> str:
    """What a field is called on the command line."""
    return "--lr" if field == "learning_rate" else f"--{field.replace('_', '-')}"


# What a run's recipe.json says beside it.
BESIDE = ("table", "store", "start_from", "start_from_weights", "code", files.SEAL)


def from_json(content: dict[str, Any], where: str, of_run: bool = False) -> Recipe:
    """A recipe from what a run's ``recipe.json`` says, or another file of some of its fields.

    Args:
        content: of the file, under the names of today or of before; what it lacks has its default.
        where: what to call it.
        of_run: whether it lies in a run's folder; others are told by what runs say besides their recipe.

    Raises:
        UsageError: a key or a value that no recipe has; a run's file that lacks what every version wrote.
    """
    fields, content = annotations(), current_recipe(content)
    if of_run or any(key in content for key in BESIDE):
        lacking = [name for name in ("net", "seed", "epochs", "batch_size", "learning_rate") if name not in content]
        if lacking:
            raise UsageError(f"{where}: is no recipe of a run: it has no {lacking[0]!r}")
    for key in content:
        if key in FIELDS:
            raise UsageError(f"{where}: {key}: is now {FIELDS[key]}, which is given as well; leave one of them out")
        if key not in fields and key not in BESIDE:
            raise UsageError(f"{where}: {key}: unknown; {files.nearest(key, fields)}a recipe has {', '.join(fields)}")
    try:
        return Recipe(**{key: value for key, value in content.items() if key in fields})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _same_net(old: Any, new: Any) -> bool:
    """Whether two tables' texts are of one net: an older version's may have other words for it."""
    if old == new or not (isinstance(old, str) and isinstance(new, str)):
        return old == new
    from alexnet.nets.table_file import parse_table  # brings torch, which options and help do without

    try:
        one, other = (dataclasses.replace(parse_table(text, "net"), text="", title="") for text in (old, new))
    except UsageError:
        return False
    return one == other


def difference(old: dict, new: dict) -> list[str]:
    """What two recipes (as dicts) differ in: ``--lr 0.01 -> 0.02``.

    The old one may be of an earlier version: its names are those of then, and what it did not know has its default.
    Nets are compared by their tables, and a run that weights come from by these weights: either may have moved.
    """
    old = current_recipe(old)
    unknown = (
        {"pretrained_lr_factor": 1.0} if old.get("start_from") is not None and "pretrained_lr_factor" not in old else {}
    )
    old = {**dataclasses.asdict(Recipe()), "start_from": None, **unknown, **old}
    old, new = json.loads(files.to_json(old)), json.loads(files.to_json(new))
    ignored = {files.SEAL, "start_from_weights", "code"}
    if _same_net(old.get("table"), new.get("table")):
        ignored |= {"net", "table"}
    if old.get("start_from_weights") and old["start_from_weights"] == new.get("start_from_weights"):
        ignored.add("start_from")
    keys = [key for key in {**old, **new} if key not in ignored]
    options = {key: option(key) for key in annotations()} | {"start_from": "--from"}
    return [f"{options.get(key, key)} {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
