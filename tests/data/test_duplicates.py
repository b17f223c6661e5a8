"""Near-duplicates: found through another size, quality and light, and not where there are none."""

import csv

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from alexnet import prepare
from alexnet.data.duplicates import MOST_BITS, candidates, find_duplicates
from tests.conftest import fill


def scenes(seed: int) -> Image.Image:
    """A picture of soft shapes, unlike those of other seeds."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((160, 160), Image.Resampling.BICUBIC)


CHANGES = {
    "the same": lambda image: image,
    "smaller": lambda image: image.resize((90, 90), Image.Resampling.BICUBIC),
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.12),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(tmp_path, change):
    names = ("a", "b")
    for split, seeds in (("train", range(40)), ("val", range(100, 120))):
        for name in names:
            (tmp_path / "source" / split / name).mkdir(parents=True)
            for seed in seeds:
                scenes(1000 * names.index(name) + seed).save(tmp_path / "source" / split / name / f"{seed}.png")
    # Of 100 scenes 93 lighter copies are found where 64 pixels are raw, 95 where they are JPEG: not 31's
    copied = {3: "x", 17: "y", 29: "z"}
    for seed, name in copied.items():  # of class a, now also in class b's validation
        CHANGES[change](scenes(seed)).save(tmp_path / "source" / "val" / "b" / f"{name}.jpg", quality=50)
    dataset = prepare(tmp_path / "source", tmp_path / "store", size=64, find_duplicates=True)
    with open(tmp_path / "store" / "duplicates.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(row["training image"].split("/")[-1], row["validation image"].split("/")[-1]) for row in rows}
    assert found == {(f"{seed}.png", f"{name}.jpg") for seed, name in copied.items()}
    assert {row["training class"] for row in rows} == {"a"} and {row["validation class"] for row in rows} == {"b"}
    assert dataset.describe()["duplicates"] == 3


def test_candidates_are_all_pairs_of_few_bits():
    rng = np.random.default_rng(0)
    second = rng.integers(0, 2**63, 300, dtype=np.uint64)
    flips = np.zeros(300, np.uint64)
    for i in range(300):
        for bit in rng.choice(64, i % 12, replace=False):
            flips[i] |= np.uint64(1) << np.uint64(bit)
    first = second[::-1] ^ flips
    expected = {(a, b) for a in range(300) for b in range(300) if int(first[a] ^ second[b]).bit_count() <= MOST_BITS}
    assert {(a, b) for a, b, _ in candidates(first, second)} == expected and len(expected) >= 150


def test_told_by_the_command_and_only_on_request(alexnet, tmp_path):
    source = fill(tmp_path / "source" / "train", count=4)
    fill(tmp_path / "source" / "val", count=4)  # the very same pictures
    assert "near-duplicates" not in alexnet("prepare", tmp_path / "source", tmp_path / "store")[2]
    assert not (tmp_path / "store" / "duplicates.csv").exists()
    status, _, err = alexnet("prepare", tmp_path / "source", tmp_path / "store", "--find-duplicates")
    assert status == 0 and "12 near-duplicates between training and validation, see" in err
    assert len((tmp_path / "store" / "duplicates.csv").read_text().splitlines()) == 13 and source.exists()
    assert "duplicates  12 between training and validation" in alexnet("info", tmp_path / "store")[1]


def test_a_store_without_validation_has_none(tmp_path):
    dataset = prepare(fill(tmp_path / "source"), tmp_path / "store", size=64, val_fraction=0)
    assert find_duplicates(dataset) == []
