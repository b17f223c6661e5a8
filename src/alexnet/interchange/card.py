"""The model card of a run: what the Hugging Face hub shows, and what whoever gets its weights must know."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.progress import plural
from alexnet.runs.history import latest_measurements
from alexnet.runs.run import Run


def write(run: Run, recipe: dict | None, license: str | None) -> str:
    """A model card from the run: YAML for the hub, then net, data, recipe, errors, limits in words.

    The YAML's values are written as JSON, which YAML contains.
    """
    data = run.data
    origin, name = data.get("imported") or {}, data_name(run)
    head: dict[str, object] = {
        "license": license or "unknown",
        "library_name": "alexnet",
        "pipeline_tag": "image-classification",
        "tags": ["alexnet", "image-classification", "vision"],
    }
    if measured := _measured(run):
        metrics = [
            {
                "type": "accuracy",
                "name": f"top-1 accuracy, {errors['split']}, {plural(errors['views'], 'view')}",
                "value": 1 - errors["top1_error"],
            }
            for errors in measured
        ]
        task = {"type": "image-classification", "name": "Image classification"}
        dataset = {"name": name, "type": "imagefolder"}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        head["model-index"] = [{"name": run.name, "results": results}]
    yaml = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    count = sum(tensor.numel() for tensor in run.net.tensors().values())
    images = ", ".join(f"{n:,} {split}" for split, n in (data.get("images") or {}).items())
    parts = [
        f"---\n{yaml}\n---\n\n# {run.name}",
        f"{run.net.table.title}: net `{run.net.table.name}`, {count:,} parameters, {len(run.classes):,} classes. "
        "Written by alexnet, a reimplementation of Krizhevsky, Sutskever and Hinton's 2012 paper.",
        f"## Use\n\n```sh\nalexnet import FOLDER run   # this folder\nalexnet predict run PHOTO\n```\n\nImages: "
        f"{images_words(run, False)} (`preparation.safetensors`).",
        "## Data\n\n" + (f"`{name}`: {images} images." if images else f"Imported from `{name}`"
        + (f" ({origin['format']}, SHA-256 `{origin['sha256']}`)." if origin else ".")),
        f"## Recipe\n\n{_recipe_words(recipe)}",
        f"## Evaluation\n\n{_errors_words(run)}",
        "## License\n\n" + (f"{license}." if license else "Not specified. Ask the author before you use these weights.")
        + " The images that it was trained on have licenses of their own.",
        "## Limits\n\n" + _limits(run),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def data_name(run: Run) -> str:
    """What a run was trained on, or imported from, by its last name."""
    data = run.data
    path = data.get("path") or data.get("name") or (data.get("imported") or {}).get("file", "not said")
    return Path(path).name


def _recipe_words(recipe: dict | None) -> str:
    if recipe is None:
        return "Not trained with alexnet: these weights were imported."
    shown = {key: value for key, value in recipe.items() if key not in ("table", "store") and value not in (None, [])}
    shown |= {key: Path(str(shown[key])).name for key in ("start_from", "net") if key in shown}
    lines = [f"| {key.replace('_', ' ')} | {value} |" for key, value in shown.items()]
    return "\n".join(["| option | value |", "| --- | --- |", *lines])


def _measured(run: Run) -> list[dict[str, Any]]:
    """Errors of these weights on the run's own data: of the end of training, and what ``alexnet evaluate`` noted."""
    lines = [{**errors, "split": split} for split, errors in run.errors.items()]
    own = run.data.get("store")
    for line in latest_measurements(run.path):
        if own and line["store"] == own and line["step"] == run.step:
            same = (line["split"], line["views"])
            lines = [other for other in lines if (other["split"], other["views"]) != same] + [line]
    return lines


def _errors_words(run: Run) -> str:
    measured, top5 = _measured(run), len(run.classes) > 5
    if not measured:
        return "Not evaluated."
    lines = [
        f"| {errors['split']} | {errors['images']:,} | {errors['views']} | {errors['top1_error']:.2%} "
        f"({errors['top1_interval'][0]:.1%} to {errors['top1_interval'][1]:.1%}) |"
        + (f" {errors['top5_error']:.2%} |" if top5 else "")
        for errors in measured
    ]
    columns = ["split", "images", "views", "top-1 error (95% interval)", *(["top-5 error"] if top5 else [])]
    head = [f"| {' | '.join(columns)} |", f"| {' | '.join(['---'] * len(columns))} |"]
    return "\n".join([*head, *lines])


def _limits(run: Run) -> str:
    few = sum((run.data.get("images") or {}).values())
    seen = ""
    if few and _measured(run):
        seen = (
            f" It was evaluated on images from the same source as its {few:,} own. Others may have a far higher error."
        )
    shown: Sequence[str] = run.words[:5]
    more = f" and {len(run.words) - len(shown):,} more" if len(run.words) > len(shown) else ""
    return (
        f"It knows {'; '.join(shown)}{more}. It gives one of these to every image, whatever the image shows. "
        f"Probabilities are not calibrated.{seen} Not for decisions about people."
    )


def images_words(run: Run, prepared: bool) -> str:
    """How whoever has the file must prepare images, in words."""
    preprocessing = run.preprocessing
    size, crop = preprocessing.size, preprocessing.crop
    factors = preprocessing.channel_scale().tolist()
    divisors = ", ".join(f"{1 / factor:.8g}" for factor in (factors if len(set(factors)) > 1 else factors[:1]))
    scaled = "" if divisors == "1" else f", divided by {divisors}"
    square = f"{size}x{size} RGB ({preprocessing.resized})"
    if prepared:
        return f"uint8 (N, {size}, {size}, 3), {square}; crop, mean and scale are in the graph"
    center = f"{square}, its central {crop}x{crop} minus that of the mean image{scaled}"
    return f"float32 (N, 3, {crop}, {crop}): {center}"
