"""A run's folder that a launcher holds: its own processes train there, others are refused with a line."""

import os
import signal
import subprocess
import sys
import time

import pytest

from alexnet import AlexNetError, files
from alexnet.runs import owners

HOLD = """
import subprocess, sys, time
from alexnet.runs import owners
with owners.held(sys.argv[1]):
    own = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]]) if len(sys.argv) > 2 else None
    if own is None:
        print("held", flush=True)
    time.sleep(60)
"""
TRAIN = """
import sys, time
from alexnet.runs import owners
with owners.owned(sys.argv[1], print):
    print("trains", flush=True)
    time.sleep(60)
"""


def start(folder, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture
def launcher(tmp_path):
    """A process that holds ``run``, none of whose processes lives."""
    process = start(tmp_path / "run")
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_nobody_else_gets_in_while_no_process_trains(tmp_path, launcher):
    for attempt in (lambda: owners.owned(tmp_path / "run", print), lambda: owners.held(tmp_path / "run")):
        with pytest.raises(AlexNetError, match=f"process {launcher.pid} on .* is writing there"), attempt():
            pass


def test_its_own_process_gets_in_and_outlives_it(tmp_path):
    launcher = start(tmp_path / "run", TRAIN)
    try:
        assert launcher.stdout and launcher.stdout.readline() == "trains\n"
        launcher.kill()  # it alone: whom it started goes on, and keeps the folder
        launcher.wait()
        with pytest.raises(AlexNetError, match="is writing there"), owners.owned(tmp_path / "run", print):
            pass
    finally:
        os.killpg(launcher.pid, signal.SIGKILL)
    until, said = time.monotonic() + 10, []
    while True:
        try:
            with owners.owned(tmp_path / "run", said.append):  # and then it is free
                break
        except AlexNetError:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert len(said) == 1 and "taking over" in said[0]


def test_a_dead_launcher_is_no_owner(tmp_path, launcher):
    launcher.kill()
    launcher.wait()
    for attempt in (lambda: owners.owned(tmp_path / "run", print), lambda: owners.held(tmp_path / "run")):
        with attempt():
            pass
    assert owners.LAUNCHER not in os.environ


def test_new_folders_in_which_nothing_came_are_removed(tmp_path):
    with owners.held(tmp_path / "new" / "run"):
        assert (tmp_path / "new" / "run").is_dir()
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with owners.held(tmp_path / "empty"):
        pass
    with owners.held(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()
    assert (tmp_path / "empty").is_dir() and os.listdir(tmp_path / "run") == ["run.json"]


def test_who_holds_the_seeds_folder_holds_theirs_alone(tmp_path, launcher, monkeypatch):
    with pytest.raises(AlexNetError, match="is writing there"), owners.owned(tmp_path / "run" / "seed-3", print):
        pass
    with owners.owned(tmp_path / "run" / "other", print):
        pass
    owner = files.owner_of(tmp_path / "run", owners.LAUNCHER_LOCK)
    assert owner is not None
    monkeypatch.setenv(owners.LAUNCHER, f"{owner['process']} another-host {owner['since']}")
    with pytest.raises(AlexNetError, match="is writing there"), owners.owned(tmp_path / "run" / "seed-3", print):
        pass
    monkeypatch.setenv(owners.LAUNCHER, f"{owner['process']} {owner['host']} {owner['since']}")
    with owners.owned(tmp_path / "run" / "seed-3", print):
        pass
