"""Figure 4: nearest training images against plain NumPy, what is drawn, and an interrupted experiment."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet import Recipe, UsageError, load
from alexnet.experiments import figure4, nets, runner


@pytest.fixture
def short(net_file, monkeypatch):
    monkeypatch.setattr(nets, "BASE", Recipe(batch_size=16, epochs=1))
    monkeypatch.setattr(nets, "fitted", lambda net, size, folder: net_file)
    monkeypatch.setattr(figure4, "PIXELS", 24)
    monkeypatch.setattr(figure4, "BATCH", 16)


def brute_force(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(((queries[:, None].astype(np.float64) - vectors[None]) ** 2).sum(2))


def test_the_nearest_of_batches_are_the_nearest_of_all():
    random = np.random.default_rng(0)
    queries, vectors = random.normal(size=(7, 5)), random.normal(size=(40, 5))
    nearest = figure4.Nearest(torch.from_numpy(queries), 6)
    for start in (0, 3, 20):
        rows = range(start, {0: 3, 3: 20, 20: 40}[start])
        nearest.see(100 + torch.tensor(rows), torch.from_numpy(vectors[list(rows)]))
    distances = brute_force(queries, vectors)
    assert (nearest.rows.numpy() - 100).tolist() == distances.argsort(1)[:, :6].tolist()
    assert np.allclose(nearest.distances.numpy(), np.sort(distances, 1)[:, :6])


def test_rows_are_those_of_plain_numpy_and_of_a_stopped_training(dataset, short, tmp_path, monkeypatch):
    options = {"data": dataset.path, "seeds": [1], "scale": 1.0, "show": False}
    whole = runner.reproduce("figure4", tmp_path / "whole", **options)
    opened, kept = nets.load, []

    def stops(path, device):
        kept.append(load(path))
        raise KeyboardInterrupt

    monkeypatch.setattr(nets, "load", stops)
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("figure4", tmp_path / "stopped", **options)
    monkeypatch.setattr(nets, "load", opened)
    assert runner.reproduce("figure4", tmp_path / "stopped", **options).rows == whole.rows
    (figures, *pictured), (run,) = whole.rows, kept
    train, test = dataset.rows("train"), dataset.rows("val")
    crops = np.stack([dataset.image(row)[8:56, 8:56] for row in range(len(dataset))])
    hidden = run.activations(torch.from_numpy(np.stack([dataset.image(row) for row in range(len(dataset))])).permute(
        0, 3, 1, 2), ["fc3"])["fc3"].numpy()  # fmt: skip
    small = crops.reshape(-1, 24, 2, 24, 2, 3).mean((2, 4)).reshape(len(dataset), -1)
    for space, numbers in (("hidden", hidden), ("pixels", small)):
        near = brute_force(numbers[test], numbers[train]).argsort(1, kind="stable")[:, :6]
        same = (dataset.labels[train][near] == dataset.labels[test][:, None]).sum(1)
        assert np.frombuffer(base64.b64decode(figures[space]), np.uint8).tolist() == same.tolist()
    assert figures["layer"] == "fc3" and figures["images"] == len(test)
    assert len(pictured) == 8 and [len(row["near"]) for row in pictured] == [6] * 5 + [0] * 3
    for row in pictured:
        shares = [share for _, share in row["top"]]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-3)
        assert Image.open(io.BytesIO(base64.b64decode(row["image"]))).size == (64, 64)
    lines = runner.draw("figure4", tmp_path / "whole" / "raw.jsonl", tmp_path / "again.png")
    assert lines == whole.table
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "whole" / "figure.png").read_bytes()


def counts(*same: int) -> str:
    return base64.b64encode(bytes(same)).decode()


def test_figures_alone_make_the_table_and_a_figure(tmp_path):
    common = {"condition": "default", "images": 4, "top1_error": 0.25, "top5_error": 0.0, "chance": 0.1}
    rows = [
        {**common, "seed": 0, "hidden": counts(6, 6, 6, 0), "pixels": counts(0, 3, 0, 0)},
        {**common, "seed": 1, "hidden": counts(6, 6, 0, 6), "pixels": counts(0, 3, 3, 0)},
    ]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (line,) = runner.draw("figure4", tmp_path / "raw.jsonl", tmp_path / "figure.png")[2:]
    assert line.startswith("| default | 4 | 2 | 25.0%, 0.0% | 75.0% | 18.8% | +56.2 points, ")
    assert np.asarray(Image.open(tmp_path / "figure.png")).std() > 5


def test_an_unknown_condition_is_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="condition 'fc6': give one of default"):
        runner.reproduce("figure4", tmp_path / "e", data=dataset.path, conditions=["fc6"], show=False)
