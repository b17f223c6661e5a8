"""What a training reports: each step, its end; what it writes down: metrics.jsonl, timings.jsonl."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet import files
from alexnet.evaluation.errors import Errors
from alexnet.runs.journal import read_journal
from alexnet.training.loggers import Guarded


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What listeners hear of a training step.

    Attributes:
        step: from 1.
        epoch: epochs done after it.
        loss: mean over the batch, before the update.
        top1_error, top5_error: of the batch, 0..1.
        lr: the weights' learning rate.
    """

    step: int
    epoch: float
    loss: float
    top1_error: float
    top5_error: float
    lr: float

    def __str__(self) -> str:
        return (
            f"step {self.step:,}  epoch {self.epoch:.2f}  loss {self.loss:.4f}  top-1 error {self.top1_error:.1%}  "
            f"top-5 error {self.top5_error:.1%}  lr {self.lr:.3g}"
        )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What ``train`` ended with.

    Attributes:
        run: the run's folder.
        epochs, steps: done.
        errors: on the validation split at the end, None where the dataset has none.
        best_epoch, best_error: of the lowest validation error (0..1), whose weights are the checkpoint ``best``.
        seconds: spent by this call.
        asked_to_stop: whether a signal came in the last step, when nothing was left to stop; who has more to do stops.
    """

    run: str
    epochs: int
    steps: int
    errors: Errors | None
    best_epoch: int | None
    best_error: float | None
    seconds: float
    asked_to_stop: bool = False


class Lines:
    """A file of JSON lines, each with a ``step``, that can be cut back to a step.

    Args:
        path: the file.
        step: lines beyond this step are cut off: they were written after the checkpoint that is resumed from.

    Attributes:
        unreadable: lines that were left out since they are no JSON of this kind.
    """

    def __init__(self, path: Path, step: int):
        lines, self.unreadable = read_journal(path)
        kept = b"".join(line for line, content in lines if content["step"] <= step)
        with files.explained(path):
            if not path.exists() or path.read_bytes() != kept:
                files.write_bytes(path, kept)
            self._file = open(path, "ab")
        self.path = path
        self._bytes, self._digest = len(kept), hashlib.sha256(kept)

    def write(self, **values: Any) -> None:
        """Adds a line."""
        line = (files.to_json(values, indent=None) + "\n").encode()
        self._bytes += len(line)
        self._digest.update(line)
        with files.explained(self.path):
            self._file.write(line)

    def mark(self) -> dict[str, Any]:
        """How long the file is by now, and the SHA-256 of that: what a checkpoint says of it."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def flush(self) -> None:
        """Has the operating system put what was written on the disk: a checkpoint says how long the file is."""
        with files.explained(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        with files.explained(self.path):
            self._file.close()


class Journal:
    """The journal of one run: ``metrics.jsonl`` holds what is reproducible, ``timings.jsonl`` what is not."""

    def __init__(self, folder: Path, step: int, loggers: Sequence[Guarded] = ()):
        self.metrics = Lines(folder / "metrics.jsonl", step)
        self.timings = Lines(folder / "timings.jsonl", step)
        self._loggers = loggers

    def write(self, **values: Any) -> None:
        """A line of metrics: ``step``, ``epoch``, ``split``, and figures."""
        self.metrics.write(**values)
        names = [name for name in ("rate", "loss", "top1_error", "top5_error") if name in values]
        for logger in self._loggers:
            logger.write(values["step"], {f"{values['split']}/{name}": values[name] for name in names})

    def write_step(self, report: StepReport) -> None:
        """A line of a training step."""
        self.write(
            step=report.step,
            epoch=report.epoch,
            split="train",
            rate=report.lr,
            loss=report.loss,
            top1_error=report.top1_error,
            top5_error=report.top5_error,
        )

    def write_validation(self, step: int, epoch: int, errors: Errors) -> None:
        """A line of a measurement on the validation split."""
        self.write(
            step=step,
            epoch=epoch,
            split="val",
            loss=errors.loss,
            top1_error=errors.top1_error,
            top5_error=errors.top5_error,
        )

    def flush(self) -> None:
        """Hands everything to the operating system; a checkpoint follows it."""
        self.metrics.flush()
        self.timings.flush()
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        """Closes the files."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.metrics.close)
            stack.callback(self.timings.close)
            for logger in self._loggers:
                stack.callback(logger.close)
