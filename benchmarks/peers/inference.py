"""Inference beside ONNX Runtime and OpenVINO, and the plain port: one net, one run, interleaved rounds.

The peers run in an environment that this builds from ``constraints.txt``, each in a process of its own that waits while
another is measured. The net is ``caffe``, whose norms see all maps, as ONNX's LRN does; all must give its scores.

    python -m benchmarks.peers.inference --batch-size 128 --rounds 15 >docs/raw/inference-128.json
    python -m benchmarks.peers.inference --batch-size 1 --rounds 15 --waking 3 --calls 9 >docs/raw/inference-1.json
    python -m benchmarks.peers.inference --batch-size 1 --rounds 31 >docs/raw/inference-1-idle.json
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from alexnet import Net, machine
from alexnet.diagnostics.plain_port import PlainPort
from alexnet.interchange.onnx_writer import write_onnx
from alexnet.nets.inference import for_inference, products_of
from alexnet.nets.precision import autocast, input_dtype, product_dtype
from benchmarks import harness
from benchmarks.peers.engine import Engine, environment, paused

HERE = Path(__file__).parent
PEERS = ("onnxruntime", "openvino", "openvino-bf16")
SAME = {"float32": 1e-4, "bf16": 0.05}  # of the largest score


def ours(net: Net, images: torch.Tensor, precision: str) -> Callable[[], torch.Tensor]:
    device = torch.device("cpu")
    products = products_of(precision, device)
    form = for_inference(net, product_dtype(products), int8=precision == "int8")

    @torch.inference_mode()
    def run() -> torch.Tensor:
        with autocast(device, products):
            return form(images.to(input_dtype(products))).float()

    return run


def timed(run: Callable[[], object], waking: int, calls: int) -> Callable[[], float]:
    def measured() -> float:
        return statistics.median([harness.seconds(run) for _ in range(waking + calls)][waking:])

    return measured


def timed_port(port: PlainPort, waking: int, calls: int) -> Callable[[], float]:
    return lambda: statistics.median([port("infer") for _ in range(waking + calls)][waking:])


def main() -> None:
    parser = harness.parser(__doc__, rounds=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--waking", type=int, default=0, help="calls that are not measured, a round and engine")
    parser.add_argument("--calls", type=int, default=1, help="calls of which the median is taken")
    options = parser.parse_args()
    machine.set_up()
    python = environment("peers", "constraints.txt")
    net = Net("caffe", 1000)
    net.initialize(0, "he")
    pixels = np.random.default_rng(0).normal(0, 1, (options.batch_size, 3, 227, 227)).astype(np.float32)
    images = torch.from_numpy(pixels).to(memory_format=torch.channels_last)
    precision = machine.choose_precision("auto", torch.device("cpu"))
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as room, PlainPort(options.batch_size, 1000, device) as port:
        model = Path(room, "caffe.onnx")
        model.write_bytes(write_onnx(net, 227, {}))
        often = options.waking, options.calls
        told = list(map(str, (model, options.batch_size, torch.get_num_threads(), *often)))
        peers = {name: Engine([str(python), str(HERE / "worker.py"), name, *told]) for name in PEERS}
        exact = ours(net, images, "float32")()[0, :10].numpy()
        differ = {name: float(np.abs(np.array(peer.first) - exact).max()) for name, peer in peers.items()}
        differ["ours"] = float((ours(net, images, precision)()[0, :10] - torch.from_numpy(exact)).abs().max())

        for name, difference in differ.items():
            low = name.endswith("bf16") or (name == "ours" and precision == "bf16")
            if difference > SAME["bf16" if low else "float32"] * float(np.abs(exact).max()):
                raise SystemExit(f"error: {name}'s scores differ by {difference:.3g} from ours in float32")

        tasks: dict[str, Callable[[], float]] = {
            "ours": timed(ours(net, images, precision), *often),
            "ours, float32": timed(ours(net, images, "float32"), *often),
            "ours, int8": timed(ours(net, images, "int8"), *often),
            "plain port": timed_port(port, *often),
            **peers,
        }
        rounds = harness.interleaved({name: paused(task) for name, task in tasks.items()}, options.rounds, uncounted=2)
    for peer in peers.values():
        peer.process.kill()
    middle = harness.medians(rounds)
    harness.emit(
        {
            "precision": precision,
            "batch": options.batch_size,
            "waking_calls": options.waking,
            "calls": options.calls,
            "milliseconds": {name: 1e3 * value for name, value in middle.items()},
            "ratios": {name: value / middle["ours"] for name, value in middle.items()},
            "largest_difference_of_scores": differ,
            "largest_score": float(np.abs(exact).max()),
            "rounds": rounds,
        }
    )


if __name__ == "__main__":
    main()
