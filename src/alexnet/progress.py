"""What a command shows while it works: a bar on a terminal, elsewhere plain lines; and times as people read them."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from alexnet import files

PLAIN_SECONDS = 20.0


class Screen(Console):
    """Takes text as it is (no markup, no emoji by name), and raises where nobody reads any more."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, emoji=False, markup=False, **options)

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the error; by default it ends the process."""
        raise BrokenPipeError


class Display:
    """Progress on a terminal as a bar, elsewhere as plain lines now and then.

    Args:
        show: whether anything is shown.
        unit: of what is counted.
        console: where it is shown; the standard error if not given.
    """

    def __init__(self, show: bool = True, unit: str = "steps", console: Console | None = None):
        self.show = show
        self.console = console or Screen(stderr=True, soft_wrap=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._unit = unit
        self._started = self._printed = time.monotonic()
        self._first = self._total = 0

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
