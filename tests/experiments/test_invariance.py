"""Invariance: how images are moved, what is measured of them against plain NumPy, and an interrupted experiment."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from alexnet import Recipe, UsageError, load, prepare
from alexnet.experiments import invariance, nets, runner, statistics
from alexnet.experiments.invariance import transformed


def images(side: int = 64) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def moved(name: str, step: float) -> np.ndarray:
    return transformed(images(), name, step, torch.arange(4)).numpy()


def test_an_image_that_is_not_moved_is_the_same():
    for name, step in (("shift", 0), ("scale", 1), ("rotation", 0), ("flip", 0)):
        assert np.array_equal(moved(name, step), images().numpy())


def test_a_shift_moves_each_image_its_own_way_and_reflects_the_border():
    right, down, left, up = moved("shift", 32)  # of 256: 8 of 64 pixels
    before = images().numpy()
    padded = np.pad(before, ((0, 0), (0, 0), (8, 8), (8, 8)), "symmetric")
    assert np.array_equal(right, padded[0, :, 8:72, :64])
    assert np.array_equal(down, padded[1, :, :64, 8:72])
    assert np.array_equal(left, padded[2, :, 8:72, 16:])
    assert np.array_equal(up, padded[3, :, 16:, 8:72])


def test_flips_and_quarter_turns_are_those_of_numpy():
    assert np.array_equal(moved("flip", 1), images().numpy()[..., ::-1])
    assert np.array_equal(moved("rotation", 90), np.rot90(images().numpy(), axes=(2, 3)))


def test_a_scale_above_1_enlarges_about_the_center():
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(1, 3, 64, 64).contiguous()
    for factor in (0.8, 1.4):
        line = transformed(ramp, "scale", factor, torch.zeros(1, dtype=torch.int64))[0, 0, 20].numpy()
        expected = 4 * (31.5 + (np.arange(64) - 31.5) / factor)
        assert np.abs(line[10:54] - expected[10:54]).max() <= 0.51


def test_an_area_is_the_mean_along_the_curve():
    values = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    assert invariance.area((0, 1, 3), values).tolist() == pytest.approx([(0.75 + 0.5) / 3, 1 / 3])
    assert invariance.area((0, 1), values[:2]).tolist() == [0.5, 0.0]
    assert invariance.unpacked(invariance.packed(np.array([0.25, 1.5]))).tolist() == [0.25, 1.5]


def test_rows_are_those_of_plain_numpy_and_of_a_stopped_training(dataset, net_file, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 100)
    monkeypatch.setattr(nets, "BASE", Recipe(batch_size=16, epochs=1))
    monkeypatch.setattr(nets, "fitted", lambda net, size, folder: net_file)
    monkeypatch.setattr(invariance, "IMAGES", 5)
    monkeypatch.setattr(invariance, "BATCH", 3)
    options = {"data": dataset.path, "seeds": [2], "conditions": ["plain"], "scale": 1.0, "show": False}
    whole = runner.reproduce("invariance", tmp_path / "whole", **options)
    opened, kept = nets.load, []

    def stops(path, device):
        kept.append(load(path))
        raise KeyboardInterrupt

    monkeypatch.setattr(nets, "load", stops)
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("invariance", tmp_path / "stopped", **options)
    monkeypatch.setattr(nets, "load", opened)
    assert runner.reproduce("invariance", tmp_path / "stopped", **options).rows == whole.rows
    (row,), (run,) = whole.rows, kept
    assert dataset.rows("val").tolist() == list(range(48, 60))
    rows = [48, 51, 54, 56, 59]  # five of the twelve, at even distances
    squares = [dataset.image(row) for row in rows]
    mirrored = [np.ascontiguousarray(square[:, ::-1]) for square in squares]
    probabilities = run.square_probabilities(mirrored).numpy()[range(5), dataset.labels[rows]]
    assert row["curves"]["flip"]["probability"][0][1] == pytest.approx(probabilities.mean(), abs=1e-4)
    assert row["curves"]["flip"]["probability"][1][1] == pytest.approx(probabilities.std(), abs=1e-4)
    before, after = (
        run.activations(torch.from_numpy(np.stack(several)).permute(0, 3, 1, 2), ["fc3"])["fc3"].numpy()
        for several in (squares, mirrored)
    )
    lengths = np.sqrt((before**2).sum(1))
    distances = np.sqrt(((after - before) ** 2).sum(1)) / lengths
    cosines = (before * after).sum(1) / lengths / np.sqrt((after**2).sum(1))
    assert invariance.unpacked(row["areas"]["flip"]["distance"]) == pytest.approx(distances, abs=2e-3)
    assert invariance.unpacked(row["areas"]["flip"]["cosine"]) == pytest.approx(cosines, abs=2e-3)
    for name, place in (("shift", 0), ("scale", 3), ("rotation", 3), ("flip", 0)):
        untouched = {key: curve[0][place] for key, curve in row["curves"][name].items()}
        assert (untouched["kept"], untouched["distance"], untouched["cosine"]) == (1, 0, 1)
    lines = runner.draw("invariance", tmp_path / "whole" / "raw.jsonl", tmp_path / "again.png")
    assert lines == whole.table
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "whole" / "figure.png").read_bytes()


def row(arm: str, seed: int, value: float) -> dict[str, object]:
    areas = {key: invariance.packed(np.full(4, value)) for key in invariance.MEASURES}
    return {"condition": arm, "seed": seed, "top1_error": 0.5, "areas": dict.fromkeys(invariance.STEPS, areas)}


def test_the_table_pairs_the_seeds_that_both_arms_have(monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 100)
    rows = [row("augmented", 0, 0.75), row("augmented", 1, 0.5), row("plain", 0, 0.5), row("plain", 2, 0.0)]
    lines = invariance.table(rows)
    assert lines[3] == "| shift | probability of the true class | 0.750 | 0.500 | +0.250, +0.250 to +0.250 |  |"
    assert len(lines) == 3 + 16
    assert invariance.table(rows[:1])[3] == "| shift | probability of the true class | 0.750 |  |  |"
    alike = invariance.table([row("augmented", 0, 0.5), row("plain", 0, 0.5)])
    assert alike[3].endswith("| +0.000, +0.000 to +0.000 | no difference seen at this scale |")


def test_arms_are_recipes_and_others_are_refused(dataset, tmp_path):
    augmented, plain = (dataclasses.replace(Recipe(), **changes) for changes in invariance.ARMS.values())
    assert augmented == Recipe() and not plain.flip and plain.crop_position == "center"
    with pytest.raises(UsageError, match="condition 'flips': give one of augmented, plain"):
        runner.reproduce("invariance", tmp_path / "e", data=dataset.path, conditions=["flips"], show=False)


def test_images_to_measure_on_are_asked_for_before_anything_is_trained(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(nets, "train_for", None)
    whole = prepare(pictures, tmp_path / "whole", size=64, val_fraction=0.0)
    with pytest.raises(UsageError, match=r"--data .*whole: has no test or validation images; .*--val-fraction"):
        runner.reproduce("invariance", tmp_path / "e", data=whole.path, show=False)
