"""The port to compare with: AlexNet as public ones have it, in a process of its own that this project does nothing to.

float32, NCHW, ``nn.LocalResponseNorm``, torch's own initialization, layers and ``torch.optim.SGD``. A process of its
own, because what ``machine.set_up`` does for large tensors would make the port faster than its users know it.

    python -m alexnet.diagnostics.plain_port BATCH CLASSES DEVICE THREADS

reads ``step``, ``infer`` or ``one`` a line and answers with the seconds that it took.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO

import torch
import torch.nn.functional as F
from torch import nn

from alexnet import machine


def plain_port(classes: int) -> nn.Sequential:
    """AlexNet as public ports have it: torch's own layers and initialization, (N, 3, 227, 227) to (N, classes)."""

    def norm() -> nn.LocalResponseNorm:
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # torch divides alpha by the size

    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, classes),
    )  # fmt: skip


class PlainPort:
    """The process, as a context: called with ``step``, ``infer`` or ``one`` it returns seconds.

    Args:
        batch, classes: of the training step, and of ``infer``.
        device: where it runs.
    """

    def __init__(self, batch: int, classes: int, device: torch.device):
        words = [str(batch), str(classes), str(device), str(torch.get_num_threads())]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "alexnet.diagnostics.plain_port", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> "PlainPort":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def __call__(self, task: str) -> float:
        """Seconds that a task took. Raises ``RuntimeError`` where the process has ended."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked and answers
        try:
            asked.write(task + "\n")
            asked.flush()
            answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError("the plain port's process ended; what it said stands above")
        return float(answer)


def tasks(batch: int, classes: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """A training step, inference of a batch, inference of one image."""
    net = plain_port(classes).to(device)
    images = torch.randn(batch, 3, 227, 227, device=device)
    labels = torch.arange(batch, device=device) % classes
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def step() -> None:
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def infer(count: int = batch) -> torch.Tensor:
        net.eval()
        return net(images[:count]).softmax(1)

    return {"step": step, "infer": infer, "one": lambda: infer(1)}


def serve(batch: int, classes: int, device: torch.device, asked: IO[str], answers: IO[str]) -> None:
    """Answers each line with the seconds that its task took."""
    known = tasks(batch, classes, device)
    for line in asked:
        machine.synchronize(device)
        begun = time.perf_counter()
        known[line.strip()]()
        machine.synchronize(device)
        print(time.perf_counter() - begun, file=answers, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    serve(int(sys.argv[1]), int(sys.argv[2]), torch.device(sys.argv[3]), sys.stdin, sys.stdout)
