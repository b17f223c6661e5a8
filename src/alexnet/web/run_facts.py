"""What the page says of a run before any image: what it is, its curve, its layers."""

from typing import Any

from alexnet.evaluation.classifier import Classifier
from alexnet.nets.costs import costs
from alexnet.runs.journal import read_metrics
from alexnet.training.describe import describe_run

MOST_POINTS = 400  # of a curve
LEFT_OUT = ("run", "bytes", "version", "steps", "checkpoints")  # of the description: of no use on the page


def run_facts(classifier: Classifier) -> dict[str, Any]:
    """As ``alexnet info`` has them, without the places of files; the curve's points; a line for each layer."""
    described = describe_run(classifier.path)
    data = described.pop("data")
    origin = data.get("imported") or {}
    return {
        **{key: value for key, value in described.items() if key not in LEFT_OUT},
        "name": classifier.name,
        "path": classifier.path,
        "step": classifier.step,
        "device": str(classifier.device),
        "precision": classifier.precision,
        "size": classifier.preprocessing.size,
        "crop": classifier.preprocessing.crop,
        "images": data.get("images"),
        "imported": origin.get("format"),
        "towers": classifier.net.table.towers,
        "curve": _points(read_metrics(classifier.path)),
        "layers": _layers(classifier),
    }


def _points(metrics: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Epoch and top-1 error of each split; of many steps, means of equally many."""
    points: dict[str, list[tuple[float, float]]] = {}
    for split in ("train", "val"):
        lines = [line for line in metrics if line["split"] == split]
        several = max(1, -(-len(lines) // MOST_POINTS))
        parts = [lines[start : start + several] for start in range(0, len(lines), several)]
        points[split] = [
            (sum(line["epoch"] for line in part) / len(part), sum(line["top1_error"] for line in part) / len(part))
            for part in parts
        ]
    return points


def _layers(classifier: Classifier) -> list[dict[str, Any]]:
    table = classifier.net.table
    return [
        {
            "name": cost.name,
            "kind": cost.kind,
            "kernel": cost.kernel,
            "shape": cost.output,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "receptive_field": cost.receptive_field and cost.receptive_field.size,
        }
        for cost in costs(table, len(classifier.classes), classifier.preprocessing.crop)
    ]
