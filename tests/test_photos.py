"""The main job on real photos, in short: three commands, and it has begun to learn."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alexnet import Dataset

pytestmark = pytest.mark.photos


@pytest.fixture(scope="module")
def dataset(photos, tmp_path_factory) -> Dataset:
    from alexnet import cli

    folder = tmp_path_factory.mktemp("photos") / "store"
    assert cli.main(["prepare", str(photos / "imagenette-dev.tar"), str(folder)]) == 0
    return Dataset(folder)


def test_every_photo_is_in_the_store(dataset, alexnet):
    assert dataset.splits == {"train": 5000, "val": 2000} and len(dataset.classes) == 10 and not dataset.skipped()
    assert np.bincount(dataset.labels[dataset.rows("train")]).tolist() == [500] * 10
    assert alexnet("verify", dataset.path)[0] == 0


@pytest.fixture(scope="module")
def half(photos, tmp_path_factory) -> Dataset:
    """Every second photo: an epoch has as many steps as one of all, of half as many images each."""
    from alexnet import cli

    folder = tmp_path_factory.mktemp("half")
    with tarfile.open(photos / "imagenette-dev.tar") as archive:
        names = sorted(member.name for member in archive if member.isfile())
        archive.extractall(folder / "photos", [archive.getmember(name) for name in names[::2]], filter="data")
    assert cli.main(["prepare", str(folder / "photos"), str(folder / "store")]) == 0
    dataset = Dataset(folder / "store")
    assert dataset.splits == {"train": 2500, "val": 1000}
    return dataset


def test_two_epochs_by_the_recipe_fast_go_far(half, alexnet, tmp_path):
    status, out, err = alexnet("train", half.path, tmp_path / "run", "--recipe", "fast", "--epochs", 2, "--json")
    assert status == 0, err
    assert json.loads(out)["errors"]["top1_error"] < 0.6  # 0.43 here, by default 0.71


def test_one_epoch_is_far_better_than_guessing(half, alexnet, tmp_path):
    dataset, run = half, tmp_path / "run"
    status, out, err = alexnet("train", dataset.path, run, "--epochs", 1, "--json")
    assert status == 0, err
    one = json.loads(out)["errors"]["top1_error"]
    assert one < 0.8  # chance: 0.9
    told = json.loads(alexnet("evaluate", run, dataset.path, "--json")[1])
    assert told["top1_error"] == pytest.approx(one, abs=1e-9)
    image = tmp_path / "a.jpg"
    image.write_bytes(bytes(dataset.encoded(int(dataset.rows("val")[0]))))
    status, out, _ = alexnet("predict", run, image)
    assert status == 0 and out.startswith(str(image)) and Path(run, "curve.png").exists()
