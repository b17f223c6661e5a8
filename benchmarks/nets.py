"""Training steps of several nets in interleaved rounds, each against ``paper``'s.

python benchmarks/nets.py paper source caffe torchvision --rounds 11 >docs/raw/nets.json
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from alexnet import Net, machine, native
from alexnet.evaluation import autocast, input_dtype
from alexnet.nets.layers import Draw
from alexnet.training.optimiser import Momentum


def stepper(name: str, batch: int, precision: str) -> Callable[[], float]:
    """What takes a step of a net and says how long it took."""
    device = torch.device("cpu")
    net = Net(name, 1000)
    net.initialise(0, "he")
    optimiser = Momentum(net.tensors(), 0.9, 0.0005)
    if precision == "bf16":
        optimiser.keep(net.keep_copies(torch.bfloat16))
    rates = dict.fromkeys(net.tensors(), 0.001)
    side = net.table.input[1]
    images = torch.randn(batch, 3, side, side).to(input_dtype(precision), memory_format=torch.channels_last)
    rows = torch.arange(batch)

    def step() -> float:
        begun = time.perf_counter()
        with autocast(device, precision):
            scores = net.train()(images, Draw(0, 0, rows))
        F.cross_entropy(scores.float(), rows % 1000).backward()
        optimiser.step(rates)
        optimiser.zero_grad()
        return time.perf_counter() - begun

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    machine.set_up()
    precision = machine.choose_precision("auto", torch.device("cpu"))
    steps = {name: stepper(name, options.batch, precision) for name in options.nets}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 1):
        for name, step in steps.items():
            seconds = step()
            if number:
                found[name].append(seconds)
    rate = {name: options.batch / statistics.median(times) for name, times in found.items()}
    told = {"machine": machine.cpu_name(), "kernels": native.kernels(torch.device("cpu")), "precision": precision}
    json.dump({**told, "batch": options.batch, "images_per_second": rate,
               "to_the_first": {name: value / rate[options.nets[0]] for name, value in rate.items()},
               "rounds": found}, sys.stdout, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
