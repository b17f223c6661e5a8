"""Activations batch by batch: against the net as it was saved, run by plain torch calls layer by layer."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet import UsageError, load
from alexnet.data.preprocessing import views as views_of
from alexnet.evaluation import activations as module
from alexnet.evaluation.activations import activations, batch_size, shapes
from alexnet.nets.layer_names import canonical
from alexnet.nets.table_file import load_table
from tests.conftest import picture

DONE = "80x64, shorter side to 64, its central 64x64, center 48x48 (rows 8 to 55, columns 8 to 55)"


@pytest.fixture(scope="module")
def run(small_run):
    return load(small_run, precision="float32")


def plain(net, seen):
    """The small net by torch's functions alone: every layer's outputs before and after."""
    p, made = net.tensors(), {}
    x = F.conv2d(F.pad(seen, (0, 1, 0, 1)), p["conv1.weight"], p["conv1.bias"], stride=2)
    made["conv1:before"], made["conv1"] = x, x.relu()
    towers = made["conv1"].unflatten(1, (2, 8))
    squares = F.pad(towers.square(), (0, 0, 0, 0, 2, 2))
    sums = sum(squares[:, :, i : i + 8] for i in range(5))
    made["norm1"] = (towers / (2 + 1e-4 * sums) ** 0.75).flatten(1, 2)
    made["pool1"] = F.max_pool2d(made["norm1"], 3, 2, ceil_mode=True)
    x = F.conv2d(made["pool1"], p["conv2.weight"], p["conv2.bias"], padding=1, groups=2)
    made["conv2:before"], made["conv2"] = x, x.relu()
    made["pool2"] = F.max_pool2d(made["conv2"], 3, 2, ceil_mode=True)
    x = F.linear(made["pool2"].flatten(1), p["fc3.weight"], p["fc3.bias"])
    made["fc3:before"], made["fc3"] = x, x.relu() * 0.5  # paper 4.2
    made["fc4"] = F.linear(made["fc3"], p["fc4.weight"], p["fc4.bias"])
    return made


@pytest.fixture(scope="module")
def expected(run, dataset):
    """Of the training images, by view."""
    images = torch.stack([torch.tensor(dataset.image(row)).permute(2, 0, 1) for row in dataset.rows("train")])
    seen = views_of(images, 48, 10)
    made = [plain(run.net, run.preprocessing.apply(view, torch.float32)) for view in seen.contiguous()]
    with torch.no_grad():
        return {layer: torch.stack([view[layer] for view in made]).detach() for layer in made[0]}


def test_every_layer_before_and_after_equals_plain_torch(run, dataset, expected, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 7 * 4 * 40_000)  # several batches
    layers = list(expected)
    batches = list(activations(run, dataset, layers, split="train"))
    assert len(batches) > 2 and max(len(batch.names) for batch in batches) == batch_size(run, layers)
    assert [name for batch in batches for name in batch.names] == [dataset.name(row) for row in dataset.rows("train")]
    labels = np.concatenate([batch.labels for batch in batches])
    assert (labels == dataset.labels[dataset.rows("train")]).all()
    for layer in layers:
        outputs = np.concatenate([batch.layers[layer] for batch in batches])
        right = expected[layer][4].numpy()  # the fifth of the ten views is the center
        assert outputs.dtype == np.float32 and outputs.shape[1:] == shapes(run, [layer])[layer] == right.shape[1:]
        assert np.abs(outputs - right).max() <= 1e-5 * np.abs(right).max(), layer
        assert (outputs.min() < 0) == layer.endswith((":before", "fc4"))


def test_views_are_averaged_and_maps_pooled(run, dataset, expected):
    for pool, reduced in (("mean", lambda x: x.mean((3, 4))), ("max", lambda x: x.amax((3, 4)))):
        given = activations(run, dataset, ["conv2", "fc3"], split="train", views=10, pool=pool)
        found = [batch.layers for batch in given]
        right = {"conv2": reduced(expected["conv2"]).mean(0), "fc3": expected["fc3"].mean(0)}
        for layer, values in right.items():
            np.testing.assert_allclose(np.concatenate([b[layer] for b in found]), values, rtol=1e-4, atol=1e-5)


def test_dropouts_factor_can_be_left_out(run, dataset):
    (half,), (whole,) = (list(activations(run, dataset, "fc3", dropout_factor=on)) for on in (True, False))
    assert (2 * half.layers["fc3"] == whole.layers["fc3"]).all() and half.layers["fc3"].any()


def test_a_list_is_read_in_its_order_and_what_is_unreadable_is_said(run, tmp_path):
    for name in "cab":
        picture(0, ord(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "list.csv").write_text("path,label\nc.png,x\nbad.png,x\na.png,\nb.png,y\n")
    (batch,) = activations(run, tmp_path / "list.csv", "fc4")
    (folder,) = activations(run, tmp_path, "fc4")
    assert batch.names == ["c.png", "a.png", "b.png"] and batch.labels.tolist() == [0, -1, 1]
    assert [name for name, _ in batch.bad] == ["bad.png"] and batch.done == [DONE] * 3
    assert [name[-5] for name in folder.names] == ["a", "b", "c"] and folder.labels is None
    np.testing.assert_allclose(batch.layers["fc4"], folder.layers["fc4"][[2, 0, 1]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        ("features.0 features.1 features.2 features.4", "conv1:before conv1 pool1 conv2"),
        ("features.7 features.9 features.11 features.12", "conv3 conv4 conv5 pool5"),
        ("classifier.1 classifier.2 classifier.5 classifier.6", "fc6:before fc6 fc7 fc8"),
        ("conv1_relu relu1 conv1_maxpool relu7 conv5_maxpool avgpool", "conv1 pool1 fc7 pool5"),
        ("fc1_relu fc2_relu fc3 logits FEATURES.10", "fc6 fc7 fc8 conv5:before"),
        ("pool5:before fc8:before norm1 relu5:before", "pool5 fc8 norm1 conv5:before"),
    ],
)
def test_layers_have_the_names_that_people_use(names, ours):
    assert canonical(load_table("paper"), names.split()) == ours.split()


def test_an_unknown_layer_is_answered_with_the_nearest(run):
    with pytest.raises(UsageError, match=r"'conv55'.*perhaps you meant conv5"):
        canonical(load_table("paper"), ["conv55"])
    assert canonical(run.net.table, "fc3") == ["fc3"]  # a table's own name is no one else's
    with pytest.raises(UsageError, match=r"layer 'features\.0'"):
        activations(run, [], "features.0")


RANKS = """
import sys
import subprocess
import sys

import numpy as np
from alexnet import features
from alexnet.ranks import joined
with joined() as ranks:
    names, layers = features(sys.argv[1], sys.argv[2], ["conv2", "fc3"], precision="float32")
    if ranks.first:
        np.savez(sys.argv[3], names=names, **layers)
    assert ranks.first or not names
"""


@pytest.mark.slow
def test_two_ranks_share_the_images(run, pictures, tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    subprocess.run([*command, run.path, pictures / "red", tmp_path / "x.npz"], check=True, timeout=120)
    names, layers = run.features(pictures / "red", ["conv2", "fc3"])
    together = np.load(tmp_path / "x.npz")
    assert together["names"].tolist() == names
    for layer, outputs in layers.items():
        np.testing.assert_allclose(together[layer], outputs, rtol=1e-4, atol=1e-5)
