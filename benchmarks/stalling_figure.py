"""What ``stalling.py`` wrote as a table, and drawn: losses against steps, and what is left of the images by layer.

python benchmarks/stalling_figure.py docs/raw/stalling-photos.jsonl docs/stalling.png
"""

import json
import math
import sys
from collections import defaultdict

from matplotlib.figure import Figure
from stalling import STARTED, WINDOW

SHOWN = {
    "paper": "paper",
    "source": "source",
    "paper bias=0": "paper, biases 0",
    "paper input_scale=deviation": "paper, pixels / deviation",
    "source input_scale=deviation": "source, pixels / deviation",
    "paper initialisation=he input_scale=deviation": "paper, He, pixels / deviation",
    "default batch=128": "default",
}
SMOOTHED, CLASSES = 10, 10


def table(losses: dict[tuple[str, int], list[float]], last: dict[str, float]) -> None:
    """A row a condition: when each seed started, or what its last hundred steps lost, and what fc8 sees of an image."""
    print("| recipe and changes | seeds: started at step | of the scores, differs between images at step 0 |")
    print("| --- | --- | --- |")
    for condition in dict.fromkeys(which for which, _ in losses):
        said = []
        for (which, seed), values in losses.items():
            if which != condition:
                continue
            mean = sum(values[-WINDOW:]) / WINDOW
            if not math.isfinite(values[-1]):
                said.append(f"{seed}: NaN at step {len(values)}")
            elif mean < STARTED * math.log(CLASSES):
                said.append(f"{seed}: {len(values)}")
            else:
                said.append(f"{seed}: not in {len(values)} (last 100: {sum(values[-100:]) / 100:.3f})")
        print(f"| `{condition}` | {'; '.join(said)} | {last[condition]:.2%} |")


def main() -> None:
    raw, picture = sys.argv[1:]
    losses, layers = defaultdict(list), defaultdict(list)
    with open(raw, encoding="utf-8") as file:
        for line in map(json.loads, file):
            if "loss" in line:
                losses[line["condition"], line["seed"]].append(line["loss"])
            elif line["step"] == 0 and line["seed"] == 0 and "weight" in line:
                layers[line["condition"]].append((line["layer"], line["between_images"] / line["rms"]))
    table(losses, {condition: rows[-1][1] for condition, rows in layers.items()})
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    curve, left = figure.subplots(1, 2)
    for number, (condition, label) in enumerate(SHOWN.items()):
        for (which, seed), values in losses.items():
            if which == condition:
                means = [sum(values[i : i + SMOOTHED]) / SMOOTHED for i in range(len(values) - SMOOTHED + 1)]
                curve.plot(
                    range(SMOOTHED, len(values) + 1), means, color=f"C{number}", linewidth=1,
                    label=label if seed == 0 else None,
                )  # fmt: skip
        if layers[condition]:
            names, shares = zip(*layers[condition])
            left.semilogy(names, shares, marker="o", markersize=3, linewidth=1, color=f"C{number}", label=label)
    curve.set(xlabel="steps of 128 images", ylabel=f"loss, mean of {SMOOTHED} steps", ylim=(1.8, 2.8))
    left.set(ylabel="at step 0: share of outputs\nthat differs from image to image")
    curve.legend(fontsize=7)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
