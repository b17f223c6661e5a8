"""The command train."""

import contextlib
import dataclasses
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from alexnet.cli.options import OnDevice, Working, seed_list
from alexnet.cli.streams import print_json, say, warn
from alexnet.cli.tables import error_text
from alexnet.errors import UsageError, check_threads
from alexnet.progress import clock, plural, size_text
from alexnet.ranks import current
from alexnet.training.parallel.names import LayoutName
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import named


@dataclasses.dataclass(frozen=True)
class Train(OnDevice, Working):
    """Train a net on a dataset. If interrupted, run the same command to resume exactly."""

    dataset: Positional[Annotated[str, arg(metavar="DATASET")]]
    """Images to train on: a folder that `alexnet prepare` made, local or s3:// (docs/data.md)."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder to write the trained net to, local or s3://."""

    settings: Annotated[OmitArgPrefixes[Recipe], arg(name="recipe's")]

    recipe: Annotated[str, arg(metavar="RECIPE")] = "default"
    """A named recipe (see `alexnet recipes`), the recipe.json of another run, or a .json or .toml file of some of the
    options below. Options given beside it change it. With --help, its values are shown as defaults."""

    threads: int | None = None
    """CPU threads for torch (default: OMP_NUM_THREADS, or every core). Results are bit-identical only for the same
    number."""

    workers: int | None = None
    """Threads that decode images (default: 2 to 8, by the cores; 1 for images of 48 pixels or fewer)."""

    start_from: Annotated[str | None, arg(name="from", metavar="RUN")] = None
    """Run to take weights from, for fine-tuning: of every layer whose name and shape agree. The other layers are
    initialized randomly (default: none)."""

    seeds: Annotated[str | None, arg(metavar="SEEDS")] = None
    """Train one run per seed, 0..9 or 0,3,7, in RUN/seed-0, RUN/seed-1, ... (default: one run, with --seed)."""

    keep_every: int | None = None
    """Keep a checkpoint for good every N epochs (default: never)."""

    keep: Literal["log"] | None = None
    """log: keep the checkpoints of steps 1, 2, 4, 8, ..., for analyzing learning dynamics (default: none)."""

    devices: Annotated[str | None, arg(metavar="{N,all}")] = None
    """Train in N processes of this machine that share the net and each batch; all: one per GPU. Over several machines,
    use torchrun instead: see docs/scale.md (default: one process)."""

    parallel: LayoutName = "auto"
    """How several processes share the net. data: each has all of it. towers: each has one of the paper's two towers.
    hybrid: each has a part of the fully connected layers (-turns and -mixed pass images otherwise). sharded: slices of
    these. auto: what is fastest."""

    log: Annotated[tuple[str, ...], arg(metavar="NAME,...")] = ()
    """Also log to tensorboard (RUN/tensorboard), wandb (Weights & Biases) or mlflow. Each is an extra: pip install
    'alexnet[wandb]' (default: none)."""

    dry_run: bool = False
    """Say what would be trained. Train a few steps to estimate time and memory. Write nothing."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.training.train import train, train_seeds

        check_threads("--threads", self.threads)
        check_threads("--workers", self.workers)
        machine.set_up(self.threads)
        options: dict[str, Any] = {
            "device": self.device,
            "workers": self.workers,
            "keep_every": self.keep_every,
            "keep": self.keep,
            "start_from": self.start_from,
            "log": self.log,
            "parallel": self.parallel,
        }
        if self.dry_run and current().size > 1:
            raise UsageError("--dry-run: measures one process; leave out --devices, or torchrun")
        if self.seeds is not None and self.settings.seed != named(self.recipe).seed:
            raise UsageError(f"--seed {self.settings.seed} and --seeds {self.seeds}: give one of them")
        if self.dry_run:
            return self._dry_run(options)
        if self.seeds is None:
            outcomes = [train(self.dataset, self.run, self.settings, **options)]
        else:
            outcomes = train_seeds(self.dataset, self.run, self.settings, seed_list(self.seeds), **options)
        if self.json:
            described = [dataclasses.asdict(outcome) for outcome in outcomes]
            return print_json(described if self.seeds else described[0])
        for outcome in outcomes:
            self._print(outcome)
        run = outcomes[0].run
        evaluate = f"alexnet evaluate {run} {self.dataset}; " if outcomes[0].errors else ""
        say(f"next: {evaluate}alexnet predict {run} IMAGE; alexnet show {run}")
        return 0

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Within it nobody but the processes that this one starts trains there."""
        from alexnet.training.train import held

        return held(self.dataset, self.run, None if self.seeds is None else seed_list(self.seeds))

    def _print(self, outcome: Any) -> None:
        """How a run ended."""
        say(f"{outcome.run}: {plural(outcome.epochs, 'epoch')}; this command took {clock(outcome.seconds)}")
        if outcome.errors:
            error = error_text(outcome.errors.top1_error, outcome.errors.top1_interval)
            say(f"  last (epoch {outcome.epochs:,}): validation error {error}, one view; what other commands use")
        if outcome.best_epoch is not None:
            say(
                f"  best (epoch {outcome.best_epoch:,}): {outcome.best_error:.2%}, the lowest of all; --checkpoint best"
            )
        if not outcome.errors:
            say("  no validation images, so no error was measured")
        say(f"  {outcome.run}/curve.png, {outcome.run}/metrics.jsonl")

    def _dry_run(self, options: dict[str, Any]) -> int:
        from alexnet.training.dry_run import dry_run
        from alexnet.training.plan import plan_line

        folder, settings, runs = self.run, self.settings, 1
        if self.seeds is not None:
            seeds = seed_list(self.seeds)
            folder, runs = f"{self.run}/seed-{seeds[0]}", len(seeds)
            settings = dataclasses.replace(settings, seed=seeds[0])
        measured = dry_run(self.dataset, folder, settings, **options)
        if self.json:
            return print_json({**dataclasses.asdict(measured), "runs": runs})
        for name, text in measured.plan.items():
            say(plan_line(name, text))
        memory = "".join(
            f"; {size_text(count)} {where}"
            for count, where in ((measured.memory, "of memory"), (measured.device_memory, "of the GPU's"))
            if count
        )
        per_step = f"{1000 * measured.seconds_per_step:,.0f} ms per step, measured"
        say(plan_line("time", f"about {clock(measured.seconds)} without validation ({per_step}){memory}"))
        if runs > 1:
            say(plan_line("runs", f"{runs:,}, each as above: about {clock(runs * measured.seconds)}"))
        for warning in measured.warnings:
            warn(warning)
        say("dry run: nothing was written")
        return 0
