"""A typed, frozen description of a run, and the named recipes. Field docstrings are the command's help."""

import dataclasses
import math
from typing import Literal

from alexnet import files
from alexnet.errors import WrongUse

BATCH, SMALL_BATCH = 64, 32


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What determines a training beside its data. The defaults are the recipe ``default``."""

    net: str = "paper"
    """Name of a net, or path of a .toml table."""

    seed: int = 0
    """Of everything random; 0 to 4294967295."""

    epochs: int | None = None
    """Passes over the training images; not given: enough for about 160,000 crops, from 24 to 200."""

    batch: int | None = None
    """Images a step (the paper: 128); not given: 64, or 32 for fewer than 4,000 training images."""

    accumulate: int = 1
    """Parts in which a batch goes through the net, to save memory."""

    initialisation: Literal["table", "he"] = "he"
    """table: as the net's table says (paper 5). he: deviations that keep the signal's size, biases 0."""

    input_scale: Literal["pixels", "deviation"] = "deviation"
    """pixels: 0..255 minus the mean image (paper 2). deviation: that, divided by the pixels' deviation."""

    crop: int | None = None
    """Side of the random crops (paper 4.1: 224); not given: what the net's table says."""

    mirror: bool = True
    """Mirrors every second crop (paper 4.1)."""

    colour_noise: float = 0.1
    """Strength of the noise along the principal colours (paper 4.1); 0: none."""

    label_smoothing: float = 0.0
    """Share of the target spread over all classes (Szegedy and others, 2016)."""

    rate: float = 0.01
    """Learning rate at its highest."""

    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """cosine: falls to 0 along a half wave. plateau: divided by 10 when validation stalls (paper 5)."""

    warmup: float = 1.0
    """Epochs over which the rate rises from 0."""

    patience: int = 5
    """With plateau: epochs without a lower validation error before the rate falls."""

    falls: int = 3
    """With plateau: how often the rate falls (paper 5: three times)."""

    momentum: float = 0.9
    """Paper 5."""

    decay: float = 0.0005
    """Weight decay (paper 5); biases have none (2012 source)."""

    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Of products; weights and their updates stay float32. auto: bf16 where the machine has it."""

    validate_every: int = 1
    """Epochs between measurements on the validation split."""

    def check(self) -> None:
        """Raises ``WrongUse`` naming the option whose value cannot be meant."""
        limits = {
            "seed": (0, 2**32 - 1),
            "epochs": (1, 10**6),
            "batch": (1, 10**6),
            "accumulate": (1, self.batch or SMALL_BATCH),
            "crop": (1, 4096),
            "colour_noise": (0, 100),
            "label_smoothing": (0, 0.999),
            "rate": (0, 1e6),
            "warmup": (0, 1e6),
            "patience": (1, 10**6),
            "falls": (0, 100),
            "momentum": (0, 0.9999),
            "decay": (0, 1e6),
            "validate_every": (1, 10**6),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise WrongUse(f"--{name.replace('_', '-')} {value}: must be between {low} and {high}")

    def settled(self, images: int, precision: str, crop: int) -> "Recipe":
        """With what was left open decided: epochs and batch by the number of images, precision by the machine.

        Args:
            images: in training.
            precision: of the machine.
            crop: the side of the net's input.
        """
        epochs = self.epochs or max(24, min(200, math.ceil(160_000 / images)))
        batch = self.batch or (SMALL_BATCH if images < 4000 else BATCH)
        return dataclasses.replace(self, epochs=epochs, batch=batch, precision=precision, crop=self.crop or crop)


RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "paper": Recipe(
        epochs=90,
        batch=128,
        initialisation="table",
        input_scale="pixels",
        schedule="plateau",
        warmup=0.0,
    ),
}


def named(name: str) -> Recipe:
    """A recipe by name, or from a run's ``recipe.json``. Raises ``WrongUse`` where there is none."""
    if name in RECIPES:
        return RECIPES[name]
    if not name.endswith(".json"):
        raise WrongUse(f"--recipe {name}: unknown; give one of {', '.join(RECIPES)}, or a run's recipe.json")
    if not files.exists(name):
        raise WrongUse(f"--recipe {name}: no such file")
    told = files.read_json(name)
    if not isinstance(told, dict) or not set(told) >= (known := {field.name for field in dataclasses.fields(Recipe)}):
        raise WrongUse(f"--recipe {name}: is no recipe of a run")
    return Recipe(**{key: value for key, value in told.items() if key in known})


def difference(old: dict, new: dict) -> list[str]:
    """What two recipes (as dicts) differ in: ``rate 0.01 -> 0.02``."""
    return [f"{key} {old.get(key)} -> {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]
