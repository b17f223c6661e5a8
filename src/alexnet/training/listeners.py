"""Who hears of a training's steps: the stall watch, the curve, the pace, the signals."""

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from alexnet.progress import clock
from alexnet.runs.journal import read_metrics
from alexnet.training.journal import StepReport
from alexnet.training.saving import check_there
from alexnet.training.state import RECENT, State

EXPLODED = 1000  # times the loss of chance, from where nothing comes back
STALL_STEPS, STALL_MARGIN = 300, 0.01  # what starts at all is past it by then: docs/stalling.md
CURVE_SECONDS, CURVE_SHARE = 30.0, 50  # drawing takes at most a fiftieth of a training's time
FORECAST_STEPS, FORECAST_SECONDS = 4, 5.0  # at least, before a time is said


class StallWatch:
    """Remembers losses; says so, once, when after ``STALL_STEPS`` steps they are still those of chance, or far beyond.

    Args:
        state: the training's.
        classes: how many.
        say: is told.
    """

    def __init__(self, state: State, classes: int, say: Callable[[str], None]):
        self._state, self._chance, self._say = state, math.log(classes), say
        self._exploded = False

    def __call__(self, report: StepReport) -> None:
        """Hears of a step."""
        state = self._state
        state.note_loss(report.loss)
        if report.loss > EXPLODED * max(1.0, self._chance) and not self._exploded:
            self._exploded = True
            self._say(
                f"warning: the loss of step {report.step:,} is {report.loss:.2g}, where chance has {self._chance:.2g}: "
                f"the weights have grown beyond use; stop, and begin a new run with a lower --lr than {report.lr:.2g}"
            )
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
        self._drawn, self._pause = time.monotonic(), CURVE_SECONDS

    def due(self) -> bool:
        """Whether it is a while since it was drawn: 30 seconds, more where a long journal makes drawing slow."""
        return time.monotonic() - self._drawn > self._pause

    def draw(self) -> None:
        """Draws it from ``metrics.jsonl``."""
        from alexnet.figures.curve import curve_of  # matplotlib: seconds, which the first step need not wait for
        from alexnet.figures.style import save

        check_there(self._folder)
        start = time.monotonic()
        save(curve_of(self._folder, read_metrics(self._folder)), self._folder / "curve.png")
        self._drawn = time.monotonic()
        self._pause = max(CURVE_SECONDS, CURVE_SHARE * (self._drawn - start))


class Pace:
    """How an epoch goes, from its start or from where the training was taken up: its speed, its training error."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._waited = 0.0
        self._steps = 0
        self._wrong = 0.0
        self.images = 0

    def count(self, images: int, waited: float) -> None:
        """Counts a step's images, and the seconds that it waited for them."""
        self.images += images
        self._waited += waited

    def __call__(self, report: StepReport) -> None:
        """Hears of a step."""
        self._steps += 1
        self._wrong += report.top1_error

    @property
    def images_per_second(self) -> float:
        """So far."""
        return self.images / (time.monotonic() - self._since)

    @property
    def top1_error(self) -> float:
        """Mean of the steps that were heard of, 0..1: of crops, with dropout."""
        return self._wrong / max(1, self._steps)

    def timings(self) -> dict[str, float]:
        """What ``timings.jsonl`` says of it."""
        seconds = time.monotonic() - self._since
        return {
            "seconds": seconds,
            "images_per_second": self.images / seconds,
            "waiting_share": self._waited / seconds,
        }


class Forecast:
    """Says, once, how long a training will take: by its first steps.

    Args:
        first: the step that it starts from.
        steps: of the whole training.
        say: is told.
    """

    def __init__(self, first: int, steps: int, say: Callable[[str], None]):
        self._first, self._steps, self._say = first, steps, say
        self._since: float | None = None  # the first step is left out: it makes what later ones use
        self._told = False

    def __call__(self, report: StepReport) -> None:
        """Hears of a step."""
        done = report.step - self._first - 1
        if self._since is None:
            self._since = time.monotonic()
        seconds = time.monotonic() - self._since
        if not self._told and done >= FORECAST_STEPS and seconds >= FORECAST_SECONDS:
            self._told = True
            left = seconds / done * (self._steps - report.step)
            self._say(f"about {clock(left)} for {self._steps - report.step:,} more steps, by the first {done + 1:,}")


HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none


class Signals:
    """As a context: Ctrl-C, SIGTERM and SIGHUP ask for a stop after the step under way.

    A second Ctrl-C or SIGTERM stops at once, unless it comes within ``grace`` seconds: torchrun hands on what its
    processes have got from the terminal already. SIGHUP comes twice where a terminal is closed, so it never does;
    where it is ignored (``nohup``), it stays ignored.

    Args:
        grace: seconds after the first one in which another is the same.

    Attributes:
        stop: whether one came.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self.stop = False
        self._grace, self._asked = grace, math.inf  # when the first one came
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            heard = [signal.SIGINT, signal.SIGTERM]
            if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN:
                heard.append(HANG_UP)
            self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _hear(self, number: int, frame: object) -> None:
        if number != HANG_UP:
            now = time.monotonic()
            if now > self._asked + self._grace:
                raise KeyboardInterrupt
            self._asked = min(self._asked, now)
        self.stop = True
