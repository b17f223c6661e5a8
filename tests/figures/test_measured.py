"""Pictures of what was measured: all is inside the picture, numbers can be read, whatever the classes are called."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from alexnet.evaluation.errors import wilson
from alexnet.figures import style
from alexnet.figures.class_errors import class_errors
from alexnet.figures.confusion import SHADES, confusion
from alexnet.figures.curve import curves, learning_curve
from alexnet.figures.reliability import reliability
from tests.figures.drawn import ODD, check_inside


def classes(count):
    return [f"{ODD[i % len(ODD)]}{i}" if i % 3 else f"plain {i}, second" for i in range(count)]


def counts(count, seed=0):
    random = np.random.default_rng(seed)
    drawn = random.poisson(0.5, (count, count)) + np.diag(random.integers(1, 40, count))
    drawn[count // 2] = 0 if count > 2 else drawn[count // 2]
    return drawn


@pytest.mark.parametrize("count", [1, 2, 10, 30, 200, 1000])
def test_confusions_of_any_number_of_classes(count):
    matrix = counts(count)
    figure = confusion(matrix, classes(count))
    check_inside(figure)
    axes = figure.axes[0]
    written = {text.get_position(): text for text in axes.texts}
    expected = {(column, row) for row, column in zip(*np.nonzero(matrix))} if count <= 20 else set()
    assert set(written) == expected
    for (column, row), text in written.items():
        assert int(text.get_text()) == matrix[row, column]
        share = matrix[row, column] / matrix[row].sum()
        assert style.contrast(text.get_color(), to_rgb(SHADES(share))) >= 4.5
    assert len(axes.get_yticks()) <= 40


def test_the_most_frequent_confusion_is_said_first():
    figure = confusion(np.array([[5, 7, 0], [0, 9, 1], [0, 0, 0]]), ["a", "b, second", "c"])
    lines = [text.get_text() for text in figure.axes[1].texts]
    assert lines == ["7 of 12:  a → b", "1 of 10:  b → c"]
    assert "22 images of 3 classes, 14 right" in figure.axes[0].get_title(loc="left")


def test_counts_are_read_on_every_shade():
    assert style.contrast("white", "black") == pytest.approx(21)  # WCAG's own example
    assert style.contrast("#777777", "white") == pytest.approx(4.48, abs=0.005)
    assert all(style.contrast(style.ink_on(SHADES(share)), SHADES(share)) >= 4.5 for share in np.linspace(0, 1, 257))


@pytest.mark.parametrize("count", [1, 2, 10, 51, 200, 1000])
def test_errors_of_any_number_of_classes(count):
    matrix = counts(count)
    images = matrix.sum(1)
    with np.errstate(invalid="ignore"):
        errors = 1 - np.diag(matrix) / images
    figure = class_errors(errors, images, classes(count))
    check_inside(figure)
    bars = figure.axes[0].patches
    measured = np.sort(errors[~np.isnan(errors)])[::-1]
    shown = min(20, len(measured)) if len(measured) > 50 else len(measured)
    assert [bar.get_width() for bar in bars] == pytest.approx(100 * measured[:shown])


def test_an_error_is_drawn_with_its_wilson_interval_and_classes_without_images_are_counted():
    figure = class_errors(np.array([0.25, np.nan, 0.5]), np.array([8, 0, 20]), ["a", "b", "c"])
    segments = figure.axes[0].collections[0].get_segments()
    assert [segment[:, 0] for segment in segments] == [pytest.approx([100 * x for x in wilson(*case)])
                                                       for case in ((0.5, 20), (0.25, 8))]  # fmt: skip
    assert "2 classes (1 more have no images)" in figure.get_suptitle()
    check_inside(class_errors(np.full(3, np.nan), np.zeros(3, int), ["a", "b", "c"]))


def test_reliability_shows_the_filled_bins():
    confidence, accuracy = np.array([np.nan, 0.3, 0.5, 0.7, 0.95]), np.array([np.nan, 0.2, 0.5, 0.5, 0.9])
    figure = reliability(confidence, accuracy, np.array([0, 4, 10, 3000, 12345]), 0.0567)
    check_inside(figure)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.2, 0.5, 0.5, 0.9]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [0, 4, 10, 3000, 12345]
    assert "5.7%" in figure.axes[0].get_title(loc="left")
    check_inside(reliability(np.full(15, np.nan), np.full(15, np.nan), np.zeros(15, int), 0.0))


def lines(errors, split="val"):
    return [{"split": split, "epoch": epoch + 1, "top1_error": error} for epoch, error in enumerate(errors)]


def test_runs_differ_in_more_than_color():
    figure = curves({f"run {i}": lines([0.9, 0.5, 0.1 * i]) for i in range(10)})
    check_inside(figure)
    looks = {(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == 10
    for runs in ({}, {"no errors": []}, {name: lines([0.5, 0.4]) for name in ODD}, {"a": lines([0.3] * 4, "train")}):
        check_inside(curves(runs))


@pytest.mark.parametrize("errors", [[0.002, 0.001], [0.9995, 0.999], [0.9, 0.2, 0.3], [0.5], [0.0, 0.0], [1.0]])
def test_a_learning_curve_fits_what_it_shows_and_says_last_and_best(errors):
    figure = learning_curve(range(len(errors)), errors, [wilson(error, 100_000) for error in errors], ODD[0])
    check_inside(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 100 * min(errors) and high > 100 * max(errors)
    assert high - low < 12 or max(errors) - min(errors) > 0.05
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert f"last, {100 * errors[-1]:.1f}%" in said
    assert any("best" in text for text in said) == (min(errors) < errors[-1])


def test_checkpoints_whose_epochs_nobody_knows_are_drawn_by_steps():
    figure = learning_curve([10_000, 20_000, 40_000], [0.9, 0.2, 0.3], [(0.1, 0.9)] * 3, unit="step")
    check_inside(figure)
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert figure.axes[0].get_xlabel() == "step" and "best, 20.0%, step 20,000" in said
