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


def test_one_epoch_is_far_better_than_guessing(photos, alexnet, tmp_path):
    """Of every second photo: as many steps as of all, of half as many images each."""
    folder, run = tmp_path / "half", tmp_path / "run"
    with tarfile.open(photos / "imagenette-dev.tar") as archive:
        names = sorted(member.name for member in archive if member.isfile())
        archive.extractall(folder, [archive.getmember(name) for name in names[::2]], filter="data")
    assert alexnet("prepare", folder, tmp_path / "store")[0] == 0
    dataset = Dataset(tmp_path / "store")
    assert dataset.splits == {"train": 2500, "val": 1000}
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
