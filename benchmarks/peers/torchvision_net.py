"""Training steps of torchvision's AlexNet beside ours of the same net, interleaved.

torchvision's runs in the environment of ``loaders.py``, as its users train it (float32, eager, ``torch.optim.SGD``) and
with bf16 autocast and channels-last. It has no response norm.

    python -m benchmarks.peers.torchvision_net --rounds 7 >docs/raw/torchvision-net.json
"""

import torch

from alexnet import machine
from benchmarks import harness
from benchmarks.nets import stepper
from benchmarks.peers.engine import Engine, environment, paused

WORKER = """
import sys, time, torch, torchvision
import torch.nn.functional as F
low, batch = sys.argv[1] == "bf16", int(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
order = torch.channels_last if low else torch.contiguous_format
net = torchvision.models.alexnet().train().to(memory_format=order)
images, labels = torch.randn(batch, 3, 224, 224).to(memory_format=order), torch.arange(batch) % 1000
optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)
print("{}", flush=True)
for _ in sys.stdin:
    begun = time.perf_counter()
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        scores = net(images)
    F.cross_entropy(scores.float(), labels).backward()
    optimizer.step()
    print(time.perf_counter() - begun, flush=True)
"""


def main() -> None:
    parser = harness.parser(__doc__, rounds=7)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    machine.set_up()
    python = environment("peers-loaders", "loaders-constraints.txt")
    told = [str(options.batch_size), str(torch.get_num_threads())]
    peers = {f"torchvision, {kind}": Engine([str(python), "-c", WORKER, kind, *told]) for kind in ("float32", "bf16")}
    precision = machine.choose_precision("auto", torch.device("cpu"))
    tasks = {"ours": stepper("torchvision", options.batch_size, precision), **peers}
    rounds = harness.interleaved({name: paused(task) for name, task in tasks.items()}, options.rounds)
    rate = {name: options.batch_size / seconds for name, seconds in harness.medians(rounds).items()}
    harness.emit({"batch": options.batch_size, "images_per_second": rate,
               "ours_to": {name: rate["ours"] / value for name, value in rate.items()}, "rounds": rounds})  # fmt: skip


if __name__ == "__main__":
    main()
