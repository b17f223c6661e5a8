"""What to take follows from what was measured; fewer photos are some of those that are there."""

from pathlib import Path

import numpy as np
import pytest

from alexnet import UsageError, prepare
from alexnet.data.sources import folder
from alexnet.experiments import budget, budget_report, runner
from alexnet.experiments.experiment import Row
from alexnet.nets.table_file import load_table
from alexnet.training.recipes import named
from tests.conftest import killed_at


def row(net: str, minutes: float, error: float, photos: int = 500, **more: object) -> Row:
    return {
        "condition": f"{net} {minutes}", "seed": 0, "net": net, "size": 128, "photos": photos, "epochs": 8,
        "recipe": "default", "seconds": 60 * minutes, "images_per_second": 100.0, "images": 2000, "top1_error": error,
        **more,
    }  # fmt: skip


def test_a_condition_is_a_net_and_three_numbers():
    assert budget.Point.of("paper size=128 photos=500 epochs=8") == budget.Point("paper", 128, 500, 8)
    assert budget.Point.of("caffe epochs=9 size=64 photos=50 recipe=source").recipe == "source"
    for wrong in ("paper size=128 photos=500", "paper size=x photos=5 epochs=1", "paper 128 500 8",
                  "paper size=64 photos=5 epochs=1 depth=2", "paper size=64 photos=5 epochs=1 more"):  # fmt: skip
        with pytest.raises(UsageError, match="give a net with size, photos and epochs: paper size=128"):
            budget.Point.of(wrong)


def test_each_condition_of_its_own_is_one():
    for condition in budget.BUDGET.conditions:
        point = budget.Point.of(condition)
        assert load_table(point.net).sized(10) and named(point.recipe)
    for scale in budget.BUDGET.scales.values():
        assert set(scale.conditions or ()) <= set(budget.BUDGET.conditions)


def test_what_to_take_is_the_least_error_that_there_is_time_for():
    rows = [row("a", 1, 0.60), row("b", 4, 0.50), row("c", 10, 0.55), row("d", 14, 0.49), row("e", 50, 0.30)]
    points = budget_report.by_photos(rows)[500]
    assert [point.net for point in budget_report.front(points)] == ["a", "b", "d", "e"]
    assert budget_report.advice(points, 5) == "b at 128 pixels, 8 epochs: 50.0% in 4.0 min"
    fifteen = budget_report.advice(points, 15)  # of 2,000 images at 49%, an interval reaches 2.2 points up
    assert fifteen.startswith("d at 128 pixels") and fifteen.endswith("within its interval: " + points[1].cell)
    assert budget_report.advice(points, 60) == "e at 128 pixels, 8 epochs: 30.0% in 50.0 min"
    assert budget_report.advice(points, 0.5) == "nothing so short; the quickest: " + points[0].cell
    assert budget_report.advice(points, 60, 50.0) == "nothing so long was measured"
    assert budget_report.advice(points, 60, 49.0) == budget_report.advice(points, 60)


def test_seeds_are_averaged_and_photos_kept_apart(tmp_path):
    rows = [row("a", 1, 0.6), {**row("a", 1, 0.4), "seed": 1, "seconds": 180}, row("b", 2, 0.7, photos=5000)]
    lines = budget_report.table(rows)
    assert lines[2].startswith("| 500 | a at 128 pixels, 8 epochs: 50.0% in 2.0 min |") and "2.0 min |" in lines[2]
    assert lines[3].startswith("| 5,000 | b at 128") and "| yes |" in lines[-1]
    assert "| a at 128 pixels, 8 epochs | 2.0 | 100 | 50.0%, 47.8% to 52.2% | yes |" in lines[-2]
    assert len(budget_report.figure(rows).axes) == 2


def test_a_recipe_is_told_apart_from_the_default():
    rows = [row("a", 1, 0.6), {**row("a", 2, 0.4), "recipe": "fast"}]
    drawing = budget_report.figure(rows)
    assert [text.get_text() for text in drawing.legends[0].get_texts()][:2] == ["a", "a, fast"]
    assert len({container[0].get_color() for container in drawing.axes[0].containers}) == 2
    assert "| a at 128 pixels, 8 epochs, recipe fast | 2.0 |" in "\n".join(budget_report.table(rows))


def test_fewer_photos_are_some_of_the_same(dataset, tmp_path):
    made = {count: prepare(folder.source(budget.Fewer(dataset, count, 0)), tmp_path / f"{count}", size=64)
            for count in (10, 31)}  # fmt: skip
    assert [made[31].splits[split] for split in ("train", "val")] == [31, dataset.splits["val"]]
    assert np.bincount(made[31].labels[made[31].rows("train")]).tolist() == [11, 10, 10]

    def pixels(of, split: str) -> np.ndarray:
        return np.stack([of.image(row) for row in of.rows(split)]).astype(int)

    few, more = ({image.tobytes() for image in pixels(made[count], "train")} for count in (10, 31))
    assert few < more
    for split in ("train", "val"):  # a second JPEG of each image is closest to its first
        apart = np.abs(pixels(made[31], split)[:, None] - pixels(dataset, split)[None]).mean((2, 3, 4))
        nearest = dataset.rows(split)[apart.argmin(1)]
        assert apart.min(1).max() < 6 < np.partition(apart, 1)[:, 1].min() and len(set(nearest)) == len(nearest)
        assert np.array_equal(dataset.labels[nearest], made[31].labels[made[31].rows(split)])
    other = budget.Fewer(dataset, 10, 1)
    assert set(other.rows) != set(budget.Fewer(dataset, 10, 0).rows)


def test_a_point_that_was_stopped_goes_on(dataset, narrow, tmp_path):
    options = {"data": dataset.path, "conditions": ["paper size=64 photos=40 epochs=2 recipe=fast"], "show": False}
    (whole,) = runner.reproduce("budget", tmp_path / "whole", **options).rows
    with killed_at(2):
        runner.reproduce("budget", tmp_path / "stopped", **options)
    (made,) = runner.reproduce("budget", tmp_path / "stopped", **options).rows
    assert {**made, "seconds": 0, "images_per_second": 0} == {**whole, "seconds": 0, "images_per_second": 0}
    assert whole["images_per_second"] * whole["seconds"] == pytest.approx(2 * 40, rel=0.05) and made["seconds"] > 0
    assert whole["images"] == dataset.splits["val"] and whole["photos"] == 40
    assert Path(tmp_path / "whole" / "figure.png").stat().st_size > 5000


def test_more_photos_than_there_are_is_a_mistake(dataset, tmp_path):
    with pytest.raises(UsageError, match=r"--data has 48 photos to train on, of 64 pixels; give --conditions"):
        runner.reproduce(
            "budget", tmp_path / "e", data=dataset.path, conditions=["paper size=64 photos=500 epochs=2"], show=False
        )
