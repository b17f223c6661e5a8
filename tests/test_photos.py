"""The main job on real photos, in short: three commands, and it has begun to learn."""

import json
from pathlib import Path

import numpy as np
import pytest

from alexnet import Store

pytestmark = pytest.mark.photos


@pytest.fixture(scope="module")
def store(photos, tmp_path_factory) -> Store:
    from alexnet import cli

    folder = tmp_path_factory.mktemp("photos") / "store"
    assert cli.main(["prepare", str(photos / "imagenette-dev.tar"), str(folder)]) == 0
    return Store(folder)


def test_every_photo_is_in_the_store(store, alexnet):
    assert store.splits == {"train": 5000, "val": 2000} and len(store.classes) == 10 and not store.skipped()
    assert np.bincount(store.labels[store.rows("train")]).tolist() == [500] * 10
    assert alexnet("verify", store.path)[0] == 0


def test_one_epoch_is_far_better_than_guessing(store, alexnet, tmp_path):
    run = tmp_path / "run"
    status, out, err = alexnet("train", store.path, run, "--epochs", 1, "--json")
    assert status == 0, err
    one = json.loads(out)["errors"]["top1_error"]
    assert one < 0.8  # guessing: 0.9
    told = json.loads(alexnet("evaluate", run, store.path, "--json")[1])
    assert told["top1_error"] == pytest.approx(one, abs=1e-9)
    image = tmp_path / "a.jpg"
    image.write_bytes(bytes(store.encoded(int(store.rows("val")[0]))))
    status, out, _ = alexnet("predict", run, image)
    assert status == 0 and out.startswith(str(image)) and Path(run, "curve.png").exists()
