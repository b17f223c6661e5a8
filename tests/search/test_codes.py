"""Binary codes: each kind against what its definition asks for, and what is said of them against plain counting."""

import itertools
import json

import numpy as np
import pytest

from alexnet import UsageError
from alexnet.search import bits as module
from alexnet.search.bits import compare_codes
from alexnet.search.coded import Coded
from alexnet.search.codes import KINDS, Coder
from alexnet.search.index import Index
from alexnet.search.make import make_index
from alexnet.search.pieces import half
from tests.search.conftest import plain_activations


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    """(400, 24) float16: eight groups about centers that differ in three directions out of 24."""
    draw = np.random.default_rng(0)
    corners = np.array(list(itertools.product((-1, 1), repeat=3)))
    turn = np.linalg.qr(draw.standard_normal((24, 24)))[0]
    rows = np.zeros((400, 24))
    rows[:, :3] = 5 * corners[np.arange(400) % 8] * [1, 0.9, 0.8]
    return ((rows + 0.3 * draw.standard_normal(rows.shape)) @ turn + 2).astype(np.float16)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_that_are_apart_have_codes_that_are_apart(sample, kind):
    codes = Coder(sample).encoder(kind, 8)(sample)
    apart = (codes[:, None] != codes[None]).sum(2)
    same = np.equal.outer(np.arange(400) % 8, np.arange(400) % 8)
    assert codes.shape == (400, 8) and codes.dtype == bool
    assert apart[same].mean() < 0.65 * apart[~same].mean()  # beyond the third, components are noise


def test_signs_of_components_tell_the_eight_corners(sample):
    codes = Coder(sample).encoder("pca", 3)(sample)
    assert len(np.unique(codes, axis=0)) == 8
    assert all(len(np.unique(codes[group::8], axis=0)) == 1 for group in range(8))


def test_itqs_signs_are_nearer_to_what_they_stand_for(sample):
    """Gong and Lazebnik's measure: the distance of the rotated coordinates from their signs, scaled alike."""
    coder = Coder(sample)
    own = coder._sample[:, :8]

    def loss(rows: np.ndarray, codes: np.ndarray) -> float:
        signs = np.where(codes, 1.0, -1.0)
        left, _, right = np.linalg.svd(signs.T @ rows)  # the rotation that is best for these signs
        return float(((rows @ (left @ right).T - signs) ** 2).sum())

    assert loss(own, coder.encoder("itq", 8)(sample)) < loss(own, coder.encoder("pca", 8)(sample))


def test_what_is_said_of_codes_is_what_counting_gives(run, pictures, tmp_path, monkeypatch):
    make_index(run, pictures, tmp_path / "index")
    with pytest.raises(UsageError, match="too few to compare codes on"):
        compare_codes(tmp_path / "index")
    monkeypatch.setattr(module, "LEAST", 10)
    compared = compare_codes(tmp_path / "index", ("hyperplanes", "pca"), (8, 16))
    assert compared.images + compared.queries == 60 and [w.bits for w in compared.worths] == [0, 8, 16, 8, 16]
    exact, *codes = compared.worths
    assert exact.recall10 == 1 and exact.distinct == compared.images
    assert all(w.ranked10 == w.ranked100 == 1 and w.ranked_map == exact.map for w in codes)  # all images are ranked
    assert all(w.bytes == w.bits // 8 and w.distinct <= 2**w.bits and w.recall10 <= 1 for w in codes)


def test_mean_average_precision_by_hand():
    order = np.array([[2, 0, 1, 3]])
    trial = module._Trial(order, order, np.array(["a", "b", "a", "a"]), np.array(["a"]), order)
    assert module._mean_precision(trial, order) == pytest.approx((1 / 1 + 2 / 2 + 3 / 4) / 3)
    assert module._recall(trial, np.array([[2, 3, 1, 0]]), 2) == 0.5


def test_the_command_draws_and_prints_them(run, pictures, tmp_path, alexnet, monkeypatch):
    monkeypatch.setattr(module, "LEAST", 10)
    monkeypatch.setattr(module, "BITS", (8, 16))
    monkeypatch.setattr(compare_codes, "__defaults__", (("itq", "autoencoder"), (8, 16), None))
    make_index(run, pictures, tmp_path / "index")
    status, out, _ = alexnet("search", tmp_path / "index", "--compare-codes", tmp_path / "codes.png")
    assert status == 0 and "auto-encoder" in out and "mAP" in out and (tmp_path / "codes.png").stat().st_size > 1000
    status, out, _ = alexnet("search", tmp_path / "index", "--compare-codes", tmp_path / "codes.png", "--json")
    assert status == 0 and len(json.loads(out)["worths"]) == 5
    status, _, err = alexnet("search", tmp_path / "index", pictures, "--compare-codes", tmp_path / "codes.png")
    assert status == 2 and "leave IMAGE and --picture out" in err


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_an_images_own_code_is_nearest_to_it(kind, run, pictures, tmp_path, request):
    """Of an approximate index, too, which stores coordinates: the picture's are made as the image's were."""
    if kind == "approximate":
        request.getfixturevalue("many")
    make_index(run, pictures, tmp_path / "index", layer="pool2")
    index = Index(tmp_path / "index")
    coded = Coded(index)
    assert index.content["kind"] == kind and coded.most_bits >= 32
    for place in (0, 17, 59):
        activations = half(plain_activations(run, "pool2", [index.names.path(place)]), "pool2")[0]
        nearest, apart = coded.search(activations, "itq", 32, 60)
        assert apart[place] <= 1  # the net's last bits differ with the images that it sees at a time
        assert [neighbor.differing for neighbor in nearest] == sorted(apart.tolist())
        assert sorted(neighbor.place for neighbor in nearest) == list(range(60))
        assert all(neighbor.image == index.names.path(neighbor.place) for neighbor in nearest)


def test_the_codes_that_were_used_last_stay(run, pictures, tmp_path, monkeypatch):
    make_index(run, pictures, tmp_path / "index")
    index = Index(tmp_path / "index")
    coded, read = Coded(index), []
    monkeypatch.setattr(Index, "all_stored", lambda self: read.append(0) or [self.stored(np.arange(len(self)))])
    query = index.stored(np.arange(1))[0]
    for kind, bits in (("itq", 8), ("pca", 8), ("itq", 8), ("hyperplanes", 8), ("itq", 16), ("pca", 16), ("itq", 8)):
        coded.search(query, kind, bits, 1)
    assert len(read) == 5  # the first was used meanwhile, and is still there
    coded.search(query, "pca", 8, 1)
    assert len(read) == 6
    with pytest.raises(UsageError, match="itq gives each principal component a bit; this index has 32, not 40"):
        coded.search(query, "itq", 40, 1)
