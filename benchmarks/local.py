"""The locally connected layers of cifar-11, both ways, against the rate of one large matrix product, interleaved.

python benchmarks/local.py --rounds 15
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from alexnet import machine
from alexnet.native import Window
from alexnet.nets.layers import LocallyConnected

LAYERS = {"local3": ((64, 6, 6), 64), "local4": ((64, 6, 6), 32)}


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    machine.set_up()
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.randn(2048, 2048).to(dtype)
        for name, (shape, filters) in LAYERS.items():
            layer = LocallyConnected(shape, filters, Window(3, 1, 1))
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
            layer.to(dtype)
            x = torch.randn(options.batch_size, *shape).to(dtype).requires_grad_()
            products = 2 * options.batch_size * layer.weight.numel()
            rates = []

            def both(layer: LocallyConnected = layer, x: torch.Tensor = x) -> None:
                layer(x).sum().backward()

            for _ in range(options.rounds + 2):
                matrix = 2 * 2048**3 / seconds(lambda square=square: square @ square)
                with torch.no_grad():
                    forward = products / seconds(lambda layer=layer, x=x: layer(x))
                rates.append((matrix / 1e9, forward / 1e9, 3 * products / seconds(both) / 1e9))
            middle = [statistics.median(each) for each in zip(*rates[2:])]
            results.append(
                {
                    "layer": name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "matrix_gflops": middle[0],
                    "forward_gflops": middle[1],
                    "both_ways_gflops": middle[2],
                    "forward_share": middle[1] / middle[0],
                    "both_ways_share": middle[2] / middle[0],
                }
            )
    print(json.dumps({"machine": machine.cpu_name(), "torch": torch.__version__, "layers": results}, indent=2))


if __name__ == "__main__":
    main()
