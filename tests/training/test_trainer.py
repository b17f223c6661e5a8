"""Training: it learns, resumes bitwise from anywhere, and stops with words."""

import dataclasses
import functools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from tensorboard.backend.event_processing import event_accumulator

from alexnet import AlexNetError, Recipe, load, train
from alexnet.nets import weights
from alexnet.runs.checkpoint import find_checkpoint
from alexnet.training.journal import Lines
from alexnet.training.optimizer import Momentum
from tests.conftest import killed_at


def final(run: Path) -> tuple[bytes, bytes]:
    """Weights with velocities, and metrics of a finished run."""
    place = find_checkpoint(run, "last")
    assert place
    tensors = (place / "weights.safetensors").read_bytes() + (place / "state.safetensors").read_bytes()
    return tensors, (run / "metrics.jsonl").read_bytes()


EPOCHS = 12  # of six steps
STEPS = 6 * EPOCHS


@pytest.fixture(scope="module")
def recipe(net_file) -> Recipe:
    return Recipe(net=net_file, crop_size=48, batch_size=8, epochs=EPOCHS)


@pytest.fixture(scope="module")
def whole(dataset, recipe, tmp_path_factory) -> Path:
    """An undisturbed run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(dataset, run, recipe, workers=1, show=False)
    return run


def test_it_learns_and_leaves_a_run(dataset, recipe, whole):
    outcome = train(dataset, whole, recipe, show=False)  # finished already: says how it ended
    assert outcome.errors and outcome.errors.top1_error <= 0.2 and outcome.steps == STEPS
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").open()]
    steps = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert set(steps[0]) == {"step", "epoch", "split", "rate", "loss", "top1_error", "top5_error"}
    assert [line["epoch"] for line in lines if line["split"] == "val"] == list(range(1, EPOCHS + 1))
    assert (whole / "curve.png").exists() and (whole / "recipe.json").exists()
    timings = [json.loads(line) for line in (whole / "timings.jsonl").open()]
    assert all(line["images_per_second"] > 0 and 0 <= line["waiting_share"] <= 1 for line in timings)
    assert load(whole).errors["val"]["top1_error"] == outcome.errors.top1_error


def test_best_is_the_one_with_the_lowest_error(dataset, whole):
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").open()]
    measured = [(line["top1_error"], line["step"]) for line in lines if line["split"] == "val"]
    assert load(whole, "best").step == min(measured)[1]
    assert len(list((whole / "checkpoints").iterdir())) == 2  # older ones are gone


@pytest.mark.parametrize("workers", [2, 5])
def test_loader_threads_change_no_bit(dataset, recipe, whole, tmp_path, workers):
    train(dataset, tmp_path / "run", recipe, workers=workers, show=False)
    assert final(tmp_path / "run") == final(whole)


def test_another_seed_is_another_training(dataset, recipe, whole, tmp_path):
    train(dataset, tmp_path / "run", Recipe(**{**vars(recipe), "seed": 1}), show=False)
    assert final(tmp_path / "run")[0] != final(whole)[0]


def test_accumulated_parts_add_up_to_the_batch(dataset, recipe, tmp_path):
    exact = {**vars(recipe), "precision": "float32", "epochs": 1}
    for parts in (1, 4):
        train(dataset, tmp_path / str(parts), Recipe(**{**exact, "grad_accumulation": parts}), show=False)
    one, four = (load(tmp_path / str(parts)).net.tensors() for parts in (1, 4))
    for name, tensor in one.items():
        torch.testing.assert_close(four[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


CHILD = """
import functools, os, sys
from alexnet import cli
from alexnet.training import saving, train

number, step, calls = int(sys.argv[1]), int(sys.argv[2]), 0

def transform(images, rows):
    global calls
    calls += 1
    if calls == step:
        os.kill(os.getpid(), number)
    return images

train.train = functools.partial(train.train, transform=transform)
saving.Writer.due = lambda writer: writer.wait() is None  # each epoch is saved
sys.exit(cli.main(sys.argv[3:]))
"""


def command(dataset, run, recipe: Recipe, number: int = 0, step: int = 0) -> list[str]:
    """A training in a process of its own, which gets a signal at its own so manieth step; 0 for none."""
    options = ["--net", recipe.net, "--crop-size", "48", "--batch-size", "8", "--epochs", str(EPOCHS)]
    return [sys.executable, "-c", CHILD, str(int(number)), str(step), "train", str(dataset.path), str(run), *options]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopped_by_a_signal_it_saves_and_resumes_bitwise(dataset, recipe, whole, tmp_path, number):
    run = tmp_path / "run"
    stopped = subprocess.run(command(dataset, run, recipe, number, 9), stderr=subprocess.PIPE, text=True, check=False)
    assert stopped.returncode == 130 and "saved; the same command goes on" in stopped.stderr
    assert f"stopped at step 9 of {STEPS}" in stopped.stderr and load(run).step == 9
    assert subprocess.run(command(dataset, run, recipe), check=False).returncode == 0
    assert final(run) == final(whole)


def test_killed_anywhere_it_resumes_bitwise(dataset, recipe, whole, tmp_path):
    run = tmp_path / "run"
    for step in (1, 13, 44):
        killed = subprocess.run(command(dataset, run, recipe, signal.SIGKILL, step), capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL
        if step > 1:
            load(run)  # always readable
    assert subprocess.run(command(dataset, run, recipe), check=False).returncode == 0
    assert final(run) == final(whole)


def test_a_long_epoch_is_saved_in_between(dataset, recipe, whole, tmp_path):
    with killed_at(10):  # an epoch has six steps
        train(dataset, tmp_path / "run", recipe, show=False)
    place = find_checkpoint(tmp_path / "run", "last")
    assert place and place.name == "last-00000009"
    train(dataset, tmp_path / "run", recipe, show=False)
    assert load(tmp_path / "run").step == STEPS
    assert final(tmp_path / "run")[1] == final(whole)[1]


def test_journal_is_cut_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    lines = Lines(path, 2)
    lines.write(step=3, new=True)
    lines.close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3, "new": true}\n'


def test_other_options_are_refused_and_shown(alexnet, dataset, whole, net_file):
    options = ["--net", net_file, "--crop-size", 48, "--batch-size", 8, "--epochs", EPOCHS]
    status, _, err = alexnet("train", dataset.path, whole, *options, "--lr", 0.5)
    assert status == 2 and "--lr 0.01 -> 0.5" in err and err.count("\n") == 1
    assert alexnet("train", dataset.path, whole, *options)[0] == 0
    status, _, err = alexnet("train", dataset.path, whole, "--recipe", whole / "recipe.json")
    assert status == 0  # a run's recipe can be given back


def test_not_finite_stops_at_once_and_says_where(alexnet, dataset, small, tmp_path):
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", *small, "--lr", 1e6, "--warmup-epochs", 0)
    assert status == 1 and "is not finite; first in " in err and "lower --lr" in err and "Traceback" not in err
    assert "none was saved yet" in err or "is kept" in err


def test_tensorboard_is_written_or_asked_for(alexnet, dataset, small, tmp_path, monkeypatch):
    assert alexnet("train", dataset.path, tmp_path / "run", *small, "--log", "tensorboard")[0] == 0
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    reader = event_accumulator.EventAccumulator(str(events)).Reload()
    assert {"train/loss", "train/rate", "val/top1_error"} <= set(reader.Tags()["scalars"])
    assert len(reader.Scalars("train/loss")) == 18
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, err = alexnet("train", dataset.path, tmp_path / "other", *small, "--log", "tensorboard")
    assert status == 2 and "alexnet[tensorboard]" in err


def test_a_stall_is_noticed(dataset, net_file, tmp_path, capsys):
    recipe = Recipe(net=net_file, crop_size=48, batch_size=2, epochs=13, init="net", learning_rate=1e-7)
    train(dataset, tmp_path / "run", recipe)
    err = capsys.readouterr().err
    assert err.count("still that of chance") == 1 and f"({math.log(3):.3f})" in err and "--recipe default" in err
    capsys.readouterr()
    train(dataset, tmp_path / "other", Recipe(net=net_file, crop_size=48, batch_size=2, epochs=13))
    assert "chance" not in capsys.readouterr().err


def damaged(run: Path, name: str, to: Path) -> Path:
    shutil.copytree(run, to)
    place = find_checkpoint(to, "last")
    assert place
    file = place / name if (place / name).exists() else to / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    return to


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "preparation.safetensors"])
def test_a_flipped_bit_is_found(alexnet, dataset, whole, tmp_path, name):
    run = damaged(whole, name, tmp_path / "run")
    status, _, err = alexnet("verify", run)
    assert status == 1 and name in err
    recipe = ["--recipe", run / "recipe.json"]
    status, _, err = alexnet("train", dataset.path, run, *recipe)
    assert status == 1 and name in err and "damaged" in err and err.count("\n") == 1
    if name != "state.safetensors":
        status, _, err = alexnet("evaluate", run, dataset.path)
        assert status == 1 and name in err


@pytest.mark.parametrize(("errno", "said"), [(28, "no space left"), (30, "cannot write there")])
def test_a_full_or_read_only_disk_loses_nothing(alexnet, dataset, recipe, whole, tmp_path, monkeypatch, errno, said):
    run = tmp_path / "run"
    options = command(dataset, run, recipe)[5:]
    real, calls = os.fsync, 0

    def refuse(handle):
        nonlocal calls
        calls += 1
        if calls > 8:
            raise OSError(errno, os.strerror(errno))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr("alexnet.files.storage.os.fsync", refuse)
        status, _, err = alexnet(*options)
    assert status == 1 and said in err and "Traceback" not in err
    assert alexnet(*options)[0] == 0
    assert final(run) == final(whole)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "nope"], "--recipe nope: unknown"),
        (["--nope", "1"], "--nope"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--batch-size", "many"], "--batch-size"),
        (["--device", "abacus"], "--device abacus"),
        (["--net", "vgg"], "net 'vgg': unknown"),
        (["--net", "none.toml"], "none.toml: cannot be read"),
        (["--crop-size", "65"], "--crop-size 65"),
        (["--precision", "int3"], "--precision"),
    ],
)
def test_wrong_options_are_named(alexnet, dataset, tmp_path, arguments, said):
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", "--crop-size", 48, *arguments)
    assert status == 2 and said in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_full_disk_under_the_weights_is_an_error_of_the_system(tmp_path, monkeypatch):
    def refuse(*arguments):  # what safetensors 0.8 raised on a full tmpfs
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("alexnet.nets.weights.save_file", refuse)
    with pytest.raises(OSError) as error:
        weights.save_tensors(tmp_path / "w", {"a": torch.zeros(1000)})
    assert error.value.errno == 28 and error.value.filename == str(tmp_path / "w")


def test_no_store_there(alexnet, tmp_path):
    status, _, err = alexnet("train", tmp_path / "none", tmp_path / "run")
    assert status == 2 and "no dataset there" in err and "alexnet prepare" in err
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text('{"format_version": 1}')
    with pytest.raises(AlexNetError, match=r"run\.json: classes: is missing"):
        load(tmp_path / "begun")


def test_fp16s_scale_falls_and_rises_again_and_resumes(dataset, recipe, tmp_path, monkeypatch):
    """torch's own scaler: an overflow halves the scale and skips the update, and after a while it grows again."""
    half = dataclasses.replace(recipe, precision="fp16", epochs=4)
    scaler = functools.partial(torch.GradScaler, init_scale=2.0**40, growth_interval=3)
    monkeypatch.setattr("alexnet.training.start.torch.GradScaler", scaler)
    train(dataset, tmp_path / "whole", half, show=False)
    state = json.loads((find_checkpoint(tmp_path / "whole") / "checkpoint.json").read_text())["state"]
    scales = [state["scaler"]["scale"], state["fp16_scale"]]
    assert scales[0] == scales[1] < 2.0**39
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole" / "metrics.jsonl").open()]
    assert losses[-1] < losses[0]
    with killed_at(13):
        train(dataset, tmp_path / "run", half, show=False)
    train(dataset, tmp_path / "run", half, show=False)
    assert final(tmp_path / "run") == final(tmp_path / "whole")


def test_the_optimizer_works_with_torchs_scaler():
    weight = torch.ones(4, requires_grad=True)
    optimizer = Momentum({"a.weight": weight}, lr=0.1, weight_decay=0.0)
    scaler = torch.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    seen = []
    for factor in (1.0, float("inf"), 1.0, 1.0, 1.0):
        scaler.scale((weight * factor).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        seen.append((scaler.get_scale(), round(weight.tolist()[0], 4)))
    assert [scale for scale, _ in seen] == [4.0, 2.0, 2.0, 4.0, 4.0]  # down at the overflow, up after two good steps
    assert seen[0][1] == 0.9 and seen[1][1] == 0.9 and seen[2][1] < 0.9  # and no update where it overflowed
