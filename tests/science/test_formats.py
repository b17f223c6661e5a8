"""Files of activations, each opened by the program that it is for, and against the activations themselves."""

import csv
import json

import h5py
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import safetensors
import scipy.io
import xarray

from alexnet import load
from alexnet.evaluation.activations import activations
from alexnet.science import formats
from alexnet.science.features import write_features
from tests.conftest import picture

LAYERS = ["conv1", "conv2:before", "fc3", "fc4"]
SUFFIXES = [".npy", ".h5", ".mat", ".parquet", ".arrow", ".safetensors", ".nc"]


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    """A list of five images in an order of its own; the second cannot be read."""
    folder = tmp_path_factory.mktemp("stimuli")
    names = ["é.png", "bad.png", "b.png", "a.png", "d.png"]
    for number, name in enumerate(names):
        picture(number % 3, number).save(folder / name)
    (folder / "bad.png").write_bytes(b"bad")
    lines = [f"{name},{label}" for name, label in zip(names, ["cat", "cat", "dog", "", "cat"])]
    (folder / "list.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    return folder / "list.csv"


@pytest.fixture(scope="module")
def expected(small_run, stimuli):
    (batch,) = activations(load(small_run, precision="float32"), stimuli, LAYERS)
    return batch


@pytest.fixture(scope="module")
def run(small_run):
    return load(small_run, precision="float32")


@pytest.fixture
def written(run, stimuli, tmp_path, monkeypatch):
    """Writes a file in batches of two."""
    monkeypatch.setattr("alexnet.evaluation.activations.batch_size", lambda *_: 2)

    def write(suffix, layers=LAYERS):
        path = tmp_path / f"x{suffix}"
        result = write_features(run, stimuli, path, layers)
        assert (result.images, result.bad) == (4, 1) and result.files == [
            str(path) for path in formats.outputs(path, layers)
        ]
        assert {str(path) for path in tmp_path.iterdir()} == set(result.files)
        return path

    return write


NAMES, LABELS = ["é.png", "b.png", "a.png", "d.png"], ["cat", "dog", "", "cat"]


def check_description(text):
    told = json.loads(text)
    assert told["images"] == 4 if "images" in told else True
    assert told["layers"]["fc3"] == {"shape": [32], "dropout_factor": 0.5} and told["precision"] == "float32"
    assert told["net"] == "small" and told["views"] == 1 and "shorter side" in told["fit"]


def close(values, expected):
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)  # batches of two and of four


def test_npy(written, expected):
    path = written(".npy")
    for layer in LAYERS:
        array = np.load(path.with_suffix(f".{layer.replace(':', '-')}.npy"), mmap_mode="r")
        assert isinstance(array, np.memmap)
        close(array, expected.layers[layer])
    rows = list(csv.DictReader(path.with_suffix(".csv").open(encoding="utf-8")))
    assert [row["name"] for row in rows] == NAMES and [row["label"] for row in rows] == LABELS
    assert {row["done"] for row in rows} == {"80x64, shorter-side to 64x64"}
    check_description(path.with_suffix(".json").read_text())
    for file in formats.outputs(path, LAYERS):
        file.unlink()
    close(np.load(written(".npy", ["fc4"])), expected.layers["fc4"])  # of one layer: the name that was given


def test_h5(written, expected):
    with h5py.File(written(".h5")) as file:
        for layer in LAYERS:
            close(file[f"layers/{layer}"][:], expected.layers[layer])
        assert list(file["images/name"].asstr()) == NAMES and list(file["images/label"].asstr()) == LABELS
        assert file["images/done"].asstr()[3] == "80x64, shorter-side to 64x64"
        check_description(file.attrs["description"])


def test_mat(written, expected):
    content = scipy.io.loadmat(written(".mat"))
    for layer in LAYERS:
        close(content[layer.replace(":", "_")], expected.layers[layer])
    text = [[str(cell[0]) if cell.size else "" for cell in content[name][:, 0]] for name in ("names", "labels")]
    assert text == [NAMES, LABELS]
    check_description(content["description"][0])


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_arrow(written, expected, suffix):
    path = written(suffix)
    frame = pl.read_parquet(path) if suffix == ".parquet" else pl.read_ipc(path)
    for layer in LAYERS:
        close(frame[layer].to_numpy(), expected.layers[layer].reshape(4, -1))
    assert frame["name"].to_list() == NAMES and frame["label"].to_list() == LABELS
    if suffix == ".parquet":
        schema = pq.read_schema(path)
        assert json.loads(schema.field("conv1").metadata[b"shape"]) == [16, 23, 23]
        check_description(schema.metadata[b"description"])


def test_safetensors(written, expected):
    with safetensors.safe_open(written(".safetensors"), "numpy") as file:
        for layer in LAYERS:
            close(file.get_tensor(layer), expected.layers[layer])
        rows = list(csv.DictReader(file.get_tensor("images.csv").tobytes().decode().splitlines()))
        assert [row["name"] for row in rows] == NAMES and [row["label"] for row in rows] == LABELS
        check_description(file.metadata()["description"])


def test_netcdf_in_brain_scores_shape(written, expected):
    with xarray.open_dataset(written(".nc"), engine="h5netcdf") as data:
        assembly = data["activations"].load()
        check_description(data.attrs["description"])
    assert assembly.dims == ("presentation", "neuroid") and assembly["stimulus_path"].values.tolist() == NAMES
    assert assembly["label"].values.tolist() == LABELS
    for layer in LAYERS:
        own = assembly[:, assembly["layer"].values == layer]
        close(own.values, expected.layers[layer].reshape(4, -1))
        assert own["neuroid_id"].values[-1] == f"small.{layer}.{own.shape[1] - 1}"
        assert own["neuroid_num"].values.tolist() == list(range(own.shape[1])) and set(own["model"].values) == {"small"}
        if layer == "conv1":
            unit = own[0, (own["channel"] == 3) & (own["channel_x"] == 5) & (own["channel_y"] == 7)]
            assert unit.item() == own.values[0].reshape(16, 23, 23)[3, 5, 7]
    assert np.isnan(own["channel_x"].values).all()
    indexed = assembly.set_index(neuroid=["neuroid_id"])  # as Brain-Score makes its assemblies
    assert indexed.sel(neuroid="small.fc4.1").shape == (4,)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_file_again_byte_for_byte(written, suffix):
    path = written(suffix)
    files = formats.outputs(path, LAYERS)
    first = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    written(suffix)
    assert [file.read_bytes() for file in files] == first
