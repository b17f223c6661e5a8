"""What a look inside a net costs, and how far its promises hold, on a trained run.

``sheet``: the parts of ``alexnet show RUN IMAGE``, and the whole command. ``gradient``: the plain copy's gradient
against central differences of the net in float64. ``random``: rank correlation of each map with that of random
weights, over photos. ``pass``: the strongest images of all units beside ``evaluate``, interleaved. ``made``: images
made for units of a layer, by how far they drive them beyond the strongest photo. Seconds are of the processor, all
threads together, but for ``wall``: other programs may run beside.
"""

import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from alexnet import Dataset, evaluate, machine
from alexnet.data.preprocessing import views
from alexnet.evaluation.classifier import Classifier, load, stacked
from alexnet.figures.inside_sheet import inside_sheet
from alexnet.inside import look as module
from alexnet.inside.attributions import grad_cam, gradient, smooth_gradient
from alexnet.inside.look import last_maps, look
from alexnet.inside.occlusion import occlusion
from alexnet.inside.plain import plain
from alexnet.inside.sanity import randomized
from alexnet.inside.synthesis import STEPS, driving_images, responses_to
from alexnet.inside.units import strongest_images, units_of
from benchmarks import harness

AT_ONCE = 5  # images made together


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor's seconds of a call, and what it gives."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def seen(run: Classifier, square: np.ndarray) -> torch.Tensor:
    """(1, 3, crop, crop) float32, what the net sees of a square."""
    crop = views(stacked([square.copy()]), run.preprocessing.crop, 1)[0]
    return run.preprocessing.apply(crop.contiguous(memory_format=torch.channels_last), torch.float32).contiguous()


def sheet(run: Classifier, dataset: Dataset, rounds: int) -> dict[str, Any]:
    """Medians of the parts, and of the whole command."""
    row = int(dataset.rows("val")[0])
    square, index = dataset.image(row).copy(), int(dataset.labels[row])
    image, layer = seen(run, square), last_maps(run)
    copied, others = plain(run.net, run.preprocessing.crop), Classifier(randomized(run.run))
    others.square_probabilities([square])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "photo.png")
        Image.fromarray(square).save(path)
        looked = look(run, path)
        parts: dict[str, Callable[[], Any]] = {
            "gradient": lambda: gradient(copied, image, index),
            "smooth_gradient": lambda: smooth_gradient(copied, image, index),
            "grad_cam": lambda: grad_cam(copied, layer, image, index),
            "occlusion": lambda: occlusion(run, square, index),
            "occlusion_of_random_weights": lambda: occlusion(others, square, index, module.EVERY),
            "random_weights": lambda: randomized(run.run),
            "all_layers": lambda: module.outputs_of(run, square),
            "look": lambda: look(run, path),
            "drawing": lambda: inside_sheet(looked, run.words, "title"),
        }
        seconds = harness.interleaved({name: lambda work=work: spent(work)[0] for name, work in parts.items()}, rounds)
        command = [sys.executable, "-m", "alexnet", "show", run.path, path, "--output", folder, "--device", "cpu"]
        walls, processors = [], []
        for _ in range(rounds):
            before, started = os.times(), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            walls.append(time.perf_counter() - started)
            processors.append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
    return {
        "processor_seconds": harness.medians(seconds),
        "command": {"wall": sorted(walls), "processor": sorted(processors)},
        "load": os.getloadavg(),
    }


def differences(run: Classifier, dataset: Dataset, pixels: int = 200) -> dict[str, Any]:
    """The largest difference between gradient and central differences, by the largest gradient."""
    row = int(dataset.rows("val")[0])
    image, index, step = seen(run, dataset.image(row)).double(), int(dataset.labels[row]), 1e-6
    exact = copy.deepcopy(run.net).double()
    slopes = gradient(plain(run.net, run.preprocessing.crop).double(), image, index).flatten()
    single = gradient(plain(run.net, run.preprocessing.crop), image.float(), index).flatten().double()
    places = np.random.default_rng(0).choice(len(slopes), pixels, replace=False).tolist()
    wrong = []
    for place in places:
        shift = torch.zeros_like(slopes)
        shift[place] = step
        with torch.no_grad():
            up, down = (exact(image + sign * shift.view_as(image))[0, index] for sign in (1, -1))
        wrong.append(abs(float((up - down) / (2 * step)) - float(slopes[place])))
    full = float(slopes.abs().max())
    return {
        "pixels": pixels,
        "step": step,
        "largest_difference_by_largest_gradient": max(wrong) / full,
        "float32_by_float64": float((single - slopes).abs().max()) / full,
    }


def correlations(run: Classifier, dataset: Dataset, photos: int) -> dict[str, Any]:
    """Mean rank correlation of each map with that of random weights, and how many are 0.3 or more."""
    names = ("gradient", "smooth_gradient", "grad_cam", "occlusion_map")
    values: dict[str, list[float]] = {name: [] for name in names}
    rows = dataset.rows("val")[:: max(1, len(dataset.rows("val")) // photos)][:photos]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "photo.png")
        for row in rows.tolist():
            Image.fromarray(dataset.image(row)).save(path)
            looked = look(run, path)
            for name in names:
                correlation = getattr(looked, name).correlation
                values[name] += [] if correlation is None else [correlation]
    return {
        name: {
            "mean": statistics.fmean(several),
            "at_least_0.3": sum(value >= 0.3 for value in several),
            "all": several,
        }
        for name, several in values.items()
    }


def one_pass(run: Classifier, dataset: Dataset, rounds: int) -> dict[str, Any]:
    """Images a processor's second of ``evaluate`` and of the pass over all units, and the median of their ratios."""
    rows = dataset.rows("train")
    tasks = {
        "evaluate": lambda: len(rows) / spent(lambda: evaluate(run, dataset, split="train", workers=1))[0],
        "all_units": lambda: len(rows) / spent(lambda: strongest_images(run, dataset, rows, workers=1))[0],
    }
    rates = harness.interleaved(tasks, rounds)
    ratios = [units / evaluated for units, evaluated in zip(rates["all_units"], rates["evaluate"])]
    return {"images": len(rows), "rates": rates, "ratios": ratios, "median_ratio": statistics.median(ratios)}


def made(run: Classifier, dataset: Dataset, layer: str, count: int, start: int) -> dict[str, Any]:
    """How far images made for units drive them beyond the strongest photo of the dataset."""
    rows = np.arange(sum(dataset.splits.values()))
    strongest = strongest_images(run, dataset, rows, layers=[layer], workers=1)[layer].values[:, 0]
    order = np.random.default_rng(0).permutation(units_of(run, layer))[start : start + count]
    lines, seconds = [], 0.0
    for first in range(0, len(order), AT_ONCE):
        units = order[first : first + AT_ONCE].tolist()
        taken, images = spent(lambda units=units: driving_images(run, layer, units))
        seconds += taken
        reached = responses_to(run, layer, units, images).tolist()
        for unit, response, image in zip(units, reached, images.float()):
            lines.append(
                {"unit": unit, "photo": float(strongest[unit]), "made": response, "deviation": float(image.std())}
            )
        harness.note(f"{len(lines)} of {len(order)} units")
    twice = [line["made"] >= 2 * max(0.0, line["photo"]) for line in lines]
    return {
        "layer": layer,
        "photos": len(rows),
        "steps": STEPS,
        "units": len(lines),
        "twice": sum(twice),
        "processor_seconds_a_unit": seconds / len(lines),
        "lines": lines,
    }


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("run")
    parser.add_argument("dataset")
    parser.add_argument("--parts", default="sheet,gradient,random,pass,made", help="with commas")
    parser.add_argument("--photos", type=int, default=20, help="of part random")
    parser.add_argument("--layer", default="conv5", help="of part made")
    parser.add_argument("--units", type=int, default=50, help="of part made")
    parser.add_argument("--start", type=int, default=0, help="of part made: units left out, to go on after a part")
    options = parser.parse_args()
    machine.set_up()
    run, dataset = load(options.run), Dataset(options.dataset)
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "sheet": lambda: sheet(run, dataset, options.rounds),
        "gradient": lambda: differences(run, dataset),
        "random": lambda: correlations(run, dataset, options.photos),
        "pass": lambda: one_pass(run, dataset, options.rounds),
        "made": lambda: made(run, dataset, options.layer, options.units, options.start),
    }
    figures = {part: tasks[part]() for part in options.parts.split(",")}
    about = {"net": run.net.table.name, "crop": run.preprocessing.crop, "classes": len(run.classes)}
    harness.emit({"run": about, "threads": torch.get_num_threads(), **figures})


if __name__ == "__main__":
    main()
