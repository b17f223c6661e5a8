"""What ranks hand each other is the transpose of itself backward, and mistakes are said by one rank in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import equivalence, harness

from alexnet.ranks.group import UNSHARED

ADJOINT = """
import os
import torch
import torch.distributed as dist
from alexnet.training.parallel.exchange import GatherExamples, GatherMaps, GatherScores, OwnScores

dist.init_process_group("gloo")
rank, group = dist.get_rank(), dist.group.WORLD
torch.manual_seed(rank)
sizes, counts = (3, 1, 2), (2, 4, 1)
own, count = sizes[rank], counts[rank]


def check(name, x, apply, whole):
    # <A x, y> over all ranks is <x, A' y>; whole says which entries of A x a rank has
    x = x.double().requires_grad_()
    out = apply(x)
    everything = [None] * 3
    dist.all_gather_object(everything, x.detach())
    assert torch.equal(out.detach(), whole(everything)), name
    y = torch.randn_like(out)
    out.backward(y)
    both = torch.stack([(out.detach() * y).sum(), (x.detach() * x.grad).sum()])
    dist.all_reduce(both)
    assert torch.allclose(both[0], both[1], rtol=1e-12), (name, both)


for shape in ((5, own), (5, own, 4, 3)):
    x = torch.randn(*shape)
    x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    check("maps", x, lambda x: GatherMaps.apply(x, sizes, group), lambda parts: torch.cat(parts, 1))
for shape in ((count, 6), (count, 2, 4, 3)):
    check("examples", torch.randn(*shape), lambda x: GatherExamples.apply(x, counts, group), torch.cat)
start = sum(counts[:rank])
check(
    "own scores",
    torch.randn(sum(counts), own),
    lambda x: OwnScores.apply(x, sizes, counts, group),
    lambda parts: torch.cat(parts, 1)[start : start + count],
)
x = torch.randn(5, own, dtype=torch.float64, requires_grad=True)
torch.manual_seed(9)  # every rank has the same loss
weights = torch.randn(5, 6, dtype=torch.float64)
(GatherScores.apply(x, sizes, group) * weights).sum().backward()
assert torch.equal(x.grad, weights.split(list(sizes), 1)[rank])
dist.barrier()
os._exit(0)  # as a training leaves: gloo's threads may abort a process that waits for them
"""
COMMAND = """
import os, sys
from alexnet import cli
first, other = {first!r}, {other!r}
sys.exit(cli.main(first if os.environ["RANK"] == "0" else other))
"""
FAILED = """
import os, signal, sys
import torch
import torch.distributed as dist
from alexnet import ranks
from alexnet.errors import AlexNetError, Elsewhere

assert not ranks.broken()
signal.signal(signal.SIGTERM, lambda *_: None)  # as in a training, which ends at its next step
try:
    with ranks.joined() as job:
        group = dist.group.WORLD  # as a traceback keeps it: the others see that it is gone when the process is
        job.sum(torch.zeros(1))
        if job.first:
            raise AlexNetError("no space left on the device")
        job.sum(torch.zeros(1))
except Elsewhere:
    pass
except AlexNetError as error:
    print("error:", error, file=sys.stderr, flush=True)
os._exit(1 if ranks.broken() else 3)
"""


def launched(script: str, ranks: int, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A script in so many processes, with more in the environment."""
    path = folder / "script.py"
    path.write_text(script)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), str(path)]
    paths = os.pathsep.join([str(harness.ROOT), str(harness.ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.net
def test_exchanges_are_the_transpose_of_themselves_backward(tmp_path):
    done = launched(ADJOINT, 3, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.net
def test_whatever_escapes_at_a_rank_is_said_once_and_the_process_leaves_without_its_threads(tmp_path):
    """One of eleven full disks ended in an abort: the other rank was amid an exchange."""
    done = launched(FAILED, 2, tmp_path, **{UNSHARED: "1"})  # the store goes with the first rank
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert said == ["error: no space left on the device"], done.stderr
    assert "exitcode  : 1" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("mistakes")
    equivalence.make(root)
    return root


@pytest.mark.net
@pytest.mark.parametrize(("ranks", "net", "options", "others", "words"), [
    (2, "paper", [], ["--lr", "0.02"], "rank 1 has another recipe (--lr) than rank 0 (0.02, not 0.01)"),
    pytest.param(2, "paper", [], ["--seed", "x"], "--seed", marks=pytest.mark.slow),
    pytest.param(
        2, "paper", ["--epochs", "2"], ["--precision", "bf16"], "rank 1 has another recipe", marks=pytest.mark.slow
    ),
    (3, "paper", ["--parallel", "towers"], None, "has 2 towers, which 3 ranks cannot share"),
    pytest.param(2, "torchvision", ["--parallel", "towers"], None, "has one tower", marks=pytest.mark.slow),
    (2, "batch-norm", [], None, "batch norms see a rank's images alone"),
    (3, "paper", ["--batch-size", "2"], None, "fewer than the 3 ranks"),
])  # fmt: skip
def test_a_mistake_is_said_by_one_rank_in_one_line(made, tmp_path, ranks, net, options, others, words):
    run = tmp_path / "run"
    first = ["train", str(made / "data-5"), str(run), "--net", str(made / f"{net}.toml"), "--precision", "float32"]
    first += ["--quiet", *options]
    done = launched(COMMAND.format(first=first, other=[*first, *(others or [])]), ranks, tmp_path)
    ours = [line for line in done.stderr.splitlines() if line.startswith(("alexnet", "error", "usage"))]
    assert len([line for line in done.stderr.splitlines() if words in line]) == 1, done.stderr
    assert "exitcode  : 2" in done.stderr, done.stderr
    assert done.stderr.count("Traceback") <= 1, done.stderr  # torchrun's own
    assert len(ours) <= 1, ours
    assert not run.exists()
