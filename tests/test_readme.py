"""Every command and every line of Python in the README is run."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import torch

from alexnet import cli
from tests.conftest import fill, picture
from tests.weights_files import torchvisions_layers

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
INSTALLING = ("make ", "python3 -m venv", "pip install", ".venv", "py -m", "git clone", "cd ", "python benchmarks")


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def place(narrow, tmp_path, monkeypatch) -> Path:
    """A folder with what the README's commands name: photos, and trained runs of a short recipe."""
    fill(tmp_path / "photos", ("cat", "dog", "owl"), count=6)
    picture(0, 9, 90, 70).save(tmp_path / "photos" / "cat" / "other-size.jpg")  # so that they are stored at 256
    picture(1, 5, 90, 70).save(tmp_path / "photo.jpg")
    (tmp_path / "weights").mkdir()
    torch.save(torchvisions_layers().state_dict(), tmp_path / "weights" / "alexnet-owt-7be5be79.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHORT = ["--epochs", "1", "--batch-size", "16"]


def test_every_command_runs(place, capsys):
    ran = []
    for line in commands():
        if line.startswith(INSTALLING):
            continue  # make demo, make test and .ci/run do these
        words = shlex.split(line)
        assert words[0] == "alexnet", line
        if words[1] == "download":
            continue  # needs the internet; tests/data/test_download.py does it on the loopback
        if words[1] == "demo":
            continue  # make demo, .ci/run
        if words[1] == "train":
            words = [*words, *SHORT]
            if words[3] == "run":
                words += ["--lr", "1e-9"]  # it learns nothing, so that there are errors to draw
        assert cli.main(words[1:]) == 0, (line, capsys.readouterr().err)
        ran.append(words[1])
    assert {"prepare", "train", "evaluate", "predict", "show", "summary", "verify", "info"} <= set(ran)


def test_make_targets_in_the_readme_exist():
    targets = set(re.findall(r"^([\w-]+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in commands() if line.startswith("make ")} <= targets


def test_the_python_example_runs(place):
    use, parts = [text for kind, text in BLOCKS if kind == "python"]
    assert len(use.strip().splitlines()) <= 13 and "seed=7)" in use
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(use.replace("seed=7)", "seed=7, epochs=1, batch_size=16)"), "README.md", "exec"), {})
        exec(compile(parts, "README.md", "exec"), {})
    assert "cat" in said.getvalue() or "dog" in said.getvalue() or "owl" in said.getvalue()
