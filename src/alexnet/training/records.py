"""What a training writes: its journal, its checkpoints, its curve. Of several ranks the first one does."""

from pathlib import Path
from typing import Any

from torch import Tensor

from alexnet.evaluation.errors import Errors
from alexnet.training.journal import Journal, StepReport
from alexnet.training.listeners import Curve
from alexnet.training.saving import Writer
from alexnet.training.state import State

Best = tuple[int, dict[str, Tensor]]  # a step, and the weights that it ended with


class Records:
    """Nothing is written: what a rank has that is not the first."""

    def step(self, report: StepReport) -> None:
        """Writes down a step."""

    def timings(self, step: int, timings: dict[str, float]) -> None:
        """Writes down how long steps took."""

    def validation(self, step: int, epoch: int, errors: Errors) -> None:
        """Writes down a measurement, and draws the curve where it is a while since it was drawn."""

    def due(self) -> bool:
        """Whether enough time has gone by for another checkpoint."""
        return False

    def save(self, kind: str, state: State, best: Best | None) -> None:
        """Hands a checkpoint to the writer: ``last``, or ``step``, which is kept for good. Every rank must ask."""
        state.whole()
        state.velocities()

    def wait(self) -> None:
        """Waits for the checkpoint that is being written."""

    def close(self) -> None:
        """Closes the files."""


class Folder(Records):
    """Writes into a run's folder.

    Args:
        folder: the run's, owned by this process.
        step: that the training starts from.
        loggers: open.
    """

    def __init__(self, folder: Path, step: int, loggers: Any):
        self._writer = Writer(folder)
        self._journal = Journal(folder, step, loggers)
        self._curve = Curve(folder)
        self.unreadable = [(lines.path, lines.unreadable) for lines in (self._journal.metrics, self._journal.timings)
                           if lines.unreadable]  # fmt: skip

    def step(self, report: StepReport) -> None:
        self._journal.write_step(report)

    def timings(self, step: int, timings: dict[str, float]) -> None:
        self._journal.timings.write(step=step, **timings)

    def validation(self, step: int, epoch: int, errors: Errors) -> None:
        self._journal.write_validation(step, epoch, errors)
        if self._curve.due():
            self._journal.flush()
            self._curve.draw()

    def due(self) -> bool:
        return self._writer.due()

    def save(self, kind: str, state: State, best: Best | None) -> None:
        self._journal.flush()
        note = state.note(self._journal.metrics.mark())
        self._writer.save(kind, state.step, state.whole(), state.velocities(), note, best)

    def wait(self) -> None:
        self._writer.wait()

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._journal.close()
