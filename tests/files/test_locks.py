"""A folder has an owner: others are told which, and a dead one's place is taken."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from alexnet import AlexNetError
from alexnet.files import locks, owned

HOLD = """
import sys, time
from alexnet.files import owned
with owned(sys.argv[1]):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that owns the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_named(tmp_path, holder):
    with pytest.raises(AlexNetError) as refused, owned(tmp_path):
        pass
    said = str(refused.value)
    assert f"process {holder.pid} on {socket.gethostname()} (since 20" in said and "another folder" in said


def test_a_killed_owner_is_said_and_its_place_taken(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    said = []
    with owned(tmp_path, say=said.append):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    assert len(said) == 1 and f"process {holder.pid}" in said[0] and "taking over" in said[0]
    assert not (tmp_path / ".lock").exists()


def test_one_of_many_threads_owns_it(tmp_path):
    inside, refused, most = [], [], 0
    lock = threading.Lock()

    def work():
        nonlocal most
        try:
            with owned(tmp_path):
                with lock:
                    inside.append(1)
                    most = max(most, len(inside) - len(done))
                time.sleep(0.02)
                with lock:
                    done.append(1)
        except AlexNetError:
            refused.append(1)

    done: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and len(inside) + len(refused) == 12 and inside and refused
    with owned(tmp_path):  # and it is free again
        pass


def note(path, host, age):
    path.write_text(json.dumps({"host": host, "process": 17, "since": time.time() - 500}))
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize(("age", "free"), [(0, False), (30, False), (1000, True)])
def test_an_owner_on_another_machine_lives_while_it_touches_its_file(tmp_path, age, free):
    note(tmp_path / ".lock", "elsewhere", age)
    said = []
    if free:
        with owned(tmp_path, say=said.append):
            pass
        assert "process 17 on elsewhere" in said[0]
    else:
        with pytest.raises(AlexNetError, match=r"process 17 on elsewhere .* try again then"), owned(tmp_path):
            pass


def test_a_living_owner_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "TOUCH_SECONDS", 0.01)
    with owned(tmp_path):
        os.utime(tmp_path / ".lock", (1, 1))
        until = time.monotonic() + 10
        while (tmp_path / ".lock").stat().st_mtime == 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert time.time() - (tmp_path / ".lock").stat().st_mtime < 60


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"host": 3}', b"\xff\x00", b'{"host": "h", "process": -1, "since": 0}']
)
def test_a_lock_file_that_says_nothing_is_nobodys(tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    with owned(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


def test_without_the_systems_locks_a_fresh_file_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with owned(tmp_path), pytest.raises(AlexNetError, match=f"process {os.getpid()}"), owned(tmp_path):
        pass
    note(tmp_path / ".lock", socket.gethostname(), 1000)
    with owned(tmp_path):
        pass
