"""What tests share: small pictures on disk, a small dataset, a small net, the command line."""

import contextlib
import functools
import math
import os
import shutil
import signal
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet import Dataset, Recipe, cli, machine, prepare, randomness, train
from alexnet.nets import table_file
from alexnet.training.journal import StepReport
from alexnet.training.listeners import StallWatch

SMALL_NET = """
title = "two towers, small"
input = [3, 48, 48]
towers = 2

[layers.conv1]
kind = "convolution"
filters = 16
size = 5
stride = 2
rounding = "up"
activation = "relu"

[layers.norm1]
kind = "response_norm"
size = 5
k = 2.0
alpha = 1e-4
beta = 0.75

[layers.pool1]
kind = "max_pool"
size = 3
stride = 2

[layers.conv2]
kind = "convolution"
filters = 16
size = 3
padding = 1
sees = "own tower"
activation = "relu"

[layers.pool2]
kind = "max_pool"
size = 3
stride = 2

[layers.fc3]
kind = "fully_connected"
units = 32
activation = "relu"
dropout = 0.5

[layers.fc4]
kind = "fully_connected"
units = "classes"
"""


def picture(color: int, number: int, width: int = 80, height: int = 64) -> Image.Image:
    """A picture whose class shows in its colors, with noise of its own."""
    noise = np.random.default_rng([color, number]).integers(0, 120, (height, width, 3))
    noise[..., color] += 110
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def fill(folder: Path, classes: tuple[str, ...] = ("blue", "green", "red"), count: int = 20) -> Path:
    """``count`` JPEG files in a folder a class."""
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(2 - index % 3, number).save(folder / name / f"{number:03d}.jpg", quality=90)
    return folder


@pytest.fixture
def record_property(record_property):
    """As pytest's; as text, for what runs in a process of its own can hand no NumPy numbers over."""
    return lambda name, value: record_property(name, repr(value))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of three classes, to be read only."""
    return fill(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def dataset(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """These in a dataset of 64x64 images, to be read only."""
    return prepare(pictures, tmp_path_factory.mktemp("stores") / "small", size=64, format="jpeg")


@pytest.fixture(scope="session")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small two-tower net's table."""
    path = tmp_path_factory.mktemp("nets") / "small.toml"
    path.write_text(SMALL_NET)
    return str(path)


@pytest.fixture(scope="session")
def small_run(dataset: Dataset, net_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small net that has seen the pictures once, to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(dataset, folder, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, precision="float32"), show=False)
    return folder


@pytest.fixture
def small(net_file: str) -> list[str]:
    """Options that make a training of the small net last a second."""
    return ["--net", net_file, "--crop-size", "48", "--batch-size", "8", "--epochs", "3"]


@pytest.fixture
def narrow(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets ``paper`` and ``source`` with 64 units in fc6 and fc7: checkpoints of megabytes, else as they are."""
    folder = tmp_path_factory.mktemp("narrow") / "tables"
    shutil.copytree(Path(table_file.__file__).parent / "tables", folder)
    for name in ("paper.toml", "source.toml"):
        text = (folder / name).read_text()
        assert "units = 4096" in text
        (folder / name).write_text(text.replace("units = 4096", "units = 64"))
    monkeypatch.setattr(table_file, "resources", types.SimpleNamespace(files=lambda package: folder.parent))


@pytest.fixture
def alexnet(capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process: (exit status, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photos; a test that asks for it fails without."""
    folder = Path(os.environ.get("ALEXNET_TEST_DATA", "../shared/data"))
    assert (folder / "imagenette-dev.tar").exists(), f"{folder}: no imagenette-dev.tar; set ALEXNET_TEST_DATA"
    return folder


class Killed(Exception):
    """Raised in the middle of a training."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    """A training in the block saves after every step and dies at this one, before it is saved."""

    def die(watch: StallWatch, report: StepReport) -> None:
        if report.step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alexnet.training.trainer.SAVE_SECONDS", 0.0)
        patch.setattr("alexnet.training.saving.Writer.due", lambda writer: writer.wait() is None)
        patch.setattr(StallWatch, "__call__", die)
        with pytest.raises(Killed):
            yield


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    machine.set_up()


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """Signals do what they do in a terminal, also where the tests run under nohup or in a shell's background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _drawn_once() -> Iterator[None]:
    """A net's initial weights are a function of seed, name and shape; the largest, seconds each, are drawn once."""
    draw = randomness.normal_tensor
    once = functools.lru_cache(maxsize=4)(draw)  # fc6 and fc7 of two seeds: 0.4 GB

    def normal_tensor(seed: int, purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
        return once(seed, purpose, shape).clone() if math.prod(shape) > 1 << 23 else draw(seed, purpose, shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomness, "normal_tensor", normal_tensor)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Whatever a test draws with torch's global generator is the same each time."""
    torch.manual_seed(0)
