"""Whether a run's files are those that were written."""

import os
from collections.abc import Iterator
from pathlib import Path

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.files.copies import by_name
from alexnet.runs.checkpoint import JournalMark, checkpoints, read_note
from alexnet.runs.run import read_description

CHANGED = "its content is not what was written (SHA-256 differs)"


def verify(path: str | os.PathLike) -> Iterator[tuple[str, str | None]]:
    """Checks every file that describes a run or holds its weights: yields its name and None, or what is wrong with it.

    What describes it says its own SHA-256; the other files' are in it, and the journal's up to a checkpoint with that.
    """
    with by_name():
        yield from _verify(files.read_copy(path))


def _verify(folder: Path) -> Iterator[tuple[str, str | None]]:
    path = folder
    expected = {"preparation.safetensors": read_description(path)["preparation_sha256"]}
    sealed = [name for name in ("run.json", "recipe.json") if (folder / name).exists()]
    for name in sealed:
        yield name, _seal_problem(folder / name)
    if "recipe.json" not in sealed and (folder / "metrics.jsonl").exists():
        yield "recipe.json", "missing"
    for name, digest in expected.items():
        yield name, "missing" if not (folder / name).exists() else _difference(folder / name, digest)
    whole, newest, journal = 0, -1, None
    for place in checkpoints(path):
        try:
            problems = list(_verify_checkpoint(place))
            note = read_note(place)
        except (AlexNetError, OSError):
            if (place / "checkpoint.json").exists():
                raise
            continue  # a training that goes on has replaced it
        yield from problems
        whole += 1
        if note["step"] > newest and note["state"].get("journal"):
            newest, journal = note["step"], note["state"]["journal"]
    if not whole:
        yield "checkpoints", "none there: the run has no weights; train it on, or import it again"
    if journal:
        yield "metrics.jsonl", _journal_problem(folder / "metrics.jsonl", journal)


def _verify_checkpoint(place: Path) -> Iterator[tuple[str, str | None]]:
    above = f"checkpoints/{place.name}"
    yield f"{above}/checkpoint.json", _seal_problem(place / "checkpoint.json")
    for name, digest in read_note(place)["sha256"].items():
        path = files.here(place / name)
        yield f"{above}/{name}", "missing" if not path.exists() else _difference(path, digest)


def _seal_problem(path: Path) -> str | None:
    """Whether a JSON file is as it was written; a recipe is sealed where its run is."""
    content = files.read_json(path, dict)
    of_now = path.name == "recipe.json" and files.SEAL in files.read_json(path.with_name("run.json"), dict)
    return CHANGED if not files.seal_holds(content) or (of_now and files.SEAL not in content) else None


def _difference(path: Path, digest: str) -> str | None:
    return None if files.sha256(path) == digest else "its bytes are not those that were written (SHA-256 differs)"


def _journal_problem(path: Path, mark: JournalMark) -> str | None:
    """What is wrong with the lines that were there when the last checkpoint was written."""
    if not path.exists():
        return "missing"
    with open(path, "rb") as file:
        same = files.sha256_bytes(file.read(mark["bytes"])) == mark["sha256"]
    return None if same else f"its first {mark['bytes']:,} bytes are not those that were written (SHA-256 differs)"
