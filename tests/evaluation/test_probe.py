"""Linear classifiers on a net's layers."""

import json
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from alexnet import Recipe, load, prepare, train
from alexnet.data.preprocessing import views
from alexnet.evaluation.probe import MOST_INPUTS, _pooled, probe
from tests.conftest import fill


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "run"
    train(dataset, folder, Recipe(net=net_file, batch_size=8, epochs=6), show=False)
    return folder


def activations(run, dataset, split: str, layer: str) -> np.ndarray:
    """(n, numbers), each image by itself."""
    found = []
    for row in dataset.rows(split):
        image = torch.from_numpy(dataset.image(int(row))).permute(2, 0, 1)[None]
        seen = run.preprocessing.apply(views(image, run.preprocessing.crop, 1)[0], torch.float32)
        with torch.no_grad():
            found.append(run.net.activations(seen, [layer])[layer].flatten(1).numpy())
    return np.concatenate(found)


def test_each_layer_is_measured_on_its_own_activations(run, dataset):
    opened = load(run)
    seen = []
    found = probe(opened, dataset, ["pool1", "fc3", "fc4"], progress=lambda done, total: seen.append((done, total)))
    assert [each.layer for each in found] == ["pool1", "fc3", "fc4"] and seen[-1] == (60, 60)
    assert [each.inputs for each in found] == [16 * 11 * 11, 32, 3]
    labels = {split: dataset.labels[dataset.rows(split)] for split in ("train", "val")}
    for each in found:
        x = {split: activations(opened, dataset, split, each.layer) for split in ("train", "val")}
        other = RidgeClassifier(alpha=10).fit(x["train"], labels["train"])  # another linear classifier, as good here
        wrong = 1 - other.score(x["val"], labels["val"])
        assert abs(each.errors.top1_error - wrong) <= 0.17, each.layer  # two of twelve images
        assert each.errors.images == 12 and each.errors.top1_error <= 0.34  # chance: 0.67


def test_classes_that_the_run_never_saw(run, tmp_path, alexnet):
    dataset = prepare(fill(tmp_path / "pictures", ("azure", "lime"), count=12), tmp_path / "store", size=64)
    assert alexnet("evaluate", run, dataset.path)[0] == 2  # the net's own last layer cannot be measured there
    status, out, err = alexnet("evaluate", run, dataset.path, "--probe", "conv2,fc3", "--json")
    assert status == 0, err
    assert [each["layer"] for each in json.loads(out)] == ["conv2", "fc3"]
    status, out, _ = alexnet("evaluate", run, dataset.path, "--probe", "fc3")
    assert status == 0 and "a linear classifier on each layer" in out and "fc3" in out


def test_maps_are_averaged_to_a_bounded_number():
    maps = torch.arange(2 * 96 * 55 * 55, dtype=torch.float32).view(2, 96, 55, 55)
    pooled = _pooled(maps)
    assert pooled.shape == (2, 96 * 9 * 9) and pooled.shape[1] <= MOST_INPUTS
    torch.testing.assert_close(pooled.view(2, 96, 81).mean(2), maps.mean((2, 3)), rtol=1e-3, atol=0)
    assert _pooled(torch.ones(2, 256, 6, 6)).shape == (2, 9216) and _pooled(torch.ones(2, 7)).shape == (2, 7)


def test_without_scikit_learn_it_says_so(run, dataset, alexnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    status, _, err = alexnet("evaluate", run, dataset.path, "--probe", "fc3")
    assert status == 2 and "pip install 'alexnet[probe]'" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--probe", "fc9"], "layer 'fc9': net small has conv1"),
        (["--probe", "fc3", "--views", "10"], "takes one run and one view"),
        (["--probe", "fc3", "--split", "test"], "test"),
    ],
)
def test_what_cannot_be_meant(run, dataset, alexnet, options, said):
    status, _, err = alexnet("evaluate", run, dataset.path, *options)
    assert status == 2 and said in err, err
