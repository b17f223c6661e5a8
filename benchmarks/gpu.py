"""Training steps, inference and the norm on one CUDA device, beside two ports, in interleaved rounds.

Ours as `alexnet train` takes them, ours as one CUDA graph, the plain port, and the same port as those who know torch
would run it (bf16 products, channels-last, TF32, compiled). Times are between CUDA events, over steps in a row.

python -m benchmarks.gpu --nets paper,torchvision --batches 128,1024 >gpu.json

`--profile` prints instead how long a step takes and which kernels it spends that in.
"""

import functools
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from alexnet import Net, machine
from alexnet.diagnostics.bench import random_images, training_step
from alexnet.diagnostics.plain_port import plain_port
from alexnet.nets.costs import multiply_adds
from alexnet.nets.inference import for_inference
from alexnet.nets.precision import autocast
from alexnet.nets.table_file import load_table
from benchmarks import harness

IN_A_ROW = 10  # calls between two events


def between_events(work: Callable[[], object]) -> Callable[[], float]:
    """A task: seconds of a call, the mean of some in a row, from the device's own clock."""

    def task() -> float:
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        for _ in range(IN_A_ROW):
            work()
        ended.record()
        ended.synchronize()
        return begun.elapsed_time(ended) / 1e3 / IN_A_ROW

    return task


def as_graph(work: Callable[[], object]) -> Callable[[], object]:
    """The work recorded once, replayed at each call."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()

    def replay(_kept: object = work) -> None:  # what the graph reads and writes is the work's
        graph.replay()

    return replay


def port_step(batch: int, tuned: bool) -> Callable[[], object]:
    """The plain port's step; ``tuned``: in bf16, channels-last and compiled."""
    net = plain_port(1000).cuda()
    images = torch.randn(batch, 3, 227, 227, device="cuda")
    if tuned:
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device="cuda") % 1000
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005, fused=tuned)
    forward = torch.compile(net) if tuned else net

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=tuned):
            loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()

    return step


def inference(ready: torch.nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """Probabilities of a batch as ``evaluate`` computes them."""

    @torch.inference_mode()
    def work() -> torch.Tensor:
        with autocast(images.device, "bf16"):
            return ready(images).float().softmax(1)

    return work


def tasks(nets: list[str], batches: list[int], ports: bool) -> dict[str, Callable[[], float]]:
    """By name: what is measured, of each net and size of batch."""
    device = torch.device("cuda")
    made: dict[str, Callable[[], float]] = {}
    for batch in batches:
        for name in nets:
            net = Net.empty(name, 1000)
            images = random_images(net, batch, device, "bf16")
            step = training_step(net, images, "bf16")
            ready = for_inference(net, torch.bfloat16)  # with weights of its own
            made[f"step {name} {batch}"] = between_events(step)
            made[f"graph {name} {batch}"] = between_events(as_graph(step))
            made[f"inference {name} {batch}"] = between_events(inference(ready, images))
        if ports:
            made[f"port {batch}"] = between_events(port_step(batch, tuned=False))
            made[f"tuned port {batch}"] = between_events(port_step(batch, tuned=True))
    return made


def floors() -> dict[str, Callable[[], float]]:
    """Seconds of a product of two matrices of 8,192, and of copying 2 GiB."""
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    full = torch.zeros(1 << 31, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(full)
    return {
        "product": between_events(lambda: square @ square),
        "copy": between_events(functools.partial(other.copy_, full)),
    }


def profile(name: str, batch: int) -> None:
    """Prints the milliseconds of a step, by the host and until the device has done it, and its kernels."""
    net = Net.empty(name, 1000)
    step = training_step(net, random_images(net, batch, torch.device("cuda"), "bf16"), "bf16")
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(IN_A_ROW):
        step()
    host = time.perf_counter() - begun
    torch.cuda.synchronize()
    whole = time.perf_counter() - begun
    print(f"{name}, batch {batch}: host {1e3 * host / IN_A_ROW:.2f} ms, step {1e3 * whole / IN_A_ROW:.2f} ms")
    with torch.profiler.profile() as seen:
        for _ in range(5):
            step()
        torch.cuda.synchronize()
    print(seen.key_averages().table(sort_by="cuda_time_total", row_limit=60, max_name_column_width=70))


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--nets", default="paper,torchvision")
    parser.add_argument("--batches", default="128,1024")
    parser.add_argument("--no-ports", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device here")
    machine.set_up()
    nets, batches = options.nets.split(","), [int(batch) for batch in options.batches.split(",")]
    if options.profile:
        for name in nets:
            for batch in batches:
                profile(name, batch)
        return
    made = {**floors(), **tasks(nets, batches, not options.no_ports)}
    rounds = harness.interleaved(made, options.rounds, uncounted=2)
    seconds = harness.medians(rounds)
    matrix = 2 * 8192**3 / seconds.pop("product")
    copied = 2 * (1 << 31) / seconds.pop("copy")
    rates = {name: int(name.split()[-1]) / value for name, value in seconds.items()}
    trained = {name: 2 * multiply_adds(load_table(name), 1000)[1] for name in nets}
    harness.emit(
        {
            "device": torch.cuda.get_device_name(),
            "matrix_flops": matrix,
            "copy_bytes_per_second": copied,
            "images_per_second": rates,
            "share_of_matrix_rate": {
                name: rate * trained[name.split()[1]] / matrix
                for name, rate in rates.items()
                if name.split()[0] in ("step", "graph")
            },
            "rounds": rounds,
        }
    )


if __name__ == "__main__":
    main()
