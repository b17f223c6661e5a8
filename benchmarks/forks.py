"""Where trainings part that differ by rounding alone: at which step, by which decision, and how near that was.

    python -m benchmarks.forks [--seeds 3 4 5] > docs/raw/parallel-forks.json

A ReLU passes a gradient or not; a maximum passes it to one of its window. Where two sides are as near as float32's
error, rounding decides. The paper's narrow net of ``benchmarks.equivalence`` is trained in float32 by one process; by
two ranks (layout ``data``); by one process in 2 parts, in 7 parts and with 2 threads, which is the same mathematics
rounded otherwise; and in float64. Each step's weights, sums before ReLUs and places of maxima are kept. Of the first
step that decides otherwise, each decision is reported: what both took; how far the exact numbers are from the other
side (float64, from the same float32 weights); and the rounding there, 2**-24 times the sum of the products'
magnitudes. Then one process is trained again, with nothing but those decisions forced to be the other training's.
Prints one JSON object; exit status 1 where trainings are apart for another reason.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import native
from alexnet.nets import weights as weights_of
from alexnet.nets.layers import Draw
from alexnet.nets.network import Network
from alexnet.ranks import joined
from alexnet.training.step import Step
from benchmarks import equivalence, harness
from benchmarks.equivalence import CASES, Case, Job, difference

BOUND = equivalence.BOUNDS["float32"]
ROUNDING = 2.0**-24  # of float32, relative
POOLED = {"conv1": "norm1", "conv2": "norm2", "conv5": None}  # what lies between a ReLU and the maxima after it


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train the same: ranks, threads, parts of a batch, precision."""

    ranks: int = 1
    threads: int = 1
    parts: int = 1
    precision: str = "float32"


VARIANTS = {
    "one process": Variant(),
    "two ranks": Variant(ranks=2),
    "2 parts": Variant(parts=2),
    "7 parts": Variant(parts=7),
    "2 threads": Variant(threads=2),
    "float64": Variant(precision="float64"),
}
Trace = list[dict[str, Any]]  # a step each: rows, images, weights before it, sums and maxima; last, weights at the end
Forced = Mapping[int, list[tuple[str, list[int], float]]]  # by step: of what, which, and what it is


@contextmanager
def traced(forced: Forced) -> Iterator[Trace]:
    """Keeps what every training step of one process sees and decides; what is ``forced`` is put in its place."""
    trace: Trace = []
    step, sums, stage = Step.__call__, Network._sums, native.stage_forward

    def call(self: Step, batch: Any, number: int = 0) -> Any:
        whole = {name: tensor.detach().clone() for name, tensor in self.net.state().items()}
        trace.append({"rows": batch.rows.clone(), "weights": whole, "images": [], "sums": {}, "maxima": {}})
        with (
            mock.patch.object(Network, "_sums", kept),
            mock.patch.object(native, "stage_forward", kept_maxima),
        ):
            return step(self, batch, number)

    def kept(self: Network, layer: Any, x: Tensor, *more: Any) -> Tensor:
        now, out = trace[-1], sums(self, layer, x, *more)
        if layer.name == self.names[0]:
            now["images"].append(x.detach().clone())
        if hasattr(layer, "init"):
            _force(forced, layer.name, out.data)
            now["sums"].setdefault(layer.name, []).append(out.detach().clone())
            now["last"] = layer.name
        return out

    def kept_maxima(x: Tensor, stages: Any, places: bool) -> tuple[Tensor, Tensor | None]:
        now, (y, winners) = trace[-1], stage(x, stages, places)
        if winners is not None:
            by_map = winners.view(len(y), *y.shape[2:], y.shape[1]).permute(0, 3, 1, 2)
            _force(forced, f"maximum after {now['last']}", by_map)
            now["maxima"].setdefault(now["last"], []).append(torch.where(y > 0, by_map, 255))
        return y, winners

    def _force(forced: Forced, what: str, numbers: Tensor) -> None:
        for name, index, value in forced.get(len(trace) - 1, ()):
            if name == what:
                numbers[tuple(index)] = value

    with mock.patch.object(Step, "__call__", call):
        yield trace


def train(root: Path, words: Mapping[str, Any]) -> None:
    """In one rank: trains one variant; writes its trace."""
    variant, name, seed = Variant(**words["variant"]), words["name"], words["seed"]
    options = {"seed": seed, "grad_accumulation": variant.parts}
    forced = {int(step): units for step, units in words["forced"].items()}
    case = Case(precision=variant.precision, options=options)
    other = (0, "threads", variant.threads) if variant.threads > 1 else None
    with joined() as ranks, mock.patch.dict(CASES, {"fork": case}), traced(forced) as trace:
        equivalence.train(root, Job(name, "fork", "data" if variant.ranks > 1 else "auto", other=other))
        torch.save(trace, root / f"{name}.{ranks.rank}.trace")


def run(root: Path, name: str, seed: int, variant: Variant, forced: Mapping[int, Any] | None = None) -> Trace:
    """Trains one variant; its trace, of all images in the batches' order."""
    words = {"name": name, "seed": seed, "variant": dataclasses.asdict(variant), "forced": forced or {}}
    command = [sys.executable, "-m"]
    if variant.ranks > 1:
        command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(variant.ranks), "-m"]
    command += ["benchmarks.forks", "--work", str(root), json.dumps(words)]
    paths = os.pathsep.join([str(harness.ROOT), str(harness.ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-6000:])
    traces = [torch.load(root / f"{name}.{rank}.trace") for rank in range(variant.ranks)]
    whole = [
        {
            "rows": torch.cat([part["rows"] for part in parts]),
            "weights": parts[0]["weights"],
            "images": torch.cat([images for part in parts for images in part["images"]]),
            **{
                what: {
                    layer: torch.cat([numbers for part in parts for numbers in part[what][layer]])
                    for layer in parts[0][what]
                }
                for what in ("sums", "maxima")
            },
        }
        for parts in zip(*traces, strict=True)
    ]
    _, last = equivalence.checkpoints(root / name)[-1]
    return [*whole, {"weights": equivalence.load_file(last / "weights.safetensors")}]


def apart(one: Trace, other: Trace) -> list[float]:
    """Of two trainings' weights: relative, before each step, and at the end."""
    return [difference(a["weights"], b["weights"]) for a, b in zip(one, other, strict=True)]


@dataclasses.dataclass(frozen=True)
class Exact:
    """A step's forward pass in float64 from given weights.

    Attributes:
        sums: of every layer's units.
        sizes: the sums of their products' magnitudes.
        pooled: what each maximum looks at.
    """

    sums: dict[str, Tensor]
    sizes: dict[str, Tensor]
    pooled: dict[str, Tensor]


def exact(root: Path, seed: int, trace: Trace, step: int) -> Exact:
    """What a step sums, without float32's rounding."""
    net = Network(str(root / "paper.toml"), len(trace[0]["weights"]["fc8.bias"]))
    weights_of.put(net, {name: tensor.float() for name, tensor in trace[step]["weights"].items()}, "a trace")
    net = net.double().train()
    sums, sizes, inner = {}, {}, Network._sums

    def kept(self: Network, layer: Any, x: Tensor, *more: Any) -> Tensor:
        out = inner(self, layer, x, *more)
        if hasattr(layer, "init"):
            module = self.get_submodule(layer.name)
            own = {name: tensor.detach().abs() for name, tensor in module.named_parameters()}
            sums[layer.name] = out.detach().clone()
            sizes[layer.name] = torch.func.functional_call(module, own, (x.detach().abs(),)).detach()
        return out

    with mock.patch.object(Network, "_sums", kept):
        net(trace[step]["images"].double(), Draw(seed, step, trace[step]["rows"]))
    return Exact(sums, sizes, {layer: pooled(net, layer, sums[layer]) for layer in POOLED})


def pooled(net: Network, layer: str, sums: Tensor) -> Tensor:
    """What a layer's maxima look at: its sums, positive parts, normed."""
    name = POOLED[layer]
    with torch.no_grad():
        return net.get_submodule(name)(F.relu(sums)) if name else F.relu(sums)


def decisions(root: Path, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """Of a step of two trainings, what was decided differently: units by layer, and windows of maxima by layer."""
    net = Network(str(root / "paper.toml"), 5).double()
    differ: dict[str, list[list[int]]] = {}
    for layer, sums in one["sums"].items():
        if layer != net.names[-1]:
            differ[layer] = ((sums > 0) != (other["sums"][layer] > 0)).nonzero().tolist()
        if layer in POOLED:
            a, b = (maxima(net, layer, of) for of in (one, other))
            differ[f"maximum after {layer}"] = ((a != b) & (a != 255) & (b != 255)).nonzero().tolist()
    return {what: units for what, units in differ.items() if units}


def maxima(net: Network, layer: str, of: Mapping[str, Any]) -> Tensor:
    """(N, maps, rows, columns) uint8: the place of each maximum in its window, as it was or would be; 255: all is 0."""
    if layer in of["maxima"]:
        return of["maxima"][layer]
    x = pooled(net, layer, of["sums"][layer].double())
    most, at = F.max_pool2d(x, 3, 2, ceil_mode=True, return_indices=True)
    rows, columns = at // x.shape[3], at % x.shape[3]
    top, left = (2 * torch.arange(size) for size in at.shape[2:])
    return torch.where(most > 0, (rows - top[:, None]) * 3 + columns - left, 255).to(torch.uint8)


def described(root: Path, seed: int, one: Trace, other: Trace, step: int) -> list[dict[str, Any]]:
    """The decisions of a step that two trainings took differently, and how near they were."""
    own, theirs, lines = exact(root, seed, one, step), exact(root, seed, other, step), []
    net = Network(str(root / "paper.toml"), 5).double()
    for what, units in decisions(root, one[step], other[step]).items():
        layer = what.rpartition(" ")[2]
        for unit in map(tuple, units):
            if what == layer:
                taken = [float(trace[step]["sums"][layer][unit]) for trace in (one, other)]
                exactly = [float(of.sums[layer][unit]) for of in (own, theirs)]
                rounding = float(own.sizes[layer][unit]) * ROUNDING
            else:
                taken = [int(maxima(net, layer, trace[step])[unit]) for trace in (one, other)]
                exactly = [_margin(of.pooled[layer], unit, taken) for of in (own, theirs)]
                image, map_, *_ = unit
                rounding = float(own.sizes[layer][image, map_].max()) * ROUNDING
            near = min(map(abs, exactly)) / rounding
            lines.append({"of": what, "unit": list(unit), "taken": taken, "exact": exactly,
                          "rounding": rounding, "roundings from the decision": near})  # fmt: skip
    return lines


def _margin(maps: Tensor, window: tuple[int, ...], places: list[int]) -> float:
    """How much larger one of two places of a window is than the other."""
    image, map_, row, column = window
    one, other = (float(maps[image, map_, 2 * row + place // 3, 2 * column + place % 3]) for place in places)
    return one - other


def compared(root: Path, seed: int, name: str, one: Trace, other: Trace) -> dict[str, Any]:
    """Two trainings: how far apart, where they part, and how far with only the decisions there forced."""
    distances, forced, parting = apart(one, other), {}, []
    now, now_apart = one, distances
    while now_apart[-1] > BOUND and len(parting) < 8:
        differ = (k for k in range(len(other) - 1) if k not in forced and decisions(root, now[k], other[k]))
        if (step := next(differ, None)) is None:
            break
        lines = described(root, seed, now, other, step)
        parting.append({"step": step + 1, "apart before it": now_apart[step], "after it": now_apart[step + 1],
                        "decisions": lines})  # fmt: skip
        forced[step] = [(line["of"], line["unit"], line["taken"][1]) for line in lines]
        now = run(root, f"forced-{seed}-{name}-{len(parting)}", seed, Variant(), forced)
        now_apart = apart(now, other)
    return {
        "seed": seed,
        "with": name,
        "apart": distances[-1],
        "by step": [float(f"{number:.1e}") for number in distances],
        "parting": parting,
        "apart with these decisions forced": now_apart[-1],
    }


def main() -> int:
    """Prints the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--work", nargs=2, help="what this command starts: folder, variant")
    asked = parser.parse_args()
    if asked.work:
        train(Path(asked.work[0]), json.loads(asked.work[1]))
        return 0
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        equivalence.make(root)
        for seed in asked.seeds:
            alone, *others = (run(root, f"{name}-{seed}", seed, variant) for name, variant in VARIANTS.items())
            for name, other in zip(list(VARIANTS)[1:], others, strict=True):
                lines.append(compared(root, seed, name, alone, other))
                harness.note(json.dumps(lines[-1]))
    harness.emit({"steps": 20, "bound": BOUND, "trainings": lines})
    return 0 if all(line["apart with these decisions forced"] <= BOUND for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
