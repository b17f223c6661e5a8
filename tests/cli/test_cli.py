"""The front door: help, versions, JSON, exit statuses."""

import json
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from alexnet import cli
from alexnet.cli.data import part_of
from alexnet.errors import UsageError


def test_summary(alexnet):
    status, out, _ = alexnet("summary", "paper")
    assert status == 0 and "60,965,224" in out and "11x11x3, stride 4" in out and "96x55x55" in out
    told = json.loads(alexnet("summary", "--json")[1])
    assert told["total"]["parameters"] == 60_965_224 and told["layers"][0]["multiply_adds"] == 96 * 55 * 55 * 363
    assert json.loads(alexnet("summary", "paper", "--classes", 10, "--json")[1])["layers"][-1]["parameters"] == 40_970
    assert alexnet("summary", "none")[0] == 2


def test_info_and_verify(alexnet, dataset):
    status, out, _ = alexnet("info", dataset.path)
    assert status == 0 and "train 48, val 12" in out and "blue, green, red" in out
    told = json.loads(alexnet("info", dataset.path, "--json")[1])
    assert told["images"] == {"train": 48, "val": 12} and told["fingerprint"] == dataset.fingerprint
    assert set(json.loads(alexnet("verify", dataset.path, "--json")[1]).values()) == {None}
    status, _, err = alexnet("info", "nowhere")
    assert status == 2 and "nowhere" in err


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_explains_itself(command, alexnet):
    status, out, _ = alexnet(command, "--help")
    assert status == 0 and f"usage: alexnet {command}" in out and "--json" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "no such command"),
        (["prepare"], "SOURCE DATASET"),
        (["prepare", "a"], "DATASET"),
        (["prepare", "a", "b", "--layout", "moon"], "--layout moon"),
        (["prepare", "a", "b", "--format", "gif"], "--format"),
        (["evaluate", "a"], "one run or more, then the dataset"),
        (["evaluate", "a", "b", "--views", "3"], "--views"),
        (["show", "a", "--count", "0"], "--count 0"),
        (["summary", "--classes", "0"], "--classes 0"),
    ],
)
def test_wrong_use_is_one_line(alexnet, arguments, said):
    status, out, err = alexnet(*arguments)
    assert status == 2 and not out and said in err and err.startswith("error: ") and err.count("\n") == 1


def test_as_a_program():
    program = [sys.executable, "-m", "alexnet"]
    shown = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in shown.stdout for name in cli.COMMANDS)
    version = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("alexnet 0.")
    assert subprocess.run(program, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "a", "b", "--workers", "0"], "--workers 0"),
        (["predict", "a", "b", "--workers", "-3"], "--workers -3"),
        (["predict", "a", "b", "--top", "0"], "--top 0"),
        (["prepare", "a", "b", "--workers", "0"], "--workers 0"),
        (["prepare", "a", "b", "--workers", "-1"], "--workers -1"),
        (["prepare", "a", "b", "--seed", "-1"], "--seed -1"),
        (["prepare", "a", "b", "--part", "0/4"], "--part 0/4"),
        (["train", "a", "b", "--threads", "0"], "--threads 0"),
        (["train", "a", "b", "--workers", "-1"], "--workers -1"),
        (["train", "a", "b", "--seeds", "0..99999999999"], "--seeds 0..99999999999"),
        (["bench", "--threads", "-1"], "--threads -1"),
        (["bench", "--batch-size", "100000000000"], "--batch-size 100000000000"),
        (["summary", "--classes", "-1"], "--classes -1"),
        (["show", "a", "--count", "1000000000000"], "--count 1000000000000"),
        (["evaluate", "a", "b", "--ensemble-weights", "1,2"], "2 given for 1 runs"),
        (["download", "imagenette-160", "d", "--url", "nope"], "--url nope: is no URL"),
        (["download", "imagenette-160", "d", "--url", "http://[x"], "--url http://[x: is no URL"),
        (["prepare", "http://localhost:9/x.zip", "s"], "http://localhost:9/x.zip: "),
        (["prepare", "s3://b/x", "s"], "s3://b/x: "),
        (["prepare", "nope://b/x", "s"], "nope://b/x: "),
    ],
)
def test_numbers_and_addresses_that_cannot_be_meant(alexnet, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # else S3's client asks around for seconds
    status, out, err = alexnet(*arguments)
    assert status in (1, 2) and not out
    *slow, error = err.splitlines()  # what takes long on a busy machine says so
    assert error.startswith("error: ") and said in error and all(line.startswith("looking through") for line in slow)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rank", "world", "part"),
    [
        (None, None, (1, 1)),
        ("", "", (1, 1)),
        (None, "4", (1, 1)),
        ("1", None, (1, 1)),
        ("1", " ", (1, 1)),
        ("0", "1", (1, 1)),
        ("2", "4", (3, 4)),
        ("4", "4", None),
        ("-1", "4", None),
        ("a", "4", None),
        ("0", "x", None),
        ("0", "0", None),
    ],
)
def test_torchruns_variables(monkeypatch, rank, world, part):
    for name, value in (("RANK", rank), ("WORLD_SIZE", world)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    if part:
        assert part_of(None) == part
    else:
        with pytest.raises(UsageError, match=r"RANK=.* WORLD_SIZE="):
            part_of(None)
    assert part_of("2/3") == (2, 3)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "standard output: cannot be written"),
        (OSError(5, "Input/output error", b"caf\xe9"), "caf\\xe9: Input/output error"),
        (MemoryError(), "not enough memory; give less at once"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried\nx"), "you tried); give less"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore"), "--batch-size"),
        (RuntimeError("can't start new thread"), "fewer --workers"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeEncodeError("ascii", "\udcff", 0, 1, "no"), "a text cannot be"),
        (KeyboardInterrupt(), "alexnet: interrupted"),
    ],
)  # fmt: skip
def test_what_the_machine_lacks_is_one_line(alexnet, monkeypatch, error, said):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    status, out, err = alexnet("train")
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert not out and said in err and err.count("\n") == 1


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_what_is_said_of_memory_names_options_that_the_command_has(alexnet, monkeypatch, command):
    page = alexnet(command, "--help")[1]

    def fail(arguments):
        raise MemoryError

    monkeypatch.setattr(cli, "_run", fail)
    status, _, err = alexnet(command)
    named = re.findall(r"--[a-z-]+", err)
    assert status == 1 and all(f"{option} " in page for option in named)
    assert ("--workers" in named) == ("--workers " in page)


def test_a_defect_of_ours_is_not_hidden(monkeypatch):
    def fail(arguments):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main(["summary"])


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full, SIGINT by number")


@needs_linux
@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("summary > /dev/full", 1, "error: standard output: cannot be written (No space left on device)\n"),
        ("evaluate --help > /dev/full", 1, "error: standard output: cannot be written (No space left on device)\n"),
        ("summary --json >&-", 1, "error: standard output: cannot be written (standard output is closed)\n"),
        ("summary nothing 2>/dev/full", 2, ""),
        ("summary nothing >&- 2>&- <&-", 2, ""),
    ],
)
def test_streams_that_cannot_be_written(line, status, said):
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m alexnet {line}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, said)


@needs_linux
def test_interrupted_while_it_starts():
    program = [sys.executable, "-X", "importtime", "-m", "alexnet", "train", "--help"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if "rich" in line:  # in the middle of the imports
                process.send_signal(signal.SIGINT)
                break
        rest = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.returncode == 130 and rest == ["alexnet: interrupted\n"]


def test_without_docstrings_it_explains_itself():
    program = [sys.executable, "-OO", "-m", "alexnet"]
    with_them = subprocess.run([sys.executable, "-m", "alexnet", "--help"], capture_output=True, text=True)
    without = subprocess.run([*program, "--help"], capture_output=True, text=True)
    assert (
        without.returncode == 0 and without.stdout == with_them.stdout and "Make a dataset of 256x256" in without.stdout
    )
    shown = subprocess.run([*program, "predict", "--help"], capture_output=True, text=True)
    assert (
        shown.returncode == 0
        and "Predict the most probable classes" in shown.stdout
        and "_ArgConfig" not in shown.stdout
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["tr"], {"train"}),
        (["train", "--ep"], {"--epochs"}),
        (
            ["train", "--l"],
            {"--lr", "--log", "--learning-rate", "--label-smoothing", "--layer-lr", "--layer-weight-decay"},
        ),
        (["train", "data"], set()),  # files are the shell's own
    ],
)
def test_a_shell_completes_commands_and_options(alexnet, words, completed):
    status, script, _ = alexnet("completion", "bash")
    given = f"COMP_WORDS=(alexnet {' '.join(words)}); COMP_CWORD={len(words)}; _alexnet; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", f"{script}\n{given}"], capture_output=True, text=True, check=True)
    assert status == 0 and set(done.stdout.split()) == completed and not done.stderr


def test_a_process_with_torch_ends_at_once_and_leaves_nothing_undone():
    """Torch is not taken apart; what is registered for the end is done, and a thread at work is waited for."""
    code = """
import atexit, sys, threading, time, torch
from alexnet.__main__ import _leave
atexit.register(print, "at exit")
if len(sys.argv) > 1: threading.Thread(target=lambda: (time.sleep(0.5), print("work"))).start()
_leave(3)
sys.exit(4)
"""
    for more, said, status in ([], "at exit\n", 3), (["thread"], "work\nat exit\n", 4):
        ended = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (status, said, "")
