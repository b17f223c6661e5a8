"""What the page shows of layers: the numbers are the net's, the pictures show them."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet import Recipe, features, load, train
from alexnet.inside.kept_units import kept_units
from alexnet.inside.look import look
from alexnet.inside.units import strongest_images
from alexnet.search.answers import answers
from alexnet.search.codes import Coder
from alexnet.search.index import Index
from alexnet.web.layers import COLORS
from tests.web.conftest import serving
from tests.web.test_api import FILES


@pytest.fixture(scope="module")
def outputs(run, tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("layers") / "photo.jpg"
    path.write_bytes(FILES["photo.jpg"])
    _, arrays = features(run, path, ["conv2", "fc3"])
    return {name: array[0] for name, array in arrays.items()}


def unpacked(url: str) -> bytes:
    """The file in a ``data:`` URL."""
    return base64.b64decode(url.partition(",")[2])


def shown(layer: dict) -> np.ndarray:
    """The numbers that a layer's picture shows, 0..1 of the highest."""
    picture = Image.open(io.BytesIO(unpacked(layer["picture"])))
    colors = {tuple(color): number / 255 for number, color in reversed(list(enumerate(COLORS.tolist())))}
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


def test_the_number_that_is_white_can_be_given(client, outputs):
    white = 2.5 * float(outputs["conv2"].max())
    (layer,) = client.json(f"/maps?layer=conv2&unit=3&white={white}", FILES["photo.jpg"])["layers"]
    assert layer["highest"] == outputs["conv2"].max()
    assert np.abs(shown(layer) - outputs["conv2"][3].clip(0) / white).max() <= 2 / 255


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
def test_features_are_those_of_the_command(client, run, layer, tmp_path, alexnet):
    (tmp_path / "photo.jpg").write_bytes(FILES["photo.jpg"])
    status, headers, content = client(f"/features?layer={layer}", FILES["photo.jpg"])
    assert status == 200 and headers["content-type"] == "application/octet-stream"
    assert alexnet("features", run, tmp_path / "photo.jpg", tmp_path / "photo.npy", "--layer", layer)[0] == 0
    expected = np.load(tmp_path / "photo.npy")
    answer = np.load(io.BytesIO(content))
    assert answer.dtype == expected.dtype and np.array_equal(answer, expected)


def test_features_of_ten_views_can_be_pooled(client):
    _, _, content = client("/features?layer=conv2&views=10&pool=max", FILES["photo.jpg"])
    assert np.load(io.BytesIO(content)).shape == (1, 16)
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


def test_attributions_are_of_the_class_that_is_asked_for(client, run, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(FILES["photo.jpg"])
    classifier = load(run)
    for label in classifier.classes:
        answer = client.json(f"/attributions?class={label}", FILES["photo.jpg"])
        seen = look(classifier, tmp_path / "photo.jpg", label)
        assert answer["name"] == classifier.words[seen.index] and classifier.classes[seen.index] == label
        sizes = np.abs(seen.gradient.values)
        expected = (sizes / np.quantile(sizes, 0.995)).clip(0, 1)
        assert np.abs(shown({"picture": answer["maps"]["gradient"]}) - expected).max() <= 3 / 255
    status, _, content = client("/attributions?class=purple", FILES["photo.jpg"])
    assert status == 422 and json.loads(content)["detail"].startswith("class purple: ")


def test_similar_images_are_those_of_the_command(client, run, index, pictures):
    photo = pictures / "red" / "003.jpg"
    answer = client.json("/search?count=5", photo.read_bytes())
    (expected,) = answers(index, photo, count=5).answers
    assert [(n["image"], n["distance"]) for n in answer["neighbors"]] == [
        (neighbor.image, neighbor.distance) for neighbor in expected.neighbors
    ]
    assert answer["neighbors"][0]["image"] == str(photo) and all(n["there"] for n in answer["neighbors"])
    row = Image.open(io.BytesIO(unpacked(answer["picture"])))
    assert row.size == (5 * 96, 96)
    with serving(run, None) as asks:
        assert asks("/search", photo.read_bytes())[0] == 404 and asks.json("/run")["similar"] is None


@pytest.mark.parametrize("flip", [True, False])
def test_a_flipped_image_is_found_by_its_flip(client, pictures, flip):
    photo, turned = pictures / "red" / "003.jpg", io.BytesIO()
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(turned, "PNG")
    first = client.json(f"/search?count=1&flip={flip}", turned.getvalue())["neighbors"][0]
    plain = client.json("/search?count=2&flip=false", photo.read_bytes())["neighbors"]
    assert (first["image"] == str(photo) and first["distance"] < 0.1 * plain[1]["distance"]) == flip


def test_an_index_of_another_run_is_refused_in_a_line(index, dataset, net_file, tmp_path, alexnet):
    train(dataset, tmp_path / "run", Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, seed=9), show=False)
    status, _, err = alexnet("serve", tmp_path / "run", "--port", 0, "--index", index)
    assert status == 2 and err.startswith(f"error: {index}: ") and err.count("\n") == 1
    status, _, err = alexnet("serve", tmp_path / "run", "--port", 0, "--index", tmp_path)
    assert status == 2 and err.count("\n") == 1


@pytest.fixture(scope="module")
def looked(client) -> dict:
    """Of units, how far the search for their strongest images is: at the end."""
    state = client.json("/units", b"")
    while state["state"] == "measuring":
        state = client.json("/units", b"")
    return state


def test_the_strongest_images_of_a_unit_are_those_of_show(client, run, dataset, looked):
    assert looked == {"state": "done", "split": "val", "images": 12, "done": 12}
    classifier = load(run)
    expected = strongest_images(classifier, dataset, dataset.rows("val"))
    for layer, unit in (("conv1", 3), ("conv2", 5), ("fc3", 7), ("fc4", 2)):
        answer, own = client.json(f"/units/{layer}/{unit}"), expected[layer]
        assert [image["row"] for image in answer["strongest"]] == own.rows[unit].tolist()
        values = [image["value"] for image in answer["strongest"]]
        assert values == pytest.approx(own.values[unit].tolist(), rel=1e-4, abs=1e-5)
        assert answer["active"] == pytest.approx(float(own.active[unit]))
        assert [word for word, _ in answer["means"]] == list(dataset.words)
        assert [mean for _, mean in answer["means"]] == pytest.approx(own.means[:, unit].tolist(), rel=1e-4, abs=1e-5)
        for image in answer["strongest"]:
            assert image["class"] == dataset.words[dataset.labels[image["row"]]]
            assert client(f"/images/{image['row']}")[0] == 200
        row = Image.open(io.BytesIO(unpacked(answer["picture"])))
        assert row.size == (9 * 96, 96)


def test_units_of_a_layer_have_the_image_that_drives_each_most(client, run, dataset, looked):
    own = strongest_images(load(run), dataset, dataset.rows("val"))["conv2"]
    answer = client.json("/units/conv2")
    assert [entry["unit"] for entry in answer["shown"]] == list(range(answer["units"])) == list(range(16))
    assert [entry["row"] for entry in answer["shown"]] == own.rows[:, 0].tolist()
    row = Image.open(io.BytesIO(unpacked(answer["picture"])))
    assert row.size == (16 * 96, 96)
    later = client.json("/units/conv2?first=14")
    assert (
        later["shown"] == answer["shown"][14:] and client.json("/units/conv2?first=2&count=3")["shown"][2]["unit"] == 4
    )
    status, _, content = client("/units/pool1")
    assert status == 422 and "layer pool1: has no weights of its own" in json.loads(content)["detail"]


def test_a_tile_is_what_the_unit_sees(client, dataset, looked):
    """By hand: conv1's kernels of 5, every 2 pixels, see 5 x 5 pixels of the center crop."""
    answer = client.json("/units/conv1/3")
    strongest, edge = answer["strongest"][0], (64 - 48) // 2
    top, left = (edge + 2 * number for number in strongest["place"])
    expected = dataset.image(strongest["row"])[top : top + 5, left : left + 5]
    assert answer["side"] == 5 == len(expected)
    row = np.asarray(Image.open(io.BytesIO(unpacked(answer["picture"]))), int)
    middles = (np.arange(5) * 96 + 48) // 5
    assert np.abs(row[np.ix_(middles, middles)] - expected).mean() < 16  # JPEG


def test_nothing_is_looked_at_before_it_is_asked_for_and_nothing_is_written(run, dataset):
    before = sorted(run.rglob("*"))
    with serving(run, dataset) as asks:
        answer = asks.json("/units/conv2/0")
        assert answer["state"] == "not measured" and answer["strongest"] == [] and answer["done"] == 0
        asks.json("/units", b"")
        while asks.json("/units/conv2/0")["state"] == "measuring":
            pass
        assert len(asks.json("/units/conv2/0")["strongest"]) == 9
    assert sorted(run.rglob("*")) == before


def test_what_show_kept_with_the_run_is_taken(run, dataset, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    kept = kept_units(tmp_path / "run", load(tmp_path / "run"), dataset, "val")
    with serving(tmp_path / "run", dataset) as asks:
        asks.json("/units", b"")
        while asks.json("/units/conv2/0")["state"] == "measuring":
            pass
        answers = [asks.json(f"/units/conv2/{unit}") for unit in range(16)]
        assert asks.json("/healthz")["answered"] == 1  # the one at the start: no pass was made
    values = [[image["value"] for image in answer["strongest"]] for answer in answers]
    assert np.array_equal(np.array(values, np.float32), kept["conv2"].values)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/units/conv9/0", 422, "layer conv9: is no layer of this net"),
        ("/units/pool1/0", 422, "layer pool1: has no weights of its own; give one of conv1, conv2, fc3, fc4"),
        ("/units/conv2/16", 422, "unit: conv2 has units 0 to 15"),
        ("/units/conv2/-1", 422, "unit: "),
        ("/units/conv2/16/made", 422, "unit: conv2 has units 0 to 15"),
        ("/units/conv9/0/made", 422, "layer conv9: is no layer of this net"),
    ],
)
def test_units_that_there_are_not_are_named(client, path, status, said):
    answered, _, content = client(path)
    assert answered == status and said in json.loads(content)["detail"]


@pytest.mark.parametrize(("kind", "bits"), [("itq", 32), ("hyperplanes", 64)])
def test_codes_find_what_differs_in_the_fewest_bits(client, index, run, pictures, kind, bits):
    photo = pictures / "green" / "004.jpg"
    answer = client.json(f"/search?count=5&flip=false&code={kind}&bits={bits}", photo.read_bytes())
    plain = client.json("/search?count=5&flip=false", photo.read_bytes())
    assert answer["neighbors"] == plain["neighbors"] and plain["coded"] is None
    coded = answer["coded"]
    opened = Index(index)
    rows = opened.stored(np.arange(len(opened)))
    _, own = features(run, photo, opened.bound["layer"])
    query = own[opened.bound["layer"]].reshape(1, -1).astype(np.float16)
    encode = Coder(rows).encoder(kind, bits)
    apart = (encode(rows) != encode(query)).sum(1)  # in bits that are not packed
    order = np.argsort(apart, kind="stable")
    assert [neighbor["place"] for neighbor in coded["neighbors"]] == order[:5].tolist()
    assert [neighbor["differing"] for neighbor in coded["neighbors"]] == apart[order[:5]].tolist()
    exact = np.argsort(np.linalg.norm(rows.astype(np.float32) - query.astype(np.float32), axis=1), kind="stable")
    assert coded["overlap"] == len(set(exact[:10].tolist()) & set(order[:10].tolist()))
    assert coded["compared"] == 10 and coded["within"] == (apart <= apart[order[9]]).sum() >= 10


def test_codes_find_a_flipped_image_by_its_flip(client, pictures):
    photo, turned = pictures / "red" / "003.jpg", io.BytesIO()
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(turned, "PNG")
    plain, flipped = (
        client.json(f"/search?count=48&code=itq&bits=32&flip={flip}", turned.getvalue()) for flip in (0, 1)
    )
    back = client.json("/search?count=48&code=itq&bits=32&flip=0", photo.read_bytes())
    own, other, both = (
        {entry["place"]: entry["differing"] for entry in answer["coded"]["neighbors"]}
        for answer in (plain, back, flipped)
    )
    assert both.items() <= {place: min(own[place], other[place]) for place in own}.items()
    assert flipped["neighbors"][0]["image"] == str(photo) and both[flipped["neighbors"][0]["place"]] == 0
    least = sorted(both.items(), key=lambda entry: (entry[1], entry[0]))
    assert [entry["place"] for entry in flipped["coded"]["neighbors"]] == [place for place, _ in least]


def test_an_image_of_the_index_is_searched_by_as_itself(client, run, pictures):
    photo = pictures / "red" / "003.jpg"
    first = client.json("/search?count=1&flip=false", photo.read_bytes())["neighbors"][0]
    status, headers, content = client(f"/similar/{first['place']}")
    assert status == 200 and headers["content-type"] == "image/png"
    with Image.open(photo) as image, Image.open(io.BytesIO(content)) as square:
        assert np.array_equal(np.asarray(square), load(run).preprocessing.square(image))
    assert client.json("/search?count=1&flip=false", content)["neighbors"] == [first]
    assert client("/similar/4800")[0] == 404 and client("/similar/-1")[0] == 422


def test_codes_that_there_are_not_are_named(client, pictures):
    photo = (pictures / "red" / "003.jpg").read_bytes()
    codes = client.json("/run")["similar"]["codes"]
    assert codes["itq"] == [32] and codes["hyperplanes"] == [32, 64, 128, 256, 512]  # fc3 has 32 numbers
    for query, said in (("code=itq&bits=64", "bits: itq gives each principal component a bit; this index has 32"),
                        ("code=none", "code: "), ("code=itq&bits=33", "bits: ")):  # fmt: skip
        status, _, content = client(f"/search?{query}", photo)
        assert status == 422 and said in json.loads(content)["detail"]


def test_two_runs_answer_by_name(run, other, dataset, client, tmp_path):
    with serving(run, dataset, other=other) as asks:
        assert asks.json("/run")["runs"] == asks.json("/run?run=other")["runs"] == ["run", "other"]
        assert asks.json("/run?run=other")["path"] == str(other)
        photo = FILES["photo.jpg"]
        first, second = (asks.json(f"/predict?run={name}&top=3", photo) for name in ("run", "other"))
        assert first["top"] == asks.json("/predict?top=3", photo)["top"] == client.json("/predict?top=3", photo)["top"]
        (tmp_path / "photo.jpg").write_bytes(photo)
        expected = load(other)(tmp_path / "photo.jpg", top=3)
        assert second["top"] == [list(pair) for pair in expected.top] != first["top"]
        status, _, content = asks("/maps?run=othr", photo)
        assert status == 422 and "no run othr; perhaps you meant other" in json.loads(content)["detail"]
        assert asks("/mean.png?run=other")[0] == 200 and asks("/search?run=other", photo)[0] == 404
        assert asks.json("/healthz")["answered"] == 5
