"""What `alexnet info` says of a run and a dataset, and the history that `alexnet evaluate` keeps."""

import json
import os
import re
import shutil
import stat

import pytest

from alexnet import Recipe, load, train
from alexnet.runs.history import add_measurement, latest_measurements, read_measurements
from alexnet.runs.verify import verify


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory):
    place = tmp_path_factory.mktemp("informed") / "run"
    train(dataset, place, Recipe(net=net_file, crop_size=48, batch_size=16, epochs=3, learning_rate=0.02), show=False)
    return place


def lines(out: str) -> dict[str, str]:
    """The rows above the first blank line, by name."""
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.partition("\n\n")[0].splitlines())


def test_what_a_run_is(alexnet, run, dataset):
    status, out, _ = alexnet("info", run)
    rows = lines(out)
    parameters = sum(tensor.numel() for tensor in load(run).net.tensors().values())
    assert status == 0 and rows["net"] == f"small, {parameters:,} parameters, 3 classes: blue, green, red"
    assert rows["recipe"] == "default, with --epochs 3 --batch-size 16 --lr 0.02"
    assert rows["trained"].startswith("3 of 3 epochs, 9 steps, 0:")
    made = re.search(r" UTC, alexnet 0\.1\.0(, commit [0-9a-f]{12}.*)?$", rows["made"])
    assert "48 train, 12 val images" in rows["dataset"] and made
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [line["top1_error"] for line in metrics if line["split"] == "val"]
    best = errors.index(min(errors)) + 1
    assert rows["best epoch"].startswith(f"{best}, validation error {min(errors):.2%}")
    assert rows["checkpoints"] == f"last: step 9; best: step {3 * best}"
    files = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    told = json.loads(alexnet("info", run, "--json")[1])
    assert told["bytes"] == files and told["parameters"] == parameters and told["epochs"] == told["epochs_asked"] == 3
    assert told["errors"]["val"]["top5_error"] is None and "top-5" not in out and "None" not in out
    assert told["data"]["store"] == dataset.fingerprint


def test_evaluate_is_remembered(alexnet, run, dataset, tmp_path):
    for options in (["--views", 10], ["--views", 10], ["--checkpoint", "best"], ["--split", "train"]):
        told = json.loads(alexnet("evaluate", run, dataset.path, *options, "--json")[1])
    assert len(read_measurements(run)) == 4 and len(latest_measurements(run)) == 3  # one is measured twice
    newest = read_measurements(run)[-1]
    assert newest["top1_error"] == told["top1_error"] and newest["split"] == "train" and newest["step"] == 9
    assert newest["store"] == dataset.fingerprint and newest["top5_error"] is None
    out = alexnet("info", run)[1].partition("\n\n")[2]
    assert re.search(r"^val +12 +10 +last ", out, re.MULTILINE) and re.search(
        r"^train +48 +1 +last ", out, re.MULTILINE
    )
    assert set(dict(verify(run)).values()) == {None}
    options = ["--net", json.loads((run / "recipe.json").read_text())["net"], "--crop-size", 48, "--batch-size", 16]
    assert alexnet("train", dataset.path, run, *options, "--epochs", 3, "--lr", 0.02)[0] == 0  # finished already
    assert len(read_measurements(run)) == 4


def test_a_torn_or_strange_history_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    line = {
        "dataset": "d", "store": "s", "split": "val", "views": 1, "step": 3, "precision": "auto", "images": 2,
        "top1_error": 0.5, "top1_interval": [0, 1], "top5_error": None, "top5_interval": None, "loss": 1.0,
    }  # fmt: skip
    (tmp_path / "evaluations.jsonl").write_bytes(b'[]\n\0\0\n{"views": 3}\n{"torn')
    add_measurement(tmp_path, line)
    assert len(read_measurements(tmp_path)) == 1
    os.remove(tmp_path / "run.json")
    add_measurement(tmp_path, line)  # no run any more
    assert len(read_measurements(tmp_path)) == 1 and read_measurements(tmp_path / "none") == []


def test_a_folder_that_cannot_be_written_is_no_failure(alexnet, run, dataset, tmp_path):
    """Here: a folder lies where the history is written."""
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluations.jsonl"))
    (tmp_path / "run" / "evaluations.jsonl").mkdir()
    status, _, err = alexnet("evaluate", tmp_path / "run", dataset.path)
    assert status == 0 and err.count("error") == 0 and read_measurements(tmp_path / "run") == []
    assert alexnet("info", tmp_path / "run")[0] == 0


def test_the_history_has_the_usual_mode(alexnet, run, dataset):
    assert alexnet("evaluate", run, dataset.path)[0] == 0
    mode = stat.S_IMODE((run / "evaluations.jsonl").stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask


def test_a_run_that_lacks_almost_everything(alexnet, run, tmp_path):
    """One of an earlier version, cut down: no journal, no recipe, no version."""
    shutil.copytree(run, tmp_path / "run")
    for name in ("recipe.json", "metrics.jsonl", "timings.jsonl", "evaluations.jsonl"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    description = json.loads((run / "run.json").read_text())
    for key in ("seal", "version", "created", "words"):
        description.pop(key)
    (tmp_path / "run" / "run.json").write_text(json.dumps(description))
    status, out, err = alexnet("info", tmp_path / "run")
    assert status == 0 and not {"recipe", "trained", "best epoch", "made"} & set(lines(out)) and "None" not in out, err
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    status, out, _ = alexnet("info", tmp_path / "run")
    assert status == 0 and lines(out)["checkpoints"] == "none yet"


def test_what_a_dataset_is(alexnet, dataset):
    status, out, _ = alexnet("info", dataset.path)
    rows = lines(out)
    assert status == 0 and rows["images"] == "train 48, val 12" and rows["skipped"] == "none"
    assert rows["classes"] == "3 classes: blue, green, red" and "duplicates" not in rows and "None" not in out
    assert rows["stored"].startswith("64x64 pixels, jpeg; ") and rows["size"].endswith("on disk, in 2 shards")
