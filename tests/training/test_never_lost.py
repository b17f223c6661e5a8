"""What happens around a training: signals, folders and files that go, modes. A line and what is saved, not a death."""

import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from alexnet import AlexNetError, Dataset, Recipe, train
from alexnet.errors import Interrupted
from alexnet.runs.checkpoint import find_checkpoint, step_of
from alexnet.training.journal import StepReport

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
    go = (lambda: shutil.rmtree(run)) if act == "removed" else (lambda: run.rename(tmp_path / "elsewhere"))
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
