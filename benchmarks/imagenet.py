"""What the experiments of ImageNet's size take: their images, and the time for them at the steps' measured rates.

    python -m benchmarks.imagenet

Rates are read from files of ``docs/raw``, so nothing is measured here, and nothing of ImageNet is needed: the steps of
nets on two cores (``nets.json``), and of the paper's net on one NVIDIA H200 (``gpu-after.txt``). A net of which none
was measured counts by its multiply-adds. Decoding, validation and ten views are left out. ``python -m
benchmarks.reports`` puts the table into the docs.
"""

import dataclasses
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from alexnet.experiments.ablations import ABLATIONS
from alexnet.experiments.arms import net_file
from alexnet.experiments.fall import ARMS as FALL
from alexnet.experiments.fall import PRETRAINED
from alexnet.experiments.figure3 import NET, TOWERS, joined
from alexnet.experiments.invariance import ARMS as INVARIANCE
from alexnet.experiments.known import EXPERIMENTS
from alexnet.experiments.pretraining import FINE_TUNED, RELEASE_EPOCHS
from alexnet.experiments.tables import TABLE1, TABLE2, Line
from alexnet.nets.costs import multiply_adds
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES
from benchmarks.harness import ROOT

CHALLENGE, CHALLENGE_2010 = 1_281_167, 1_261_406  # training images of ILSVRC-2012 and -2010
RELEASE = round(0.99 * 14_197_122)  # of Fall 2011, but for --val-fraction 0.01
CLASSES, RELEASE_CLASSES = 1000, 21_841
DAY, HOUR = 86_400.0, 3_600.0
BATCH = 128


@dataclasses.dataclass(frozen=True)
class Trainings:
    """Some trainings of one kind.

    Attributes:
        number: of them.
        words: what is trained.
        table: the net.
        epochs: of each.
        images: to train on.
        classes: of them.
    """

    number: int
    words: str
    table: Table
    epochs: int
    images: int = CHALLENGE
    classes: int = CLASSES

    @property
    def seen(self) -> int:
        """Images, those of all epochs and trainings."""
        return self.number * self.epochs * self.images

    @property
    def work(self) -> float:
        """Multiply-adds of all training steps, in those of an image's step of the paper's net."""
        of_paper = multiply_adds(load_table("paper"), CLASSES)[1]
        return self.seen * multiply_adds(self.table, self.classes)[1] / of_paper


def named(number: int, net: str, epochs: int | None, images: int = CHALLENGE, classes: int = CLASSES) -> Trainings:
    """Trainings of a net by its name."""
    return Trainings(number, f"`{net}`", load_table(net), epochs or 0, images, classes)


def pretrained(number: int) -> list[Trainings]:
    """Trainings on the release that go on with the challenge; none of none."""
    release = named(number, "conv6", RELEASE_EPOCHS, RELEASE, RELEASE_CLASSES)
    return [release, named(number, "conv6", FINE_TUNED.epochs)] if number else []


def of_lines(lines: Sequence[Line], seeds: int, epochs: int | None, images: int = CHALLENGE) -> list[Trainings]:
    """What tables 1 and 2 train: as many nets of each kind as the line that averages most."""
    scratch = named(seeds * max(line.nets for line in lines), "source", epochs, images)
    return [scratch, *pretrained(seeds * max(line.pretrained for line in lines))]


def plans(folder: Path) -> dict[str, list[Trainings]]:
    """What each experiment trains at the scale ``paper`` on ImageNet; arms that measure others' nets train none.

    Args:
        folder: nets that are not named are written there.
    """
    seeds = {name: len(made.scales["paper"].seeds or made.seeds) for name, made in EXPERIMENTS.items()
             if "paper" in made.scales}  # fmt: skip
    source, by_default = RECIPES["source"].epochs, Recipe().epochs_for(CHALLENGE)
    together = load_table(joined(NET, folder))
    kinds = {condition: together if both else load_table(NET) for condition, both in TOWERS.items()}
    arms = {name: load_table(net_file(arm, "paper", None, folder)) for name, arm in ABLATIONS.items() if not arm.of}
    from_scratch = [name.split()[0] for name in FALL if not name.endswith(PRETRAINED)]
    return {
        "table1": of_lines([*TABLE1.values()], seeds["table1"], RECIPES["source-2010"].epochs, CHALLENGE_2010),
        "table2": of_lines([*TABLE2.values()], seeds["table2"], source),
        "fall": [*(named(seeds["fall"], net, source) for net in from_scratch), *pretrained(seeds["fall"])],
        "figure3": [Trainings(seeds["figure3"], condition, table, RECIPES["paper"].epochs or 0)
                    for condition, table in kinds.items()],
        "figure4": [named(seeds["figure4"], "paper", by_default)],
        "invariance": [named(len(INVARIANCE) * seeds["invariance"], "paper", by_default)],
        "ablations": [Trainings(seeds["ablations"], name, table, by_default) for name, table in arms.items()],
    }  # fmt: skip


def words_of(trainings: Sequence[Trainings]) -> str:
    """What is trained, in a cell; many kinds of the same length in one."""
    if len({(part.epochs, part.images) for part in trainings}) == 1 < len(trainings):
        first = trainings[0]
        nets = (
            f"{len(trainings)} kinds of net" if len(trainings) > 2 else " and ".join(part.words for part in trainings)
        )
        return f"{sum(part.number for part in trainings)} of {nets}, {first.epochs} epochs of {first.images:,}"
    return "; ".join(f"{part.number} of {part.words}, {part.epochs} epochs of {part.images:,}" for part in trainings)


def gpu_rates(raw: Path) -> tuple[float, float]:
    """Images a second of the paper's net in training on an H200, in batches of 128 and of 1,024."""
    text = (raw / "gpu-after.txt").read_text(encoding="utf-8")
    of = {int(batch): int(batch) / float(ms) * 1e3 for batch, ms in
          re.findall(r"^paper (\d+) host ms .* total ms (\S+)$", text, re.MULTILINE)}  # fmt: skip
    return of[BATCH], of[1024]


def table(raw: Path) -> list[str]:
    """Markdown lines: what is trained, images, and how long it takes.

    Args:
        raw: the folder of raw figures.
    """
    small, large = gpu_rates(raw)
    cores = json.loads((raw / "nets.json").read_text(encoding="utf-8"))["images_per_second"]
    lines = [
        "| experiment | trainings | images seen | one H200, batches of 128 | of 1,024 | two Zen 5 cores |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        made = plans(Path(folder))
    for name, trainings in made.items():
        work = sum(part.work for part in trainings)
        seconds = sum(part.seen / cores[part.table.name] if part.table.name in cores else part.work / cores["paper"]
                      for part in trainings)  # fmt: skip
        lines.append(
            f"| `{name}` | {words_of(trainings)} | {sum(part.seen for part in trainings) / 1e6:,.0f} million | "
            f"{work / small / HOUR:,.1f} h | {work / large / HOUR:,.1f} h | {seconds / DAY:,.0f} days |"
        )
    lines += [
        "",
        f"Images/s of `paper`: {small:,.0f} and {large:,.0f} on one H200, {cores['paper']:,.0f} on two cores; of "
        f"`source` {cores['source']:,.0f} there.",
    ]
    return lines


if __name__ == "__main__":
    print("\n".join(table(ROOT / "docs" / "raw")))
