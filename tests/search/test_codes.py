"""Binary codes: each kind against what its definition asks for, and what is said of them against plain counting."""

import itertools
import json

import numpy as np
import pytest

from alexnet import UsageError
from alexnet.search import bits as module
from alexnet.search.bits import compare_codes
from alexnet.search.codes import KINDS, Coder
from alexnet.search.make import make_index


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
    assert status == 0 and "autoencoder" in out and "mAP" in out and (tmp_path / "codes.png").stat().st_size > 1000
    status, out, _ = alexnet("search", tmp_path / "index", "--compare-codes", tmp_path / "codes.png", "--json")
    assert status == 0 and len(json.loads(out)["worths"]) == 5
    status, _, err = alexnet("search", tmp_path / "index", pictures, "--compare-codes", tmp_path / "codes.png")
    assert status == 2 and "leave IMAGE and --picture out" in err
