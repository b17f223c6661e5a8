"""What ``alexnet show --format html`` writes: a run on one page that holds all it shows, to be mailed."""

import base64
import dataclasses
import html
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.errors import described
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.outputs import Progress, row_probabilities
from alexnet.evaluation.result import Evaluation
from alexnet.figures.class_errors import class_errors
from alexnet.figures.confusion import confusion
from alexnet.figures.curve import curve_of
from alexnet.figures.dataset import NoImages, dataset_of, split_of
from alexnet.figures.filters import filters
from alexnet.figures.place import Place
from alexnet.figures.show import rows_sheet
from alexnet.files import kinds
from alexnet.nets.costs import costs
from alexnet.progress import plural
from alexnet.runs.checkpoint import AnyCheckpoint
from alexnet.runs.facts import Facts, read_facts
from alexnet.runs.journal import read_metrics

PICTURE = "report.html"
MISTAKES = 16  # images
QUALITY = 85  # of their JPEG: a page is to be mailed
STYLE = """
:root { color-scheme: light dark; --ink: #22303c; --quiet: #5b6b7a; --line: #d5dce2; --ground: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaee; --quiet: #a8b4bf; --line: #3a4752; --ground: #161c21; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--ground); }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; } .quiet, figcaption, caption { color: var(--quiet); font-size: .9rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.text { overflow-wrap: anywhere; }
"""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run's answers to a dataset's images.

    Attributes:
        dataset, split: which.
        evaluation: errors and all they are from.
    """

    dataset: Dataset
    split: str
    evaluation: Evaluation


def show_report(
    path: str | os.PathLike,
    *,
    output: str | os.PathLike | None = None,
    dataset: Dataset | str | os.PathLike | None = None,
    split: str | None = None,
    checkpoint: AnyCheckpoint = "last",
    device: torch.device | str = "cpu",
    note: Callable[[str], None] = lambda line: None,
    wrote: Callable[[Path | str], None] = lambda path: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes ``report.html``: curve, errors, confusion, mistakes, filters, the table of the net, the recipe.

    The page fetches nothing: pictures and looks are in it. What a run has not (a curve, where weights were imported) is
    left out, and why is said.

    Args:
        path: the run's folder.
        output: folder to write to; the run's if not given.
        dataset: to measure on; the one that the run was trained on if not given and still there.
        split: of it; ``val`` if not given.
        checkpoint, device: as for ``load``.
        note: called with a line for each part that is left out.
        wrote: called with the file when it is written.
        progress: called with images done and images in all.

    Returns:
        The errors that were measured, for JSON.

    Raises:
        UsageError: no such run, dataset or split; a file that may not be written.
    """
    run, facts = load(path, checkpoint, device), read_facts(path)
    place = Place.of(path, output, [PICTURE])
    measured, missing = _measured(run, dataset, split, progress)
    if missing:
        note(f"no errors, confusion and mistakes: {missing}")
    place.write({PICTURE: page(run, facts, measured, missing).encode()}, wrote)
    if measured is None:
        return {"errors": None}
    return {"errors": described(measured.evaluation.errors, len(measured.dataset.classes)), "split": measured.split}


def _measured(
    run: Classifier, dataset: Dataset | str | os.PathLike | None, split: str | None, progress: Progress | None
) -> tuple[Measured | None, str]:
    """What is measured, or why nothing is."""
    try:
        opened = dataset_of(run, dataset)
        split = split_of(opened, split)
    except NoImages as reason:
        return None, str(reason)
    evaluation = evaluate([run], opened, split=split, keep_probabilities=False, progress=progress)
    return Measured(opened, split, evaluation), ""


def page(run: Classifier, facts: Facts, measured: Measured | None, missing: str = "") -> str:
    """The page.

    Args:
        run: opened.
        facts: of its folder.
        measured: None where there are no images.
        missing: why.
    """
    parts = [_head(run, facts)]
    metrics = read_metrics(run.path)
    if metrics:
        parts.append(_section("Training", _figure(curve_of(run.path, metrics), "Error, loss and learning rate")))
    else:
        parts.append(_section("Training", _paragraph("There is no journal of a training, so no curve.")))
    parts += _errors(run, measured) if measured else [_section("Errors", _paragraph(f"Not measured: {missing}."))]
    weights = run.net.tensors().get(f"{run.net.names[0]}.weight")
    if weights is not None and weights.dim() == 4 and weights.shape[1] == 3:
        parts.append(_section("Filters of the first layer", _figure(filters(run.net), "The first layer's filters")))
    parts.append(_section("The net", _net_table(run)))
    parts.append(_section("Recipe", _recipe(facts)))
    title = html.escape(files.plain(run.name))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{kinds.MAKER}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{"".join(parts)}
</main>
</body>
</html>
"""


def _text(value: object) -> str:
    """A name or number as HTML, on one line."""
    return html.escape(files.shown(value))


def _section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{''.join(content)}</section>\n"


def _paragraph(text: str, quiet: bool = False) -> str:
    kind = ' class="quiet"' if quiet else ""
    return f"<p{kind}>{_text(text)}</p>\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """Rows of names and numbers; ``numbers`` are the columns that stand to the right."""

    def cell(tag: str, column: int, value: object) -> str:
        kind = "number" if column in numbers else "text"
        return f'<{tag} class="{kind}">{_text(value)}</{tag}>'

    def row(tag: str, values: Sequence[object]) -> str:
        return f"<tr>{''.join(cell(tag, column, value) for column, value in enumerate(values))}</tr>\n"

    head = f"<thead>\n{row('th', heads)}</thead>\n" if heads else ""
    return f"<table>\n{head}<tbody>\n{''.join(row('td', values) for values in rows)}</tbody>\n</table>\n"


def _figure(drawing: Figure | Image.Image, alt: str) -> str:
    """A picture in the page itself: drawings as PNG, photos as JPEG."""
    buffer = io.BytesIO()
    if isinstance(drawing, Figure):
        FigureCanvasAgg(drawing).print_png(buffer)
        kind = "png"
    else:
        drawing.save(buffer, "JPEG", quality=QUALITY)
        kind = "jpeg"
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img alt="{_text(alt)}" src="data:image/{kind};base64,{data}"></figure>\n'


def _head(run: Classifier, facts: Facts) -> str:
    """What it is, in two lines."""
    data = run.data.get("path")
    origin = f"trained on {files.folder_name(data)}" if data else "with imported weights"
    epochs = "" if facts.epochs is None else f", {facts.epochs:g} epoch{'' if facts.epochs == 1 else 's'}"
    preprocessing, parameters = run.preprocessing, sum(weight.numel() for weight in run.net.parameters())
    lines = (
        f"Net {run.net.table.name}, {plural(parameters, 'parameter')}, {plural(len(run.classes), 'class', 'classes')},"
        f" {origin}: step {run.step:,}{epochs}.",
        f"It sees the central {preprocessing.crop}x{preprocessing.crop} of {preprocessing.size}x{preprocessing.size}"
        f" pixels. Written by alexnet {facts.description.get('version') or ''}.",
    )
    return f"<h1>{_text(run.name)}</h1>\n" + "".join(_paragraph(line, quiet=True) for line in lines)


def _errors(run: Classifier, measured: Measured) -> list[str]:
    """Errors with their intervals, the classes' errors, confusion, and the worst mistakes."""
    evaluation, dataset = measured.evaluation, measured.dataset
    errors, words = evaluation.errors, dataset.words
    rows = [("top-1 error", f"{errors.top1_error:.2%}", _interval(errors.top1_interval))]
    if len(words) > 5:
        rows.append(("top-5 error", f"{errors.top5_error:.2%}", _interval(errors.top5_interval)))
    rows.append(("loss", f"{errors.loss:.3f}", ""))
    measured_on = (
        f"Measured on {errors.images:,} {measured.split} images of {files.folder_name(dataset.path)}, one view each."
    )
    table = _table(("", "value", "95% interval"), rows, (1, 2))
    parts = [
        _section("Errors", _paragraph(measured_on), table),
        _section(
            "Classes",
            _figure(class_errors(evaluation.class_errors, evaluation.class_images, words), "Error of each class"),
            _figure(confusion(evaluation.confusion, words), "Confusion matrix"),
        ),
    ]
    wrong = np.flatnonzero(~evaluation.correct)
    if len(wrong):
        shown = evaluation.rows[wrong[np.argsort(evaluation.own[wrong], kind="stable")][:MISTAKES]]
        title = f"{len(wrong):,} of {errors.images:,} images are taken for another class"
        sheet = rows_sheet(run, dataset, shown, row_probabilities(run, dataset, shown), title)
        parts.append(
            _section(
                "Mistakes that give the true class least", _figure(sheet, "Images that are taken for another class")
            )
        )
    return parts


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2%} to {interval[1]:.2%}"


def _net_table(run: Classifier) -> str:
    """A line a layer."""
    rows = costs(run.net.table, len(run.classes), run.preprocessing.crop)
    lines = [
        (
            row.name,
            row.kind.replace("_", " "),
            row.kernel,
            "x".join(map(str, row.output)),
            "all" if row.receptive_field is None else row.receptive_field.size,
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.multiply_adds:,}" if row.multiply_adds else "",
        )
        for row in rows
    ]
    heads = ("layer", "kind", "kernel", "output", "sees, pixels", "parameters", "multiply-adds")
    return _paragraph(run.net.table.title) + _table(heads, lines, (4, 5, 6))


def _recipe(facts: Facts) -> str:
    """Every option of the training."""
    if facts.recipe is None:
        return _paragraph("The weights were imported: there is no recipe.")
    rows = [(key, _value(value)) for key, value in facts.recipe.items() if key != "table" and value not in (None, [])]
    return _table((), rows)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
