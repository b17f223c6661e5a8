"""Where a training step's time goes: torch's profiler over whole steps, each operation with its shape.

    python -m benchmarks.account >docs/raw/account.json
    python -m benchmarks.account --net cifar-quick --classes 10 --batch-size 64 --rounds 60

Lists what takes 0.5% of a step or more, beside what a step takes unwatched and the floor of the matrix rate.
"""

import statistics
from collections.abc import Iterable

import torch
from torch.autograd.profiler_util import FunctionEventAvg

from alexnet import Net, machine
from alexnet.diagnostics.bench import random_images, training_step
from alexnet.nets.costs import multiply_adds
from alexnet.nets.precision import input_dtype
from benchmarks import harness

LEAST, STEPS = 0.005, 6


def operations(events: Iterable[FunctionEventAvg], total: float) -> list[dict]:
    """What takes ``LEAST`` of the time or more, the longest first."""
    rows = []
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total):
        share = event.self_cpu_time_total / 1e6 / total
        if share >= LEAST:
            shapes = [shape for shape in event.input_shapes if shape]
            rows.append({"operation": event.key, "shapes": shapes, "share": round(share, 4)})
    return rows


def main() -> None:
    parser = harness.parser(__doc__, rounds=2 * STEPS)
    parser.add_argument("--net", default="paper")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    machine.set_up()
    device = torch.device("cpu")
    precision = machine.choose_precision("auto", device)
    net = Net(options.net, options.classes)
    step = harness.timed(training_step(net, random_images(net, options.batch_size, device, precision), precision))
    tasks = {"step": step, "matrix": harness.matrix_rate(input_dtype(precision))}
    middle = harness.medians(harness.interleaved(tasks, options.rounds, uncounted=3))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        watched = [step() for _ in range(STEPS)]
    rows = operations(profile.key_averages(group_by_input_shape=True), sum(watched))
    harness.emit(
        {
            "precision": precision,
            "net": options.net,
            "batch": options.batch_size,
            "seconds_a_step": middle["step"],
            "seconds_a_step_watched": statistics.median(watched),
            "floor_seconds": 2 * options.batch_size * multiply_adds(net.table, options.classes)[1] / middle["matrix"],
            "listed_share": sum(row["share"] for row in rows),
            "operations": rows,
        }
    )


if __name__ == "__main__":
    main()
