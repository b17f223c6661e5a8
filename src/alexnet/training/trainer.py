"""The loop."""

import contextlib
import dataclasses
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import files, machine, native
from alexnet.data.augment import Preparation
from alexnet.data.batches import Batch, Batches, ahead, between
from alexnet.data.store import Store
from alexnet.errors import Failure, Interrupted, WrongUse, check_number, check_threads
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.errors import Errors, top_k_errors
from alexnet.evaluation.evaluate import evaluate
from alexnet.figures.curve import curve
from alexnet.figures.style import save
from alexnet.nets import weights
from alexnet.nets.costs import check_side
from alexnet.nets.layers import Draw
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, input_dtype, keep_copies
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.progress import Display, clock
from alexnet.runs import checkpoint as checkpoints
from alexnet.runs import run as runs
from alexnet.runs.journal import read_metrics
from alexnet.training import checkpoint
from alexnet.training.frozen import MOST_BYTES, FrozenFeatures, bytes_needed
from alexnet.training.journal import Journal
from alexnet.training.optimiser import Momentum, rate_at, rates_at
from alexnet.training.recipe import Recipe, difference, from_json, layer_decays, layer_rates

STALL_STEPS, STALL_MARGIN = 300, 0.01  # what starts at all is past it by then: docs/stalling.md
CURVE_SECONDS = 30.0
SAVE_SECONDS = 600.0  # an epoch may last hours: no more than this is lost
FEW_IMAGES = 1000  # below which a training from scratch is told of a better way
SPEED_IMAGES = 300  # fewer say little of the speed
DRAIN_STEPS = 16  # on a GPU: steps between looks at the loss, each of which waits for the device


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What ``train`` ended with.

    Attributes:
        run: the run's folder.
        epochs, steps: done.
        errors: on the validation split at the end, None where the store has none.
        seconds: spent by this call.
    """

    run: str
    epochs: int
    steps: int
    errors: Errors | None
    seconds: float


@machine.as_imported()
def train(
    store: Store | str | os.PathLike,
    folder: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    loaders: int | None = None,
    keep_every: int | None = None,
    keep_log: bool = False,
    start_from: str | os.PathLike | None = None,
    transform: Callable[[Tensor, Tensor], Tensor] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    batches: Callable[[int], Batch] | None = None,
    tensorboard: bool = False,
    show: bool = True,
) -> Outcome:
    """Trains a net, or goes on with a training that was stopped, or says that it is finished.

    The same call on an unfinished run resumes exactly: on one machine with the same number of threads the
    weights and ``metrics.jsonl`` are bitwise those of a run that was never stopped.

    Your process is left as it is; ``alexnet.machine.set_up()``, as the command calls it, has memory that is freed stay
    with the process, which is up to a third faster on a CPU.

    Args:
        store: the images.
        folder: the run's.
        recipe: ``Recipe()`` if not given.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        threads: of torch, until the training ends; those that it has if not given.
        loaders: threads that decode; 2 to 8 by the cores if not given.
        keep_every: keeps a checkpoint for good every so many epochs.
        keep_log: keeps one at the steps 1, 2, 4, 8, ..., for those who study learning.
        start_from: a run, trained or imported, whose weights are taken, layer by layer, where name and shape agree;
            the others are drawn, and the last one where the classes differ. The images are prepared as that run's,
            and what was taken learns at ``recipe.old_rate`` of the rate (the source's sixth-layer nets began so).
        transform: your own, of a training batch as the net will see it: (N, 3, crop, crop) float images and the
            (N,) row ids that randomness may be keyed by, to images of the same shape.
        loss: your own in place of cross-entropy: (N, classes) float32 scores and (N,) labels to their mean loss.
        batches: your own in place of crops of the store's training images: a step's number to a ``Batch`` of
            uint8 images; called from several threads, so a function of the step alone.
        tensorboard: writes for TensorBoard, too (``pip install alexnet[tensorboard]``).
        show: shows progress on the standard error.

    Raises:
        WrongUse: a recipe, store or folder that cannot be meant.
        Failure: the loss is no number any more; a full disk; a damaged checkpoint.
        Interrupted: a signal came; everything was saved.
    """
    if not isinstance(recipe, Recipe | None):
        raise WrongUse(f"recipe {recipe!r}: give a Recipe")
    check_threads("--threads", threads)
    check_threads("--loaders", loaders)
    if keep_every is not None:
        check_number("--keep-every", keep_every, 1)
    store = store if isinstance(store, Store) else Store(store)
    trainer = Trainer(store, Path(folder), recipe or Recipe(), machine.choose_device(device), show, start_from)
    trainer.loaders = loaders or max(2, min(8, machine.cores()))
    trainer.keep_log = keep_log
    trainer.transform, trainer.loss, trainer.load = transform, loss, batches or trainer.batches.load
    trainer.own_batches = batches is not None
    with machine.torch_threads(threads):
        return trainer.run(keep_every, tensorboard)


def train_seeds(
    store: Store | str | os.PathLike,
    folder: str | os.PathLike,
    recipe: Recipe | None,
    seeds: Sequence[int],
    **options: Any,
) -> list[Outcome]:
    """Trains one run a seed, in ``FOLDER/seed-N``; those that are finished are left as they are.

    Args:
        store, recipe, options: as for ``train``.
        folder: of all runs.
        seeds: which.
    """
    store = store if isinstance(store, Store) else Store(store)
    place = files.make_folder(folder)
    return [
        train(store, place / f"seed-{seed}", dataclasses.replace(recipe or Recipe(), seed=seed), **options)
        for seed in seeds
    ]


class Trainer:
    """One training: its net, its optimiser, its data, and where it writes."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        recipe: Recipe,
        device: torch.device,
        show: bool,
        start_from: str | os.PathLike | None = None,
    ):
        images = len(store.rows("train"))
        self.store, self.folder, self.device = store, folder, device
        self.display = Display(show)
        self.loaders = 2
        self.start_from = start_from
        table, crop = self._table(recipe.net)
        self.net = Network.empty(table, len(store.classes))
        precision = machine.choose_precision(recipe.precision, device)
        self.recipe = recipe.settled(images, precision, crop, table.name, start_from is not None)
        assert self.recipe.epochs is not None and self.recipe.batch is not None and self.recipe.crop is not None
        self.crop = self.recipe.crop
        if self.crop > store.size:
            raise WrongUse(
                f"--crop {self.crop}: the store's images are {store.size} pixels wide; prepare a larger store, or "
                f"choose a --net whose input is smaller ({self.net.table.name} takes {self.net.table.input[1]})"
            )
        self._check_input()
        self._check_layers()
        if self.recipe.schedule == "plateau" and "val" not in store.splits:
            raise WrongUse(
                f"--schedule plateau: {store.path} has no validation images, so nobody would know when the rate falls; "
                "prepare it with some (--val-fraction), or give another --schedule"
            )
        self.learning = self._first_learning()
        self.batches = Batches(
            store,
            "train",
            self.recipe.batch,
            recipe.seed,
            self.crop,
            recipe.mirror,
            pin=device.type == "cuda",
            order=recipe.order,
            chunk=recipe.chunk,
        )
        self.steps = self.recipe.epochs * self.batches.steps
        self.step = 0
        self.validation: list[float] = []
        self.best = math.inf
        self.best_weights: tuple[int, dict[str, Tensor]] | None = None  # measured and not yet written
        self.errors: Errors | None = None
        self.stop_signal: int | None = None
        self.taken: list[str] = []  # parameters from another run
        self.features: FrozenFeatures | None = None
        self.keep_log = False
        self.transform: Callable[[Tensor, Tensor], Tensor] | None = None
        self.loss: Callable[[Tensor, Tensor], Tensor] | None = None
        self.load: Callable[[int], Batch] = self.batches.load
        self.own_batches = False
        self.recent: list[float] = []
        self.told_of_stall = False
        self.top5 = len(store.classes) > 5

    def _table(self, net: str | None) -> tuple[Table, int]:
        """The net's table and the side of its crops: as the recipe says, or as the run that it starts from."""
        if self.start_from is None:
            table = load_table(net or "paper")
            return table, table.input[1]
        told = runs.read_description(self.start_from)
        prepared = told["preparation"]
        if prepared["size"] != self.store.size:
            raise WrongUse(
                f"{self.store.path}: its images are {self.store.size} pixels wide, those of {self.start_from} were "
                f"{prepared['size']}; prepare the store again with --size {prepared['size']}"
            )
        own = runs.table_of(told, str(self.start_from))
        table = own if net is None else load_table(net)
        return table, prepared["crop"] if table.layers == own.layers else table.input[1]

    def _first_learning(self) -> str | None:
        """With ``--freeze`` the first layer that learns."""
        if self.recipe.freeze is None:
            return None
        if self.start_from is None:
            raise WrongUse("--freeze: goes with --from; layers that were drawn must learn")
        return self.net.table.next_learning(self.recipe.freeze)

    def _frozen(self) -> set[str]:
        """Parameters that do not learn."""
        if self.learning is None:
            return set()
        layers = self.net.names[: self.net.names.index(self.learning)]
        return {name for name in self.net.tensors() if name.split(".")[0] in layers}

    def _check_layers(self) -> None:
        """Refuses rates and decays of layers that the net does not have."""
        names = [each.tensor for each in layer_rates(self.recipe.layer_rates)] + list(
            layer_decays(self.recipe.layer_decays)
        )
        own = self.net.tensors()
        for name in names:
            if name not in own:
                layers = dict.fromkeys(each.split(".")[0] for each in own)
                raise WrongUse(
                    f"--layer-rates, --layer-decays: net {self.net.table.name} has no {name}; "
                    f"its layers: {', '.join(layers)}"
                )

    def _check_input(self) -> None:
        """Refuses a crop that the net cannot take before anything is written."""
        try:
            check_side(self.net.table, self.crop)
        except WrongUse as error:
            raise WrongUse(f"--crop {self.crop}: {error}") from error

    def run(self, keep_every: int | None, tensorboard: bool) -> Outcome:
        """Trains to the end, from wherever the run's folder is; nobody else may write there meanwhile."""
        with files.owned(files.make_folder(self.folder), say=self.display.line):
            files.remove_leftovers(self.folder)
            return self._run(keep_every, tensorboard)

    def _run(self, keep_every: int | None, tensorboard: bool) -> Outcome:
        started = time.monotonic()
        preparation, state = self._open()
        self.own_preparation, self.preparation = preparation, preparation.to(self.device)
        self.net.to(self.device, torch.float64 if self.recipe.precision == "float64" else torch.float32)
        self.optimiser = Momentum(
            self.net.tensors(), self.recipe.momentum, self.recipe.decay, layer_decays(self.recipe.layer_decays)
        )
        self.scaler = torch.GradScaler(self.device.type, enabled=self.recipe.precision == "fp16")
        if state:
            self._restore(state)
        if self.recipe.precision == "bf16" and self.recipe.accumulate == 1:  # parts' gradients add up in float32
            self.optimiser.keep(keep_copies(self.net, torch.bfloat16))
        self.shares = dict.fromkeys(self.taken, self.recipe.old_rate) | dict.fromkeys(self._frozen(), 0.0)
        if self.step == self.steps:
            self.display.line(f"{self.folder}: finished already ({self.recipe.epochs} epochs)")
            return self._outcome(started)
        self.writer = checkpoint.Writer(self.folder)
        self.journal = Journal(self.folder, self.step, tensorboard)
        for lines in (self.journal.metrics, self.journal.timings):
            if lines.unreadable:
                self.display.line(f"note: {lines.path}: {lines.unreadable:,} unreadable lines were left out")
        try:
            with self._signals():
                self._loop(keep_every)
        finally:
            self.display.close()
            with contextlib.ExitStack() as stack:
                stack.callback(self.journal.close)
                stack.callback(self.writer.close)
        self._draw_curve()
        return self._outcome(started)

    def _loop(self, keep_every: int | None) -> None:
        assert self.recipe.epochs is not None
        self._say_start()
        if self.learning is not None:
            self._compute_features(self.learning)
        self.display.start(self.steps, self.step, "training")
        steps = range(self.step, self.steps)
        if self.device.type == "cpu":
            fetch = None if self.own_batches or self.features else self.batches.fetch
            loaded = between(self.load, steps, self.loaders, fetch)
        else:
            loaded = ahead(self.load, steps, self.loaders)
        waited, images = 0.0, 0
        since = drawn = saved = time.monotonic()
        pending: list[tuple[int, float, Tensor, Tensor]] = []
        drain = 1 if self.device.type == "cpu" else DRAIN_STEPS
        with contextlib.closing(loaded):
            for batch in _timed(loaded):
                waited += batch.waited
                rate = rate_at(self.recipe, self.step, self.batches.steps, self.validation)
                loss, scores, labels = self._train_step(batch.value, rate)
                self.step += 1
                images += len(labels)
                pending.append((self.step, rate, loss, self._wrong(scores, labels)))
                epoch_ends = self.step % self.batches.steps == 0
                epoch = self.step // self.batches.steps
                kept = self.keep_log and self.step.bit_count() == 1
                if len(pending) >= drain or epoch_ends or self.stop_signal or kept:
                    self._write(pending)
                    pending = []
                    seconds = time.monotonic() - since
                    if images >= SPEED_IMAGES or epoch_ends:
                        self._show(images / seconds)
                    if epoch_ends or self.stop_signal:
                        self.journal.timings.write(
                            step=self.step,
                            seconds=seconds,
                            images_per_second=images / seconds,
                            waiting_share=waited / seconds,
                        )
                if epoch_ends and (epoch % self.recipe.validate_every == 0 or self.step == self.steps):
                    self._validate(images / (time.monotonic() - since))
                    if time.monotonic() - drawn > CURVE_SECONDS:
                        self.journal.flush()
                        self._draw_curve()
                        drawn = time.monotonic()
                if epoch_ends:
                    waited, since, images = 0.0, time.monotonic(), 0
                    if keep_every and epoch % keep_every == 0:
                        self._save("step")
                if kept:
                    self._save("step")
                late = not pending and time.monotonic() - saved >= SAVE_SECONDS
                if self.stop_signal or self.step == self.steps or ((epoch_ends or late) and self.writer.due()):
                    self._save("last")
                    saved = time.monotonic()
                if self.stop_signal and self.step < self.steps:
                    self.writer.wait()
                    raise Interrupted(
                        f"{self.folder}: stopped at step {self.step:,} of {self.steps:,} and saved; "
                        "the same command goes on from there"
                    )

    def _train_step(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Forward, backward, update. Returns the mean loss, the scores and the labels."""
        recipe, count = self.recipe, len(batch.rows)
        noise = self._noise(batch.rows)
        batch = batch.to(self.device)
        self.net.train()
        losses, scores = [], []
        for rows in torch.arange(count).tensor_split(min(recipe.accumulate, count)):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            images = batch.images[part]
            if not self.features:
                images = self.preparation.apply(
                    images,
                    input_dtype(recipe.precision),
                    None if noise is None else noise[part],
                    1.0 if noise is None else recipe.noise_divisor,
                )
                if self.transform:
                    images = self.transform(images, batch.rows[part])
            with autocast(self.device, recipe.precision):
                found = self._scores(images, Draw(recipe.seed, self.step, batch.rows[part]))
            found = found.to(torch.promote_types(found.dtype, torch.float32))
            loss = self._loss(found, batch.labels[part]) * (len(rows) / count)
            if self.device.type == "cpu" and not math.isfinite(float(loss.detach())):
                self._diverged(self.step + 1, images)
            self.scaler.scale(loss).backward()
            losses.append(loss.detach())
            scores.append(found.detach())
            self._last_images = images
        done = self.step / self.batches.steps
        rates = rates_at(recipe, rate, done, self.optimiser.tensors, self.shares)
        self.scaler.unscale_(self.optimiser)
        self.scaler.step(self.optimiser, rates)  # with fp16 not where a gradient overflowed
        self.scaler.update()
        self.optimiser.zero_grad()
        return sum(losses[1:], losses[0]), torch.cat(scores), batch.labels

    def _noise(self, rows: Tensor) -> Tensor | None:
        """(N, 3) colour noise of a batch's images, where there is any at this step; the device is not waited for."""
        recipe, epoch = self.recipe, self.step // self.batches.steps
        noisy = recipe.noise_until is None or epoch < recipe.noise_until
        if not (recipe.colour_noise and noisy and self.learning is None):
            return None
        noise = self.own_preparation.colour_noise(recipe.seed, epoch, rows)
        return noise.to(self.device, non_blocking=True)

    def _scores(self, images: Tensor, draw: Draw) -> Tensor:
        """Of prepared images, or of what the first learning layer sees of them."""
        if self.learning is None:
            return self.net(images, draw)
        if not self.features:
            with torch.no_grad():
                images = self.net.eval().before(images, self.learning)
            self.net.train()
        return self.net.onwards(images, self.learning, draw)

    def _compute_features(self, learning: str) -> None:
        """What the frozen layers give, where it fits into memory and nobody changes the images."""
        needed = bytes_needed(self.net, learning, self.crop, self.store, self.recipe)
        if self.transform or self.own_batches or needed > MOST_BYTES:
            return
        with contextlib.closing(Display(self.display.show, unit="images")) as display:
            progress = display.counter("computing what the frozen layers give")
            self.features = FrozenFeatures(
                self.net, learning, self.preparation, self.store, self.batches, self.recipe, self.loaders, progress
            )
        self.load = self.features.load

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.loss:
            return self.loss(scores, labels)
        return F.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)

    def _wrong(self, scores: Tensor, labels: Tensor) -> Tensor:
        wrong = [top_k_errors(scores, labels, k).mean() for k in (1, 5)]
        return torch.stack(wrong)

    def _write(self, pending: list[tuple[int, float, Tensor, Tensor]]) -> None:
        """Writes down the steps whose figures have been waited for; stops where a loss is no number."""
        for step, rate, loss, wrong in pending:
            value = float(loss)
            if not math.isfinite(value):
                self._diverged(step, self._last_images)
            top1, top5 = wrong.tolist()
            self.journal.write(
                step=step,
                epoch=step / self.batches.steps,
                split="train",
                rate=rate,
                loss=value,
                top1_error=top1,
                top5_error=top5,
            )
            self._watch(step, value)

    def _watch(self, step: int, loss: float) -> None:
        """Says so, once, when after ``STALL_STEPS`` steps the loss is still that of guessing."""
        self.recent = [*self.recent[-99:], loss]
        chance = math.log(len(self.store.classes))
        if self.told_of_stall or step % STALL_STEPS or len(self.recent) < 100:
            return
        if sum(self.recent) / len(self.recent) > chance * (1 - STALL_MARGIN):
            self.told_of_stall = True
            self.display.line(
                f"warning: after {step:,} steps the loss ({self.recent[-1]:.3f}) is still that of guessing "
                f"({chance:.3f}). Weights of deviation 0.01 (`--initialisation table`) start to learn on pixels of "
                "0..255 alone (`--input-scale pixels`); `--recipe default` starts at once. See docs/stalling.md"
            )

    def _diverged(self, step: int, images: Tensor) -> None:
        """Stops with the layer where it began; what was saved before stays."""
        self.writer.wait()
        saved = checkpoints.find_checkpoint(self.folder, "last")
        kept = f"the checkpoint of step {int(saved.name.split('-')[1]):,} is kept" if saved else "none was saved yet"
        where = f"what comes from {self.learning} on" if self.features else first_not_finite(self.net, images)
        raise Failure(
            f"{self.folder}: the loss of step {step:,} is not finite; first in {where}. Training stopped, {kept}. "
            f"Begin a new run with a lower --rate than {self.recipe.rate} or a longer --warmup"
        )

    def _validate(self, speed: float) -> None:
        """Measures the validation split, writes it down, keeps the best weights."""
        epoch = self.step // self.batches.steps
        if "val" not in self.store.splits:
            self.display.line(f"epoch {epoch:>3}  {speed:6.0f} images/s")
            return
        if self.features and self.step < self.steps:
            errors = self.errors = self.features.measure()
        else:
            errors = self.errors = self._measure()
        self.validation.append(errors.top1_error)
        self.journal.write(
            step=self.step,
            epoch=epoch,
            split="val",
            loss=errors.loss,
            top1_error=errors.top1_error,
            top5_error=errors.top5_error,
        )
        top5 = f"  top-5 {errors.top5_error:6.1%}" if self.top5 else ""
        self.display.line(
            f"epoch {epoch:>3} of {self.recipe.epochs}  training loss {self._mean_recent():.3f}  "
            f"validation error {errors.top1_error:6.1%}{top5}  {speed:5.0f} images/s"
        )
        if errors.top1_error < self.best:
            self.best = errors.top1_error
            self.best_weights = (
                self.step,
                {name: tensor.detach().clone() for name, tensor in self.net.state().items()},
            )

    def _mean_recent(self) -> float:
        return sum(self.recent) / max(1, len(self.recent))

    def _measure(self) -> Errors:
        run = runs.Run(
            str(self.folder), self.net, self.store.classes, self.store.words, self.preparation, {}, {}, self.step
        )
        classifier = Classifier(run, precision=self.recipe.precision)
        return evaluate(classifier, self.store, split="val", loaders=self.loaders, keep_probabilities=False).errors

    def _save(self, kind: str) -> None:
        self.journal.flush()
        tensors = self.net.state()
        if not all(bool(torch.isfinite(tensor.sum())) for tensor in tensors.values()):
            self._diverged(self.step, self._last_images)
        state = {
            "validation": self.validation,
            "best": self.best if math.isfinite(self.best) else None,
            "recent": self.recent,
            "told_of_stall": self.told_of_stall,
            "fp16_scale": self.scaler.get_scale(),
            "scaler": self.scaler.state_dict(),
            "threads": torch.get_num_threads(),
            "taken": self.taken,
            "journal": self.journal.metrics.mark(),
        }
        self.writer.save(kind, self.step, tensors, self.optimiser.velocities, state, self.best_weights)
        self.best_weights = None

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        weights.put(self.net, saved.tensors, str(self.folder))
        for name, velocity in self.optimiser.velocities.items():
            if name not in saved.velocities or saved.velocities[name].shape != velocity.shape:
                raise Failure(f"{self.folder}: its checkpoint has no velocity of {name}'s shape; {checkpoints.REMOVE}")
            velocity.copy_(saved.velocities[name])
        self.step = saved.step
        self.validation = list(saved.state["validation"])
        best = saved.state["best"]
        self.best = math.inf if best is None else best
        self.recent = list(saved.state["recent"])
        self.told_of_stall = saved.state["told_of_stall"]
        self.taken = list(saved.state.get("taken", []))
        if self.scaler.is_enabled():
            if saved.state.get("scaler"):
                self.scaler.load_state_dict(saved.state["scaler"])
            else:  # of an earlier version
                self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": saved.state["fp16_scale"]})
        if saved.state["threads"] != torch.get_num_threads():
            self.display.line(
                f"note: begun with {saved.state['threads']} threads, going on with {torch.get_num_threads()}: "
                "sums are rounded in another order, so the result is not bitwise the same"
            )

    def _open(self) -> tuple[Preparation, checkpoint.Checkpoint | None]:
        """Begins the run's folder, or checks that it holds the same training and reads where it is."""
        folder = files.make_folder(self.folder)
        told = {**dataclasses.asdict(self.recipe), "table": self.net.table.text, "store": self.store.fingerprint}
        if self.start_from is None:
            told["start_from"] = None
        else:
            told["start_from"] = os.path.abspath(self.start_from)
            told["start_from_weights"] = checkpoints.weights_digest(self.start_from)
        note = folder / "recipe.json"
        if note.exists():
            old = files.read_json(note, dict, "give another folder, or mend it")
            from_json(old, str(note))
            changed = difference(old, told)
            if not changed and files.SEAL not in old:  # of an earlier version
                files.write_json(note, files.seal(old))
            if changed:
                shown = ["the net's table" if c.startswith("table ") else c for c in changed]
                raise WrongUse(
                    f"{folder}: was begun with other options: {'; '.join(shown)}. "
                    "Give the options it was begun with to go on, or another folder"
                )
            return runs.load_preparation(folder), self._first_state(folder)
        if runs.is_run(folder) and checkpoints.find_checkpoint(folder):
            imported = not (folder / "metrics.jsonl").exists()
            holds = "holds imported weights" if imported else "cannot be resumed, since its recipe.json is missing"
            raise WrongUse(f"{folder}: {holds}; train on from them in another folder, with --from {folder}")
        leftover = [entry.name for entry in folder.iterdir() if not entry.name.endswith(files.PARTIAL)]
        if set(leftover) - {"run.json", "preparation.safetensors", files.LOCK}:
            raise WrongUse(f"{folder}: is not empty and no run; give another folder")
        recipe = self.recipe
        preparation = Preparation.of(self.store, self.crop, recipe.input_scale, recipe.colour_noise, recipe.noise_by)
        if self.start_from is not None:
            given = runs.load_preparation(self.start_from)
            preparation = dataclasses.replace(preparation, mean_image=given.mean_image, scale=given.scale)
        path = self.store.path if files.is_remote(self.store.path) else os.path.abspath(self.store.path)
        data = {"path": path, "store": self.store.fingerprint, "images": self.store.splits}
        words = self.store.description.get("words")
        state = self._first_state(folder)  # before anything is written: what it starts from may not be meant
        runs.begin(folder, runs.describe(self.net, self.store.classes, words, preparation, data), preparation)
        files.write_json(note, files.seal(told))
        return preparation, state

    def _first_state(self, folder: Path) -> checkpoint.Checkpoint | None:
        saved = checkpoint.read(folder)
        if saved is None:
            if (folder / "metrics.jsonl").exists():
                self.display.line(f"note: {folder}: no checkpoint to go on from; beginning anew")
            self.net.initialize(self.recipe.seed, {"table": "net"}.get(self.recipe.initialisation, "he"))
            if self.start_from is not None:
                self._take_from(self.start_from)
        return saved

    def _take_from(self, path: str | os.PathLike) -> None:
        """Takes another run's weights where name and shape agree, and says which."""
        other = runs.open_run(path)
        given, own, last = other.net.state(), self.net.state(), f"{self.net.names[-1]}."
        same_classes = self.store.classes == other.classes or self.store.words == other.words
        taken = [
            name
            for name, tensor in own.items()
            if name in given and given[name].shape == tensor.shape and (same_classes or not name.startswith(last))
        ]
        drawn_frozen = self._frozen() - set(taken)
        if drawn_frozen:
            raise WrongUse(f"--freeze {self.recipe.freeze}: {path} has no {min(drawn_frozen)} of this shape to keep")
        if not taken:
            raise WrongUse(f"--from {path}: its net has no layer of the same name and shape as {self.net.table.name}'s")
        with torch.no_grad():
            for name in taken:
                own[name].copy_(given[name])
        self.taken = [name for name in taken if name in self.net.tensors()]
        layers = list(dict.fromkeys(name.split(".")[0] for name in taken))
        drawn = list(dict.fromkeys(name.split(".")[0] for name in own if name not in taken))
        self.display.line(f"from {path}: {', '.join(layers)}; drawn anew: {', '.join(drawn) or 'none'}")

    def _say_start(self) -> None:
        verb = "going on at step" if self.step else "beginning at step"
        self.display.line(
            f"{verb} {self.step:,} of {self.steps:,}: net {self.net.table.name}, "
            f"{len(self.batches.split_rows):,} images of {len(self.store.classes)} classes, "
            f"{self.recipe.epochs} epochs, {self.device.type}, {self.recipe.precision}, "
            f"{torch.get_num_threads()} threads, {native.kernels(self.device)} kernels"
        )
        if self.start_from is None and len(self.batches.split_rows) < FEW_IMAGES and self.step == 0:
            self.display.line(
                f"note: {len(self.batches.split_rows):,} images are few to learn from alone; better start from "
                "published weights: alexnet download torchvision-weights weights; alexnet import "
                "weights/alexnet-owt-7be5be79.pth published; alexnet train STORE RUN --from published --freeze conv5"
            )
        if 2 * self.crop < self.store.size:
            self.display.line(
                f"warning: the net sees {self.crop}x{self.crop} pixels of images of {self.store.size}x"
                f"{self.store.size}, less than a quarter of each; prepare the store again with a --size from "
                f"{self.crop} to {4 * self.crop // 3}"
            )
        if self.batches.steps == 1:
            self.display.line(f"note: {len(self.batches.split_rows)} training images make one batch an epoch")

    def _show(self, speed: float) -> None:
        left = (self.steps - self.step) * len(self.batches.split_rows) / self.batches.steps / max(speed, 1e-9)
        self.display.update(
            self.step, f"loss {self._mean_recent():.3f}  {speed:.0f} images/s  {clock(left)} of training left"
        )

    def _draw_curve(self) -> None:
        metrics = read_metrics(self.folder)
        save(curve(metrics, self.folder.resolve().name), self.folder / "curve.png")

    def _outcome(self, started: float) -> Outcome:
        errors = self.errors  # of the last step: it is always measured
        if errors is None and "val" in self.store.splits:
            errors = self._measure()
        if errors:
            runs.note_errors(self.folder, "val", dataclasses.asdict(errors))
        return Outcome(str(self.folder), self.step // self.batches.steps, self.step, errors, time.monotonic() - started)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a stop after the step under way; the second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            if self.stop_signal:
                raise KeyboardInterrupt
            self.stop_signal = number

        old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@dataclasses.dataclass(frozen=True)
class _Waited:
    value: Batch
    waited: float


def _timed(batches: Iterator[Batch]) -> Iterator[_Waited]:
    """Each batch with the seconds that were spent waiting for it."""
    for _ in itertools.count():
        started = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        yield _Waited(batch, time.monotonic() - started)


@torch.no_grad()
def first_not_finite(net: Network, images: Tensor) -> str:
    """Where numbers stop being finite: the first parameter, or the first layer's activations."""
    for name, tensor in net.tensors().items():
        if not torch.isfinite(tensor).all():
            return f"the parameter {name}"
    if not torch.isfinite(images).all():
        return "the input"
    net.eval()
    images = images.to(next(net.parameters()).dtype)
    for name, tensor in net.activations(images, net.names).items():
        if not torch.isfinite(tensor).all():
            return f"the activations of {name}"
    return "the loss itself (every layer's activations are finite in float32)"
