"""Precision, recall, F1 against scikit-learn; calibration against a loop; what evaluate writes, against its arrays."""

import csv
import json
import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from alexnet import Recipe, evaluate, load, train
from alexnet.evaluation.scores import Calibration, ClassScores


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory):
    """A small net that keeps the checkpoints of steps 1, 2, 4."""
    place = tmp_path_factory.mktemp("kept") / "run"
    train(dataset, place, Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2), show=False, keep="log")
    return place


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_scores_are_scikit_learns(classes):
    """Of few images, so that classes are missing, never predicted, or neither."""
    random = np.random.default_rng(classes)
    labels, predicted = (random.integers(0, classes, 60) ** 2 // classes for _ in range(2))
    predicted[:30] = labels[:30]
    scores = ClassScores.of(labels, predicted, classes)
    seen = sorted({*labels.tolist(), *predicted.tolist()})
    with warnings.catch_warnings(action="ignore"):
        expected = precision_recall_fscore_support(labels, predicted, labels=seen, zero_division=0)  # pyright: ignore
        macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)  # pyright: ignore
    for own, other, mean in zip((scores.precision, scores.recall, scores.f1), expected, macro):
        np.testing.assert_allclose(own[seen], other, atol=1e-12)
        assert np.isnan(np.delete(own, seen)).all()
        assert mean == pytest.approx(np.nanmean(own))
    assert list(scores.macro().values()) == pytest.approx(list(macro[:3]))


def test_calibration_by_hand():
    """Four images in two bins: two of 0.9, one right; two of 0.35 and 0.4, none right."""
    told = Calibration.of(np.array([0.9, 0.9, 0.35, 0.4]), np.array([True, False, False, False]), bins=2)
    assert told.counts.tolist() == [2, 2] and told.accuracy.tolist() == [0, 0.5]
    np.testing.assert_allclose(told.confidence, [0.375, 0.9])
    assert told.ece == pytest.approx(0.5 * 0.375 + 0.5 * 0.4)
    ends = Calibration.of(np.array([0.0, 0.5, 0.5 + 1e-9, 1.0]), np.ones(4, bool), bins=2)
    assert ends.counts.tolist() == [2, 2]  # an upper end is in its bin


def test_calibration_against_a_loop():
    random = np.random.default_rng(0)
    confidence, right = random.uniform(0.3, 1, 500).astype(np.float32), random.uniform(size=500) < 0.6
    gap = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    told = Calibration.of(confidence, right)
    assert told.ece == pytest.approx(gap) and told.counts.sum() == 500
    assert np.isnan(told.accuracy[told.counts == 0]).all() and (told.counts == 0).any()


def test_files_hold_what_was_measured(alexnet, run, dataset, tmp_path):
    names = {"--predictions": "p.csv", "--per-class": "c.csv", "--calibration": "r.csv", "--confusion": "m.csv"}
    options = [word for option, name in names.items() for word in (option, tmp_path / name)]
    status, out, _ = alexnet("evaluate", run, dataset.path, *options, "--json", "--precision", "float32")
    measured = evaluate(load(run, precision="float32"), dataset)
    assert status == 0
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [row["name"] for row in rows] == [dataset.name(i) for i in dataset.rows("val")]
    best = measured.probabilities.argmax(1)
    for row, label, prediction, probabilities in zip(rows, measured.labels, best, measured.probabilities):
        assert row["true_class"] == dataset.classes[label] and row["predicted_class"] == dataset.classes[prediction]
        assert float(row["probability"]) == pytest.approx(probabilities.max(), abs=1e-6)
        assert float(row["true_class_probability"]) == pytest.approx(probabilities[label], abs=1e-6)
        assert row["correct"] == str(int(label == prediction))
    table = list(csv.reader((tmp_path / "m.csv").open()))
    assert np.array([row[1:] for row in table[1:]], int).tolist() == confusion_matrix(measured.labels, best).tolist()
    bins = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert len(bins) == 15 and sum(int(row["images"]) for row in bins) == 12
    classes = list(csv.DictReader((tmp_path / "c.csv").open()))
    told = json.loads(out)
    assert told["macro_recall"] == pytest.approx(np.mean([float(row["recall"]) for row in classes]), abs=1e-6)
    assert told["macro_recall"] == pytest.approx(1 - told["top1_error"])  # classes of one size


def test_pictures_are_drawn_where_the_name_ends_in_png(alexnet, run, dataset, tmp_path):
    options = [
        word for name in ("per-class", "confusion", "calibration") for word in (f"--{name}", tmp_path / f"{name}.png")
    ]
    status, out, _ = alexnet("evaluate", run, dataset.path, *options)
    assert status == 0 and "F1" in out and "calibration error (ECE)" in out and "top-5" not in out
    for path in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(path)).std() > 5
    assert len(list(tmp_path.iterdir())) == 3


def test_the_learning_curve_is_each_checkpoints_error(alexnet, run, dataset, tmp_path):
    status, out, _ = alexnet(
        "evaluate", run, dataset.path, "--checkpoint", "all", "--curve", tmp_path / "curve.png", "--json"
    )
    points = json.loads(out)["checkpoints"]
    assert status == 0 and {1, 2, 4, 6} <= {point["step"] for point in points}
    assert [point["step"] for point in points] == sorted({point["step"] for point in points})
    assert points[-1]["epoch"] == 2 and "last" in points[-1]["kinds"] and points[0]["epoch"] == pytest.approx(1 / 3)
    for point in points:
        alone = json.loads(alexnet("evaluate", run, dataset.path, "--checkpoint", point["step"], "--json")[1])
        assert alone["top1_error"] == point["top1_error"] and alone["loss"] == point["loss"]
    assert np.asarray(Image.open(tmp_path / "curve.png")).std() > 5
    status, out, _ = alexnet("evaluate", run, dataset.path, "--checkpoint", "all")
    assert status == 0 and len(out.splitlines()) == len(points) + 2 and "last" in out and "best" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--curve", "x.png"], "give --checkpoint all as well"),
        (["--curve", "x.csv", "--checkpoint", "all"], "a name that ends in .png"),
        (["--checkpoint", "all", "--per-class", "x.csv"], "takes no --per-class"),
        (["--checkpoint", "all", "--probe", "fc3"], "takes no --probe"),
        (["--predictions", "x.png"], "a name that ends in .csv"),
        (["--probe", "fc3", "--calibration", "x.csv"], "no --calibration"),
    ],
)
def test_options_that_do_not_go_together(alexnet, run, dataset, options, said):
    status, _, err = alexnet("evaluate", run, dataset.path, *options)
    assert status == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], ""),
        (["--split", "train"], "trained on these images"),
        (["--tune-ensemble-weights", "val"], "tuned on the images that are measured"),
        (["--tune-ensemble-weights", "train"], ""),
        (["--checkpoint", "best"], "was chosen by its error on these val images"),
        (["--views", "9"], "CIFAR-10"),
        (["--views", "10"], ""),
    ],
)
def test_what_makes_an_error_too_low_is_said(alexnet, run, dataset, options, said):
    status, _, err = alexnet("evaluate", run, dataset.path, *options)
    assert status == 0 and (said in err if said else "warning" not in err and "note" not in err), err
