"""The command train."""

import dataclasses
import re
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from alexnet.cli.options import Json, OnDevice
from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import error_text
from alexnet.errors import UsageError, check_threads
from alexnet.progress import clock
from alexnet.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Train(OnDevice, Json):
    """Train a net on a dataset. If interrupted, run the same command to resume exactly."""

    dataset: Positional[Annotated[str, arg(metavar="DATASET")]]
    """Images, as `alexnet prepare` made them."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder to write to."""

    settings: Annotated[OmitArgPrefixes[Recipe], arg(name="recipe's")]

    recipe: Annotated[str, arg(metavar="RECIPE")] = "default"
    """A named recipe (see `alexnet recipes`), the recipe.json of another run, or a .json or .toml file of some of the
    options below. Options given beside it change it; with --help, its values are shown as defaults."""

    threads: int | None = None
    """CPU threads for torch (default: OMP_NUM_THREADS, or every core). Results are bit-identical only for the same
    number."""

    workers: int | None = None
    """Threads that decode images (default: 2 to 8, by the cores)."""

    start_from: Annotated[str | None, arg(name="from", metavar="RUN")] = None
    """Run whose weights are taken, layer by layer, where name and shape agree; the others are initialized randomly
    (default: none)."""

    seeds: Annotated[str | None, arg(metavar="SEEDS")] = None
    """0..9 or 0,3,7: train one run per seed, in RUN/seed-0, RUN/seed-1, ... (default: one run, with --seed)."""

    keep_every: int | None = None
    """Keep a checkpoint for good every N epochs (default: never)."""

    keep: Literal["log"] | None = None
    """log: keep checkpoints at the steps 1, 2, 4, 8, ..., for analyzing learning dynamics (default: none)."""

    tensorboard: bool = False
    """Write for TensorBoard to RUN/tensorboard, too."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.training.trainer import train, train_seeds

        check_threads("--threads", self.threads)
        check_threads("--workers", self.workers)
        machine.set_up(self.threads)
        options: dict[str, Any] = {
            "device": self.device,
            "loaders": self.workers,
            "keep_every": self.keep_every,
            "keep_log": self.keep == "log",
            "start_from": self.start_from,
            "tensorboard": self.tensorboard,
        }
        if self.seeds is None:
            outcomes = [train(self.dataset, self.run, self.settings, **options)]
        else:
            outcomes = train_seeds(self.dataset, self.run, self.settings, _seeds(self.seeds), **options)
        if self.json:
            described = [dataclasses.asdict(outcome) for outcome in outcomes]
            return print_json(described if self.seeds else described[0])
        for outcome in outcomes:
            if outcome.errors:
                error = error_text(outcome.errors.top1_error, outcome.errors.top1_interval)
                say(f"{outcome.run + ': ' if self.seeds else ''}validation error {error}, one view")
            say(f"{outcome.run}: {outcome.epochs} epochs, {clock(outcome.seconds)}; see {outcome.run}/curve.png")
        return 0


MOST_SEEDS = 10_000  # runs


def _seeds(text: str) -> list[int]:
    """``0..9`` or ``0,3,7`` as numbers."""
    match = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if match and 0 <= int(match[2]) - int(match[1]) < MOST_SEEDS:
        return list(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", text):
        return [int(number) for number in text.split(",")]
    raise UsageError(f"--seeds {text}: give 0..9 or 0,3,7, say")
