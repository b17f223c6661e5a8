"""A training from its first decision to its outcome: alone, or as one of several processes that share it."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from alexnet import files, machine
from alexnet.data.batches import Batch
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import Interrupted, check_threads
from alexnet.progress import Display, plural
from alexnet.ranks import current, joined
from alexnet.runs import owners
from alexnet.runs.run import note_errors
from alexnet.training.journal import Outcome, StepReport
from alexnet.training.listeners import Curve, Signals
from alexnet.training.loggers import open_loggers
from alexnet.training.options import Options
from alexnet.training.parallel.alike import check_alike
from alexnet.training.parallel.names import LayoutName
from alexnet.training.plan import check_disk, say_start
from alexnet.training.recipe import Recipe
from alexnet.training.records import Folder, Records
from alexnet.training.setup import Setup, check_places, set_up_given
from alexnet.training.start import start
from alexnet.training.state import State
from alexnet.training.step import Loss, Transform
from alexnet.training.trainer import Trainer, measure

GRACE_SECONDS = 25.0  # torchrun itself ends its processes 30 seconds after it was asked to end


@machine.as_imported()
def train(
    dataset: Dataset | str | os.PathLike,
    folder: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    keep_every: int | None = None,
    keep: Literal["log"] | None = None,
    start_from: str | os.PathLike | None = None,
    transform: Transform | None = None,
    loss: Loss | None = None,
    batches: Callable[[int], Batch] | None = None,
    on_step: Callable[[StepReport], object] | None = None,
    log: Sequence[str] = (),
    parallel: LayoutName = "auto",
    show: bool = True,
) -> Outcome:
    """Trains a net, or goes on with a training that was stopped, or says that it is finished.

    The same call on an unfinished run resumes exactly: on one machine with the same number of threads the
    weights and ``metrics.jsonl`` are bitwise those of a run that was never stopped.

    Under torchrun every process calls it alike: they share the net and each batch by ``parallel``, the first one reads
    and writes the run's folder, and pixels, masks and weights are those of one process but for rounding.

    Your process is left as it is; ``alexnet.machine.set_up()``, as the command calls it, has memory that is freed stay
    with the process, which is up to a third faster on a CPU.

    Args:
        dataset: the images.
        folder: the run's.
        recipe: ``Recipe()`` if not given.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        threads: of torch, until the training ends; those that it has if not given.
        workers: threads that decode; if not given, 2 to 8 by the cores, or 1 for images of 48 pixels or fewer.
        keep_every: keeps a checkpoint for good every so many epochs.
        keep: ``log`` keeps one at the steps 1, 2, 4, 8, ..., for those who study learning.
        start_from: a run, trained or imported, whose weights are taken, layer by layer, where name and shape agree;
            the others are drawn, and the last one where the classes differ. The images are prepared as that run's,
            and what was taken learns at ``recipe.pretrained_lr_factor`` of the rate (the source's sixth-layer nets
            began so).
        transform: your own, of a training batch as the net will see it: (N, 3, crop, crop) float images and the
            (N,) row ids that randomness may be keyed by, to images of the same shape.
        loss: your own in place of cross-entropy: (N, classes) float32 scores and (N,) labels to their mean loss.
        batches: your own in place of crops of the dataset's training images: a step's number to a ``Batch`` of
            uint8 images; called from several threads, so a function of the step alone.
        on_step: called with a ``StepReport`` after every step: ``on_step=print`` prints a line each. On a GPU it hears
            of steps a few at a time, so that the device is never waited for.
        log: where figures go besides the journal: ``tensorboard``, ``wandb``, ``mlflow``; each an extra of its name
            (``pip install 'alexnet[wandb]'``). One that fails is left out, and the training goes on.
        parallel: how several processes share the net and each batch: ``data``, ``towers``, ``hybrid``, ``sharded``, or
            ``auto`` (docs/scale.md).
        show: shows progress on the standard error.

    Raises:
        UsageError: a recipe, dataset or folder that cannot be meant.
        AlexNetError: the loss is no number any more; a full disk; a damaged checkpoint.
        Interrupted: a signal came; everything was saved.
    """
    with joined() as ranks, contextlib.ExitStack() as stack:

        def set_up() -> tuple[Options, Setup]:
            check_threads("--threads", threads)
            options = Options(workers, keep_every, keep, log, transform, loss, batches, on_step, parallel)
            return options, set_up_given(dataset, folder, recipe, device, start_from, parallel)

        options, setup = ranks.agree(set_up)
        display = Display(show and ranks.first)
        stack.enter_context(machine.torch_threads(threads))
        if ranks.size > 1:
            check_alike(ranks, setup)
        ranks.by_first(lambda: _own(stack, setup, display))
        if ranks.size > 1 and parallel == "auto":
            from alexnet.training.frozen import computed
            from alexnet.training.parallel.choice import with_layout

            setup = with_layout(ranks, setup, computed(setup, options))
        return _train(setup, options, display)


def _own(stack: contextlib.ExitStack, setup: Setup, display: Display) -> None:
    """Makes this process the owner of the run's folder."""
    stack.enter_context(owners.owned(setup.folder, display.line))
    stack.enter_context(files.published(setup.folder, display.line))
    files.remove_leftovers(setup.folder)


def _train(setup: Setup, options: Options, display: Display) -> Outcome:
    """Trains to the end, from wherever the run's folder is; nobody else writes there meanwhile."""
    started, ranks, whole = time.monotonic(), current(), setup
    setup, state, preprocessing = _started(setup, options, display)
    errors, stop = None, False
    if state.step == setup.steps:
        display.line(f"{setup.folder}: finished already ({plural(setup.recipe.epochs, 'epoch')})")
    else:
        with contextlib.ExitStack() as stack:
            records = ranks.agree(lambda: _records(setup, options, state.step, display))
            stack.callback(records.close)
            stack.callback(display.close)
            if ranks.first:
                say_start(whole, options, state.step, display)
            signals = stack.enter_context(Signals(GRACE_SECONDS if ranks.size > 1 else 0.0))
            trainer = Trainer(setup, options, state, preprocessing, records, signals, display)
            errors = trainer.run()
            stop = signals.stop
        ranks.by_first(Curve(setup.folder).draw)
    if errors is None and "val" in setup.dataset.splits:  # else of the last step: it is always measured
        errors = measure(setup, state, preprocessing, options)
    if errors and ranks.first:
        note_errors(setup.folder, "val", dataclasses.asdict(errors))
    epochs, best = state.step // setup.batches.steps, state.best if state.validation else None
    best_epoch = None if best is None else min(epochs, setup.recipe.validate_every * (state.validation.index(best) + 1))
    folder = files.named(str(setup.folder))
    return Outcome(folder, epochs, state.step, errors, best_epoch, best, time.monotonic() - started, stop)


def _started(setup: Setup, options: Options, display: Display) -> tuple[Setup, State, Preprocessing]:
    """What the first process reads of the run's folder, or begins there; of several, each has its part of it."""
    ranks = current()

    def read() -> tuple[State, Preprocessing]:
        check_disk(setup, options)
        return start(setup, display.line)

    if ranks.size == 1:
        return setup, *read()
    from alexnet.training.parallel.spread import spread

    return spread(setup, ranks, ranks.agree(lambda: read() if ranks.first else None))


def _records(setup: Setup, options: Options, step: int, display: Display) -> Records:
    """What is written: by the first process alone."""
    if not current().first:
        return Records()
    recipe = dataclasses.asdict(setup.recipe)
    records = Folder(
        setup.folder, step, open_loggers(options.log, setup.folder, recipe, step, display.warn)
    )  # fmt: skip
    for path, count in records.unreadable:
        display.line(f"note: {path}: {count:,} unreadable lines were left out")
    return records


def train_seeds(
    dataset: Dataset | str | os.PathLike,
    folder: str | os.PathLike,
    recipe: Recipe | None,
    seeds: Sequence[int],
    **options: Any,
) -> list[Outcome]:
    """Trains one run a seed, in ``FOLDER/seed-N``; those that are finished are left as they are.

    Args:
        dataset, recipe, options: as for ``train``.
        folder: of all runs.
        seeds: which.
    """
    check_places(dataset, folder, "new runs")
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    display, outcomes = Display(options.get("show", True)), []
    if not files.is_remote(folder):
        files.make_folder(folder)
    for number, seed in enumerate(seeds, 1):
        display.line(f"run {number:,} of {len(seeds):,}: seed {seed}")
        place = files.join(folder, f"{owners.SEED}{seed}")
        seeded = dataclasses.replace(recipe or Recipe(), seed=seed)
        outcomes.append(train(dataset, place, seeded, **options))
        if outcomes[-1].asked_to_stop and number < len(seeds):
            raise Interrupted(f"{place}: finished; the same command goes on with seed {seeds[number]}")
    return outcomes


@contextlib.contextmanager
def held(
    dataset: str | os.PathLike, folder: str | os.PathLike, seeds: Sequence[int] | None = None
) -> Iterator[None]:  # fmt: skip
    """Within the block only processes that this one starts may train there, even while none of them lives.

    Args:
        dataset, folder: as for ``train``.
        seeds: as for ``train_seeds``; None: one run.

    Raises:
        UsageError: the folder cannot be a run's.
        AlexNetError: another job has it.
    """
    check_places(dataset, folder, "new run" if seeds is None else "new runs")
    files.check_written(folder)
    with owners.held(folder):
        yield
