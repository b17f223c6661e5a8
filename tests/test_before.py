"""What an earlier version wrote is read, resumed and verified: see ``tests/before/README.md``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet import Dataset, Recipe, evaluate, import_weights, load, train
from alexnet.interchange.exporting import export
from alexnet.runs.journal import read_journal
from alexnet.runs.verify import verify
from alexnet.training.recipe import from_json

BEFORE = Path(__file__).parent / "before"


@pytest.fixture
def before(tmp_path, monkeypatch) -> Path:
    """A copy that may be written to; nets are looked up from there."""
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    return tmp_path / "before"


def test_the_store(before):
    dataset = Dataset(before / "store")
    assert dataset.splits == {"train": 10, "val": 2} and dataset.classes == ["blue", "red"] and dataset.size == 32
    assert dataset.labels.tolist() == [0] * 5 + [1] * 5 + [0, 1]
    assert all(dataset.image(row).shape == (32, 32, 3) for row in range(12))
    assert {problem for _, problem in dataset.verify()} == {None}
    assert dataset.statistics.images == 10


def test_the_finished_run(before):
    run = load(before / "run")
    assert run.step == 12 and run.classes == ["blue", "red"] and run.preprocessing.crop == 24
    assert {problem for _, problem in verify(before / "run")} == {None}
    told = json.loads((before / "run" / "run.json").read_text())["errors"]["val"]
    errors = evaluate([run], Dataset(before / "store")).errors
    assert errors.top1_error == told["top1_error"] and errors.images == told["images"] == 2
    lines, unreadable = read_journal(before / "run" / "metrics.jsonl")
    assert len(lines) == 16 and not unreadable


def test_the_killed_run_is_resumed(before):
    """Its first steps stay to the letter; the rest may differ by another processor's rounding."""
    recipe = from_json(json.loads((before / "killed" / "recipe.json").read_text()), "recipe.json")
    assert recipe == Recipe(net="small.toml", crop_size=24, batch_size=4, epochs=4, precision="float32")
    kept = (before / "killed" / "metrics.jsonl").read_text().splitlines()[:8]  # six steps, two epochs
    outcome = train(before / "store", before / "killed", recipe, threads=1, show=False)
    lines = (before / "killed" / "metrics.jsonl").read_text().splitlines()
    whole = [json.loads(line) for line in (before / "run" / "metrics.jsonl").read_text().splitlines()]
    assert outcome.steps == 12 and lines[:8] == kept and len(lines) == len(whole) == 16
    for line, other in zip(map(json.loads, lines), whole):
        assert line["step"] == other["step"] and line["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert {problem for _, problem in verify(before / "killed")} == {None}


@pytest.mark.parametrize("name", ["hub", "net.onnx"])
def test_what_was_exported_comes_back(before, name):
    import_weights(before / name, before / "again")
    ours, again = load(before / "run"), load(before / "again")
    assert again.classes == ours.classes and again.preprocessing.scale == ours.preprocessing.scale
    assert torch.equal(again.preprocessing.mean_image, ours.preprocessing.mean_image)
    for key, tensor in ours.net.state().items():
        assert torch.equal(again.net.state()[key], tensor), key
    export(before / "again", before / "once-more")
    config, old = (json.loads((before / place / "config.json").read_text()) for place in ("once-more", "hub"))
    assert config["classes"] == old["classes"] and config["preparation"] == old["preparation"]


def test_a_store_of_today_differs_by_what_is_new_alone(before, tmp_path):
    """The shards' bytes, statistics and words of a description are those of before."""
    from alexnet import prepare
    from tests.conftest import fill

    prepare(fill(tmp_path / "pictures", ("blue", "red"), 6), tmp_path / "now", size=32, format="jpeg")
    for name in ("train-00000.arrow", "val-00000.arrow", "statistics.safetensors", "skipped.csv"):
        assert (tmp_path / "now" / name).read_bytes() == (before / "store" / name).read_bytes(), name
    now, old = (json.loads((place / "dataset.json").read_text()) for place in (tmp_path / "now", before / "store"))
    assert {key: now[key] for key in old if key != "decoder"} == {key: old[key] for key in old if key != "decoder"}
    assert set(now) - set(old) == {"labels_sha256", "seal"}
    assert np.array_equal(Dataset(tmp_path / "now").labels, Dataset(before / "store").labels)
