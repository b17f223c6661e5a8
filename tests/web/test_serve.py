"""The command: where it listens, what it says, and one line for what it cannot do."""

import json
import os
import shutil
import signal
import socket
import sys
import threading

import pytest

from alexnet.web import server


def test_a_busy_port_is_one_line(run, alexnet):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, out, err = alexnet("serve", run, "--port", port)
    assert status == 1 and not out
    assert err == f"error: --port {port}: another program has it; give another (0 takes a free one)\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--port", "70000"), "--port 70000: must be between 0 and 65,535"),
        (("--host", "203.0.113.7"), "--host 203.0.113.7: is no address of this machine"),
        (("--host", "no such name"), "--host no such name: no address of that name"),
    ],
)
def test_what_cannot_be_meant_is_one_line(run, alexnet, options, said):
    status, out, err = alexnet("serve", run, *options)
    assert status == 2 and not out and err.startswith(f"error: {said}") and err.count("\n") == 1


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_missing_extra_is_one_line(run, alexnet, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    status, _, err = alexnet("serve", run)
    assert status == 2 and err == "error: serving needs FastAPI and uvicorn: pip install 'alexnet[web]'\n"


@pytest.fixture
def briefly(monkeypatch):
    """The server ends soon after it began."""

    class Briefly(server.uvicorn.Server):
        def run(self, sockets=None):
            threading.Timer(0.2, lambda: setattr(self, "should_exit", True)).start()
            super().run(sockets)

    monkeypatch.setattr(server.uvicorn, "Server", Briefly)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_it(run, alexnet, monkeypatch, name):
    if not hasattr(signal, name):
        pytest.skip("a signal of Unix")

    class Stopped(server.uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            threading.Timer(0.2, os.kill, (os.getpid(), getattr(signal, name))).start()

    monkeypatch.setattr(server.uvicorn, "Server", Stopped)
    before = signal.getsignal(getattr(signal, name))
    status, _, err = alexnet("serve", run, "--port", "0")
    assert status == 0 and "Traceback" not in err and signal.getsignal(getattr(signal, name)) == before


def test_a_run_whose_dataset_is_gone_is_served_without_examples(run, alexnet, briefly, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    description["data"]["path"] = str(tmp_path / "gone")
    del description["seal"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(description))
    status, _, err = alexnet("serve", tmp_path / "run", "--port", 0)
    assert status == 0 and err.startswith(f"note: no examples: {tmp_path / 'gone'}, which ") and err.count("\n") == 1


def test_it_says_where_the_page_is_and_who_can_reach_it(run, alexnet, briefly, monkeypatch):
    status, out, err = alexnet("serve", run, "--port", 0)
    assert status == 0 and f"{run}: http://127.0.0.1:" in out and out.endswith("stopped\n") and not err
    monkeypatch.setenv("ALEXNET_TOKEN", "secret")
    status, out, err = alexnet("serve", run, "--port", 0, "--host", "0.0.0.0", "--token")
    assert "/#token=secret (" in out and "every machine on this one's networks can ask it." in err
    status, out, err = alexnet("serve", run, "--port", 0, "--host", "0.0.0.0")
    assert "--token keeps others out" in err and "token=" not in out
    status, out, _ = alexnet("serve", run, "--port", 0, "--token", "--json")
    ready = json.loads(out)
    assert ready["run"] == str(run) and ready["token"] == "secret" and ready["address"].startswith("http://127.0.0.1:")


def test_two_runs_are_served_and_one_twice_is_not(run, alexnet, briefly, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    status, out, err = alexnet("serve", run, tmp_path / "run", "--port", 0)
    assert status == 0 and not err and f"{run} and {tmp_path / 'run'}: http://127.0.0.1:" in out
    status, out, _ = alexnet("serve", run, tmp_path / "run", "--port", 0, "--json")
    assert json.loads(out)["other"] == str(tmp_path / "run")
    status, _, err = alexnet("serve", run, run, "--port", 0)
    assert status == 2 and err == f"error: {run}: is the first run itself; give another one\n"
    status, _, err = alexnet("serve", run, tmp_path / "none", "--port", 0)
    assert status == 2 and err.count("\n") == 1
