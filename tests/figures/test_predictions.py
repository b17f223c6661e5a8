"""The sheet of predictions: what is drawn is what was scored, every number can be read, no color stands alone."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from alexnet import Dataset, load, recipes, train
from alexnet.figures import predictions as module
from alexnet.figures import style
from alexnet.figures.predictions import Cell, predictions, scale_of
from tests.figures.drawn import ODD

SIDE = Cell(1.0, False, False, 5).side


@pytest.fixture
def written(monkeypatch):
    """What is written on sheets: text, x, y (its middle), size, color."""
    texts = []

    def note(draw, text, x, y, size, centered=False, color=style.INK):
        texts.append((text, x, y, size, color))
        style.write(draw, text, x, y, size, centered, color)

    monkeypatch.setattr(module, "write", note)
    return texts


def gray(value=128, side=48):
    return np.full((side, side, 3), value, np.uint8)


def color_of(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def test_letters_and_colors_can_be_read():
    for ink in (style.INK, style.QUIET):
        assert style.contrast(ink, "white") >= 4.5
    lightness = []
    for color in (style.RIGHT, style.WRONG, style.OTHER):  # CIE L*, what is left of a color in gray
        luminance = (21 / style.contrast(color, "black")) ** -1 * 1.05 - 0.05
        lightness.append(116 * luminance ** (1 / 3) - 16)
    assert np.diff(lightness).min() > 18


def test_all_letters_are_on_white_beside_the_bars(written):
    shares = np.array([[0.9, 0.06, 0.04], [0.2, 0.7, 0.1]], np.float32)
    sheet = np.asarray(predictions([gray()] * 2, shares, ["a", "b", "c"], [0, 0], ["one.jpg", "two.jpg"]))
    bars = [color_of(color) for color in (style.RIGHT, style.WRONG, style.OTHER, style.GRID)]
    for text, x, y, size, _ in written:
        right = int(x + style.text_width(text, size))
        behind = sheet[y - size // 2 + 2 : y + size // 2 - 2, int(x) : right].reshape(-1, 3)
        assert not any((behind == bar).all(1).any() for bar in bars), text
        assert x >= 0 and right <= sheet.shape[1]


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_tails_of_letters_do_not_reach_the_bar(scale):
    cell = Cell(scale, False, False, 1)
    image = Image.new("RGB", (8 * cell.width, 4 * cell.line), "white")
    style.write(ImageDraw.Draw(image), "gjpqy,ç", 10, 2 * cell.line, cell.text)
    lowest = np.flatnonzero((np.asarray(image) < 250).any((1, 2)))[-1]
    assert 0 < lowest - 2 * cell.line < cell.below - scale
    assert cell.below + cell.bar - 2 + cell.line // 2 < cell.row  # nor the letters the bar above


def test_right_and_wrong_are_marked_and_named(written):
    shares = np.array([[0.9, 0.06, 0.04], [0.2, 0.7, 0.1]], np.float32)
    predictions([gray()] * 2, shares, ["tench, Tinca tinca", "b", "c"], [0, 0], ["x/one.jpg", "two.jpg"])
    texts = [text for text, *_ in written]
    assert texts[4:] == [
        "x/one.jpg", "✓ true: tench", "✓ tench", "90.0%", "b", "6.0%", "c", "4.0%",
        "two.jpg", "✗ true: tench", "✗ b", "70.0%", "✓ tench", "20.0%", "c", "10.0%",
    ]  # fmt: skip


@pytest.mark.parametrize("classes", [2, 10, 200, 1000])
def test_bars_are_as_long_as_probabilities_say_and_say_something(classes):
    shares = np.random.default_rng(0).dirichlet(np.full(classes, 20.0), 3).astype(np.float32)
    names = [f"class {i}, synonym" for i in range(classes)]
    sheet = np.asarray(predictions([gray()] * 3, shares, names))
    full, bars = scale_of(shares), min(5, classes)
    cell = Cell(1.0, False, False, bars)
    above = sheet.shape[0] - bars * cell.row
    for i in range(3):
        strip = sheet[:, i * cell.width : (i + 1) * cell.width]
        colored = (strip[above:] == color_of(style.QUIET)).all(2)
        lengths = colored.sum(1)[colored.any(1)]
        expected = np.sort(shares[i])[::-1][:bars] / full * SIDE
        assert lengths[:: len(lengths) // bars] == pytest.approx(expected, abs=2)
        assert lengths.max() > 0.3 * SIDE
    assert scale_of(np.array([[0.97, 0.03]])) == 1 and scale_of(np.array([[0.0012]])) == pytest.approx(0.002)


@pytest.mark.parametrize("count", [1, 5])
def test_odd_names_stay_in_their_cells(written, count):
    shares = np.random.default_rng(0).dirichlet(np.ones(len(ODD)), count)
    sheet = np.asarray(predictions([gray()] * count, shares, ODD, [0] * count, ODD[:count], title=ODD[2]))
    width = Cell(1.0, True, True, 5).width
    for text, x, _, size, _ in written[:]:
        assert "\n" not in text and x + style.text_width(text, size) <= sheet.shape[1]
    cells = [(x, x + style.text_width(text, size)) for text, x, _, size, _ in written if x >= width]
    assert all(left // width == right // width for left, right in cells)
    for edge in range(0, sheet.shape[1], width):  # margins between the cells are white below the title
        assert (sheet[-300:, edge : edge + 8] == 255).all()


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown") / "run"
    train(dataset.path, folder, recipes.default(net=net_file, crop_size=48, batch_size=16, epochs=1))
    return folder


def test_what_is_drawn_is_the_crop_that_was_scored(run, dataset, monkeypatch, alexnet, tmp_path):
    drawn = []

    def note(*arguments, **_):
        drawn.extend(arguments)
        return Image.new("RGB", (9, 9))

    monkeypatch.setattr("alexnet.figures.show.predictions", note)
    assert alexnet("show", run, "--output", tmp_path, "--count", 5)[0] == 0
    pictures, shares, _, labels, names = drawn
    clf, opened = load(run), Dataset(dataset.path)
    rows = {opened.name(row): row for row in opened.rows("val").tolist()}
    assert {picture.shape for picture in pictures} == {(48, 48, 3)} and len(names) == 5
    for picture, share, label, name in zip(pictures, shares, labels, names):
        row, edge = rows[name], (dataset.size - 48) // 2
        assert (picture == opened.image(row)[edge : edge + 48, edge : edge + 48]).all() and opened.labels[row] == label
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
        scores = clf.net(clf.preprocessing.apply(pixels, torch.float32))
        assert share == pytest.approx(scores.softmax(1)[0].detach().numpy(), abs=5e-3)  # bf16


def test_errors_are_counted_and_their_files_are_named(alexnet, run, dataset, tmp_path):
    status, out, _ = alexnet("show", run, "--only-errors", "--count", 3, "--output", tmp_path)
    measured = load(run).evaluate(dataset, split="val")
    wrong = measured.predicted != measured.labels
    assert status == 0 and wrong.sum() > 3
    first, *lines = out.splitlines()
    assert first == f"{wrong.sum()} of {len(wrong)} val images wrong; the 3 that give their true class least:"
    certain = np.argsort(np.where(wrong, measured.own, 2), kind="stable")[:3]
    for line, index in zip(lines, certain):
        name, true = dataset.name(int(measured.rows[index])), dataset.classes[measured.labels[index]]
        assert line.startswith(f"{name}: ") and re.fullmatch(rf".* [\d.]+%, true: {true} [\d.]+%", line)
    status, out, _ = alexnet("show", run, "--only-errors", "--count", 3, "--output", tmp_path, "--json")
    (errors,) = json.loads(out)["errors"]
    assert errors["wrong"] == wrong.sum() and [entry["name"] for entry in errors["shown"]] == [
        line.split(": ")[0] for line in lines[:3]
    ]
