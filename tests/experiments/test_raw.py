"""Raw figures that were changed are named by their line; a condition counts when all of its rows are there."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from alexnet import AlexNetError, Recipe
from alexnet.experiments import arms, known, precision, raw, runner, statistics
from alexnet.experiments.statistics import packed

WRONG = packed(np.array([True, False] * 20))
ROW = {"condition": "default", "seed": 0, "images": 40, "split": "val", "top1_error": 0.5, "wrong": WRONG}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_are_read_as_they_were_written(tmp_path):
    (row,) = raw.rows_of("default", 0, [{"seed": 7, "condition": "fast", "machine": "another"}], "a GPU")
    assert row == {"condition": "default", "seed": 0, "machine": "a GPU"}
    rows = raw.rows_of("default", 0, [{"top1_error": 0.25}], "a") + raw.rows_of("fast", 1, [{"step": 0}, {}], "b")
    (tmp_path / "raw.jsonl").write_bytes(raw.to_bytes(rows))
    assert raw.read_rows(tmp_path / "raw.jsonl") == rows
    assert raw.whole(rows) == rows and raw.whole(rows[:-1]) == rows[:1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": None}, "names no seed"),
        ({"seed": True}, "names no seed"),
        ({"seed": -1}, "names no seed"),
        ({"condition": 3}, "names no condition"),
        ({"condition": "\ud800"}, "condition: is no text"),
        ({"top1_error": None}, "top1_error: is not an error"),
        ({"top1_error": "x"}, "top1_error: is not an error"),
        ({"top1_error": 7.5}, "top1_error: is not an error"),
        ({"machine": 7}, "machine: is no text"),
        ({"images": 0}, "images: is not a number"),
        ({"images": 48}, "wrong: does not say of each image"),
        ({"wrong": "zzzz"}, "wrong: does not say of each image"),
        ({"wrong": 5}, "wrong: does not say of each image"),
        ({raw.ROWS: [1]}, "case_rows: is not a number"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_what_to_do(tmp_path, change, words):
    path = write(tmp_path / "raw.jsonl", {**ROW, "seed": 1}, {**ROW, **change})
    with pytest.raises(AlexNetError, match=f"raw.jsonl: line 2: {words}.*; remove it, and the others of its condition"):
        raw.read_rows(path)


def test_a_row_that_is_there_twice_is_named(tmp_path):
    path, other = tmp_path / "raw.jsonl", {**ROW, "top1_error": 0.25}
    again = "line 3: is line 1 again; remove one of them"
    several = [{**row, raw.ROWS: 2} for row in (ROW, other, {**ROW, "top1_error": 0.75})]
    plain = {"condition": "default", "seed": 0, "rate": 0.01}
    for rows, words in (
        ((ROW, {**ROW, "seed": 1}, ROW), again),
        ((several[0], several[1], several[0]), again),
        ((plain, {**plain, "rate": 0.02}, plain), again),
        ((ROW, {**ROW, "seed": 1}, other), "line 3: is of the same condition and seed as line 1; remove it, and the"),
        (several, "line 3: is of the same condition and seed as line 1; remove it, and the others"),
    ):
        with pytest.raises(AlexNetError, match=words):
            raw.read_rows(write(path, *rows))
    assert len(raw.read_rows(write(path, *several[:2]))) == 2


def test_a_row_without_its_experiments_figures_is_no_traceback(tmp_path):
    path = write(tmp_path / "raw.jsonl", {"condition": "default", "seed": 0})
    with pytest.raises(AlexNetError, match=r"raw.jsonl: its rows cannot be shown"):
        runner.draw("photos-fast", path, tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()


def test_what_is_left_of_a_condition_is_measured_again_whole(dataset, net_file, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "BASE", Recipe(net=net_file, crop_size=48, batch_size=8))
    options = {"data": dataset.path, "conditions": ["float32"], "seeds": [0, 1], "scale": 0.1, "show": False}
    whole = runner.reproduce("precision", tmp_path / "e", **options)
    file = tmp_path / "e" / "raw.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    again = runner.reproduce("precision", tmp_path / "e", **options)
    assert sorted(map(json.dumps, again.rows)) == sorted(map(json.dumps, whole.rows))


def test_rows_of_other_images_are_not_compared(tmp_path):
    other = {**ROW, "condition": "fast", "images": 41, "wrong": packed(np.zeros(41, bool))}
    for changed in (other, {**ROW, "condition": "fast", "split": "test"}):
        path = write(tmp_path / "raw.jsonl", ROW, changed)
        with pytest.raises(AlexNetError, match=r"raw.jsonl: 'fast' and 'default' were measured on other images"):
            runner.draw("photos-fast", path, tmp_path / "figure.png")


def rows_of(condition, seeds, wrong):
    images = len(wrong)
    return [
        {**ROW, "condition": condition, "seed": seed, "images": images, "wrong": packed(wrong),
         "top1_error": float(wrong.mean())} for seed in seeds
    ]  # fmt: skip


def test_a_conclusion_says_on_how_little_it_rests():
    right, wrong = np.zeros(1, bool), np.ones(1, bool)
    lines = arms.table({}, rows_of("a", (0, 1, 2), wrong) + rows_of("b", (0, 1, 2), right))
    assert "| on 1 image nothing can be told |" in lines[3]
    half = np.arange(400) % 2 == 0
    (line,) = arms.table({}, rows_of("a", (0, 1), half) + rows_of("b", (0, 1), half))[3:]
    assert "no difference seen; the plan sees 0.9 points" in line  # 2.8 sqrt((3 / 400) / (400 * 2))
    (line,) = arms.table({}, rows_of("a", (0, 1, 2), half) + rows_of("b", (1, 2, 3), ~half & (np.arange(400) < 99)))[3:]
    assert "better than the first, by the 2 seeds that both have" in line
    (line,) = arms.table({}, rows_of("a", (0, 1), half) + rows_of("b", (1,), half))[3:]
    assert "no difference seen, by one seed alone; the plan sees" in line


def test_rows_lie_in_the_order_of_the_conditions_however_they_were_measured():
    rows = [{"condition": condition, "seed": seed} for condition, seed in (("mine", 1), ("fast", 1), ("default", 0),
                                                                           ("mine", 0), ("fast", 0))]  # fmt: skip
    shown = [(row["condition"], row["seed"]) for row in raw.in_order(rows, ("default", "fast"))]
    assert shown == [("default", 0), ("fast", 0), ("fast", 1), ("mine", 0), ("mine", 1)]


def test_a_file_without_rows_says_so(tmp_path):
    (tmp_path / "raw.jsonl").touch()
    for name in known.EXPERIMENTS:
        with pytest.raises(AlexNetError, match=r"raw.jsonl: holds no rows"):
            runner.draw(name, tmp_path / "raw.jsonl", tmp_path / "figure.png")


@pytest.mark.parametrize("name", sorted(known.EXPERIMENTS))
def test_rows_without_any_figure_are_no_traceback(tmp_path, name):
    path = write(tmp_path / "raw.jsonl", {"condition": known.EXPERIMENTS[name].conditions[0], "seed": 0})
    with pytest.raises(AlexNetError, match=r"raw.jsonl: "):
        runner.draw(name, path, tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()


def test_old_names_of_conditions_are_those_of_today(tmp_path):
    rows = raw.read_rows(write(tmp_path / "raw.jsonl", {"condition": "paper batch=128", "seed": 0}))
    assert rows == [{"condition": "paper batch_size=128", "seed": 0}]


MADE = {path.name: path for path in (Path(__file__).parents[2] / "docs" / "raw").glob("*-minutes.jsonl")}


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_row_with_a_figure_of_another_kind_is_no_traceback(tmp_path, monkeypatch, name):
    """Each figure of a measured row in turn is none: what is wrong is said, or it is not shown."""
    experiment = name.removesuffix("-minutes.jsonl")
    monkeypatch.setattr(statistics, "DRAWS", 10)
    row, *rest = (json.loads(line) for line in MADE[name].read_text(encoding="utf-8").splitlines())
    for key in set(row) - {"condition", "seed"}:
        path = write(tmp_path / "raw.jsonl", {**row, key: "7" if isinstance(row[key], dict | list) else [7]}, *rest)
        with contextlib.suppress(AlexNetError):
            raw.shown(known.EXPERIMENTS[experiment], raw.read_rows(path), path)
