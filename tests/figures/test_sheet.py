"""The contact sheet: each row shows its own class's images beside its name; how many are left out is said."""

import numpy as np
import pytest

from alexnet import prepare
from alexnet.figures import sheet as module
from alexnet.figures import style
from alexnet.figures.sheet import GAP, NAME, contact_sheet, spread
from tests.conftest import fill


@pytest.fixture
def written(monkeypatch):
    """Texts on the sheet and their heights."""
    texts = []

    def note(draw, text, x, y, size, centered=False, color=style.INK):
        texts.append((text, y))
        style.write(draw, text, x, y, size, centered, color)

    monkeypatch.setattr(module, "write", note)
    return texts


def test_a_row_shows_its_class_beside_its_name(dataset, written):
    side = 24
    drawn = np.asarray(contact_sheet(dataset, columns=7, side=side))
    heights = {text: y for text, y in written if text in dataset.classes}
    assert list(heights) == dataset.classes and sum(text == "20 images" for text, _ in written) == 3
    top = drawn.shape[0] - GAP - 2 * 3 * (side + GAP)  # three classes, two lines each
    for index, name in enumerate(dataset.classes):
        first = top + 2 * index * (side + GAP)
        assert first <= heights[name] <= first + side
        for line in range(2):
            for column in range(7):
                y, x = first + line * (side + GAP), NAME + column * (side + GAP)
                color = drawn[y : y + side, x : x + side].reshape(-1, 3).mean(0)
                assert ["blue", "green", "red"][(2 - color.argmax())] == name  # the pictures are of their class's color


def test_of_many_classes_some_are_shown_and_it_says_so(tmp_path, written):
    classes = tuple(f"class {i:02d}" for i in range(40))
    dataset = prepare(fill(tmp_path / "source", classes, count=2), tmp_path / "many", size=24)
    drawn = contact_sheet(dataset, side=16)
    assert "24 of the classes are shown" in " ".join(text for text, _ in written)
    shown = [text for text, _ in written if text.startswith("class ")]
    assert len(shown) == 24 and shown[0] == "class 00" and shown[-1] == "class 39"
    assert drawn.width == NAME + 2 * (16 + GAP) + GAP  # as wide as the largest class


def test_numbers_at_even_distances():
    assert spread(0, 3) == [] and spread(2, 5) == [0, 1] and spread(9, 3) == [0, 4, 8]
    assert len(spread(1000, 24)) == 24 and max(np.diff(spread(1000, 24))) - min(np.diff(spread(1000, 24))) <= 1
