"""A small trained net and an image of its dataset, to be read only."""

import functools
from pathlib import Path

import pytest

from alexnet import Recipe, load, train
from alexnet.evaluation.classifier import Classifier
from alexnet.figures import units


@pytest.fixture(scope="package")
def run_folder(dataset, net_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inside") / "run"
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=6, precision="float32")
    train(dataset, folder, recipe, show=False)
    return folder


@pytest.fixture(scope="package")
def run(run_folder) -> Classifier:
    return load(run_folder, precision="float32")


@pytest.fixture
def image(pictures) -> Path:
    return pictures / "red" / "003.jpg"


@pytest.fixture
def few_steps(monkeypatch) -> None:
    """Sheets of units whose images are hardly begun."""
    monkeypatch.setattr(units, "driving_images", functools.partial(units.driving_images, steps=4))
