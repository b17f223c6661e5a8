"""Who hears of a training's steps: the stall watch, the curve, the pace, the signals."""

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from alexnet.figures.curve import curve
from alexnet.figures.style import save
from alexnet.runs.journal import read_metrics
from alexnet.training.journal import StepReport
from alexnet.training.state import RECENT, State

STALL_STEPS, STALL_MARGIN = 300, 0.01  # what starts at all is past it by then: docs/stalling.md
CURVE_SECONDS = 30.0


class StallWatch:
    """Remembers losses, and says so, once, when after ``STALL_STEPS`` steps they are still those of chance.

    Args:
        state: the training's.
        classes: how many.
        say: is told.
    """

    def __init__(self, state: State, classes: int, say: Callable[[str], None]):
        self._state, self._chance, self._say = state, math.log(classes), say

    def __call__(self, report: StepReport) -> None:
        """Hears of a step."""
        state = self._state
        state.note_loss(report.loss)
        if state.told_of_stall or report.step % STALL_STEPS or len(state.recent) < RECENT:
            return
        if sum(state.recent) / len(state.recent) > self._chance * (1 - STALL_MARGIN):
            state.note_stall()
            self._say(
                f"warning: after {report.step:,} steps the loss ({report.loss:.3f}) is still that of chance "
                f"({self._chance:.3f}). Weights of standard deviation 0.01 (`--init net`) start to learn on pixels of "
                "0..255 alone (`--input-scale raw`); `--recipe default` starts at once. See docs/stalling.md"
            )


class Curve:
    """Draws ``curve.png`` of a run now and then."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._drawn = time.monotonic()

    def due(self) -> bool:
        """Whether it is a while since it was drawn."""
        return time.monotonic() - self._drawn > CURVE_SECONDS

    def draw(self) -> None:
        """Draws it from ``metrics.jsonl``."""
        save(curve(read_metrics(self._folder), self._folder.resolve().name), self._folder / "curve.png")
        self._drawn = time.monotonic()


class Pace:
    """How fast an epoch goes, from its start or from where the training was taken up."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._waited = 0.0
        self.images = 0

    def count(self, images: int, waited: float) -> None:
        """Counts a step's images, and the seconds that it waited for them."""
        self.images += images
        self._waited += waited

    @property
    def images_per_second(self) -> float:
        """So far."""
        return self.images / (time.monotonic() - self._since)

    def timings(self) -> dict[str, float]:
        """What ``timings.jsonl`` says of it."""
        seconds = time.monotonic() - self._since
        return {
            "seconds": seconds,
            "images_per_second": self.images / seconds,
            "waiting_share": self._waited / seconds,
        }


class Signals:
    """As a context: Ctrl-C and SIGTERM ask for a stop after the step under way; the second one stops at once.

    Attributes:
        stop: whether one came.
    """

    def __init__(self) -> None:
        self.stop = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _hear(self, number: int, frame: object) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True
