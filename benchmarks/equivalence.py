"""Whether several processes train what one trains: layout x ranks x precision x case, on narrow nets of true topology.

    python -m benchmarks.equivalence [--ranks 2 4] [--only plain,source] > docs/raw/parallel-equivalence.json

One launch of torchrun a number of ranks; all cases are trained within its one process group. Gradients are the
velocities after the first step, which are -lr times them. A difference is the largest of a tensor's, relative to its
largest number; of several tensors, the largest. In float32, rounding decides a ReLU or a maximum now and then, and one
process then differs from itself with its batches in 2 or 7 parts (``benchmarks.forks``): a shared training must be
within the bound of one of these. A net without such decisions must be of one process's as it is. Halves may be as far
from float32 as twice the farthest of one process's. Prints one JSON object; exit status 1 where a difference is too
large.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import alexnet
from alexnet.ranks import current, joined
from alexnet.training.parallel.names import LayoutName
from benchmarks import harness

LAYOUTS = tuple(name for name in get_args(LayoutName) if name != "auto")
BOUNDS = {"float64": 1e-12, "float32": 1e-5}
WAIT_SECONDS = 7200  # for a launch
SIDE = 99  # of the narrow nets' input: pool5 still gives 2 x 2 maps
NARROW = (
    (r"(?m)^input = .*", f"input = [3, {SIDE}, {SIDE}]"),
    ("filters = (96|64)", "filters = 16"),
    ("filters = 192", "filters = 24"),
    ("filters = 256", "filters = 32"),
    ("filters = 384", "filters = 48"),
    ("units = 4096", "units = 64"),
)
BATCH_NORM = '[layers.batch1]\nkind = "batch_norm"\n\n'
OUTPUTS, INPUTS = "dropout = 0.5", 'dropout = 0.5\ndropout_of = "inputs"\ndropout_scaled = "in training"'
SMOOTH = (('"relu"', '"tanh"'), ('"max_pool"', '"average_pool"'))  # nothing for rounding to decide
ROUNDINGS = (2, 7)  # parts of each batch in which one process trains the same, rounded otherwise


@dataclasses.dataclass(frozen=True)
class Case:
    """A training that is done alone and shared.

    Attributes:
        net: of the package.
        precision: of the training.
        options: of its recipe.
        classes: of its dataset.
        start: whether it starts from a trained run.
    """

    net: str = "paper"
    precision: str = "float64"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classes: int = 5
    start: bool = False


CASES = {
    "plain": Case(),
    "float32": Case(precision="float32"),
    "smooth float32": Case(net="smooth", precision="float32"),
    "accumulation": Case(options={"grad_accumulation": 3, "batch_size": 18, "epochs": 10, "validate_every": 10}),
    "layer rates": Case(options={"layer_lr": ["conv2@1=0.002", "fc7@0=0.001", "fc6@2=0"]}),
    "rates from zero": Case(options={"layer_lr": ["conv2@0=0", "conv2@2=0.002", "fc7@0=0", "fc7@1=0.001"]}),
    "bias rates": Case(options={"bias_lr": 0.002, "bias_schedule": "constant", "layer_weight_decay": ["fc8=0.05"]}),
    "frozen to conv2": Case(options={"freeze": "conv2"}, start=True),
    "frozen to conv5": Case(options={"freeze": "conv5"}, start=True),
    "frozen to fc6": Case(options={"freeze": "fc6"}, start=True),
    "from": Case(start=True),
    "caffe": Case(net="caffe"),
    "torchvision": Case(net="torchvision"),
    "dropout of inputs": Case(net="inputs"),
    "source in chunks of 32": Case(net="source", options={"crop_group": 32}),
    "source float32": Case(net="source", precision="float32", options={"crop_group": 32}),
    "label smoothing": Case(options={"label_smoothing": 0.1}),
    "windows": Case(options={"shuffle": "windows"}),
    "seven classes": Case(classes=7, options={"epochs": 5}),
    "bf16": Case(precision="bf16"),
    "fp16": Case(precision="fp16"),
    "short": Case(options={"epochs": 2, "validate_every": 2}),
    "short caffe": Case(net="caffe", options={"epochs": 2, "validate_every": 2}),
    "short muon": Case(options={"epochs": 2, "validate_every": 2, "optimizer": "muon"}),
}
SHORT = ("short", "short caffe", "short muon")  # for `make test`: 10 steps
MATRIX = tuple(name for name in CASES if name not in SHORT)
SCHEMES = ("plain", "accumulation", "dropout of inputs", "frozen to fc6", "bf16")


@dataclasses.dataclass(frozen=True)
class Job:
    """A training within a process group.

    Attributes:
        folder: of the run.
        case: which.
        layout: over the ranks.
        of: a run that this one goes on from, as a copy.
        lose: step (from 0) in whose midst all ranks fail, each step before it being saved.
        ask: a rank that gets SIGTERM in the midst of this step, each step before it being saved.
        other: what one rank does otherwise: (rank, key, value) of ``recipe``, ``case`` or ``threads``.
    """

    folder: str
    case: str
    layout: str = "auto"
    of: str = ""
    lose: int | None = None
    ask: tuple[int, int] | None = None
    other: tuple[int, str, Any] | None = None


class Lost(Exception):
    """Raised in the midst of a step."""


def make(root: Path) -> None:
    """The narrow nets, two datasets, and a run to start from."""
    for name in ("paper", "source", "torchvision", "caffe"):
        text = (resources.files("alexnet.nets") / "tables" / f"{name}.toml").read_text(encoding="utf-8")
        for old, new in NARROW:
            text = re.sub(old, new, text)
        (root / f"{name}.toml").write_text(text)
    inputs = (root / "paper.toml").read_text().replace(OUTPUTS, INPUTS)
    (root / "inputs.toml").write_text(inputs)
    smooth = (root / "paper.toml").read_text()
    for old, new in SMOOTH:
        smooth = smooth.replace(old, new)
    (root / "smooth.toml").write_text(smooth)
    (root / "batch-norm.toml").write_text(inputs.replace("[layers.pool1]", BATCH_NORM + "[layers.pool1]"))
    for classes, count in ((5, 8), (7, 5)):
        photos = root / f"photos-{classes}"
        for index in range(classes):
            (photos / f"class-{index}").mkdir(parents=True)
            for number in range(count):
                noise = np.random.default_rng([index, number]).integers(0, 120, (112, 112, 3))
                noise[..., index % 3] += 20 * index
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(photos / f"class-{index}" / f"{number}.png")
        alexnet.prepare(photos, root / f"data-{classes}", size=112, val_fraction=0.1)
    train(root, Job("start", "float32"))


def recipe_of(root: Path, case: Case, **changed: Any) -> alexnet.Recipe:
    """20 steps of 7 images, which 2 and 4 ranks share unevenly; well-conditioned."""
    options: dict[str, Any] = {
        "learning_rate": 0.005,
        "warmup_epochs": 0,
        "epochs": 4,
        "validate_every": 4,
        "batch_size": 7,
        "init": "he",
        "seed": 3,
    }
    net = str(root / f"{case.net}.toml")
    return alexnet.Recipe(net=net, precision=case.precision, **{**options, **case.options, **changed})  # pyright: ignore[reportArgumentType]


def train(root: Path, job: Job) -> None:
    """Trains one of a process group's jobs, as far as it is meant to go."""
    case, changed, threads, rank = CASES[job.case], {}, 1, current().rank
    if job.other and job.other[0] == rank:
        _, what, value = job.other
        case = CASES[value] if what == "case" else case
        changed = value if what == "recipe" else {}
        threads = value if what == "threads" else 1
    if job.of:
        current().by_first(lambda: shutil.copytree(root / job.of, root / job.folder))
    calls = iter(range(1 << 30))
    resumed = _resumed_at(root / job.folder)

    def disturb(images: Tensor, rows: Tensor) -> Tensor:
        step = resumed + next(calls)
        if step == job.lose:
            raise Lost
        if job.ask and tuple(job.ask) == (rank, step):
            os.kill(os.getpid(), 15)
        return images

    saving = job.lose is not None or job.ask is not None
    with (
        mock.patch("alexnet.training.trainer.SAVE_SECONDS", 0.0 if saving else 600.0),
        mock.patch("alexnet.training.train.Curve.draw", return_value=None),  # takes longer than the steps
        mock.patch("alexnet.training.saving.Writer.due", lambda writer: writer.wait() is None),
    ):
        alexnet.train(
            root / f"data-{case.classes}",
            root / job.folder,
            recipe_of(root, case, **changed),
            device="cpu",
            threads=threads,
            workers=1,
            keep="log",
            start_from=root / "start" if case.start else None,
            transform=disturb if saving else None,
            parallel=job.layout,  # pyright: ignore[reportArgumentType]
            show=False,
        )


def _resumed_at(folder: Path) -> int:
    return max((step for step, _ in checkpoints(folder)), default=0)


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """A run's, by step."""
    return sorted((int(place.name.split("-")[1]), place) for place in Path(folder, "checkpoints").glob("*-*"))


def work(root: Path, jobs: Sequence[Job], answers: Path) -> None:
    """In one rank: trains all jobs; writes down what became of each."""
    said = []
    with joined() as ranks:
        for job in jobs:
            try:
                train(root, job)
                said.append("")
            except (alexnet.AlexNetError, Lost) as error:
                said.append(f"{type(error).__name__}: {error}")
            except Exception:
                print(f"{job}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                raise
        Path(f"{answers}.{ranks.rank}").write_text(json.dumps(said))


def launch(root: Path, ranks: int, jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Trains jobs in one process group; what each rank says of each, by folder.

    Raises:
        RuntimeError: it failed otherwise than by an error of the package.
    """
    with tempfile.TemporaryDirectory(dir=root) as place:
        asked, answers = Path(place, "jobs.json"), Path(place, "answers")
        asked.write_text(json.dumps([dataclasses.asdict(job) for job in jobs]))
        words = [sys.executable, "-m"]
        if ranks > 1:
            words += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
        words += ["benchmarks.equivalence", "--work", str(root), str(asked), str(answers)]
        paths = [str(harness.ROOT), str(harness.ROOT / "src")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS)
        if done.returncode:
            raise RuntimeError(done.stderr[-6000:])
        folders = [job.folder for job in jobs]
        return [dict(zip(folders, json.loads(Path(f"{answers}.{rank}").read_text()))) for rank in range(ranks)]


def layouts_of(case: str) -> list[str]:
    """Those that the case's net can be trained by; hybrid's schemes where they might matter."""
    unfit = {"towers"} if CASES[case].net == "torchvision" or CASES[case].options.get("optimizer") == "muon" else set()
    if case not in SCHEMES:
        unfit |= {"hybrid-turns", "hybrid-mixed"}
    return [layout for layout in LAYOUTS if layout not in unfit]


def matrix(cases: Iterable[str], ranks: int, layouts: Sequence[str] = LAYOUTS) -> list[Job]:
    """Jobs of all cases by all layouts."""
    return [
        Job(folder(case, layout, ranks), case, layout)
        for case in cases
        for layout in layouts_of(case)
        if layout in layouts
    ]


def rounded_otherwise(case: str) -> list[Job]:
    """One process's trainings of a case with its batches in parts, where rounding may decide something."""
    if CASES[case].precision == "float64" or CASES[case].net == "smooth":
        return []
    return [
        Job(folder(f"{case} in {parts} parts"), case, other=(0, "recipe", {"grad_accumulation": parts}))
        for parts in ROUNDINGS
    ]


def by_one(cases: Iterable[str]) -> list[Job]:
    """Jobs of one process: what shared trainings are held against."""
    return [job for case in cases for job in (Job(folder(case), case), *rounded_otherwise(case))]


def folder(case: str, layout: str = "", ranks: int = 1) -> str:
    """Of a run."""
    return re.sub(r"\W+", "-", f"{case} {layout} {ranks}" if ranks > 1 else case)


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest, each tensor's relative to its largest number."""
    assert one.keys() == other.keys()
    worst = 0.0
    for name, tensor in one.items():
        apart = float((tensor.double() - other[name].double()).abs().max())
        worst = max(worst, apart / max(float(tensor.abs().max()), 1e-30) if apart else 0.0)
    return worst


def distances(alone: Path, shared: Path) -> dict[str, float]:
    """Of a shared training from one process's: relative, of losses, first gradients, and weights and velocities."""
    losses = [[json.loads(line)["loss"] for line in (place / "metrics.jsonl").open()] for place in (alone, shared)]
    kept = [[place for _, place in checkpoints(run)] for run in (alone, shared)]
    first, last = [[places[at] for places in kept] for at in (0, -1)]
    return {
        "loss": max(abs(one - other) / one for one, other in zip(*losses, strict=True)),
        "gradients": difference(*(load_file(place / "state.safetensors") for place in first)),
        "weights": difference(*(load_file(place / "weights.safetensors") for place in last)),
        "velocities": difference(*(load_file(place / "state.safetensors") for place in last)),
    }


def figures(root: Path, case: str, layout: str, ranks: int) -> dict[str, Any]:
    """One line of the table: the differences, and whether they are within bounds."""
    alone, shared = root / folder(case), root / folder(case, layout, ranks)
    precision, apart = CASES[case].precision, distances(alone, shared)
    line: dict[str, Any] = {"case": case, "layout": layout, "ranks": ranks, "precision": precision, **apart}
    if precision in BOUNDS:
        nearest = min(max(distances(root / job.folder, shared).values()) for job in by_one([case]))
        return {**line, "nearest": nearest, "bound": BOUNDS[precision], "right": nearest <= BOUNDS[precision]}
    exact = root / folder("float32")
    theirs, owns = distances(exact, shared), [distances(exact, root / job.folder) for job in by_one([case])]
    own = {what: max(one[what] for one in owns) for what in theirs}
    right = all(theirs[what] <= 2 * own[what] for what in own)
    return {**line, "of_float32": theirs, "alone_of_float32": own, "right": right}


def table(root: Path, cases: Sequence[str], counts: Iterable[int]) -> dict[str, Any]:
    """The whole table, once everything is trained: largest differences, one process from itself, all trainings."""
    lines = [figures(root, job.case, job.layout, ranks) for ranks in counts for job in matrix(cases, ranks)]
    return {
        "steps": 20,
        "threads": 1,
        "largest": {
            f"{precision}, {what}": max((line[what] for line in lines if line["precision"] == precision), default=None)
            for precision in BOUNDS
            for what in ("loss", "gradients", "weights", "velocities", "nearest")
        },
        "one process, rounded otherwise": {
            job.folder: distances(root / folder(case), root / job.folder)
            for case in cases
            for job in rounded_otherwise(case)
        },
        "trainings": lines,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--only", default=",".join(MATRIX), help="cases, with commas between")
    parser.add_argument("--work", nargs=3, help="what this command starts: folder, jobs, answers")
    given = parser.parse_args(words)
    if given.work:
        root, jobs, answers = map(Path, given.work)
        work(root, [Job(**job) for job in json.loads(jobs.read_text())], answers)
        return 0
    cases = given.only.split(",")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make(root)
        launch(root, 1, by_one(dict.fromkeys([*cases, "float32"])))
        for ranks in given.ranks:
            launch(root, ranks, matrix(cases, ranks))
            harness.note(f"trained by {ranks} ranks")
        whole = table(root, cases, given.ranks)
    harness.emit(whole)
    return 0 if all(line["right"] for line in whole["trainings"]) else 1


if __name__ == "__main__":
    sys.exit(main())
