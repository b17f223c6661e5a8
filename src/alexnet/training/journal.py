"""What a training writes down and shows: metrics.jsonl, timings.jsonl, TensorBoard, progress."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from alexnet import files
from alexnet.errors import WrongUse
from alexnet.runs.journal import read_journal

PLAIN_SECONDS = 20.0


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

    def __init__(self, folder: Path, step: int, tensorboard: bool):
        self.metrics = Lines(folder / "metrics.jsonl", step)
        self.timings = Lines(folder / "timings.jsonl", step)
        self._board = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise WrongUse("--tensorboard: is not installed; pip install 'alexnet[tensorboard]'") from error
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, **values: Any) -> None:
        """A line of metrics: ``step``, ``epoch``, ``split``, and figures."""
        self.metrics.write(**values)
        if self._board:
            for name in ("rate", "loss", "top1_error", "top5_error"):
                if name in values:
                    self._board.add_scalar(f"{values['split']}/{name}", values[name], values["step"])

    def flush(self) -> None:
        """Hands everything to the operating system; a checkpoint follows it."""
        self.metrics.flush()
        self.timings.flush()
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Closes the files."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.metrics.close)
            stack.callback(self.timings.close)
            if self._board:
                stack.callback(self._board.close)


class Screen(Console):
    """Takes text as it is (no markup, no emoji by name), and raises where nobody reads any more."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, emoji=False, markup=False, **options)

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the error; by default it ends the process."""
        raise BrokenPipeError


class Display:
    """Progress on a terminal as a bar, elsewhere as plain lines now and then; silent where ``show`` is false."""

    def __init__(self, show: bool = True, unit: str = "steps"):
        self.show = show
        self.console = Screen(stderr=True, soft_wrap=True)
        self._progress: Progress | None = None
        self._unit = unit
        self._printed = time.monotonic()

    def start(self, total: int, done: int = 0, what: str = "") -> None:
        """Begins counting to ``total``."""
        self._started = self._printed = time.monotonic()
        self._first, self._total = done, total
        if self.show and self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn(self._unit, markup=False),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=self.console,
            )
            self._progress.start()
            self._task = self._progress.add_task(files.shown(what), total=total, completed=done, note="")

    def update(self, done: int, note: str = "") -> None:
        """Shows how far it is."""
        if self._progress:
            self._progress.update(self._task, completed=done, note=note)
        elif self.show and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            spent = self._printed - self._started
            left = spent / max(1, done - self._first) * (self._total - done)
            self.line(f"{done:,}/{self._total:,} {self._unit}, {clock(left)} left  {note}")

    def line(self, text: str) -> None:
        """A line of its own that stays; a training does not end because nobody reads what it says."""
        if not self.show:
            return
        try:
            for line in text.split("\n"):
                self.console.print(Text(files.shown(line)))
            self.console.file.flush()
        except OSError:
            self.show = False

    def counter(self, what: str) -> Callable[[int, int], None]:
        """A callback that is told how many are done of how many, and shows rate and time left."""
        first, started = -1, 0.0

        def count(done: int, total: int) -> None:
            nonlocal first, started
            if first < 0:
                first, started = done, time.monotonic()
                self.start(total, done, what)
            rate = (done - first) / max(1e-9, time.monotonic() - started)
            self.update(done, f"{rate:.0f} {self._unit}/s")
            if done == total:
                self.close()
                first = -1

        return count

    def close(self) -> None:
        """Ends the bar."""
        if self._progress:
            self._progress.stop()
            self._progress = None


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
