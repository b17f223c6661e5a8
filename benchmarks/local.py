"""The locally connected layers of cifar-11, both ways, against the rate of one large matrix product, interleaved.

python -m benchmarks.local --rounds 15
"""

import torch

from alexnet import machine
from alexnet.native import Window
from alexnet.nets.layers import LocallyConnected
from benchmarks import harness

LAYERS = {"local3": ((64, 6, 6), 64), "local4": ((64, 6, 6), 32)}
SIDE = 2048


def measure(name: str, dtype: torch.dtype, batch: int, rounds: int) -> dict:
    """Rates of one layer in one type, forward and both ways."""
    shape, filters = LAYERS[name]
    layer = LocallyConnected(shape, filters, Window(3, 1, 1))
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    layer.to(dtype)
    x = torch.randn(batch, *shape).to(dtype).requires_grad_()
    products = 2 * batch * layer.weight.numel()

    @torch.no_grad()
    def forward() -> float:
        return products / harness.seconds(lambda: layer(x))

    tasks = {
        "matrix": harness.matrix_rate(dtype, SIDE),
        "forward": forward,
        "both_ways": lambda: 3 * products / harness.seconds(lambda: layer(x).sum().backward()),
    }
    rate = harness.medians(harness.interleaved(tasks, rounds, uncounted=2))
    return {
        "layer": name,
        "dtype": str(dtype).removeprefix("torch."),
        **{f"{way}_gflops": value / 1e9 for way, value in rate.items()},
        **{f"{way}_share": rate[way] / rate["matrix"] for way in ("forward", "both_ways")},
    }


def main() -> None:
    parser = harness.parser(__doc__, rounds=15)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    machine.set_up()
    types = (torch.float32, torch.bfloat16)
    layers = [measure(name, dtype, options.batch_size, options.rounds) for dtype in types for name in LAYERS]
    harness.emit({"layers": layers})


if __name__ == "__main__":
    main()
