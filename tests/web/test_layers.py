"""What the page shows of layers: the numbers are the net's, the pictures show them."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from alexnet import features
from alexnet.web.layers import COLORS
from tests.web.test_api import FILES


@pytest.fixture(scope="module")
def outputs(run, tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("layers") / "photo.jpg"
    path.write_bytes(FILES["photo.jpg"])
    _, arrays = features(run, path, ["conv2", "fc3"], precision="float32")
    return {name: array[0] for name, array in arrays.items()}


def shown(layer: dict) -> np.ndarray:
    """The numbers that a layer's picture shows, 0..1 of the highest."""
    picture = Image.open(io.BytesIO(base64.b64decode(layer["picture"].partition(",")[2])))
    colors = {tuple(color): place / 255 for place, color in reversed(list(enumerate(COLORS.tolist())))}
    return np.array([[colors[tuple(pixel)] for pixel in row] for row in np.asarray(picture.convert("RGB")).tolist()])


def test_the_strongest_maps_are_those_of_features(client, outputs):
    (layer,) = client.json("/maps?layer=conv2&count=5", FILES["photo.jpg"])["layers"]
    maps = outputs["conv2"]
    assert (layer["units"], layer["rows"], layer["columns"]) == maps.shape
    peaks = maps.max((1, 2))
    assert [entry["unit"] for entry in layer["strongest"]] == np.argsort(-peaks, kind="stable")[:5].tolist()
    assert layer["highest"] == peaks.max() and layer["active"] == (peaks > 0).sum()
    pictures = np.split(shown(layer), 5, axis=1)
    for entry, picture in zip(layer["strongest"], pictures):
        own = maps[entry["unit"]]
        assert entry["value"] == own.max() == own[entry["row"], entry["column"]]
        assert np.abs(picture - own.clip(0) / peaks.max()).max() <= 2 / 255


def test_one_unit_has_its_map(client, outputs):
    (layer,) = client.json("/maps?layer=conv2&unit=3", FILES["photo.jpg"])["layers"]
    assert [entry["unit"] for entry in layer["strongest"]] == [3]
    assert np.abs(shown(layer) - outputs["conv2"][3].clip(0) / outputs["conv2"].max()).max() <= 2 / 255


def test_of_all_layers_each_towers_strongest_is_given(client, outputs):
    layers = {layer["layer"]: layer for layer in client.json("/maps", FILES["photo.jpg"])["layers"]}
    assert list(layers) == ["conv1", "norm1", "pool1", "conv2", "pool2", "fc3", "fc4"]
    peaks = outputs["conv2"].max((1, 2))
    units = [entry["unit"] for entry in layers["conv2"]["strongest"]]
    assert units == [int(peaks[:8].argmax()), 8 + int(peaks[8:].argmax())]
    strip = shown(layers["fc3"])
    assert strip.shape == (32, 1)
    assert np.abs(strip[:, 0] - outputs["fc3"].clip(0) / outputs["fc3"].max()).max() <= 2 / 255


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("layer=conv9", "layer: no layer conv9; perhaps you meant conv2"),
        ("layer=conv2&unit=16", "unit: conv2 has units 0 to 15"),
        ("unit=1", "unit: give its layer, too"),
        ("layer=conv2&count=97", "count: "),
        ("layer=conv2&unit=-1", "unit: "),
    ],
)
def test_what_there_is_not_is_named(client, query, said):
    status, _, content = client(f"/maps?{query}", FILES["photo.jpg"])
    assert status == 422 and said in json.loads(content)["detail"]
