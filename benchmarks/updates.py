"""What an update takes, by optimizer: momentum and muon, interleaved, beside the step of the same net.

    python -m benchmarks.updates >docs/raw/updates.json

Gradients are random, in the precision that the machine trains in.
"""

import torch

from alexnet import Net, machine
from alexnet.diagnostics.bench import random_images, training_step
from alexnet.nets.precision import keep_copies
from alexnet.training.muon import Muon
from alexnet.training.optimizer import Momentum
from benchmarks import harness

NETS = {"cifar-quick": 256, "cifar-18": 128, "cifar-13": 128, "paper": 64}  # images a step


def main() -> None:
    options = harness.parser(__doc__, rounds=20).parse_args()
    machine.set_up()
    device, rows = torch.device("cpu"), {}
    precision = machine.choose_precision("auto", device)
    for name, batch in NETS.items():
        net = Net(name, 10)
        net.initialize(0, "he")
        optimizers = {"momentum": Momentum(net.tensors()), "muon": Muon(net.tensors(), groups=net.filters())}
        copies = keep_copies(net, torch.bfloat16) if precision == "bf16" else {}
        for tensor in (*net.tensors().values(), *copies.values()):
            tensor.grad = torch.randn_like(tensor)
        for optimizer in optimizers.values():
            optimizer.keep(copies)
            optimizer.set_lr(dict.fromkeys(optimizer.tensors, 1e-6))
        tasks = {key: harness.timed(optimizer.step) for key, optimizer in optimizers.items()}
        rows[name] = {"batch": batch, **harness.medians(harness.interleaved(tasks, options.rounds, uncounted=3))}
        other = Net(name, 10)
        step = training_step(other, random_images(other, batch, device, precision), precision)
        rows[name]["step"] = harness.medians(harness.interleaved({"step": harness.timed(step)}, 5))["step"]
    harness.emit({"precision": precision, "seconds": rows})


if __name__ == "__main__":
    main()
