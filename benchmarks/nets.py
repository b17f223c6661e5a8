"""Training steps of several nets in interleaved rounds, each against the first one's.

python -m benchmarks.nets paper source caffe torchvision --rounds 11 >docs/raw/nets.json
"""

from collections.abc import Callable

import torch

from alexnet import Net, machine
from alexnet.diagnostics.bench import random_images, training_step
from benchmarks import harness


def stepper(name: str, batch: int, precision: str) -> Callable[[], float]:
    """What takes a step of a net and says how long it took."""
    net = Net(name, 1000)
    return harness.timed(training_step(net, random_images(net, batch, torch.device("cpu"), precision), precision))


def main() -> None:
    parser = harness.parser(__doc__, rounds=11)
    parser.add_argument("nets", nargs="+")
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    machine.set_up()
    precision = machine.choose_precision("auto", torch.device("cpu"))
    rounds = harness.interleaved(
        {name: stepper(name, options.batch_size, precision) for name in options.nets}, options.rounds
    )
    rate = {name: options.batch_size / seconds for name, seconds in harness.medians(rounds).items()}
    harness.emit(
        {
            "precision": precision,
            "batch": options.batch_size,
            "images_per_second": rate,
            "to_the_first": {name: value / rate[options.nets[0]] for name, value in rate.items()},
            "rounds": rounds,
        }
    )


if __name__ == "__main__":
    main()
