"""The line of progress is whole at every width; what is said at the end reads well."""

import io

import pytest
from rich.text import Text

from alexnet import progress
from alexnet.progress import Display, Screen, StatusLine, clock, plural

TRAINING = [
    (0, "epoch 12/90"),
    (4, "step 112,244/900,000"),
    (1, "loss 6.905"),
    (2, "error 99.9%"),
    (3, "1,021 images/s"),
    (0, "21:20:11 left"),
]


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Whatever command ran before in this process, ``--quiet`` or not."""
    monkeypatch.setattr(progress, "_QUIET", [False])


@pytest.mark.parametrize("width", [34, 40, 60, 80, 100, 120, 200])
def test_a_line_is_never_cut(width):
    """Rendered at a width, it is one line of whole parts, the most important among them."""
    screen = Screen(file=io.StringIO(), width=width, force_terminal=True, legacy_windows=False)
    with screen.capture() as capture:
        screen.print(StatusLine(TRAINING, 112_244, 900_000))
    lines = [Text.from_ansi(line).plain.rstrip() for line in capture.get().splitlines()]
    assert len(lines) == 1 and len(lines[0]) <= width and "…" not in lines[0]
    shown = [part for _, part in TRAINING if part in lines[0]]
    rest = lines[0]
    for part in shown:
        rest = rest.replace(part, "", 1)
    assert not rest.strip(" ━╺╸"), "something was cut"
    if width >= 40:
        assert {"epoch 12/90", "loss 6.905", "21:20:11 left"} <= set(shown)
    if width >= 80:
        assert "error 99.9%" in shown and "1,021 images/s" in shown
    if width >= 120:
        assert len(shown) == len(TRAINING) and "━" in lines[0]


def test_there_is_one_time_left_and_a_count(capsys):
    file = io.StringIO()
    display = Display(unit="images", console=Screen(file=file, force_terminal=True, width=80))
    count = display.counter("evaluating")
    for done in (0, 10, 20, 40):
        count(done, 40)
    shown = Text.from_ansi(file.getvalue()).plain
    assert "40/40 images" in shown and "evaluating" in shown
    assert all(line.count(" left") <= 1 for line in shown.splitlines())


def test_quiet_shows_warnings_alone(monkeypatch):
    monkeypatch.setattr(progress, "_QUIET", [False])
    progress.set_quiet(True)
    file = io.StringIO()
    display = Display(console=Screen(file=file))
    display.line("starting")
    display.counter("evaluating")(1, 2)
    display.warn("warning: the loss does not fall")
    assert file.getvalue() == "warning: the loss does not fall\n"


def test_times_and_counts_as_people_read_them():
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3600, 360_000)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "100:00:00",
    ]
    assert [plural(1, "epoch"), plural(1200, "step"), plural(2, "class", "classes")] == [
        *("1 epoch", "1,200 steps", "2 classes"),
    ]
