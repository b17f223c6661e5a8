"""What the page shows of layers: the numbers are the net's, the pictures show them."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from alexnet import Recipe, features, load, train
from alexnet.inside.look import look
from alexnet.search.answers import answers
from alexnet.web.layers import COLORS
from tests.web.conftest import serving
from tests.web.test_api import FILES


@pytest.fixture(scope="module")
def outputs(run, tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("layers") / "photo.jpg"
    path.write_bytes(FILES["photo.jpg"])
    _, arrays = features(run, path, ["conv2", "fc3"])
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


@pytest.mark.parametrize("layer", ["conv2", "conv2:before", "fc3"])
def test_features_are_those_of_the_command(client, run, layer, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(FILES["photo.jpg"])
    status, headers, content = client(f"/features?layer={layer}", FILES["photo.jpg"])
    assert status == 200 and headers["content-type"] == "application/octet-stream"
    _, expected = features(run, tmp_path / "photo.jpg", layer)
    assert np.array_equal(np.load(io.BytesIO(content)), expected[layer][0])


def test_features_of_ten_views_can_be_pooled(client):
    _, _, content = client("/features?layer=conv2&views=10&pool=max", FILES["photo.jpg"])
    assert np.load(io.BytesIO(content)).shape == (16,)
    status, _, content = client("/features?layer=conv9", FILES["photo.jpg"])
    assert status == 422 and "perhaps you meant conv2" in json.loads(content)["detail"]


def test_attributions_are_those_of_the_look(client, run, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(FILES["photo.jpg"])
    answer = client.json("/attributions", FILES["photo.jpg"])
    seen = look(load(run), tmp_path / "photo.jpg")
    assert answer["name"] == load(run).words[seen.index]
    maps = {"gradient": seen.gradient, "SmoothGrad": seen.smooth_gradient, "Grad-CAM": seen.grad_cam}
    assert list(answer["maps"]) == list(maps)
    for name, url in answer["maps"].items():
        sizes = np.abs(maps[name].values)
        expected = (sizes / np.quantile(sizes, 0.995)).clip(0, 1)
        assert np.abs(shown({"picture": url}) - expected).max() <= 3 / 255, name


def test_similar_images_are_those_of_the_command(client, run, index, pictures):
    photo = pictures / "red" / "003.jpg"
    answer = client.json("/search?count=5", photo.read_bytes())
    (expected,) = answers(index, photo, count=5).answers
    assert [(n["image"], n["distance"]) for n in answer["neighbors"]] == [
        (neighbor.image, neighbor.distance) for neighbor in expected.neighbors
    ]
    assert answer["neighbors"][0]["image"] == str(photo) and all(n["there"] for n in answer["neighbors"])
    row = Image.open(io.BytesIO(base64.b64decode(answer["picture"].partition(",")[2])))
    assert row.size == (5 * 96, 96)
    with serving(run, None) as asks:
        assert asks("/search", photo.read_bytes())[0] == 404 and asks.json("/run")["similar"] is None


def test_an_index_of_another_run_is_refused_in_a_line(index, dataset, net_file, tmp_path, alexnet):
    train(dataset, tmp_path / "run", Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, seed=9), show=False)
    status, _, err = alexnet("serve", tmp_path / "run", "--port", 0, "--index", index)
    assert status == 2 and err.startswith(f"error: {index}: ") and err.count("\n") == 1
    status, _, err = alexnet("serve", tmp_path / "run", "--port", 0, "--index", tmp_path)
    assert status == 2 and err.count("\n") == 1
