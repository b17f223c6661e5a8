"""Where a training step's time goes: torch's profiler over whole steps, each operation with its shape.

    python benchmarks/account.py >docs/raw/account.json

Lists what takes 0.5% of a step or more, beside what a step takes unwatched and the floor of the matrix rate.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from alexnet import Net, machine, native
from alexnet.diagnostics.bench import SIDE, multiply_adds, random_images, training_step
from alexnet.nets.precision import input_dtype

LEAST, STEPS = 0.005, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="paper")
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    machine.set_up()
    device = torch.device("cpu")
    precision = machine.choose_precision("auto", device)
    net = Net(options.net, 1000)
    work = training_step(net, random_images(net, options.batch_size, device, precision), precision)

    def step() -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    for _ in range(3):
        step()
    seconds = statistics.median(step() for _ in range(2 * STEPS))
    wide = torch.randn(SIDE, SIDE).to(input_dtype(precision))
    products = []
    for _ in range(9):
        begun = time.perf_counter()
        wide @ wide
        products.append(2 * SIDE**3 / (time.perf_counter() - begun))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        watched = [step() for _ in range(STEPS)]
    events = profile.key_averages(group_by_input_shape=True)
    total = sum(watched)
    rows_of = []
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total):
        share = event.self_cpu_time_total / 1e6 / total
        if share >= LEAST:
            shapes = [shape for shape in event.input_shapes if shape]
            rows_of.append({"operation": event.key, "shapes": shapes, "share": round(share, 4)})
    flops = 2 * options.batch_size * multiply_adds(net.table, 1000)[1]
    json.dump(
        {
            "machine": machine.cpu_name(), "torch": torch.__version__, "kernels": native.kernels(device),
            "precision": precision, "net": options.net, "batch": options.batch_size,
            "seconds_a_step": seconds, "seconds_a_step_watched": statistics.median(watched),
            "floor_seconds": flops / statistics.median(products),
            "listed_share": sum(row["share"] for row in rows_of), "operations": rows_of,
        },
        sys.stdout, indent=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
