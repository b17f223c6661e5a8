"""The command train."""

import dataclasses
import re
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import error_text
from alexnet.errors import UsageError, check_threads
from alexnet.progress import clock
from alexnet.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a net on a dataset, or goes on with a training that was stopped: the same command resumes exactly."""

    dataset: Positional[Annotated[str, arg(metavar="DATASET")]]
    """Images, as `alexnet prepare` left them."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder to write to."""

    settings: Annotated[OmitArgPrefixes[Recipe], arg(name="recipe's")]

    recipe: str = "default"
    """default, paper, source, source-2010, cifar-quick, cifar-18, cifar-13, cifar-11, a recipe.json of another run, or
    a .json or .toml file of some of the options below, each of which changes it."""

    device: str = "auto"
    """auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N, mps."""

    threads: int | None = None
    """Of torch; OMP_NUM_THREADS, or every core that the process may use, if not given. Bitwise equality holds for one
    number."""

    loaders: int | None = None
    """Threads that decode images; 2 to 8 by the cores if not given."""

    start_from: Annotated[str | None, arg(name="from")] = None
    """A run whose weights are taken, layer by layer, where name and shape agree; the others are drawn."""

    seeds: str | None = None
    """0..9 or 0,3,7: trains one run a seed, in RUN/seed-0, RUN/seed-1, ..."""

    keep_every: int | None = None
    """Keeps a checkpoint for good every so many epochs."""

    keep: Literal["log"] | None = None
    """log: keeps checkpoints at the steps 1, 2, 4, 8, ..., for those who study learning."""

    tensorboard: bool = False
    """Writes for TensorBoard to RUN/tensorboard, too."""

    json: bool = False
    """Prints the outcome as JSON at the end."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.training.trainer import train, train_seeds

        check_threads("--threads", self.threads)
        check_threads("--loaders", self.loaders)
        machine.set_up(self.threads)
        options: dict[str, Any] = {
            "device": self.device,
            "loaders": self.loaders,
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
            told = [dataclasses.asdict(outcome) for outcome in outcomes]
            return print_json(told if self.seeds else told[0])
        for outcome in outcomes:
            if outcome.errors:
                error = error_text(outcome.errors.top1_error, outcome.errors.top1_interval)
                say(f"{outcome.run + ': ' if self.seeds else ''}validation error {error}, one view")
            say(f"{outcome.run}: {outcome.epochs} epochs, {clock(outcome.seconds)}; see {outcome.run}/curve.png")
        return 0


MOST_SEEDS = 10_000  # runs


def _seeds(given: str) -> list[int]:
    """``0..9`` or ``0,3,7`` as numbers."""
    match = re.fullmatch(r"(\d+)\.\.(\d+)", given)
    if match and 0 <= int(match[2]) - int(match[1]) < MOST_SEEDS:
        return list(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", given):
        return [int(number) for number in given.split(",")]
    raise UsageError(f"--seeds {given}: give 0..9 or 0,3,7, say")
