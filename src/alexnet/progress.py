"""What a command shows while it works: one line on a terminal, elsewhere lines now and then; times as people read them.

The line has what matters most at any width: what does not fit is left out whole, never cut.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alexnet import files

PLAIN_SECONDS = 20.0  # between lines where there is no terminal
GAP, LEAST_BAR, WIDEST_BAR = 2, 8, 30  # columns
_QUIET = [False]


def set_quiet(quiet: bool) -> None:
    """Whether displays made from here on show warnings alone, as ``--quiet`` asks. Set by the command alone."""
    _QUIET[0] = quiet


class Screen(Console):
    """Takes text as it is (no markup, no emoji by name), and raises where nobody reads any more."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, emoji=False, markup=False, **options)

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the error; by default it ends the process."""
        raise BrokenPipeError


class StatusLine:
    """Parts of a line and a bar, as far as they fit.

    Args:
        parts: from left to right, each with its rank: those of the highest rank are left out first; rank 0 never.
        done, total: for the bar, which goes before any part does.
    """

    def __init__(self, parts: Sequence[tuple[int, str]], done: int, total: int):
        self.parts = [(rank, files.shown(text)) for rank, text in parts if text]
        self.done, self.total = done, total

    def text(self, width: int | None = None) -> str:
        """The parts that fit into ``width`` columns, joined; all of them if it is not given."""
        kept = list(self.parts)
        while width is not None and _columns(kept) > width and any(rank for rank, _ in kept):
            kept.remove(max(reversed(kept), key=lambda part: part[0]))
        return (" " * GAP).join(text for _, text in kept)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text(self.text(options.max_width), no_wrap=True, overflow="ellipsis")
        room = options.max_width - line.cell_len - GAP
        if line.plain != self.text() or room < LEAST_BAR or not self.total:
            yield line
            return
        grid = Table.grid(padding=(0, GAP, 0, 0))
        grid.add_row(line, ProgressBar(self.total, self.done, width=min(room, WIDEST_BAR)))
        yield grid


def _columns(parts: Sequence[tuple[int, str]]) -> int:
    return sum(Text(text).cell_len for _, text in parts) + GAP * (len(parts) - 1)


class Display:
    """Progress on a terminal as one line that is kept current, elsewhere as plain lines now and then.

    Args:
        show: whether anything is shown but warnings.
        unit: of what is counted.
        console: where it is shown; the standard error if not given.
    """

    def __init__(self, show: bool = True, unit: str = "steps", console: Console | None = None):
        self.show = show and not _QUIET[0]
        self.console = console or Screen(stderr=True, soft_wrap=True)
        self._reached = True  # whether somebody reads
        self._live: Live | None = None
        self._unit = unit
        self._started = self._printed = time.monotonic()
        self._first = self._total = 0

    def start(self, total: int, done: int = 0) -> None:
        """Begins counting to ``total``, from ``done``."""
        self._started = self._printed = time.monotonic()
        self._first, self._total = done, total
        if self.show and self._reached and self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def seconds_left(self, done: int) -> float | None:
        """By what was done since ``start``; None where nothing was."""
        spent = time.monotonic() - self._started
        return spent / (done - self._first) * (self._total - done) if done > self._first else None

    def update(self, done: int, parts: Sequence[tuple[int, str]]) -> None:
        """Shows how far it is.

        Args:
            done: of the total.
            parts: what to say, from left to right, each with a rank (see ``StatusLine``); the time left follows.
        """
        if not (self.show and self._reached):
            return
        left = self.seconds_left(done)
        line = StatusLine([*parts, (0, "" if left is None else f"{clock(left)} left")], done, self._total)
        if self._live:
            self._live.update(line)
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.line(line.text(1 << 16))

    def line(self, text: str) -> None:
        """A line of its own that stays; a training does not end because nobody reads what it says."""
        if self.show:
            self._print(text)

    def warn(self, text: str) -> None:
        """A line that is shown with ``--quiet``, too."""
        self._print(text)

    def _print(self, text: str) -> None:
        if not self._reached:
            return
        try:
            for line in text.split("\n"):
                self.console.print(Text(files.shown(line)))
            self.console.file.flush()
        except OSError:
            self._reached = False

    def counter(self, what: str) -> Callable[[int, int], None]:
        """A callback that is told how many are done of how many, and shows what, how far, the rate and the time left.

        Args:
            what: is done: ``evaluating``.
        """
        first, started = -1, 0.0

        def count(done: int, total: int) -> None:
            nonlocal first, started
            if first < 0:
                first, started = done, time.monotonic()
                self.start(total, done)
            rate = (done - first) / max(1e-9, time.monotonic() - started)
            speed = f"{rate:,.0f} {self._unit}/s" if done > first else ""
            self.update(done, [(3, what), (0, f"{done:,}/{total:,} {self._unit}"), (2, speed)])
            if done == total:
                self.close()
                first = -1

        return count

    def close(self) -> None:
        """Ends the line."""
        if self._live:
            live, self._live = self._live, None
            live.stop()


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def plural(count: int, one: str, several: str | None = None) -> str:
    """``1 epoch``, ``1,200 steps``."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def size_text(count: int) -> str:
    """Bytes as ``652 MiB``, ``33.1 GiB``."""
    if count < 1 << 20:
        return f"{max(0, count) / 1024:,.0f} KiB"
    return f"{count / 2**20:,.0f} MiB" if count < 1 << 30 else f"{count / 2**30:,.1f} GiB"
