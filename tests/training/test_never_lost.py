"""What happens around a training: signals, folders and files that go, modes. A line and what is saved, not a death."""

import json
import os
import shlex
import shutil
import signal
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from alexnet import AlexNetError, Dataset, Recipe, UsageError, prepare, train
from alexnet.errors import Interrupted
from alexnet.runs.checkpoint import find_checkpoint, step_of
from alexnet.training.journal import StepReport
from alexnet.training.listeners import StallWatch
from alexnet.training.saving import Writer
from tests.conftest import fill, picture

unix = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals and modes of Unix")


@pytest.fixture
def recipe(net_file) -> Recipe:
    return Recipe(net=net_file, crop_size=48, batch_size=16, epochs=4)  # 3 steps an epoch


def at_step(step: int, act):
    def on_step(report: StepReport) -> None:
        if report.step == step:
            act()

    return on_step


@unix
@pytest.mark.parametrize("numbers", [["SIGHUP"], ["SIGHUP", "SIGHUP"], ["SIGHUP", "SIGTERM"], ["SIGTERM"], ["SIGINT"]])
def test_a_signal_saves_first(dataset, recipe, tmp_path, numbers):
    def send() -> None:
        for name in numbers:
            os.kill(os.getpid(), getattr(signal, name))

    before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted, match="stopped at step 5 of 12 and saved"):
        train(dataset, tmp_path / "run", recipe, on_step=at_step(4, send), show=False)
    saved = find_checkpoint(tmp_path / "run")
    assert saved and step_of(saved) == 5
    assert [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)] == before
    assert train(dataset, tmp_path / "run", recipe, show=False).steps == 12


@unix
def test_a_training_under_nohup_goes_on(dataset, recipe, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hang_up = at_step(4, lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert train(dataset, tmp_path / "run", recipe, on_step=hang_up, show=False).steps == 12
    finally:
        signal.signal(signal.SIGHUP, before)


@unix
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_files_have_the_modes_that_the_umask_gives(dataset, recipe, tmp_path, mask):
    before = os.umask(mask)
    try:
        train(dataset, tmp_path / "run", recipe, show=False)
    finally:
        os.umask(before)
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in written)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in written}
    assert set(modes.values()) == {0o666 & ~mask}, modes


@pytest.mark.parametrize("act", ["removed", "moved"])
def test_a_run_whose_folder_goes_says_so_when_it_is_next_saved(dataset, recipe, tmp_path, act):
    run = tmp_path / "run"

    def go() -> None:
        run.rename(tmp_path / "elsewhere")
        if act == "removed":  # while a checkpoint may be being written there
            shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)

    seen: list[int] = []

    def on_step(report: StepReport) -> None:
        seen.append(report.step)
        if report.step == 4:
            go()

    with pytest.raises(AlexNetError, match="was removed or moved while it was trained"):
        train(dataset, run, recipe, on_step=on_step, show=False)
    assert max(seen) <= 12 and not (run / "checkpoints").exists()
    if act == "moved":
        shutil.rmtree(run, ignore_errors=True)
        assert train(dataset, tmp_path / "elsewhere", recipe, show=False).steps == 12


def test_checkpoints_that_were_removed_are_written_anew(tmp_path):
    run, tensors = tmp_path / "run", {"conv1.weight": torch.zeros(2)}
    run.mkdir()
    (run / "run.json").write_text("{}", encoding="utf-8")
    writer = Writer(run)
    for step in (1, 2):
        writer.save("last", step, tensors, tensors, {})
        writer.wait()
        if step == 1:
            shutil.rmtree(run / "checkpoints")
    writer.close()
    assert step_of(find_checkpoint(run)) == 2


def test_a_run_that_is_moved_between_two_checkpoints_of_one_save_is_not_made_anew(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}", encoding="utf-8")
    writer = Writer(run)

    write = writer._write

    def moved_after(*arguments) -> None:
        write(*arguments)
        if run.exists():
            run.rename(tmp_path / "elsewhere")

    monkeypatch.setattr(writer, "_write", moved_after)
    tensors = {"conv1.weight": torch.zeros(2)}
    writer.save("last", 1, tensors, tensors, {}, best=(1, tensors))
    with pytest.raises(AlexNetError, match="was removed or moved while it was trained"):
        writer.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["elsewhere"]
    assert [entry.name for entry in tmp_path.glob("elsewhere/checkpoints/*")] == ["best-00000001"]


def test_a_shard_that_is_cut_while_it_is_read_is_a_line(dataset, recipe, tmp_path):
    shutil.copytree(dataset.path, tmp_path / "copy")
    shard = tmp_path / "copy" / "train-00000.arrow"
    size = shard.stat().st_size
    cut = at_step(2, lambda: os.truncate(shard, 4096))
    with pytest.raises(AlexNetError, match=rf"train-00000.arrow: lost {size - 4096:,} bytes while it was read"):
        train(Dataset(tmp_path / "copy"), tmp_path / "run", recipe, on_step=cut, show=False)


def test_a_dataset_that_is_removed_while_it_is_trained_on_stays_readable(dataset, recipe, tmp_path):
    copy = Path(shutil.copytree(dataset.path, tmp_path / "copy"))
    remove = at_step(4, lambda: shutil.rmtree(copy))
    assert train(Dataset(copy), tmp_path / "run", recipe, on_step=remove, show=False).steps == 12


def test_training_longer_is_told_how(alexnet, dataset, recipe, net_file, tmp_path):
    """An option of the schedule cannot be changed under way: the message has a command that trains on."""
    run = tmp_path / "my run"
    words = ["train", dataset.path, run, "--net", net_file, "--crop-size", 48, "--batch-size", 16]
    assert alexnet(*words, "--epochs", 1)[0] == 0
    status, _, err = alexnet(*words, "--epochs", 3)
    command = shlex.split(err.partition("its weights: ")[2].partition("; to train")[0])
    assert status == 2 and err.count("\n") == 1 and "epochs 1 -> 3" in err
    assert command[:2] == ["alexnet", "train"] and command[-2:] == ["--epochs", "2"]
    assert alexnet(*command[1:])[0] == 0 and json.loads((tmp_path / "my run-longer" / "run.json").read_text())
    status, _, err = alexnet(*words, "--epochs", 3, "--seed", 4)  # something else, too
    assert status == 2 and "begun with other options" in err


def test_rates_that_come_to_nothing_are_said(alexnet, dataset, net_file, tmp_path):
    words = ["train", dataset.path, tmp_path / "run", "--net", net_file, "--crop-size", 48, "--epochs", 2, "--dry-run"]
    said = "".join(alexnet(*words, "--lr", 0, "--schedule", "multistep", "--milestones", "1,5")[1:])
    assert "--lr 0: nothing will be learned" in said and "--milestones 5: not reached in 2 epochs" in said
    said = "".join(alexnet(*words, "--schedule", "multistep", "--milestones", "1")[1:])
    assert "nothing will be learned" not in said and "not reached" not in said


def test_a_loss_out_of_all_bounds_is_said_once():
    said: list[str] = []
    state = SimpleNamespace(note_loss=lambda loss: None, told_of_stall=True)
    watch = StallWatch(state, 10, said.append)  # pyright: ignore[reportArgumentType]
    for step, loss in enumerate((2.3, 2300.0, 3e16, 4e16), 1):
        watch(StepReport(step, 0.1, loss, 0.9, 0.5, 0.5))
    assert len(said) == 1 and "loss of step 3 is 3e+16" in said[0] and "--lr than 0.5" in said[0]


def test_a_run_without_weights_is_not_whole(alexnet, dataset, recipe, tmp_path):
    train(dataset, tmp_path / "run", recipe, show=False)
    assert alexnet("verify", tmp_path / "run")[0] == 0
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    status, out, err = alexnet("verify", tmp_path / "run")
    assert status == 1 and not out and "checkpoints: none there: the run has no weights" in err


def test_an_interrupted_preparation_says_what_is_kept(pictures, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"the same command goes on\. 2 of 4 shards are finished and kept"):
        prepare(pictures, tmp_path / "dataset", size=64, shard_rows=16, progress=interrupt)
    whole = prepare(pictures, tmp_path / "other", size=64, shard_rows=16)
    assert prepare(pictures, tmp_path / "dataset", size=64, shard_rows=16).fingerprint == whole.fingerprint


def test_what_differs_from_what_was_begun_is_named(tmp_path):
    photos = fill(tmp_path / "photos", count=5)
    prepare(photos, tmp_path / "dataset", size=32)
    for size, seed, said in ((48, 0, "--size 32 then, 48 now"), (32, 1, "--seed")):
        with pytest.raises(UsageError, match=said):
            prepare(photos, tmp_path / "dataset", size=size, seed=seed)
    picture(0, 99).save(photos / "red" / "new.jpg")
    with pytest.raises(UsageError, match="the source has changed: 15 images then, 16 now"):
        prepare(photos, tmp_path / "dataset", size=32)


def test_a_shard_that_nobody_may_read_is_not_called_damaged(dataset, monkeypatch):
    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("alexnet.data.pieces.MappedFile", refused)
    with pytest.raises(AlexNetError, match=r"train-00000\.arrow: cannot be read \(permission denied\)"):
        Dataset(dataset.path).image(0)
