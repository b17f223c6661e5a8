"""The loop."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import NoReturn

import torch
from torch import Tensor

from alexnet.data.batches import Batch, ahead, between
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import AlexNetError, Interrupted
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.errors import Errors
from alexnet.evaluation.evaluate import evaluate
from alexnet.progress import Display
from alexnet.ranks import current
from alexnet.runs.checkpoint import find_checkpoint, step_of
from alexnet.runs.run import Run
from alexnet.training.frozen import compute
from alexnet.training.journal import StepReport
from alexnet.training.listeners import Forecast, Pace, Signals, StallWatch
from alexnet.training.options import Options
from alexnet.training.records import Records
from alexnet.training.setup import Setup
from alexnet.training.start import training_step
from alexnet.training.state import State
from alexnet.training.step import NotFinite, Result, first_not_finite

SAVE_SECONDS = 600.0  # an epoch may last hours: no more than this is lost
SPEED_IMAGES = 300  # fewer say little of the speed
DRAIN_STEPS = 16  # on a GPU: steps between looks at the loss, each of which waits for the device


def measure(setup: Setup, state: State, preprocessing: Preprocessing, options: Options) -> Errors:
    """Errors of the net as it is on the validation split, one view."""
    dataset = setup.dataset
    here = preprocessing.to(setup.device)
    run = Run(str(setup.folder), state.whole_net(), dataset.classes, dataset.words, here, {}, {}, state.step)
    classifier = Classifier(run, precision=setup.recipe.precision)
    workers = options.decoders(dataset.size)
    return evaluate(classifier, dataset, split="val", workers=workers, keep_probabilities=False).errors


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A step whose figures may still be on their way from the device."""

    step: int
    lr: float
    loss: Tensor
    errors: Tensor


class Trainer:
    """One training under way: batches in, steps, reports to who listens, measurements, checkpoints.

    Args:
        setup: what is trained.
        options: see ``train``.
        state: all that changes.
        preprocessing: of images, on the CPU.
        records, signals, display: open.
    """

    def __init__(
        self,
        setup: Setup,
        options: Options,
        state: State,
        preprocessing: Preprocessing,
        records: Records,
        signals: Signals,
        display: Display,
    ):
        self.setup, self.options, self.state, self.preprocessing = setup, options, state, preprocessing
        self.records, self.signals, self.display, self.ranks = records, signals, display, current()
        recipe = setup.recipe
        self.features = compute(setup, options, state.net, preprocessing, display)
        computed = self.features is not None
        self.update = training_step(
            setup, preprocessing, state.optimizer, state.scaler, options, computed, state.division
        )
        self.rates = recipe.learning_rates(setup.batches.steps)
        self.factors = dict.fromkeys(state.taken, recipe.pretrained_lr_factor) | dict.fromkeys(setup.frozen, 0.0)
        self.listeners: list[Callable[[StepReport], object]] = [
            records.step,
            StallWatch(state, len(setup.dataset.classes), display.warn),
            lambda report: self.pace(report),
            Forecast(state.step, setup.steps, display.line),
        ]
        if options.on_step and self.ranks.first:
            self.listeners.append(options.on_step)
        self.pace = Pace()
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
                self.pace.count(batch.total or len(batch.rows), waited)
                epoch_ends = state.step % per_epoch == 0
                late = time.monotonic() - self.saved >= SAVE_SECONDS
                stop, save = self.ranks.any([self.signals.stop, (epoch_ends or late) and self.records.due()])
                kept = self.options.keep and state.step.bit_count() == 1
                if len(self.pending) >= self._drain or epoch_ends or stop or kept or save:
                    self._report(epoch_ends, stop)
                if epoch_ends:
                    self._end_epoch(state.step // per_epoch)
                if kept:
                    self._save("step")
                if stop or state.step == steps or save:
                    self._save("last")
                if stop and state.step < steps:
                    self.ranks.agree(self.records.wait)  # torchrun ends all as soon as one has ended
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
        cut = setup.batches.share.cut
        load = self.features.load if self.features else (lambda step: cut(own(step))) if own else setup.batches.load
        steps, decoders = range(self.state.step, setup.steps), self.options.decoders(setup.dataset.size)
        if setup.device.type == "cpu":
            fetch = None if own or self.features else setup.batches.fetch
            return between(load, steps, decoders, fetch)
        return ahead(load, steps, decoders)

    def _step(self, batch: Batch) -> None:
        """Updates the net by a batch; its figures are pending."""
        state = self.state
        if self.ranks.watch:
            self.ranks.watch.at_step(state.step + 1)
        lr = self.rates.lr(state.step, state.validation)
        epoch = state.step / self.setup.batches.steps
        state.optimizer.set_lr(self.rates.by_name(lr, epoch, state.optimizer.tensors, self.factors))
        try:
            result: Result = self.update(batch, state.step)
        except NotFinite as error:
            self._diverged(state.step + 1, error.images)
        state.advance()
        self.seen = result.images
        self.pending.append(_Pending(state.step, lr, result.loss, result.errors))

    def _report(self, epoch_ends: bool, stop: bool) -> None:
        """Waits for the pending steps' figures and tells who listens; stops where a loss is no number."""
        per_epoch = self.setup.batches.steps
        for done in self.pending:
            loss = float(done.loss)
            if not math.isfinite(loss):
                self._diverged(done.step, self.seen)
            top1, top5 = done.errors.tolist()
            report = StepReport(done.step, done.step / per_epoch, loss, top1, top5, done.lr)
            for listener in self.listeners:
                listener(report)
        self.pending = []
        timings = self.pace.timings()
        self._show(timings["images_per_second"])
        if epoch_ends or stop:
            self.records.timings(self.state.step, timings)

    def _end_epoch(self, epoch: int) -> None:
        """Measures, draws and keeps what is due at an epoch's end."""
        if epoch % self.setup.recipe.validate_every == 0 or self.state.step == self.setup.steps:
            self._validate(epoch)
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
            errors = measure(self.setup, state, self.preprocessing, self.options)
        self.errors = errors
        self.records.validation(state.step, epoch, errors)
        top5 = f"  top-5 {errors.top5_error:6.1%}" if len(self.setup.dataset.classes) > 5 else ""
        self.display.line(
            f"epoch {epoch:>3} of {epochs}  training loss {state.mean_loss:.3f}  "
            f"validation error {errors.top1_error:6.1%}{top5}  {speed:5.0f} images/s"
        )
        if state.note_error(errors.top1_error):
            self.best = state.step, {name: tensor.detach().clone() for name, tensor in state.whole().items()}

    def _save(self, kind: str) -> None:
        """Hands a checkpoint to the writer: ``last``, or ``step``, which is kept for good."""
        finite = all(bool(torch.isfinite(tensor.sum())) for tensor in self.state.net.state().values())
        if any(self.ranks.any([not finite])):
            self._diverged(self.state.step, self.seen)
        self.records.save(kind, self.state, self.best)
        self.best = None
        if kind == "last":
            self.saved = time.monotonic()

    def _diverged(self, step: int, images: Tensor) -> NoReturn:
        """Stops with the layer where it began; what was saved before stays."""
        self.records.wait()
        saved = find_checkpoint(self.setup.folder, "last")
        kept = f"the checkpoint of step {step_of(saved):,} is kept" if saved else "none was saved yet"
        on = f"what comes from {self.setup.learning} on"  # of computed features: they are no images
        where = on if self.features else first_not_finite(self.state.whole_net(), images)
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
