"""What a search costs, with as many images as wanted: build, memory, opening, milliseconds, recall, adding, removing.

    python -m benchmarks.search --images 1000000
    python -m benchmarks.search --photos INDEX

The activations are synthetic, with the structure that fc7 of photos has: 1,000 classes; class centers and the images
about them are normal with variances that fall as k^-2 and k^-1.6 along 512 directions; every image has a length of its
own (log-normal, 0.3); a third of the variance is between classes. Each of the 512 numbers is spread over eight of 4,096
units by random signs. Nearest neighbors are then a little harder to tell from others than those of photos: the tenth
is at 0.46 of the median distance (photos: 0.42), the local dimension is 17 (photos: 12), both of 7,000 images of ten
classes. Making these activations is not counted.

Queries are images that are not in the index. What opens it and answers is a process of its own with one thread.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.search import approximate, commit
from alexnet.search.commit import Before, committed
from alexnet.search.images import HASH, NONE, Images, read_images, read_names
from alexnet.search.index import Index
from alexnet.search.manifest import Bound, open_rows, read_whole
from alexnet.search.projection import fit, single, spread_sample
from benchmarks import harness

DIRECTIONS, CLASSES, PIECE = 512, 1000, 8192
NUMBERS = [4096]  # of an image
QUERIES, FRESH = 1000, 10**9  # and the number of the piece that queries are from
MADE = [0.0, 0.0]  # seconds, and those of processors, that went into making activations


def directions(power: float, share: float) -> np.ndarray:
    """(512,) standard deviations that fall by a power law."""
    falling = np.arange(1.0, DIRECTIONS + 1) ** -power
    return np.sqrt(share * falling / falling.sum()).astype(np.float32)


CENTERS = np.random.default_rng(0).standard_normal((CLASSES, DIRECTIONS), np.float32) * directions(2, 0.34)
WITHIN = directions(1.6, 0.66)
SIGNS = np.random.default_rng(1).integers(0, 2, (8, DIRECTIONS), np.uint16) << 15  # of float16


def synthetic(number: int, count: int) -> np.ndarray:
    """(count, numbers) float16 activations, the same for the same number."""
    started, used = time.perf_counter(), time.process_time()
    draw = np.random.default_rng([2, number])
    rows = draw.standard_normal((count, DIRECTIONS), np.float32)
    rows *= WITHIN * np.exp(0.3 * draw.standard_normal((count, 1), np.float32))
    rows += CENTERS[draw.integers(0, CLASSES, count)]
    half = (4 * rows).astype(np.float16).view(np.uint16)
    spread = (half[:, None, :] ^ SIGNS[: NUMBERS[0] // DIRECTIONS]).reshape(count, NUMBERS[0]).view(np.float16)
    MADE[0] += time.perf_counter() - started
    MADE[1] += time.process_time() - used
    return spread


class Piece:
    """Activations as ``alexnet index`` has them, made when they are asked for."""

    def __init__(self, number: int, count: int):
        self.number, self.wanted = number, np.arange(count)

    def activations(self) -> np.ndarray:
        return synthetic(self.number, len(self.wanted))


def images_of(first: int, count: int) -> Images:
    """Names as long as people have them."""
    names = [f"holidays/{number // 1000:04d}/IMG_{number:08d}.jpg" for number in range(first, first + count)]
    stamps, hashes = np.zeros((count, 2)), np.random.default_rng(first).integers(0, 256, (count, HASH), np.uint8)
    return Images.of(np.arange(count), 0, names, ["holidays"] * count, stamps, hashes)


BOUND: Bound = {
    "run": "/synthetic", "step": 0, "weights": "0" * 64, "net": "0" * 64, "preprocessing": "0" * 64, "layer": "fc7",
    "numbers": 4096, "precision": "float32",
}  # fmt: skip


def change(folder: Path, kept: np.ndarray | None, new: int, first: int = 0) -> dict[str, float]:
    """Changes an index; the seconds that it took, and those of processors, without the making of activations.

    Args:
        folder: of the index.
        kept: places of images that stay; None: all.
        new: images that are added.
        first: number of the first piece and image.
    """
    before = Before(*read_whole(folder, read_images)) if list(folder.glob("*.json")) else None
    started, used, made = time.perf_counter(), time.process_time(), list(MADE)
    old = NONE if before is None else before.images if kept is None else before.images.some(kept)
    pieces: Any = [Piece(first + i, min(PIECE, new - i)) for i in range(0, new, PIECE)]
    bound: Bound = {**BOUND, "numbers": NUMBERS[0]}
    committed(folder, before, old, images_of(first, new) if new else NONE, pieces, bound, ["/synthetic"])
    seconds = time.perf_counter() - started - (MADE[0] - made[0])
    return {"seconds": seconds, "processor_seconds": time.process_time() - used - (MADE[1] - made[1])}


def asked(folder: Path) -> dict[str, Any]:
    """What a process of its own measures of an index."""
    command = [sys.executable, "-m", "benchmarks.search", "--ask", str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def ask(folder: Path) -> dict[str, Any]:
    """Opens an index and searches it: seconds, milliseconds (of the processor, too), MiB, recall of fresh queries."""
    import faiss
    import torch

    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    before, started = resident(), time.perf_counter()
    index = Index(folder)
    opened = time.perf_counter() - started
    NUMBERS[0] = index.bound["numbers"]
    queries = synthetic(FRESH, QUERIES)
    answers, times, of_processor = [], [], []
    for query in queries:
        started, used = time.perf_counter(), time.process_time()
        answers.append(index.search(query, 10))
        times.append(1000 * (time.perf_counter() - started))
        of_processor.append(1000 * (time.process_time() - used))
    figures = {
        "open_seconds": opened,
        "first_ms": times[0],
        "p50_ms": float(np.percentile(times[1:], 50)),
        "p95_ms": float(np.percentile(times[1:], 95)),
        "p50_processor_ms": float(np.percentile(of_processor[1:], 50)),
        "p95_processor_ms": float(np.percentile(of_processor[1:], 95)),
        "resident_mib": resident(),
        "resident_before_mib": before,
    }
    if index.content["kind"] == "approximate":
        figures |= recall_of(index, queries[:100], answers)
        started = time.perf_counter()
        index.search(queries[0], 10, exhaustive=True)
        figures["exhaustive_ms"] = 1000 * (time.perf_counter() - started)
    return figures


def recall_of(index: Index, queries: np.ndarray, answers: list[Any]) -> dict[str, float]:
    """Of the ten nearest of the numbers that an approximate index stores."""
    search: Any = index._searched
    numbers = single(search._projection(queries).astype(np.float16))
    nearest, _, _ = approximate._exhaustive(search.rows, index.names.rows, numbers, 10)
    found = [[int(index.names.rows[neighbor.place]) for neighbor in answer] for answer in answers]
    hits = sum(len(set(truth.tolist()) & set(rows)) for truth, rows in zip(nearest, found))
    return {"recall_of_fresh_queries": hits / nearest.size, "recall_said": index.content["recall"] or 0.0}


def of_photos(exact: Path) -> dict[str, Any]:
    """Approximate search of an exact index's images: recall by what it stores, and by all of the layer's numbers."""
    content, rows = read_whole(exact, open_rows)
    ids = read_names(exact, content).rows
    activations = rows.take(ids)[:, : content["bound"]["numbers"]]

    class Photos(Piece):
        def activations(self) -> np.ndarray:
            return activations

    chosen = spread_sample(len(ids), 200)
    squared = np.einsum("ij,ij->i", single(activations), single(activations))
    apart = squared - 2 * single(activations)[chosen] @ single(activations).T
    apart[np.arange(len(chosen)), chosen] = np.inf
    truth = np.argsort(apart, axis=1)[:, :10]
    projection = fit(activations[spread_sample(len(ids))], approximate.NUMBERS)
    heads = projection(activations)[:, :-1]
    bare = ((heads**2).sum(1) - 2 * heads[chosen] @ heads.T).astype(np.float32)
    bare[np.arange(len(chosen)), chosen] = np.inf
    components = np.argsort(bare, axis=1)[:, :10]
    with tempfile.TemporaryDirectory() as folder:
        commit.MOST_EXACT = 0
        pieces: Any = [Photos(0, len(ids))]
        bound = content["bound"]
        committed(Path(folder), None, NONE, images_of(0, len(ids)), pieces, bound, ["/photos"])
        index = Index(folder)
        answers = [[neighbor.place for neighbor in index.search(row, 11)] for row in activations[chosen]]
    by_turn = {}
    numbers = single(projection(activations).astype(np.float16))
    stored = np.argsort(approximate.estimated_of_many(numbers[chosen], numbers), axis=1)[:, 1:11]
    for name, turn in (("as they are", np.eye(projection.width, dtype=np.float32)),
                       ("turned", approximate.rotation(projection.width))):  # fmt: skip
        cells = approximate.Cells.trained(numbers, len(ids), turn)
        cells.add(np.arange(len(ids)), numbers)
        candidates = [cells.candidates(numbers[place], 100, cells.count) for place in chosen]
        by_turn[name] = _shared(stored, candidates)
    return {
        "images": len(ids),
        "nearest_ten_among_100_codes": by_turn,
        "variance_kept": projection.kept,
        "probes": index.content["probes"],
        "recall_by_what_is_stored": index.content["recall"],
        "recall_by_the_layer": _shared(truth, [[p for p in own if p != me][:10] for own, me in zip(answers, chosen)]),
        "recall_by_the_layer_of_components_alone": _shared(truth, components),
    }


def _shared(truth: Any, found: Any) -> float:
    return float(np.mean([len(set(map(int, a)) & set(map(int, b))) / len(a) for a, b in zip(truth, found)]))


def resident() -> float:
    """MiB of memory that this process has at this moment."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--images", type=int, default=50_000, help="in the index")
    parser.add_argument("--numbers", type=int, default=4096, help="of an image, a multiple of 512 (fc7: 4,096)")
    parser.add_argument("--folder", help="where the index is made (default: removed afterwards)")
    parser.add_argument("--no-changes", action="store_true", help="add and remove nothing")
    parser.add_argument("--photos", type=Path, metavar="INDEX", help="instead: an exact index, searched approximately")
    parser.add_argument("--half", action="store_true", help="then remove every second image")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    NUMBERS[0] = options.numbers
    if options.photos:
        harness.emit(of_photos(options.photos))
        return
    if options.ask:
        print(json.dumps(ask(options.ask)))
        return
    folder = Path(options.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {
        "images": options.images,
        "numbers": options.numbers,
        "build": change(folder, None, options.images),
    }
    harness.note("built", figures["build"])
    content = Index(folder).content
    sizes = {name: part["bytes"] for name, part in content["parts"].items()}
    figures |= {"kind": content["kind"], "probes": content["probes"], "bytes": sizes, **asked(folder)}
    figures["opened_again_seconds"] = [asked(folder)["open_seconds"] for _ in range(2)]
    harness.note(figures)
    if not options.no_changes:
        figures["add_1000"] = change(folder, None, 1000, FRESH // 2)
        figures["remove_1000"] = change(folder, np.arange(1000, options.images + 1000), 0)
    if options.half:
        figures["remove_half"] = change(folder, np.arange(0, options.images, 2), 0)
        figures["half_removed"] = asked(folder)
    if not options.folder:
        shutil.rmtree(folder)
    harness.emit(figures)


if __name__ == "__main__":
    main()
