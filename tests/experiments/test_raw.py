"""Raw figures that were changed are named by their line; a condition counts when all of its rows are there."""

import json

import numpy as np
import pytest

from alexnet import AlexNetError, Recipe
from alexnet.experiments import arms, precision, raw, runner
from alexnet.experiments.statistics import packed

WRONG = packed(np.array([True, False] * 20))
ROW = {"condition": "default", "seed": 0, "images": 40, "split": "val", "top1_error": 0.5, "wrong": WRONG}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = raw.rows_of("default", 0, [{"top1_error": 0.25}]) + raw.rows_of("fast", 1, [{"step": 0}, {"step": 1}])
    (tmp_path / "raw.jsonl").write_bytes(raw.to_bytes(rows))
    assert raw.read_rows(tmp_path / "raw.jsonl") == rows
    assert raw.is_whole(rows, "default", 0) and raw.is_whole(rows, "fast", 1)
    assert not raw.is_whole(rows[:-1], "fast", 1) and not raw.is_whole(rows, "fast", 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": None}, "names no seed"),
        ({"seed": True}, "names no seed"),
        ({"seed": -1}, "names no seed"),
        ({"condition": 3}, "names no condition"),
        ({"top1_error": None}, "top1_error: is not an error"),
        ({"top1_error": "x"}, "top1_error: is not an error"),
        ({"top1_error": 7.5}, "top1_error: is not an error"),
        ({"images": 0}, "images: is not a number"),
        ({"images": 48}, "wrong: does not say of each image"),
        ({"wrong": "zzzz"}, "wrong: does not say of each image"),
        ({"wrong": 5}, "wrong: does not say of each image"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_what_to_do(tmp_path, change, words):
    path = write(tmp_path / "raw.jsonl", {**ROW, "seed": 1}, {**ROW, **change})
    with pytest.raises(AlexNetError, match=f"raw.jsonl: line 2: {words}.*; remove it, and the others of its condition"):
        raw.read_rows(path)


def test_a_row_that_is_there_twice_is_named(tmp_path):
    path = write(tmp_path / "raw.jsonl", ROW, {**ROW, "seed": 1}, ROW)
    with pytest.raises(AlexNetError, match="line 3: is line 1 again"):
        raw.read_rows(path)


def test_a_row_without_its_experiments_figures_is_no_traceback(tmp_path):
    path = write(tmp_path / "raw.jsonl", {key: value for key, value in ROW.items() if key != "top1_error"})
    with pytest.raises(AlexNetError, match=r"raw.jsonl: a row lacks a figure of this experiment"):
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
