"""The loop."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from alexnet import files, machine
from alexnet.data.batches import Batch, ahead, between
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import AlexNetError, Interrupted, check_threads
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.errors import Errors, top_k_errors
from alexnet.evaluation.evaluate import evaluate
from alexnet.files import mistakes
from alexnet.progress import Display, plural
from alexnet.runs.checkpoint import find_checkpoint, step_of
from alexnet.runs.run import Run, note_errors
from alexnet.training.frozen import compute
from alexnet.training.journal import Journal, Outcome, StepReport
from alexnet.training.listeners import Curve, Forecast, Pace, Signals, StallWatch
from alexnet.training.loggers import open_loggers
from alexnet.training.options import Options
from alexnet.training.plan import check_disk, say_start
from alexnet.training.recipe import Recipe
from alexnet.training.saving import Writer
from alexnet.training.start import Setup, set_up_given, start, training_step
from alexnet.training.state import State
from alexnet.training.step import Loss, NotFinite, Result, Transform, first_not_finite

SAVE_SECONDS = 600.0  # an epoch may last hours: no more than this is lost
SPEED_IMAGES = 300  # fewer say little of the speed
DRAIN_STEPS = 16  # on a GPU: steps between looks at the loss, each of which waits for the device


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
    show: bool = True,
) -> Outcome:
    """Trains a net, or goes on with a training that was stopped, or says that it is finished.

    The same call on an unfinished run resumes exactly: on one machine with the same number of threads the
    weights and ``metrics.jsonl`` are bitwise those of a run that was never stopped.

    Your process is left as it is; ``alexnet.machine.set_up()``, as the command calls it, has memory that is freed stay
    with the process, which is up to a third faster on a CPU.

    Args:
        dataset: the images.
        folder: the run's.
        recipe: ``Recipe()`` if not given.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        threads: of torch, until the training ends; those that it has if not given.
        workers: threads that decode; 2 to 8 by the cores if not given.
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
        show: shows progress on the standard error.

    Raises:
        UsageError: a recipe, dataset or folder that cannot be meant.
        AlexNetError: the loss is no number any more; a full disk; a damaged checkpoint.
        Interrupted: a signal came; everything was saved.
    """
    check_threads("--threads", threads)
    options = Options(workers, keep_every, keep, log, transform, loss, batches, on_step)
    setup = set_up_given(dataset, folder, recipe, device, start_from)
    display = Display(show)
    with machine.torch_threads(threads), files.owned(files.make_folder(setup.folder), say=display.line):
        files.remove_leftovers(setup.folder)
        return _train(setup, options, display)


def _train(setup: Setup, options: Options, display: Display) -> Outcome:
    """Trains to the end, from wherever the run's folder is; nobody else writes there meanwhile."""
    started = time.monotonic()
    check_disk(setup, options)
    state, preprocessing = start(setup, display.line)
    errors = None
    if state.step == setup.steps:
        display.line(f"{setup.folder}: finished already ({plural(setup.recipe.epochs, 'epoch')})")
    else:
        with contextlib.ExitStack() as stack:
            writer = Writer(setup.folder)
            recipe = dataclasses.asdict(setup.recipe)
            loggers = open_loggers(options.log, setup.folder, recipe, state.step, display.warn)
            journal = Journal(setup.folder, state.step, loggers)
            stack.callback(journal.close)
            stack.callback(writer.close)
            stack.callback(display.close)
            for lines in (journal.metrics, journal.timings):
                if lines.unreadable:
                    display.line(f"note: {lines.path}: {lines.unreadable:,} unreadable lines were left out")
            say_start(setup, options, state.step, display)
            signals = stack.enter_context(Signals())
            trainer = Trainer(setup, options, state, preprocessing, writer, journal, signals, display)
            errors = trainer.run()
        Curve(setup.folder).draw()
    if errors is None and "val" in setup.dataset.splits:  # else of the last step: it is always measured
        errors = measure(setup, state, preprocessing, options.decoders)
    if errors:
        note_errors(setup.folder, "val", dataclasses.asdict(errors))
    epochs, best = state.step // setup.batches.steps, state.best if state.validation else None
    best_epoch = None if best is None else min(epochs, setup.recipe.validate_every * (state.validation.index(best) + 1))
    return Outcome(str(setup.folder), epochs, state.step, errors, best_epoch, best, time.monotonic() - started)


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
    mistakes.check_order("train", ("dataset", dataset), ("new runs", folder))
    mistakes.refuse_other(folder, "new runs")
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    runs, display, outcomes = files.make_folder(folder), Display(options.get("show", True)), []
    for number, seed in enumerate(seeds, 1):
        display.line(f"run {number:,} of {len(seeds):,}: seed {seed}")
        outcomes.append(
            train(dataset, runs / f"seed-{seed}", dataclasses.replace(recipe or Recipe(), seed=seed), **options)
        )
    return outcomes


def measure(setup: Setup, state: State, preprocessing: Preprocessing, workers: int) -> Errors:
    """Errors of the net as it is on the validation split, one view."""
    dataset = setup.dataset
    here = preprocessing.to(setup.device)
    run = Run(str(setup.folder), state.net, dataset.classes, dataset.words, here, {}, {}, state.step)
    classifier = Classifier(run, precision=setup.recipe.precision)
    return evaluate(classifier, dataset, split="val", workers=workers, keep_probabilities=False).errors


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A step whose figures may still be on their way from the device."""

    step: int
    lr: float
    loss: Tensor
    wrong: Tensor


class Trainer:
    """One training under way: batches in, steps, reports to who listens, measurements, checkpoints.

    Args:
        setup: what is trained.
        options: see ``train``.
        state: all that changes.
        preprocessing: of images, on the CPU.
        writer, journal, signals, display: open.
    """

    def __init__(
        self,
        setup: Setup,
        options: Options,
        state: State,
        preprocessing: Preprocessing,
        writer: Writer,
        journal: Journal,
        signals: Signals,
        display: Display,
    ):
        self.setup, self.options, self.state, self.preprocessing = setup, options, state, preprocessing
        self.writer, self.journal, self.signals, self.display = writer, journal, signals, display
        recipe = setup.recipe
        self.features = compute(setup, options, state.net, preprocessing, display)
        computed = self.features is not None
        self.update = training_step(setup, preprocessing, state.optimizer, state.scaler, options, computed)
        self.rates = recipe.learning_rates(setup.batches.steps)
        self.factors = dict.fromkeys(state.taken, recipe.pretrained_lr_factor) | dict.fromkeys(setup.frozen, 0.0)
        self.listeners: list[Callable[[StepReport], object]] = [
            journal.write_step,
            StallWatch(state, len(setup.dataset.classes), display.warn),
            lambda report: self.pace(report),
            Forecast(state.step, setup.steps, display.line),
        ]
        if options.on_step:
            self.listeners.append(options.on_step)
        self.curve, self.pace = Curve(setup.folder), Pace()
        self.pending: list[_Pending] = []
        self.errors: Errors | None = None
        self.best: tuple[int, dict[str, Tensor]] | None = None  # the best weights, measured and not yet written
        self.seen = torch.empty(0)  # what the net saw last
        self.saved = time.monotonic()

    def run(self) -> Errors | None:
        """Trains to the end; the last validation errors. Raises ``Interrupted`` where a signal ended it."""
        state, steps, per_epoch = self.state, self.setup.steps, self.setup.batches.steps
        self.display.start(steps, state.step)
        with contextlib.closing(self._batches()) as batches:
            for batch, waited in _timed(batches):
                self._step(batch)
                self.pace.count(len(batch.rows), waited)
                epoch_ends, stop = state.step % per_epoch == 0, self.signals.stop
                kept = self.options.keep and state.step.bit_count() == 1
                if len(self.pending) >= self._drain or epoch_ends or stop or kept:
                    self._report(epoch_ends, stop)
                if epoch_ends:
                    self._end_epoch(state.step // per_epoch)
                if kept:
                    self._save("step")
                late = not self.pending and time.monotonic() - self.saved >= SAVE_SECONDS
                if stop or state.step == steps or ((epoch_ends or late) and self.writer.due()):
                    self._save("last")
                if stop and state.step < steps:
                    self.writer.wait()
                    raise Interrupted(
                        f"{self.setup.folder}: stopped at step {state.step:,} of {steps:,} and saved; "
                        "the same command goes on from there"
                    )
        return self.errors

    @property
    def _drain(self) -> int:
        """Steps after whose figures the device is waited for."""
        return 1 if self.setup.device.type == "cpu" else DRAIN_STEPS

    def _batches(self) -> Generator[Batch, None, None]:
        """What is left to be trained on, loaded ahead."""
        setup, own = self.setup, self.options.batches
        load = self.features.load if self.features else own or setup.batches.load
        steps = range(self.state.step, setup.steps)
        if setup.device.type == "cpu":
            fetch = None if own or self.features else setup.batches.fetch
            return between(load, steps, self.options.decoders, fetch)
        return ahead(load, steps, self.options.decoders)

    def _step(self, batch: Batch) -> None:
        """Updates the net by a batch; its figures are pending."""
        state = self.state
        lr = self.rates.lr(state.step, state.validation)
        epoch = state.step / self.setup.batches.steps
        state.optimizer.set_lr(self.rates.by_name(lr, epoch, state.optimizer.tensors, self.factors))
        try:
            result: Result = self.update(batch, state.step)
        except NotFinite as error:
            self._diverged(state.step + 1, error.images)
        state.advance()
        self.seen = result.images
        wrong = torch.stack([top_k_errors(result.scores, result.labels, k).mean() for k in (1, 5)])
        self.pending.append(_Pending(state.step, lr, result.loss, wrong))

    def _report(self, epoch_ends: bool, stop: bool) -> None:
        """Waits for the pending steps' figures and tells who listens; stops where a loss is no number."""
        per_epoch = self.setup.batches.steps
        for done in self.pending:
            loss = float(done.loss)
            if not math.isfinite(loss):
                self._diverged(done.step, self.seen)
            top1, top5 = done.wrong.tolist()
            report = StepReport(done.step, done.step / per_epoch, loss, top1, top5, done.lr)
            for listener in self.listeners:
                listener(report)
        self.pending = []
        timings = self.pace.timings()
        self._show(timings["images_per_second"])
        if epoch_ends or stop:
            self.journal.timings.write(step=self.state.step, **timings)

    def _end_epoch(self, epoch: int) -> None:
        """Measures, draws and keeps what is due at an epoch's end."""
        if epoch % self.setup.recipe.validate_every == 0 or self.state.step == self.setup.steps:
            self._validate(epoch)
            if self.curve.due():
                self.journal.flush()
                self.curve.draw()
        self.pace = Pace()
        if self.options.keep_every and epoch % self.options.keep_every == 0:
            self._save("step")

    def _validate(self, epoch: int) -> None:
        """Measures the validation split, writes it down, remembers the best weights."""
        speed, state, epochs = self.pace.images_per_second, self.state, self.setup.recipe.epochs
        if "val" not in self.setup.dataset.splits:
            self.display.line(
                f"epoch {epoch:>3} of {epochs}  training loss {state.mean_loss:.3f}  "
                f"training error {self.pace.top1_error:6.1%}  {speed:5.0f} images/s"
            )
            return
        if self.features and state.step < self.setup.steps:
            errors = self.features.measure()
        else:
            errors = measure(self.setup, state, self.preprocessing, self.options.decoders)
        self.errors = errors
        self.journal.write_validation(state.step, epoch, errors)
        top5 = f"  top-5 {errors.top5_error:6.1%}" if len(self.setup.dataset.classes) > 5 else ""
        self.display.line(
            f"epoch {epoch:>3} of {epochs}  training loss {state.mean_loss:.3f}  "
            f"validation error {errors.top1_error:6.1%}{top5}  {speed:5.0f} images/s"
        )
        if state.note_error(errors.top1_error):
            self.best = state.step, {name: tensor.detach().clone() for name, tensor in state.net.state().items()}

    def _save(self, kind: str) -> None:
        """Hands a checkpoint to the writer: ``last``, or ``step``, which is kept for good."""
        self.journal.flush()
        state, tensors = self.state, self.state.net.state()
        if not all(bool(torch.isfinite(tensor.sum())) for tensor in tensors.values()):
            self._diverged(state.step, self.seen)
        note = state.note(self.journal.metrics.mark())
        self.writer.save(kind, state.step, tensors, state.optimizer.velocities, note, self.best)
        self.best = None
        if kind == "last":
            self.saved = time.monotonic()

    def _diverged(self, step: int, images: Tensor) -> NoReturn:
        """Stops with the layer where it began; what was saved before stays."""
        self.writer.wait()
        saved = find_checkpoint(self.setup.folder, "last")
        kept = f"the checkpoint of step {step_of(saved):,} is kept" if saved else "none was saved yet"
        on = f"what comes from {self.setup.learning} on"  # of computed features: they are no images
        where = on if self.features else first_not_finite(self.state.net, images)
        raise AlexNetError(
            f"{self.setup.folder}: the loss of step {step:,} is not finite; first in {where}. Training stopped, "
            f"{kept}. Begin a new run with a lower --lr than {self.setup.recipe.learning_rate} or a longer "
            "--warmup-epochs"
        )

    def _show(self, speed: float) -> None:
        """How far it is, on the display."""
        state, per_epoch, epochs = self.state, self.setup.batches.steps, self.setup.recipe.epochs
        parts = [
            (0, f"epoch {-(-state.step // per_epoch):,}/{epochs:,}"),
            (4, f"step {state.step:,}/{self.setup.steps:,}"),
            (1, f"loss {state.mean_loss:.3f}"),
            (2, f"training error {self.pace.top1_error:.1%}"),
            (3, f"{speed:,.0f} images/s" if self.pace.images >= SPEED_IMAGES else ""),
        ]
        self.display.update(state.step, parts)


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds that were spent waiting for it."""
    while True:
        started = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.monotonic() - started
