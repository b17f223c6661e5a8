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

from alexnet import Net, machine, native
from alexnet.diagnostics.bench import interleaved, random_images, training_step


def stepper(name: str, batch: int, precision: str) -> Callable[[], float]:
    """What takes a step of a net and says how long it took."""
    net = Net(name, 1000)
    step = training_step(net, random_images(net, batch, torch.device("cpu"), precision), precision)

    def timed() -> float:
        begun = time.perf_counter()
        step()
        return time.perf_counter() - begun

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    machine.set_up()
    precision = machine.choose_precision("auto", torch.device("cpu"))
    steps = {name: stepper(name, options.batch, precision) for name in options.nets}
    found = interleaved(steps, options.rounds)
    rate = {name: options.batch / statistics.median(times) for name, times in found.items()}
    told = {"machine": machine.cpu_name(), "kernels": native.kernels(torch.device("cpu")), "precision": precision}
    json.dump({**told, "batch": options.batch, "images_per_second": rate,
               "to_the_first": {name: value / rate[options.nets[0]] for name, value in rate.items()},
               "rounds": found}, sys.stdout, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
