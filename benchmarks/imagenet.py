"""What the experiments of ImageNet's size take: their images, and the time for them at the steps' measured rates.

    python -m benchmarks.imagenet

Rates are read from files of ``docs/raw``, so nothing is measured here, and nothing of ImageNet is needed: the step of
the paper's net on one NVIDIA H200 (``gpu-after.txt``), and on two cores (``nets.json``). Other nets count by their
multiply-adds. Decoding, validation and ten views are left out. ``python -m benchmarks.reports`` puts the table into
the docs.
"""

import dataclasses
import functools
import json
import re
from pathlib import Path

from alexnet.experiments.ablations import ABLATIONS
from alexnet.experiments.figure3 import TOWERS
from alexnet.experiments.invariance import ARMS as INVARIANCE
from alexnet.experiments.pretraining import FINE_TUNED, RELEASE_EPOCHS
from alexnet.experiments.runner import EXPERIMENTS
from alexnet.nets.costs import multiply_adds
from alexnet.nets.table_file import load_table
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES
from benchmarks.harness import ROOT

CHALLENGE, CHALLENGE_2010, RELEASE = 1_281_167, 1_261_406, 14_197_122  # training images: ILSVRC, Fall 2011
CLASSES, RELEASE_CLASSES = 1000, 21_841
DAY, HOUR = 86_400.0, 3_600.0
BATCH = 128


@dataclasses.dataclass(frozen=True)
class Trainings:
    """Some trainings of one kind.

    Attributes:
        number: of them.
        net: its name.
        epochs: of each.
        images: to train on.
        classes: of them.
    """

    number: int
    net: str
    epochs: int
    images: int = CHALLENGE
    classes: int = CLASSES

    @property
    def seen(self) -> int:
        """Images, those of all epochs and trainings."""
        return self.number * self.epochs * self.images


def by_default(number: int) -> Trainings:
    """Trainings by the recipe ``default``."""
    return Trainings(number, "paper", Recipe().epochs_for(CHALLENGE))


def by_source(number: int, net: str = "source") -> Trainings:
    """Trainings as number 145's."""
    return Trainings(number, net, RECIPES["source"].epochs or 0)


def pretrained(number: int) -> tuple[Trainings, ...]:
    """Trainings on the release that go on with the challenge."""
    release = Trainings(number, "conv6", RELEASE_EPOCHS, RELEASE, RELEASE_CLASSES)
    return release, Trainings(number, "conv6", FINE_TUNED.epochs or 0)


@functools.cache
def plans() -> dict[str, tuple[Trainings, ...]]:
    """What each experiment trains at the scale ``paper`` on ImageNet; arms that measure others' nets train none."""
    seeds = {name: len(made.scales["paper"].seeds or made.seeds) for name, made in EXPERIMENTS.items()
             if "paper" in made.scales}  # fmt: skip
    arms = sum(1 for arm in ABLATIONS.values() if not arm.of)
    return {
        "table1": (Trainings(1, "source", RECIPES["source-2010"].epochs or 0, CHALLENGE_2010),),
        "table2": (by_source(5), *pretrained(2)),
        "fall": (by_source(1), by_source(1, "conv6"), *pretrained(1)),
        "figure3": (Trainings(len(TOWERS) * seeds["figure3"], "paper", RECIPES["paper"].epochs or 0),),
        "figure4": (by_default(seeds["figure4"]),),
        "invariance": (by_default(len(INVARIANCE) * seeds["invariance"]),),
        "ablations": (by_default(arms * seeds["ablations"]),),
    }


def cost_of(net: str, classes: int = CLASSES) -> float:
    """Multiply-adds of a training step for one image, to those of the paper's net."""
    return multiply_adds(load_table(net), classes)[1] / multiply_adds(load_table("paper"), CLASSES)[1]


def rates(raw: Path) -> tuple[float, float, float]:
    """Images a second of the paper's net in training: on an H200 in batches of 128, of 1,024, and on two cores."""
    text = (raw / "gpu-after.txt").read_text(encoding="utf-8")
    of = {int(batch): int(batch) / float(ms) * 1e3 for batch, ms in
          re.findall(r"^paper (\d+) host ms .* total ms (\S+)$", text, re.MULTILINE)}  # fmt: skip
    cores = json.loads((raw / "nets.json").read_text(encoding="utf-8"))["images_per_second"]["paper"]
    return of[BATCH], of[1024], cores


def table(raw: Path) -> list[str]:
    """Markdown lines: what is trained, images, and how long it takes.

    Args:
        raw: the folder of raw figures.
    """
    small, large, cores = rates(raw)
    lines = [
        "| experiment | trainings | images seen | one H200, batches of 128 | of 1,024 | two Zen 5 cores |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, trainings in plans().items():
        words = "; ".join(
            f"{part.number} of `{part.net}`, {part.epochs} epochs of {part.images:,}" for part in trainings
        )
        seen = sum(part.seen for part in trainings) / 1e6
        work = sum(part.seen * cost_of(part.net, part.classes) for part in trainings)  # in images of the paper's net
        lines.append(
            f"| `{name}` | {words} | {seen:,.0f} million | {work / small / HOUR:,.1f} h | "
            f"{work / large / HOUR:,.1f} h | {work / cores / DAY:,.0f} days |"
        )
    lines += [
        "",
        f"Rates of the net `paper`: {small:,.0f} and {large:,.0f} images/s on one H200, {cores:,.0f} on two cores.",
    ]
    return lines


if __name__ == "__main__":
    print("\n".join(table(ROOT / "docs" / "raw")))
