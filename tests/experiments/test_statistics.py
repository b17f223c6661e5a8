"""Differences against what theory gives for drawn errors; factors against numbers worked out by hand."""

import math

import numpy as np
import pytest

from alexnet.experiments import statistics


def test_bits_survive():
    wrong = np.random.default_rng(0).random(1001) < 0.3
    assert np.array_equal(statistics.unpacked(statistics.packed(wrong), 1001), wrong)
    with pytest.raises(ValueError, match="1008 bits for 900 images"):
        statistics.unpacked(statistics.packed(wrong), 900)


def test_a_paired_difference_is_as_sure_as_theory_has_it():
    random = np.random.default_rng(1)
    first = random.random((1, 4000)) < 0.2
    second = first.copy()
    flipped = random.choice(4000, 400, replace=False)
    second[0, flipped] = ~second[0, flipped]
    measured = statistics.difference(first, second)
    assert measured.mean == pytest.approx(second.mean() - first.mean()) and measured.disagreement == 0.1
    error = math.sqrt(0.1 - measured.mean**2) / math.sqrt(4000)
    low, high = measured.interval
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06) and measured.seen
    assert statistics.difference(first, first).interval == (0, 0) and not statistics.difference(first, first).seen


def test_seeds_that_differ_widen_the_interval():
    random = np.random.default_rng(2)
    base = random.random(2000) < 0.2
    first = np.stack([base] * 4)
    second = np.stack([base | (random.random(2000) < share) for share in (0.0, 0.0, 0.2, 0.2)])
    measured = statistics.difference(first, second)
    assert measured.interval[1] - measured.interval[0] > 0.08  # 1.96 x 2 x 0.08 / sqrt(4), by the seeds alone
    assert measured.better > 0.9


def test_the_least_difference_is_seen_four_times_in_five():
    random, images, share = np.random.default_rng(3), 2000, 0.1
    least = statistics.least_difference(images, 1, share)
    seen = 0
    for _ in range(300):
        draw = random.random(images)
        each = np.where(draw < (share + least) / 2, 1, np.where(draw < share, -1, 0))
        seen += abs(each.mean()) > 1.96 * each.std() / math.sqrt(images)
    assert 0.72 < seen / 300 < 0.88


def test_factors():
    mean, low, high = statistics.ratio([1.0, 2.0, 4.0], [2.0, 8.0, 16.0])
    assert mean == pytest.approx(2 ** (5 / 3))
    half = 4.303 * math.log(2) * math.sqrt(1 / 3) / math.sqrt(3)  # of the logarithms ln 2 x (1, 2, 2)
    assert (math.log(high) - math.log(low)) / 2 == pytest.approx(half)
    assert math.isnan(statistics.ratio([1.0], [3.0])[1])


@pytest.mark.parametrize(("freedom", "point"), [(1, 12.706), (4, 2.776), (15, 2.131), (30, 2.042), (1000, 1.962)])
def test_students_points_are_those_of_tables(freedom, point):
    assert statistics.student(freedom) == pytest.approx(point, abs=1e-3)


def test_so_many_seeds_see_the_effect_four_times_in_five():
    random, images, share, effect = np.random.default_rng(4), 10_000, 0.15, 0.004
    seeds = statistics.seeds_needed(images, effect, share)
    draws = random.normal(effect, math.sqrt(share / images), (4000, seeds))
    errors = draws.std(1, ddof=1) / math.sqrt(seeds)
    seen = np.abs(draws.mean(1)) > statistics.student(seeds - 1) * errors  # Student's test over the seeds
    assert 0.75 < seen.mean() < 0.88 and seeds == 10
    assert statistics.seeds_needed(images, 0.014, share) == 3


def test_shares_are_compared_as_they_are():
    """Of images that a run tells in part: figure4's neighbors, invariance's probabilities."""
    first, second = np.full((2, 50), 0.25), np.full((2, 50), 0.375)
    compared = statistics.difference(first, second)
    assert compared.mean == 0.125 and compared.interval == (0.125, 0.125) and compared.seen
