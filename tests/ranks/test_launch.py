"""Several processes of one machine by ``--devices``: as one process, started again where one was killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from benchmarks.faults import PATCH
from benchmarks.kill import of_run

import alexnet
from alexnet.errors import UsageError
from alexnet.ranks.launch import devices_of, handlers_kept, without_devices
from alexnet.runs import owners


def test_devices_are_a_number_or_all():
    assert devices_of("2") == 2
    for wrong in ("two", "0", "-1", "2000", "1.5"):
        with pytest.raises(UsageError, match="--devices"):
            devices_of(wrong)


def test_each_process_runs_the_command_without_devices():
    assert without_devices(["train", "--devices", "2", "data", "run"]) == ["train", "data", "run"]
    rest = ["train", "data", "run", "--lr", "0.1"]
    assert without_devices([*rest[:3], "--devices=all", *rest[3:]]) == rest


def test_handlers_of_signals_are_as_before():
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.getsignal(getattr(signal, name)) for name in names]
    with handlers_kept():
        for name in names:  # as torch's launcher does
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    assert [signal.getsignal(getattr(signal, name)) for name in names] == before


def words_of(dataset, run: Path, net: Path, *more: str) -> list[str]:
    words = ["train", dataset.path, run, "--net", net, "--batch-size", "16", "--quiet", *more]
    return [sys.executable, "-m", "alexnet", *map(str, words)]


def train(dataset, run: Path, net: Path, *more: str, fault: str = "", room: Path | None = None):
    """``alexnet train`` in a process of its own, whose rank 1 may be killed at a step."""
    paths = [str(Path(alexnet.__file__).parents[1])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FAULT": fault}
    if room is not None:
        (room / "sitecustomize.py").write_text(PATCH)
        paths.insert(0, str(room))
        environment["FAULT_ONCE"] = str(room / "once")
    return subprocess.run(
        words_of(dataset, run, net, "--epochs", "3", *more),
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_as_one(dataset, net_file, tmp_path):
    exact = ("--precision", "float32")  # some processors have bf16 by default
    alone = train(dataset, tmp_path / "alone", net_file, *exact)
    both = train(dataset, tmp_path / "both", net_file, "--devices", "2", "--parallel", "towers", *exact)
    assert alone.returncode == both.returncode == 0, alone.stderr + both.stderr
    assert losses(tmp_path / "both") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    assert both.stdout.count("3 epochs; this command took") == 1  # one process speaks


def test_a_mistake_is_one_line_of_one_process(dataset, net_file, tmp_path):
    ended = train(dataset, tmp_path / "run", net_file, "--devices", "3", "--parallel", "towers")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "2 towers" in ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.net
def test_a_killed_process_is_started_again(dataset, net_file, tmp_path):
    for name, fault in (("undisturbed", ""), ("killed", "kill:1=5")):
        room = tmp_path / f"room-{name}"
        room.mkdir()
        ended = train(dataset, tmp_path / name, net_file, "--devices", "2", fault=fault, room=room)
        assert ended.returncode == 0, ended.stderr
    assert "rank 1 was killed (SIGKILL)" in ended.stderr
    assert of_run(tmp_path / "killed") == of_run(tmp_path / "undisturbed")


@pytest.mark.net
def test_a_second_job_is_refused_while_the_first_one_starts_again(dataset, net_file, tmp_path):
    """Rank 0, which had the folder, is dead, and the new one does not train yet."""
    ended: list = []
    words = (dataset, tmp_path / "run", net_file)
    first = threading.Thread(
        target=lambda: ended.append(train(*words, "--devices", "2", fault="gap:0=5", room=tmp_path))
    )  # fmt: skip
    first.start()
    while not (tmp_path / "once.gap").exists() and first.is_alive():
        time.sleep(0.05)
    second = [train(*words, *more) for more in ((), ("--devices", "2"))]
    (tmp_path / "once.tried").touch()
    first.join()
    for job in second:
        assert job.returncode == 1 and job.stderr.count("\n") == 1 and "is writing there" in job.stderr, job.stderr
    assert ended[0].returncode == 0 and "rank 0 was killed (SIGKILL)" in ended[0].stderr, ended[0].stderr
    assert not [name for name in os.listdir(tmp_path / "run") if name.startswith(".")]


@pytest.mark.net
def test_ranks_save_and_end_when_their_launcher_is_killed(dataset, net_file, tmp_path):
    run, environment = tmp_path / "run", {**os.environ, "OMP_NUM_THREADS": "1"}
    words = words_of(dataset, run, net_file, "--epochs", "4000", "--devices", "2")
    launcher = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(losses(run)) < 3:
        assert time.monotonic() < until and launcher.poll() is None
        time.sleep(0.05)
    launcher.kill()
    assert "Traceback" not in launcher.communicate(timeout=60)[1]  # it ends when the last rank has ended
    with owners.owned(run, print):
        assert list((run / "checkpoints").glob("last-*"))


def test_devices_beside_torchrun_are_refused(dataset, net_file, tmp_path):
    words = words_of(dataset, tmp_path / "run", net_file, "--devices", "2")
    launch = ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *words[1:]]
    ended = subprocess.run(
        [words[0], "-m", "torch.distributed.run", *launch], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode and ended.stderr.count("--devices 2: torchrun has started 2 processes already") == 1
    assert not (tmp_path / "run").exists()
