"""What tests of search share: a run, its activations by plain calls, pictures that may be changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from alexnet import Recipe, load, train
from alexnet.evaluation import activations
from alexnet.search import commit, pieces


@pytest.fixture(scope="session")
def run(dataset, net_file, tmp_path_factory) -> Path:
    """A small net after an epoch, which has learned nothing."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    train(dataset, folder, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1), show=False)
    return folder


@pytest.fixture
def photos_of_mine(pictures, tmp_path) -> Path:
    """60 pictures of three classes, to be changed."""
    return Path(shutil.copytree(pictures, tmp_path / "photos"))


@pytest.fixture
def many(monkeypatch) -> None:
    """Indexes of more than 40 images are approximate; pieces hold 14, which the net sees seven at a time."""
    monkeypatch.setattr(commit, "MOST_EXACT", 40)
    monkeypatch.setattr(pieces, "IMAGES", 10)
    monkeypatch.setattr(activations, "KEPT_BYTES", 7 * 4 * 32)


def plain_activations(run: Path, layer: str, paths: list[Path]) -> np.ndarray:
    """(n, d) float64 of half-precision activations, each image by itself."""
    classifier = load(run)
    rows = [classifier.features(path, layer)[1][layer].reshape(-1) for path in paths]
    return np.stack(rows).astype(np.float16).astype(np.float64)
