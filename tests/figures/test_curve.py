"""The curve of a run: what it says is what was measured, and its range fits what it shows."""

import json

import numpy as np
import pytest

from alexnet import recipes, train
from alexnet.figures.curve import curve, curve_of
from alexnet.runs.journal import read_metrics
from tests.figures.drawn import ODD, check_inside


def journal(steps, errors, rate=0.01, epochs=None):
    """Lines of a training whose batches' errors are those of its validation."""
    epochs = epochs or len(errors)
    lines = []
    for step in range(1, steps + 1):
        epoch = step / steps * epochs
        error = float(np.interp(epoch, np.arange(len(errors)) + 1, errors))
        lines.append(
            {"step": step, "epoch": epoch, "split": "train", "rate": rate, "loss": 3 * error, "top1_error": error}
        )
        if step % (steps // epochs) == 0:
            lines.append({"step": step, "epoch": epoch, "split": "val", "loss": 3 * error, "top1_error": error})
    return lines


def said(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


@pytest.mark.parametrize(
    ("errors", "chance"),
    [
        ([0.0021, 0.002, 0.0022], 0.5),
        ([0.9991, 0.999, 0.9989], 0.999),
        ([0.9, 0.3, 0.25, 0.26], 0.9),
        ([0.5] * 3, 0.5),
        ([0.0, 0.0], 0.5),
        ([1.0, 1.0], 0.9),
    ],
)
def test_the_range_fits_the_errors(errors, chance):
    figure = curve(journal(60, errors, epochs=len(errors)), ODD[0], ODD[2] * 3, chance)
    check_inside(figure)
    low, high = figure.axes[0].get_ylim()
    spread = 100 * (max(errors) - min(errors))
    assert low < 100 * min(errors) and high > 100 * max(errors)
    assert high - low < max(1.5 * spread, 13)
    assert any(text.startswith(f"chance, {100 * chance:g}%") for text in said(figure))


@pytest.mark.parametrize("errors", [[0.9, 0.3, 0.25, 0.26], [0.1, 0.9, 0.1, 0.9], [0.9, 0.9, 0.9, 0.91]])
@pytest.mark.parametrize("chance", [None, 0.5, 0.91])
@pytest.mark.parametrize("rate", [None, 0.01])
def test_the_legend_lies_on_no_line_and_no_text(errors, chance, rate):
    figure = curve(journal(60, errors, rate), "a run", ODD[2] * 3, chance)
    figure.draw_without_rendering()
    above = figure.axes[0]
    boxes = [text.get_window_extent() for text in (*above.texts, above.title, above._left_title)]
    (legend,) = [above.get_legend().get_window_extent()]
    assert not any(legend.overlaps(box) for box in [above.bbox, *boxes] if box.width)
    assert legend.x1 <= above.bbox.x1 + 1
    about, title = boxes[0], boxes[-1]
    assert about.y1 <= title.y0 and title.y1 <= figure.bbox.y1


def test_last_and_best_are_said_apart():
    texts = said(curve(journal(40, [0.9, 0.3, 0.245, 0.248])))
    assert "last, 24.8%" in texts and "best, 24.5%, epoch 3" in texts
    assert not any("best" in text for text in said(curve(journal(40, [0.9, 0.3, 0.25, 0.2]))))


@pytest.mark.parametrize(("steps", "what"), [(100, "each step's batch"), (1200, "mean of 10 steps")])
def test_windows_of_averaging_are_said_and_hold_their_means(steps, what):
    lines = journal(steps, [0.9, 0.5, 0.3, 0.2])
    figure = curve(lines)
    assert f"training (augmented, dropout), {what}" in said(figure)
    drawn = figure.axes[0].lines[0]
    errors = np.array([line["top1_error"] for line in lines if line["split"] == "train"])
    assert drawn.get_ydata() == pytest.approx(100 * errors.reshape(len(drawn.get_ydata()), -1).mean(1))


def test_loss_and_learning_rate_are_drawn_below():
    lines = journal(40, [0.9, 0.5, 0.3, 0.2])
    for line in lines:
        line["rate"] = 0.01 if line["epoch"] < 2 else 0.0001
    error, loss, rate = curve(lines).axes
    assert [axes.get_ylabel() for axes in (error, loss, rate)] == ["top-1 error", "loss (nats)", "learning rate"]
    assert rate.get_yscale() == "log" and set(rate.lines[0].get_ydata()) == {0.01, 0.0001}
    assert loss.lines[1].get_ydata() == pytest.approx([3 * 0.9, 3 * 0.5, 3 * 0.3, 3 * 0.2])
    lines[3]["loss"] = None  # no number, as a journal has it
    lines[5]["loss"] = 1e12
    figure = curve(lines)
    check_inside(figure)
    assert figure.axes[1].get_ylim()[1] < 10


def test_what_there_is_is_drawn():
    lines = journal(20, [0.9, 0.5])
    training = [line for line in lines if line["split"] == "train"]
    for part in ([], lines[:1], training, [{k: v for k, v in line.items() if k != "rate"} for line in lines]):
        check_inside(curve(part, ODD[1], chance=0.9))
    assert "no validation so far" in said(curve(training))
    assert said(curve([line for line in lines if line["split"] == "val"]))[0] == "validation, one view"


def test_a_runs_curve_says_net_data_set_and_recipe(dataset, net_file, tmp_path):
    train(dataset.path, tmp_path / "run", recipes.default(net=net_file, crop_size=48, batch_size=16, epochs=2))
    figure = curve_of(tmp_path / "run", read_metrics(tmp_path / "run"))
    (about,) = (text.get_text() for text in figure.axes[0].texts)
    assert about == "net small; small, 3 classes; cosine schedule, learning rate 0.01, batch size 16"
    assert "chance, 66.67%" in said(figure) and figure.axes[0].get_title(loc="left") == "run"
    note = tmp_path / "run" / "recipe.json"
    note.write_text(note.read_text().replace('"optimizer": "momentum"', '"optimizer": "muon"'))
    (about,) = (text.get_text() for text in curve_of(tmp_path / "run", read_metrics(tmp_path / "run")).axes[0].texts)
    assert about.endswith("; muon, cosine schedule, learning rate 0.01, batch size 16")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [100 * line["top1_error"] for line in lines if line["split"] == "val"]
    assert figure.axes[0].lines[1].get_ydata() == pytest.approx(measured)
    (tmp_path / "run" / "recipe.json").write_text("[")
    check_inside(curve_of(tmp_path / "run", read_metrics(tmp_path / "run")))
    (tmp_path / "run" / "run.json").unlink()
    check_inside(curve_of(tmp_path / "run", read_metrics(tmp_path / "run")))
