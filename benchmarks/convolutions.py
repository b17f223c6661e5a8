"""The first convolution and the grouped ones in several forms, both ways, interleaved, against the matrix rate.

    python -m benchmarks.convolutions >docs/raw/convolutions.json

conv1: direct; space-to-depth (4x4 pixels become 48 maps, 3x3 windows, 19% more products); im2col and one product.
conv2, conv4, conv5: grouped; a call a tower.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import machine
from benchmarks import harness

BATCH = 128
LAYERS = {"conv2": (96, 27, 256, 5), "conv4": (384, 13, 384, 3), "conv5": (384, 13, 256, 3)}
Form = Callable[[Tensor, Tensor], Tensor]


def space_to_depth(x: Tensor, weight: Tensor) -> Tensor:
    """Stride 4 as stride 1 over blocks of 4x4 pixels."""

    def blocks(t: Tensor) -> Tensor:
        n, c, h, w = t.shape
        t = t.permute(0, 2, 3, 1).reshape(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        return t.reshape(n, h // 4, w // 4, 16 * c).permute(0, 3, 1, 2)

    return F.conv2d(blocks(F.pad(x, (0, 1, 0, 1))), blocks(F.pad(weight, (0, 1, 0, 1))))


def im2col(x: Tensor, weight: Tensor) -> Tensor:
    """Windows as rows of a matrix: with 3 maps a window's row of pixels lies together."""
    seen = x.permute(0, 2, 3, 1).unfold(1, 11, 4).unfold(2, 11, 4)  # (N, 55, 55, 3, 11, 11)
    rows = seen.permute(0, 1, 2, 4, 5, 3).reshape(-1, 363)
    matrix = weight.permute(2, 3, 1, 0).reshape(363, -1)
    return (rows @ matrix).view(len(x), 55, 55, -1).permute(0, 3, 1, 2)


def a_call_a_tower(padding: int) -> Form:
    def form(x: Tensor, weight: Tensor) -> Tensor:
        parts = zip(x.chunk(2, 1), weight.chunk(2))
        return torch.cat([F.conv2d(part, own, padding=padding) for part, own in parts], 1)

    return form


def forward_and_backward(form: Form, x: Tensor, weight: Tensor, backward: list[float]) -> Callable[[], float]:
    """A task that answers with the seconds forward and keeps those backward."""

    def task() -> float:
        started = time.perf_counter()
        y = form(x, weight)
        middle = time.perf_counter()
        y.backward(torch.ones_like(y))
        backward.append(time.perf_counter() - middle)
        x.grad = weight.grad = None
        return middle - started

    return task


Case = tuple[Form, Tensor, Tensor, float]


def cases(dtype: torch.dtype) -> dict[tuple[str, str], Case]:
    """Form, images or maps, weights and operations forward, by layer and name of the form."""

    def tensor(*shape: int, gradient: bool = True) -> Tensor:
        made = torch.randn(*shape).to(dtype, memory_format=torch.channels_last)
        return made.requires_grad_(gradient)

    made: dict[tuple[str, str], Case] = {}
    x, weight = tensor(BATCH, 3, 227, 227, gradient=False), tensor(96, 3, 11, 11)
    forms: dict[str, Form] = {"direct": lambda x, w: F.conv2d(x, w, stride=4), "space-to-depth": space_to_depth,
                              "im2col": im2col}  # fmt: skip
    for name, form in forms.items():
        made["conv1", name] = form, x, weight, 2.0 * BATCH * 55 * 55 * 96 * 363
    for layer, (maps, side, filters, size) in LAYERS.items():
        x, weight, half = tensor(BATCH, maps, side, side), tensor(filters, maps // 2, size, size), size // 2
        flops = 2.0 * BATCH * side * side * weight.numel()
        made[layer, "grouped"] = (lambda x, w, half=half: F.conv2d(x, w, padding=half, groups=2)), x, weight, flops
        made[layer, "a call a tower"] = a_call_a_tower(half), x, weight, flops
    return made


@torch.no_grad()
def check(forms: dict[tuple[str, str], Case]) -> None:
    """All forms of a layer must give what its first one gives."""
    for (layer, name), (form, x, weight, _) in forms.items():
        first = next(case for case in forms if case[0] == layer)
        expected = forms[first][0](x, weight).float()
        wrong = (form(x, weight).float() - expected).norm() / expected.norm()
        assert wrong < 0.02, (layer, name, float(wrong))


def main() -> None:
    options = harness.parser(__doc__, rounds=9).parse_args()
    machine.set_up()
    dtype = torch.bfloat16 if machine.cpu_has_bf16() else torch.float32
    forms = cases(dtype)
    check(forms)
    backward: dict[str, list[float]] = {": ".join(case): [] for case in forms}
    tasks = {"matrix": harness.matrix_rate(dtype)}
    for case, (form, x, weight, _) in forms.items():
        tasks[": ".join(case)] = forward_and_backward(form, x, weight, backward[": ".join(case)])
    forward = harness.medians(harness.interleaved(tasks, options.rounds))
    rows = []
    for (layer, name), (_, _, _, flops) in forms.items():
        there, back = forward[f"{layer}: {name}"], statistics.median(backward[f"{layer}: {name}"][1:])
        ways = 1 if layer == "conv1" else 2  # images have no gradient
        rows.append(
            {
                "layer": layer,
                "form": name,
                "forward_ms": 1e3 * there,
                "backward_ms": 1e3 * back,
                "forward_gflops": flops / there / 1e9,
                "backward_gflops": ways * flops / back / 1e9,
            }
        )
    harness.emit({"dtype": str(dtype), "batch": BATCH, "matrix_gflops": forward["matrix"] / 1e9, "forms": rows})


if __name__ == "__main__":
    main()
