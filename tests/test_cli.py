"""The front door: help, versions, JSON, exit statuses."""

import json
import subprocess
import sys

import pytest

from alexnet import cli


def test_summary(alexnet):
    status, out, _ = alexnet("summary", "paper")
    assert status == 0 and "60,965,224" in out and "11x11x3, stride 4" in out and "96x55x55" in out
    told = json.loads(alexnet("summary", "--json")[1])
    assert told["total"]["parameters"] == 60_965_224 and told["layers"][0]["multiply_adds"] == 96 * 55 * 55 * 363
    assert json.loads(alexnet("summary", "paper", "--classes", 10, "--json")[1])["layers"][-1]["parameters"] == 40_970
    assert alexnet("summary", "none")[0] == 2


def test_info_and_verify(alexnet, store):
    status, out, _ = alexnet("info", store.path)
    assert status == 0 and "train 48, val 12" in out and "blue, green, red" in out
    told = json.loads(alexnet("info", store.path, "--json")[1])
    assert told["images"] == {"train": 48, "val": 12} and told["fingerprint"] == store.fingerprint
    assert set(json.loads(alexnet("verify", store.path, "--json")[1]).values()) == {None}
    status, _, err = alexnet("info", "nowhere")
    assert status == 2 and "nowhere" in err


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0 and f"usage: alexnet {command}" in out and "--json" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "no such command"),
        (["prepare"], "SOURCE STORE"),
        (["prepare", "a"], "STORE"),
        (["prepare", "a", "b", "--layout", "moon"], "--layout moon"),
        (["prepare", "a", "b", "--format", "gif"], "--format"),
        (["evaluate", "a"], "one run or more, then the store"),
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
