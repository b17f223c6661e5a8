"""The door to C: what does not fit is refused by its name before an address is taken, and what fits gets through."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet import native
from alexnet.native import Stage, Window, library

pytestmark = pytest.mark.skipif(not native.available(), reason=native.status().words)

PAPER = Stage(True, (5, 2, 2.0, 1e-4), (3, 2), True)
THREES = Stage(pool=(3, 1))


def bytes_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def floats(*shape: int, dtype: torch.dtype = torch.float32, last: bool = False) -> torch.Tensor:
    tensor = torch.from_numpy(np.random.default_rng(0).normal(0, 1, shape)).to(dtype)
    return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


def thirds(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Each of so many pixels is the mean of three."""
    return np.arange(size, dtype=np.int32) * 3, np.full((size, 3), 683, np.uint32)


CALLS: dict[Callable, dict[str, Any]] = {
    native.crop_image: {"image": bytes_of(9, 8, 3), "top": 1, "left": 2, "mirrored": True, "out": bytes_of(6, 6, 3)},
    native.crop_images: {
        "images": bytes_of(5, 9, 9, 3), "rows": np.array([4, 0]), "corners": np.array([[0, 3], [2, 1]]),
        "mirrored": np.array([True, False]), "out": bytes_of(2, 6, 6, 3),
    },
    native.area_average: {
        "image": bytes_of(12, 12, 3), "first_row": thirds(4)[0], "row_weights": thirds(4)[1],
        "first_column": thirds(4)[0], "column_weights": thirds(4)[1],
    },
    native.image_products: {"image": bytes_of(5, 6, 3)},
    native.add_image: {"sums": np.zeros((5, 6, 3), np.int64), "image": bytes_of(5, 6, 3)},
    native.prepare_images: {
        "crops": torch.from_numpy(bytes_of(2, 5, 6, 3)), "mean": floats(5, 6, 3), "noise": floats(2, 3),
        "scale": floats(3), "dtype": torch.bfloat16,
    },
    native.stage_forward: {"x": floats(2, 8, 9, 7, last=True), "stage": PAPER, "places": True},
    native.stage_backward: {
        "x": floats(2, 8, 9, 7, last=True), "stage": PAPER, "y": floats(2, 8, 4, 3, last=True),
        "places": torch.zeros(2 * 8 * 4 * 3, dtype=torch.uint8), "gradient": floats(2, 8, 4, 3, last=True),
    },
    native.within_map_norm_forward: {"x": floats(2, 8, 9, 7, last=True), "size": 3, "k": 1.0, "alpha": 0.1},
    native.within_map_norm_backward: {
        "x": floats(2, 8, 9, 7, last=True), "gradient": floats(2, 8, 9, 7, last=True),
        "size": 3, "k": 1.0, "alpha": 0.1,
    },
    native.windows_gather: {"x": floats(2, 8, 9, 7, last=True), "window": Window(3, 1, 1)},
    native.windows_scatter: {"parts": floats(4, 3, 2, 3, 3, 8), "shape": (2, 8, 9, 7), "window": Window(3, 2, 0)},
    native.few_rows: {
        "x": floats(3, 20, dtype=torch.bfloat16), "weight": torch.ones(7, 20, dtype=torch.int8), "bias": floats(7),
        "scale": floats(7),
    },
    native.momentum_step: {
        "weight": floats(4, 6, 3, 2), "velocity": floats(4, 6, 3, 2), "gradient": floats(4, 6, 3, 2),
        "copy": floats(4, 6, 3, 2, dtype=torch.bfloat16), "momentum": 0.9, "rate": 0.1, "decay": 0.1,
    },
}  # fmt: skip
FREE = {  # lengths of first dimensions that nothing else of the call depends on
    (native.crop_images, "images"),
    (native.crop_image, "image"), (native.image_products, "image"), (native.stage_forward, "x"),
    (native.area_average, "image"), (native.few_rows, "x"), (native.within_map_norm_forward, "x"),
    (native.windows_gather, "x"), (native.add_image, "nothing"),
}  # fmt: skip


def copied(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same in memory of its own, each tensor in the layout that it has."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value.clone() if torch.is_tensor(value) else value
        for name, value in arguments.items()
    }


def wrong_arrays(value: np.ndarray, free: bool) -> dict[str, Any]:
    wider = np.concatenate([value, value[..., :1]], -1)
    wrong = {
        "a list": value.tolist(),
        "None": None,
        "another type": value.astype(np.int16),
        "one dimension more": value[None],
        "one more at the end": wider,
        "every other of the last": np.repeat(value, 2, -1)[..., ::2],
        "backwards": value[::-1],
    }  # fmt: skip
    if value.itemsize == 1:
        wrong["signed"] = value.view(np.int8)
    else:
        wrong["bytes swapped"] = value.astype(value.dtype.newbyteorder())
        room = np.zeros(value.nbytes + 1, np.uint8)
        wrong["at an odd address"] = room[1:].view(value.dtype).reshape(value.shape)
    if value.ndim > 1:
        wrong["turned"] = value.swapaxes(0, -1)
    if not free:
        wrong["one row more"], wrong["one row less"] = np.concatenate([value, value[:1]]), value[:-1]
    return wrong


def wrong_tensors(value: torch.Tensor, free: bool, optional: bool) -> dict[str, Any]:
    wrong = {
        "an array": value.float().numpy(),
        "another type": value.double() if value.dtype != torch.float64 else value.float(),
        "one dimension more": value[None],
        "one less at the end": value[..., :-1],
        "every other of the last": value.repeat_interleave(2, -1)[..., ::2],
        "without memory": value.to("meta"),
        "sparse": value.to_sparse(),
    }
    if value.dim() == 4:
        wrong["turned"] = value.transpose(1, 3)
        other = torch.channels_last if value.is_contiguous() else torch.contiguous_format
        wrong["in another order"] = value.contiguous(memory_format=other)
    if not free:
        wrong["one row more"], wrong["one row less"] = torch.cat([value, value[:1]]), value[:-1]
    if not optional:
        wrong["None"] = None
    return wrong


def cases() -> list[Any]:
    listed = []
    for function, arguments in CALLS.items():
        for name, value in arguments.items():
            free = (function, name) in FREE
            if isinstance(value, np.ndarray):
                wrong = wrong_arrays(value, free)
            elif torch.is_tensor(value):
                wrong = wrong_tensors(value, free, name in ("noise", "copy"))
            else:
                continue
            listed += [
                pytest.param(function, name, thing, id=f"{function.__name__}-{name}-{kind}")
                for kind, thing in wrong.items()
            ]
    return listed


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_what_fits_gets_through(function):
    function(**copied(CALLS[function]))


@pytest.mark.parametrize(("function", "name", "wrong"), cases())
def test_what_does_not_fit_is_refused(function, name, wrong):
    """Each argument in turn, of every wrong kind; what would be written is as it was."""
    arguments = {**copied(CALLS[function]), name: wrong}
    outputs = [key for key in ("out", "sums", "weight", "velocity", "copy") if key in arguments and key != name]
    before = copied({key: arguments[key] for key in outputs})
    with pytest.raises(ValueError, match=r"^[a-z_]+: "):
        function(**arguments)
    assert all((before[key] == arguments[key]).all() for key in outputs)


@pytest.mark.parametrize(
    ("function", "changes", "words"),
    [
        (native.crop_image, {"top": 4}, "top: 4, must be a whole number, from 0 to 3"),
        (native.crop_image, {"left": -1}, "left: -1"),
        (native.crop_image, {"left": 1.0}, "left: 1.0"),
        (native.crop_image, {"out": bytes_of(10, 10, 3)}, "top: 1, must be a whole number, from 0 to -1"),
        (native.crop_image, {"out": bytes_of(6, 5, 3)}, "out: 6x5 pixels"),
        (native.crop_images, {"margin": 9}, "margin: 9, must be a whole number, from 0 to 8"),
        (native.crop_images, {"margin": 2, "corners": np.array([[0, -3], [3, 1]])}, "corners: -3, .* from -2 to 5"),
        (native.crop_images, {"margin": 2, "corners": np.array([[0, 3], [6, 1]])}, "corners: 6"),
        (native.crop_images, {"rows": np.array([5, 0])}, "rows: 5, must be a whole number, from 0 to 4"),
        (native.crop_images, {"rows": np.array([0, -1])}, "rows: -1"),
        (native.crop_images, {"corners": np.array([[0, 3], [4, 1]])}, "corners: 4, .* from 0 to 3"),
        (native.crop_images, {"corners": np.array([[0, -3], [3, 1]])}, "corners: -3"),
        (native.crop_images, {"out": bytes_of(2, 10, 10, 3)}, "corners: 0, must be a whole number, from 0 to -1"),
        (native.crop_images, {"out": bytes_of(2, 6, 5, 3)}, "out: 6x5, must be squares"),
        (native.crop_images, {"images": bytes_of(5, 9, 8, 3)}, "images: 9x8 pixels"),
        (native.area_average, {"first_row": thirds(4)[0] + 1}, "first_row: must rise"),
        (native.area_average, {"first_row": thirds(4)[0] - 1}, "first_row: must rise"),
        (native.area_average, {"first_column": np.array([0, 6, 3, 9], np.int32)}, "first_column: must rise"),
        (native.area_average, {"column_weights": np.zeros((4, 5), np.uint32)}, "first_column: .* 5 taps"),
        (native.area_average, {"row_weights": np.zeros((4, 0), np.uint32)}, "row_weights: no taps"),
        (native.prepare_images, {"dtype": torch.float64}, "dtype: torch.float64"),
        (native.stage_forward, {"x": floats(2, 7, 9, 7, last=True)}, "norm: 7 maps do not divide into 2 towers"),
        (native.stage_forward, {"x": floats(2, 8, 1, 1, last=True), "stage": THREES}, "pool: .*leaves nothing"),
        (native.stage_forward, {"x": floats(2, 8, 0, 7, last=True), "stage": THREES}, "pool: .*leaves nothing"),
        (native.within_map_norm_forward, {"size": 4}, "size: 4, must be odd"),
        (native.within_map_norm_forward, {"size": 0}, "size: 0, must be a whole number, 1 or more"),
        (native.within_map_norm_backward, {"size": -3}, "size: -3"),
        (native.within_map_norm_backward, {"alpha": float("inf")}, "alpha: inf, must be finite"),
        (native.windows_gather, {"window": Window(3, 2, 0, round_up=True)}, "window: rounded up"),
        (native.windows_gather, {"window": Window(3, 1, -1)}, "window's padding: -1"),
        (native.windows_gather, {"window": Window(10)}, "window: 10 pixels at stride 1 leave nothing of 9x7"),
        (native.windows_scatter, {"window": Window(3, 1, 0)}, r"parts: shape \(4, 3, 2, 3, 3, 8\), must be \(7, 5, "),
        (native.windows_scatter, {"window": Window(3, 0, 0)}, "window's stride: 0"),
        (native.few_rows, {"scale": None}, "weight: torch.int8"),
        (native.momentum_step, {"weight": floats(4, 6, 3, 4)[..., ::2]}, "weight: shape"),
        (native.momentum_step, {"weight": torch.zeros(4, 6, 3, 1).expand(4, 6, 3, 2)}, "weight: shape"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(function, changes, words):
    with pytest.raises(ValueError, match=words):
        function(**{**copied(CALLS[function]), **changes})


def test_memory_that_is_shared_is_refused():
    image = bytes_of(64, 64, 3)
    with pytest.raises(ValueError, match="out: shares memory with image"):
        native.crop_image(image, 0, 0, True, image[:64])
    many, where = bytes_of(2, 9, 9, 3), {"rows": np.zeros(1, np.int64), "corners": np.zeros((1, 2), np.int64)}
    with pytest.raises(ValueError, match="out: shares memory with images"):
        native.crop_images(many, **where, mirrored=np.zeros(1, bool), out=many[1:])
    arguments = copied(CALLS[native.momentum_step])
    for name in ("velocity", "gradient"):
        with pytest.raises(ValueError, match=f"{name}: shares memory with weight"):
            native.momentum_step(**{**arguments, name: arguments["weight"]})
    image.flags.writeable = False
    with pytest.raises(ValueError, match="out: cannot be written"):
        native.crop_image(bytes_of(64, 64, 3), 0, 0, True, image)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"norm": (0, 2, 1.0, 1.0)}, "norm's size: 0"),
        ({"norm": (-5, 2, 1.0, 1.0)}, "norm's size: -5"),
        ({"norm": (5, 0, 1.0, 1.0)}, "norm's towers: 0"),
        ({"norm": (5, 2, float("nan"), 1.0)}, "norm: k nan"),
        ({"pool": (16, 2)}, "pool's window: 16"),
        ({"pool": (0, 0)}, "pool's window: 0"),
        ({"pool": (3, 0)}, "pool's stride: 0"),
        ({"pool": (3, 4)}, "pool's stride: 4"),
        ({"pool": (3.0, 2)}, "pool's window: 3.0"),
    ],
)
def test_a_stage_that_cannot_be_is_never_made(stage, words):
    with pytest.raises(ValueError, match=words):
        Stage(**stage)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_crops_are_within_or_refused(data):
    """Any image, margin, side and corner: NumPy's slice of the image mirrored around, or a refusal."""
    rows, columns, side = (data.draw(st.integers(0, 24)) for _ in range(3))
    margin = data.draw(st.one_of(st.just(0), st.integers(0, 25)))
    top, left = (data.draw(st.integers(-30, 30)) for _ in range(2))
    mirrored = data.draw(st.booleans())
    image, out = bytes_of(rows, columns, 3), np.full((side, side, 3), 9, np.uint8)
    reaches = margin <= max(0, min(rows, columns) - 1)
    if reaches and -margin <= top <= rows - side + margin and -margin <= left <= columns - side + margin:
        native.crop_image(image, top, left, mirrored, out, margin)
        whole = np.pad(image, ((margin,) * 2, (margin,) * 2, (0, 0)), "reflect") if margin else image
        view = whole[margin + top : margin + top + side, margin + left : margin + left + side]
        assert (out == (view[:, ::-1] if mirrored else view)).all()
    else:
        with pytest.raises(ValueError, match=r"top|left|margin"):
            native.crop_image(image, top, left, mirrored, out, margin)
        assert (out == 9).all()


@pytest.mark.parametrize("shape", [(0, 8, 9, 9), (2, 0, 9, 9), (2, 8, 0, 9), (2, 8, 9, 0)])
def test_nothing_in_is_nothing_out(shape):
    x = torch.zeros(shape).contiguous(memory_format=torch.channels_last)
    for stage in (Stage(True), Stage(norm=(5, 2, 2.0, 1e-4))):
        y, _ = native.stage_forward(x, stage, True)
        assert y.shape == shape and native.stage_backward(x, stage, None, None, y).shape == shape
    assert native.prepare_images(
        torch.zeros(0, 4, 4, 3, dtype=torch.uint8), floats(4, 4, 3), None, floats(3), torch.float32
    ).shape == (0, 4, 4, 3)
    assert native.few_rows(floats(0, 5, dtype=torch.bfloat16), floats(7, 5, dtype=torch.bfloat16), floats(7)).shape == (
        0,
        7,
    )
    assert (native.few_rows(torch.zeros(2, 0).bfloat16(), torch.zeros(7, 0).bfloat16(), floats(7)) == floats(7)).all()
    assert (native.image_products(bytes_of(0, 4, 3)) == 0).all()


def test_a_norms_window_wider_than_a_tower_is_all_of_it():
    """Its memory is bounded by the maps, whatever a table says."""
    x = floats(2, 8, 3, 3, last=True)
    wide, _ = native.stage_forward(x, Stage(norm=(1 << 40, 2, 1.0, 0.1)), False)
    sums = x.square().unflatten(1, (2, 4)).sum(2, keepdim=True).expand(2, 2, 4, 3, 3).flatten(1, 2)
    torch.testing.assert_close(wide, x * (1 + 0.1 * sums) ** -0.75)


def test_a_struct_of_another_size_is_refused(monkeypatch):
    class Longer(library.Fields):
        _fields_ = (("more", library.WHOLE),)

    path = native.status().path
    assert path is not None
    library.open_library(path)
    monkeypatch.setattr(library, "Fields", Longer)
    with pytest.raises(library.build.CannotBuild, match="a Stage of 144 bytes where Python's has 152"):
        library.open_library(path)


def test_the_portable_path_runs_in_every_thread_while_the_block_does():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(native.available).result()
        with native.portable(), native.portable():
            assert not pool.submit(native.available).result() and native.kernels(torch.device("cpu")) == "portable"
        with pytest.raises(ZeroDivisionError), native.portable():
            _ = 1 // 0
        assert pool.submit(native.available).result() and native.status().path is not None


NO_MEMORY = """
import numpy as np, torch
from alexnet import native
from alexnet.native import Stage
from tests.native.test_library import CALLS, copied
assert native.available(), native.status()
for function, arguments in CALLS.items():
    if function.__name__ not in ("crop_image", "crop_images", "image_products", "add_image", "windows_gather",
                                 "momentum_step"):
        try:
            function(**copied(arguments))
        except MemoryError as error:
            print(error)
"""


def test_no_memory_is_an_error_and_no_result(tmp_path):
    """A library whose every allocation fails."""
    flags = "-DALEXNET_NO_MEMORY " + os.environ.get("ALEXNET_NATIVE_FLAGS", "-O1")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "ALEXNET_NATIVE_FLAGS": flags}
    done = subprocess.run([sys.executable, "-c", NO_MEMORY], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "area_average", "prepare_images", "stage_forward", "stage_backward", "within_map_norm_forward",
        "within_map_norm_backward", "windows_scatter", "few_rows",
    ]  # fmt: skip
