"""The embedded data set must have to be learned, and the demo must learn it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from alexnet import Dataset, prepare
from alexnet.data import synthetic as demo
from alexnet.experiments import demo as app


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> app.Demonstration:
    return app.demo(tmp_path_factory.mktemp("demo") / "demo")


def flat(dataset: Dataset, split: str, side: int) -> np.ndarray:
    """(n, side * side * 3) pixels, averaged over areas."""
    rows = dataset.rows(split)
    step = dataset.size // side
    return np.stack(
        [dataset.image(row).reshape(side, step, side, step, 3).mean((1, 3), dtype=np.float32).ravel() for row in rows]
    )


@pytest.mark.slow
def test_the_net_learns_what_a_linear_classifier_cannot(shown):
    dataset = Dataset(shown.dataset)
    labels = {split: dataset.labels[dataset.rows(split)] for split in ("train", "val")}
    linear = 1.0
    for side in (8, 16, 32, 64):  # pixels, from coarse to fine: the best of them counts
        scale = StandardScaler().fit(flat(dataset, "train", side))
        model = RidgeClassifierCV(np.logspace(1, 7, 7)).fit(
            scale.transform(flat(dataset, "train", side)), labels["train"]
        )
        linear = min(linear, 1 - model.score(scale.transform(flat(dataset, "val", side)), labels["val"]))
    assert linear > 0.4
    assert shown.one_view.top1_error <= min(0.10, linear / 4)
    assert shown.ten_views.top1_error <= 0.10


@pytest.mark.slow
def test_what_it_leaves(shown):
    assert [Path(path).name for path in shown.pictures] == ["curve.png", "filters.png", "predictions.png"]
    for path in shown.pictures:
        assert np.asarray(Image.open(path)).std() > 5
    assert shown.chance == 7 / 8 and shown.training_images == 1920 and shown.one_view.images == 480
    assert shown.training_seconds > 0


def test_the_images_are_deterministic_and_balanced(tmp_path):
    assert (demo.draw(5, 3) == demo.draw(5, 3)).all()
    assert (demo.draw(5, 3) != demo.draw(6, 3)).any() and (demo.draw(5, 3) != demo.draw(5, 4)).any()
    datasets = [prepare(demo.source(64), tmp_path / str(n), size=32, workers=n) for n in (1, 3)]
    assert datasets[0].fingerprint == datasets[1].fingerprint
    assert np.bincount(datasets[0].labels[datasets[0].rows("train")]).tolist() == [8] * 8
    assert datasets[0].splits == {"train": 64, "val": 16}


@pytest.mark.slow  # .ci/run makes the quick demo twice
def test_quick_and_again(alexnet, narrow, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "QUICK_IMAGES", 64)  # .ci/run runs it whole
    status, out, err = alexnet("demo", tmp_path / "demo", "--quick")
    assert status == 0 and "one view" in out and "predictions.png" in out and "epoch   6 of 6" in err
    assert "advice:" not in err and "tip:" not in err
    status, out, err = alexnet("demo", tmp_path / "demo", "--quick", "--json")  # finished: says it again
    assert status == 0 and json.loads(out)["epochs"] == 6 and "finished already" in err
    status, _, err = alexnet("demo", tmp_path / "demo")
    assert status == 2 and f"alexnet demo {tmp_path / 'demo'} --quick" in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    status, _, err = alexnet("demo", tmp_path / "full")
    assert status == 2 and "not a folder for the demo; give another folder" in err
