"""The command that says what a dataset, a run or an index is."""

import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from rich.table import Table
from tyro.conf import Positional, arg

from alexnet.cli.options import File, Json, check_outputs
from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, interval_text, print_table, table_of
from alexnet.errors import UsageError
from alexnet.files import kinds, mistakes
from alexnet.progress import clock, plural, size_text

MOST_CLASSES = 24  # that are shown each on a line
MOST_NAMES = 12  # of classes, on one line


@dataclasses.dataclass(frozen=True)
class Info(Json):
    """Show information about a dataset, a run or an index."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """Dataset, run or index."""

    picture: File | None = None
    """PNG file to write images of the dataset to, spread over its classes (default: none)."""

    def __call__(self) -> int:
        from alexnet.runs.run import is_run

        if self.picture and not self.picture.lower().endswith(".png"):
            raise UsageError(f"--picture {self.picture}: is written as PNG; give a name that ends in .png")
        if is_run(self.path):
            return self._run()
        return self._index() if kinds.kind_of(self.path).name == kinds.INDEX else self._dataset()

    def _index(self) -> int:
        from alexnet.search.describe import describe_index

        if self.picture:
            raise UsageError(
                f"--picture: {self.path} is an index; `alexnet search {self.path} IMAGE --picture` draws it"
            )
        described = describe_index(self.path)
        if self.json:
            return print_json(described)
        _print_rows(_index_rows(described))
        say("")
        shown, labels = table_of("label", "images", right=(1,)), described["labels"]
        for label, count in itertools.islice(labels.items(), MOST_CLASSES):
            add_row(shown, label or "(none)", f"{count:,}")
        if len(labels) > MOST_CLASSES:
            add_row(shown, f"... {len(labels) - MOST_CLASSES:,} more", "")
        print_table(shown)
        return 0

    def _run(self) -> int:
        from alexnet.training.describe import describe_run

        if self.picture:
            raise UsageError(f"--picture: {self.path} is a run; `alexnet show {self.path}` draws it")
        described = describe_run(self.path)
        if self.json:
            return print_json(described)
        _print_rows(_run_rows(described))
        measured = _measured(described)
        if measured:
            say("")
            print_table(_errors_table(described, measured))
        return 0

    def _dataset(self) -> int:
        from alexnet.data.stored import StoredDataset

        mistakes.refuse_neither(self.path)
        dataset = StoredDataset(self.path)
        check_outputs({"--picture": self.picture}, [self.path])
        described, picture = dataset.describe(), None
        if self.picture:
            from alexnet.figures.sheet import contact_sheet

            picture = contact_sheet(dataset)
        if self.json:
            print_json(described)
        else:
            _print_rows(_dataset_rows(described))
            say("")
            print_table(_class_counts(described["words"], described["counts"]))
            if self.picture:
                say(f"picture: {self.picture}")
        if picture is not None and self.picture:
            from alexnet.figures.style import save_image

            sys.stdout.flush()  # the picture is written after what was said
            save_image(picture, self.picture)
        return 0


def _print_rows(rows: Mapping[str, str | None]) -> None:
    """What is known, a line each."""
    shown = table_of("", "")
    shown.show_header = False
    for name, text in rows.items():
        if text:
            add_row(shown, name, text)
    print_table(shown)


def _run_rows(run: Mapping[str, Any]) -> dict[str, str | None]:
    preparation, data, steps = run["preparation"], run["data"], run["steps"]
    parameters = "" if run["parameters"] is None else f", {plural(run['parameters'], 'parameter')}"
    return {
        "run": run["run"],
        "net": f"{run['net']}{parameters}, {_names(run['words'])}",
        "images": f"{preparation['size']}x{preparation['size']} pixels, crops of "
        f"{preparation['crop']}x{preparation['crop']}; {preparation['resized']}",
        "weights": _origin_text(data),
        "dataset": _data_text(data),
        "recipe": run["recipe_name"] and ", with ".join(filter(None, (run["recipe_name"], run["recipe_differences"]))),
        "trained": _training_text(run),
        "best epoch": _best_text(run["best"]),
        "checkpoints": _checkpoints_text(run["checkpoints"], steps) if steps else "none yet",
        "size": f"{size_text(run['bytes'])} on disk",
        "made": _made_text(run["created"], (run["recipe"] or {}).get("code") or run["version"]),
    }


def _index_rows(index: Mapping[str, Any]) -> dict[str, str | None]:
    sources = "; ".join(f"{source['path']} ({plural(source['images'], 'image')})" for source in index["sources"])
    recall = (
        f"approximate: recall of the ten nearest {index['recall']:.1%}, on {plural(index['recall_images'], 'image')}"
    )
    return {
        "index": index["index"],
        "images": f"{index['images']:,}, of {sources}",
        "left out": "; ".join(index["left_out"]) or None,
        "layer": f"{index['layer']}, {plural(index['numbers'], 'number')} an image",
        "run": f"{index['run']}, step {index['step']:,}, weights {index['weights'][:8]}",
        "search": "exact" if index["kind"] == "exact" else recall,
        "size": f"{size_text(index['bytes'])} on disk",
    }


def _origin_text(data: Mapping[str, Any]) -> str | None:
    origin = data.get("imported")
    if not origin:
        return None
    return f"imported from {origin['file']} ({origin['format']}; SHA-256 {origin['sha256'][:12]}...)"


def _data_text(data: Mapping[str, Any]) -> str | None:
    if data.get("imported"):
        return None
    counts = ", ".join(f"{count:,} {split}" for split, count in (data.get("images") or {}).items())
    path = data.get("path") or data.get("name")
    return f"{path} ({counts} images)" if path and counts else path or (f"{counts} images" if counts else None)


def _training_text(run: Mapping[str, Any]) -> str | None:
    if run["epochs"] is None:
        return None
    asked = run["epochs_asked"]
    epochs = f"{run['epochs']:.4g}" + (f" of {plural(asked, 'epoch')}" if asked else " epochs")
    spent = f", {clock(run['seconds'])} of training steps" if run["seconds"] else ""
    return f"{epochs}, {plural(max(run['steps'], default=0), 'step')}{spent}"


def _best_text(best: Mapping[str, Any] | None) -> str | None:
    if not best:
        return None
    return f"{best['epoch']:.4g}, validation error {best['top1_error']:.2%} (the lowest of all epochs)"


def _checkpoints_text(checkpoints: Mapping[str, int], steps: Sequence[int]) -> str:
    from alexnet.runs.checkpoint import steps_text

    named = [f"{kind}: step {step:,}" for kind, step in checkpoints.items()]
    more = [step for step in steps if step not in checkpoints.values()]
    return "; ".join([*named, *([f"kept: step {steps_text(more)}"] if more else [])])


def _made_text(created: str | None, code: str | None) -> str | None:
    parts = [created and created.replace("T", " ").replace("+00:00", " UTC"), code and f"alexnet {code}"]
    return ", ".join(filter(None, parts)) or None


def _measured(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was measured: at the end of training, then by ``alexnet evaluate``."""
    last, own = run["checkpoints"].get("last"), run["data"].get("store")
    trained = [{**errors, "split": split, "step": last} for split, errors in run["errors"].items()]
    known = {(line["split"], line["views"], line["step"]) for line in run["evaluations"] if line["store"] == own}
    return [line for line in trained if (line["split"], line["views"], line["step"]) not in known] + run["evaluations"]


def _errors_table(run: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Table:
    """Errors by split and views; columns that say nothing are left out."""
    top5 = any(line["top5_error"] is not None for line in lines)
    others = any(line.get("store", run["data"].get("store")) != run["data"].get("store") for line in lines)
    columns = ["split", "images", "views", "checkpoint", "top-1 error", "95% interval"]
    columns += ["top-5 error"] * top5 + ["dataset"] * others
    shown = table_of(*columns, right=(1, 2, 4, 5, 6) if top5 else (1, 2, 4, 5))
    kinds = {step: kind for kind, step in reversed(run["checkpoints"].items())}
    for line in lines:
        step = line["step"]
        cells = [line["split"], f"{line['images']:,}", str(line["views"])]
        cells += [kinds.get(step, "" if step is None else f"step {step:,}"), f"{line['top1_error']:.2%}"]
        cells.append(interval_text(line["top1_interval"]))
        if top5:
            cells.append("" if line["top5_error"] is None else f"{line['top5_error']:.2%}")
        if others:
            cells.append(line.get("dataset") or run["data"].get("path") or "")
        add_row(shown, *cells)
    return shown


def _dataset_rows(dataset: Mapping[str, Any]) -> dict[str, str | None]:
    counts = ", ".join(f"{split} {count:,}" for split, count in dataset["images"].items())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in dataset["skipped_because"].items())
    skipped = f"{plural(dataset['skipped'], 'bad image')}{f' ({reasons})' if reasons else ''}, see skipped.csv"
    duplicates = dataset["duplicates"]
    pairs = None if duplicates is None else f"{duplicates:,} between training and validation"
    return {
        "dataset": dataset["dataset"],
        "images": counts,
        "classes": _names(dataset["words"]),
        "stored": f"{dataset['size']}x{dataset['size']} pixels, {dataset['format']}; {dataset['resized']}",
        "size": f"{size_text(dataset['bytes'])} on disk, in {plural(dataset['shards'], 'shard')}",
        "source": f"layout {dataset['layout']}",
        "skipped": skipped if dataset["skipped"] else "none",
        "duplicates": f"{pairs}, see duplicates.csv" if duplicates else pairs,
    }


def _names(classes: Sequence[str]) -> str:
    """How many classes, and the first of them."""
    more = "; ..." if len(classes) > MOST_NAMES else ""
    separator = "; " if any(", " in name for name in classes) else ", "
    return f"{plural(len(classes), 'class', 'classes')}: {separator.join(classes[:MOST_NAMES])}{more}"


def _class_counts(classes: Sequence[str], counts: dict[str, list[int]]) -> Table:
    """Images of each class and split; of many classes, the largest and smallest."""
    order = sorted(range(len(classes)), key=lambda i: (-sum(split[i] for split in counts.values()), i))
    shown = table_of("class", *counts, right=range(1, len(counts) + 1))
    if len(order) > MOST_CLASSES:
        half = MOST_CLASSES // 2
        for i in order[:half]:
            add_row(shown, classes[i], *(f"{split[i]:,}" for split in counts.values()))
        add_row(shown, f"... {len(order) - 2 * half:,} more", *("" for _ in counts))
        order = order[-half:]
    for i in order:
        add_row(shown, classes[i], *(f"{split[i]:,}" for split in counts.values()))
    return shown
