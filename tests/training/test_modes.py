"""Whatever modes of torch the caller has switched on, a training, an evaluation and features are the same."""

import contextlib
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from alexnet import Recipe, UsageError, evaluate, features, load, predict, train


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES: dict[str, Callable[[], contextlib.AbstractContextManager]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module")
def recipe(net_file) -> Recipe:
    return Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2, precision="float32")


@pytest.fixture(scope="module")
def usual(dataset, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("usual") / "run"
    train(dataset, folder, recipe, show=False)
    return folder


def state(folder) -> tuple:
    run = load(folder)
    return (folder / "metrics.jsonl").read_bytes(), {
        name: t.detach().numpy().tobytes() for name, t in run.net.state().items()
    }


@pytest.mark.parametrize("mode", MODES)
def test_a_training_is_the_same(usual, dataset, recipe, tmp_path, mode):
    modes = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    with MODES[mode]():
        inside = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
        train(dataset, tmp_path / "run", recipe, show=False)
        assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()) == inside
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()) == modes
    assert state(tmp_path / "run") == state(usual)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "device"])
def test_what_is_measured_is_the_same(usual, dataset, pictures, mode):
    def measured() -> tuple:
        run = load(usual)
        return (
            evaluate(run, dataset, precision="float32").errors,
            list(predict(run, pictures / "red", precision="float32")),
            features(run, pictures / "red", "fc3")[1]["fc3"],
        )

    expected = measured()
    with MODES[mode]():
        got = measured()
    assert got[:2] == expected[:2]
    np.testing.assert_array_equal(got[2], expected[2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threads": 0}, "--threads 0"),
        ({"threads": -1}, "--threads -1"),
        ({"loaders": 0}, "--workers 0"),
        ({"loaders": 10**9}, "--workers 1000000000: must be between 1 and 1,024"),
        ({"loaders": 2.5}, "--workers 2.5: must be a whole number"),
        ({"keep_every": 0}, "--keep-every 0"),
        ({"keep_every": -1}, "--keep-every -1"),
    ],
)
def test_numbers_that_cannot_be_meant(dataset, recipe, tmp_path, options, said):
    with pytest.raises(UsageError) as error:
        train(dataset, tmp_path / "run", recipe, show=False, **options)
    assert said in str(error.value) and not (tmp_path / "run").exists()


def test_a_reader_that_has_gone_does_not_end_a_training(dataset, recipe, tmp_path, monkeypatch):
    class Gone:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stderr", Gone())
    assert train(dataset, tmp_path / "run", recipe).steps == 6
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setattr("sys.stderr", None)
    assert train(dataset, tmp_path / "run", recipe).steps == 6
