"""Figure 3: a filter's color selectivity, the test of the gap between towers, and an interrupted experiment."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from alexnet import Recipe, UsageError, load
from alexnet.experiments import figure3, runner
from alexnet.nets.table_file import load_table


def test_gray_has_no_color_and_opponents_are_nothing_else():
    pattern = np.random.default_rng(0).normal(size=(11, 11))
    gray = np.stack([pattern, pattern, pattern])
    opponent = np.stack([pattern, -pattern, 0 * pattern])
    seen = figure3.selectivity(np.stack([gray, opponent, np.zeros((3, 11, 11)), gray + 5.0]))
    assert seen == pytest.approx([0, 1, 0, 0], abs=1e-12)
    centered = pattern - pattern.mean()
    both = np.stack([centered * (np.sqrt(2) + k) for k in (1, -2, 1)])
    assert figure3.selectivity(both[None]) == pytest.approx([0.5])


def test_random_filters_have_the_selectivity_that_the_docstring_says():
    filters = np.random.default_rng(1).normal(size=(5000, 3, 11, 11))
    assert figure3.selectivity(filters).mean() == pytest.approx(2 * 121 / (3 * 121 - 1), abs=1e-3)
    assert "0.669" in figure3.__doc__


def test_the_more_colorful_tower_comes_second():
    order = figure3.tower_order(np.array([0.9, 0.7, 0.1, 0.2]))
    assert order.tolist() == [2, 3, 0, 1]
    assert figure3.tower_order(np.array([0.1, 0.2, 0.9, 0.7])).tolist() == [0, 1, 2, 3]


def test_the_gap_is_held_against_every_way_to_halve_the_filters():
    filters = [0.1, 0.15, 0.3, 0.35, 0.2, 0.6, 0.7, 0.8]
    every = []
    for half in itertools.combinations(range(8), 4):
        other = [k for k in range(8) if k not in half]
        every.append(abs(np.mean([filters[k] for k in half]) - np.mean([filters[k] for k in other])))
    gap, limit, p = figure3.gap_test([filters])
    assert gap == pytest.approx(0.575 - 0.225)
    assert p == pytest.approx(np.mean([one >= gap - 1e-9 for one in every]), abs=0.01)
    assert np.mean([one > limit + 1e-9 for one in every]) <= 0.05 <= np.mean([one >= limit - 1e-9 for one in every])


def test_seeds_together_see_what_one_alone_does_not():
    seed = [0.3, 0.4, 0.5, 0.6, 0.5, 0.6, 0.7, 0.45]
    alone, together = figure3.gap_test([seed])[2], figure3.gap_test([seed] * 6)[2]
    assert together < 0.05 < alone


def test_rows_are_those_of_the_trained_filters_and_of_a_stopped_training(dataset, narrow, tmp_path, monkeypatch):
    monkeypatch.setattr(figure3, "SHORT", Recipe(init="net", batch_size=16, epochs=2))
    options = {"data": dataset.path, "seeds": [3], "conditions": ["towers joined"], "scale": 0.5, "show": False}
    whole = runner.reproduce("figure3", tmp_path / "whole", **options)
    opened, kept = figure3.open_run, []

    def stops(path):
        kept.append(load(path).net.conv1.weight.detach().double().numpy())
        raise KeyboardInterrupt

    monkeypatch.setattr(figure3, "open_run", stops)
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("figure3", tmp_path / "stopped", **options)
    monkeypatch.setattr(figure3, "open_run", opened)
    again = runner.reproduce("figure3", tmp_path / "stopped", **options)
    assert again.rows == whole.rows and again.table == whole.table
    assert runner.draw("figure3", tmp_path / "whole" / "raw.jsonl", tmp_path / "again.png") == whole.table
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "whole" / "figure.png").read_bytes()
    (row,), (weights,) = whole.rows, kept
    drawn = 2 * figure3.unpacked(row["filters"], row["side"]) - 1
    trained = (weights / np.abs(weights).max((1, 2, 3), keepdims=True)).transpose(0, 2, 3, 1)
    swapped = not np.allclose(drawn, trained, atol=0.5 / 127)
    assert np.allclose(drawn, np.roll(trained, 48 * swapped, 0), atol=0.5 / 127)
    assert len(row["start"]) == len(row["end"]) == 96 and row["start"] != row["end"]
    assert np.mean(row["end"][48:]) >= np.mean(row["end"][:48])


def test_joined_towers_see_each_other_in_every_layer(tmp_path):
    table, joined = load_table("paper"), load_table(figure3.joined("paper", tmp_path))
    apart = [name for name, layer in table.layers.items() if getattr(layer, "groups", 1) > 1]
    assert apart == ["norm1", "conv2", "norm2", "conv4", "conv5"]
    for name, layer in table.layers.items():
        assert joined.layers[name] == (dataclasses.replace(layer, groups=1) if name in apart else layer)


def test_short_trainings_start_from_small_first_weights_and_scaled_others(tmp_path):
    net = figure3.fitted("paper", 128, tmp_path)
    table = load_table(figure3.started(figure3.joined(net, tmp_path), tmp_path))
    inputs = {"conv2": 25 * 96, "conv3": 9 * 256, "conv4": 9 * 384, "conv5": 9 * 384, "fc7": 4096, "fc8": 4096}
    assert table.layers["conv1"].init.std == 0.005 and table.input == (3, 112, 112)
    for name, count in inputs.items():
        assert table.layers[name].init.std == pytest.approx((2 / count) ** 0.5, abs=1e-6)
        assert table.layers[name].init.bias == 0 and getattr(table.layers[name], "groups", 1) == 1
    apart = load_table(figure3.started("paper", tmp_path))
    assert apart.layers["conv2"].init.std == pytest.approx((2 / (25 * 48)) ** 0.5, abs=1e-6)
    assert apart.layers["conv2"].groups == 2


def test_an_unknown_condition_is_refused(dataset, tmp_path):
    with pytest.raises(
        UsageError, match="condition 'one tower': perhaps you meant two towers; give one of two towers, towers joined"
    ):
        runner.reproduce("figure3", tmp_path / "e", data=dataset.path, conditions=["one tower"], show=False)


def test_the_table_says_each_seed_and_all(tmp_path):
    apart = {"end": [0.1] * 8 + [0.9] * 8, "start": [0.6, 0.7] * 8}
    rows = [
        {"condition": "two towers", "seed": seed, "top1_error": 0.5, "images": 9, "epochs": 1, "side": 3, **apart}
        for seed in (0, 1)
    ]
    lines = figure3.table(rows)
    assert [line.split(" | ")[1] for line in lines[2:]] == ["0", "1", "all"]
    assert "| 50.0% | 0.100, 0.900 | 0.800 |" in lines[2] and "| < 0.001 | 0.000 | 1.00 |" in lines[4]
    assert json.dumps(rows)
