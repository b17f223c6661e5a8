"""The strongest images of all units against brute force; what a unit sees against pixels that are changed."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.evaluation.classifier import stacked
from alexnet.inside import kept_units as kept_module
from alexnet.inside import units as module
from alexnet.inside.kept_units import FILE, kept_units
from alexnet.inside.synthesis import driven_part, driving_images, responses_to, seen_side
from alexnet.inside.units import _Counted, fields, parse_unit, seen_by_unit, strongest_images


def by_force(values: np.ndarray) -> np.ndarray:
    """(units, 9) of (images, units) responses the images, sorted one by one: largest first, of equal ones the first."""
    units = range(values.shape[1])
    return np.array([sorted(range(len(values)), key=lambda i: (-values[i, unit], i))[:9] for unit in units])


@pytest.mark.parametrize("at_once", [64, 7])
def test_the_strongest_images_are_those_of_all_responses(run, dataset, monkeypatch, at_once):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    rows = dataset.rows("train")
    layers = strongest_images(run, dataset, rows, workers=1)
    assert list(layers) == ["conv1", "conv2", "fc3", "fc4"]
    squares = stacked([dataset.image(int(row)) for row in rows])
    for layer, units in layers.items():
        outputs = run.activations(squares, [f"{layer}:before"])[f"{layer}:before"].numpy()
        flat = outputs.reshape(*outputs.shape[:2], -1)
        responses = flat.max(2)
        np.testing.assert_allclose(units.values, -np.sort(-responses.T, 1)[:, :9], rtol=1e-4, atol=1e-5)
        same = units.rows == rows[by_force(responses)]
        assert same.mean() > 0.99  # rounding may differ with the batch
        for unit, rank in ((0, 0), (3, 8), (1, 4)):
            if unit < len(units.rows):
                image = int(np.flatnonzero(rows == units.rows[unit, rank])[0])
                assert flat[image, unit, units.places[unit, rank]] == pytest.approx(responses[image, unit], rel=1e-4)
        labels = dataset.labels[rows]
        for label in range(3):
            np.testing.assert_allclose(units.means[label], responses[labels == label].mean(0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(units.active, (responses > 0).mean(0), atol=0.03)


def test_equal_responses_keep_the_order_of_the_images_and_few_images_leave_gaps():
    values = np.random.default_rng(0).integers(-2, 3, (50, 6)).astype(np.float32)
    counted, labels = _Counted(6, 2), torch.arange(50) % 2
    for start in range(0, 50, 8):
        part = slice(start, start + 8)
        counted.add(torch.from_numpy(values[part]), labels[part], np.arange(50)[part])
    assert np.array_equal(counted.result().rows, by_force(values))
    few = _Counted(6, 2)
    few.add(torch.from_numpy(values[:4]), labels[:4] * 0, np.arange(4))
    result = few.result()
    assert (result.rows[:, 4:] == -1).all() and np.isnan(result.values[:, 4:]).all() and np.isnan(result.means[1]).all()
    assert np.array_equal(result.rows[:, :4], by_force(values[:4]))


def test_a_tile_is_what_the_unit_can_depend_on(run, dataset):
    units = strongest_images(run, dataset, dataset.rows("val"), layers=["conv2"], workers=1)["conv2"]
    field, unit = fields(run)["conv2"], 5
    row, place = int(units.rows[unit, 0]), int(units.places[unit, 0])
    square = dataset.image(row).copy()
    numbered = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)  # where each pixel of a tile is from
    pixels = np.stack([numbered >> 8, numbered & 255, np.full_like(numbered, 1)], 2).astype(np.uint8)
    tile = seen_by_unit(pixels, run.preprocessing, field, place, units.columns).astype(int)
    inside = np.zeros(64 * 64, bool)
    inside[(tile[..., 0] << 8 | tile[..., 1])[tile[..., 2] == 1]] = True
    inside = inside.reshape(64, 64)
    assert 0 < inside.sum() <= field.size**2

    def response(image: np.ndarray) -> float:
        return float(run.activations(stacked([image]), ["conv2:before"])["conv2:before"][0, unit].flatten()[place])

    changed = square.copy()
    changed[~inside] = 255 - changed[~inside]
    assert response(changed) == pytest.approx(response(square), rel=1e-4)
    changed = square.copy()
    changed[inside] = 255 - changed[inside]
    assert abs(response(changed) - response(square)) > 0.1


def test_what_is_kept_is_read_again_and_is_of_these_weights_and_images_alone(run, dataset, tmp_path, monkeypatch):
    first = kept_units(tmp_path, run, dataset, "val")
    passes = []
    real = kept_module.strongest_images
    monkeypatch.setattr(kept_module, "strongest_images", lambda *a, **o: passes.append(1) or real(*a, **o))
    again = kept_units(tmp_path, run, dataset, "val")
    assert not passes and list(again) == list(first)
    for layer, units in first.items():
        for name, value in vars(units).items():
            np.testing.assert_array_equal(value, getattr(again[layer], name))
    kept_units(tmp_path, run, dataset, "train")
    assert len(passes) == 1  # other images
    with torch.no_grad():
        run.net.conv2.weight.mul_(1.5)
    kept_units(tmp_path, run, dataset, "train")
    with torch.no_grad():
        run.net.conv2.weight.div_(1.5)
    assert len(passes) == 2  # other weights
    kept_units(tmp_path, run, dataset, "train")
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    kept_units(tmp_path, run, dataset, "train")
    assert len(passes) == 4 and (tmp_path / FILE).read_bytes() == content  # damaged: made again


def test_an_image_made_for_a_unit_drives_it_further_than_any_photo(run, dataset):
    strongest = strongest_images(run, dataset, dataset.rows("train"), layers=["conv2"], workers=1)["conv2"].values[:, 0]
    units = [0, 3, 4, 7, 9, 10, 12, 15]
    made = driving_images(run, "conv2", units, steps=32)
    reached = responses_to(run, "conv2", units, made).numpy()
    assert (reached >= 2 * strongest[units].clip(0)).mean() >= 0.75
    assert (made.float().flatten(1).std(1) > 20).all()  # none is gray
    few = [driving_images(run, "fc4", [1], steps=2, seed=seed) for seed in (0, 0, 1)]
    assert few[0].shape == (1, 48, 48, 3) and torch.equal(few[0], few[1]) and not torch.equal(few[0], few[2])


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc3", "fc4"])
def test_of_an_image_that_was_made_the_part_is_drawn_that_drives_the_unit(run, layer):
    made = driving_images(run, layer, [1], steps=16)[0]
    field, shape = fields(run)[layer], made.shape
    part = driven_part(run, layer, made)
    side = seen_side(run, layer)
    assert part.shape == (side, side, 3) and side <= run.preprocessing.crop
    assert (field is None) == (layer in ("fc3", "fc4"))
    if side < shape[0]:  # nothing beyond the part has an effect on the unit in the middle
        other = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        place = np.argwhere((np.lib.stride_tricks.sliding_window_view(made.numpy(), part.shape)[..., 0, :, :, :]
                             == part).all((2, 3, 4)))  # fmt: skip
        top, left = place[0]
        other[top : top + side, left : left + side] = made[top : top + side, left : left + side]
        before = [_middle(run, layer, image) for image in (made, other)]
        assert before[0] == pytest.approx(before[1], rel=2e-2, abs=1e-2)


def _middle(run, layer, crop):
    preprocessing = run.preprocessing
    edge = (preprocessing.size - preprocessing.crop) // 2
    square = torch.zeros(1, 3, preprocessing.size, preprocessing.size, dtype=torch.uint8)
    square[:, :, edge : edge + preprocessing.crop, edge : edge + preprocessing.crop] = crop.permute(2, 0, 1)
    maps = run.activations(square, [f"{layer}:before"])[f"{layer}:before"]
    return float(maps[0, 1, maps.shape[2] // 2, maps.shape[3] // 2])


@pytest.mark.usefixtures("few_steps")
def test_a_units_sheet_and_a_layers(alexnet, run, run_folder, dataset, tmp_path):
    status, out, err = alexnet("show", run_folder, "--unit", "conv2:3", "--output", tmp_path, "--json", "--quiet")
    assert (status, err) == (0, "")
    described = json.loads(out)
    assert described["pictures"] == [str(tmp_path / "conv2-3.png")] and len(described["strongest"]) == 9
    units = strongest_images(run, dataset, dataset.rows("val"), layers=["conv2"])["conv2"]
    assert described["strongest"][0]["image"] == dataset.name(int(units.rows[3, 0]))
    assert set(described["mean_by_class"]) == {"blue", "green", "red"}
    status, out, err = alexnet("show", run_folder, "--layer", "conv1", "--output", tmp_path)
    assert (status, out) == (0, f"{tmp_path / 'conv1.png'}\n")
    assert np.asarray(Image.open(tmp_path / "conv1.png")).std() > 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conv1.png", "conv2-3.png", FILE]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--unit", "conv9:1"],
            "--unit conv9: is no layer of this net; perhaps you meant conv2; give one of conv1, conv2, fc3, fc4",
        ),
        (["--unit", "pool1:1"], "--unit pool1: has no weights of its own"),
        (["--unit", "conv2:16"], "--unit conv2:16: conv2 has 16 units, 0 to 15"),
        (["--unit", "conv2"], "--unit conv2: give a layer and the unit's number, such as conv5:17"),
        (["--layer", "norm1"], "--layer norm1: has no weights of its own"),
        (["--layer", "conv1", "--unit", "conv1:1"], "--unit and --layer: give one of them"),
        (["--unit", "conv1:1", "--only-errors"], "--unit and --only-errors: give one of them"),
        (["--unit", "conv1:1", "--split", "test"], "has no split 'test'"),
        (["IMAGE", "--unit", "conv1:1"], "--unit: takes no image files"),
    ],
)
def test_what_is_no_unit_is_a_line(alexnet, run_folder, image, tmp_path, words, said):
    words = [str(image) if word == "IMAGE" else word for word in words]
    status, out, err = alexnet("show", run_folder, *words, "--output", tmp_path, "--quiet")
    assert (status, out, err.count("\n")) == (2, "", 1) and said in err
    assert not list(tmp_path.iterdir())


def test_units_are_counted_from_0(run):
    assert parse_unit(run, "conv1:0") == ("conv1", 0)
    assert parse_unit(run, "relu1:0") == ("conv1", 0) and parse_unit(run, "logits:2") == ("fc4", 2)  # others' names
