"""A trained network on disk, and how to open it.

A run is a folder::

    run.json                 net's table, class names, how images are prepared, measured errors
    preparation.safetensors  mean image and colour noise
    recipe.json              everything the training was told
    checkpoints/last-00001234/   weights.safetensors, state.safetensors, checkpoint.json (hashes)
    checkpoints/best-00001200/   the same of the lowest validation error
    metrics.jsonl, timings.jsonl, curve.png
"""

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from alexnet import files
from alexnet.data.augment import Preparation
from alexnet.errors import Failure, WrongUse
from alexnet.files import Count, Length, Misfit, Sha, Within, checked, signatures
from alexnet.nets import weights
from alexnet.nets.costs import check_side
from alexnet.nets.network import Network
from alexnet.nets.table import Table
from alexnet.nets.table_file import parse_table

FORMAT_VERSION = 2  # since 2 the scale may be three numbers, and data say where weights were imported from
CHECKPOINT = re.compile(r"(last|best|step)-(\d{8,})")
LOOKS = (0.0, 0.01, 0.03)  # seconds between looks at a folder that another process writes in
T = TypeVar("T")
Share = Annotated[float, Within(0, 1)]


class Measured(TypedDict):
    """Errors of a split, as ``evaluation.Errors`` has them."""

    images: Count
    views: Annotated[int, Within(1, 10)]
    top1_error: Share
    top1_interval: tuple[Share, Share]
    top5_error: Share
    top5_interval: tuple[Share, Share]
    loss: float | None


class TableText(TypedDict):
    """A net: its name, and its table's text."""

    name: str
    table: Annotated[str, Length(1, 1 << 20)]


class Origin(TypedDict):
    """The file that imported weights are from."""

    file: str
    sha256: str
    format: str
    colours: NotRequired[str]


class Data(TypedDict):
    """What a run was trained on, or imported from."""

    path: str | None
    store: str | None
    images: dict[str, Count]
    imported: NotRequired[Origin | None]
    name: NotRequired[str | None]


class Described(TypedDict):
    """What ``describe`` says of a run: in ``run.json``, in a hub folder's ``config.json``, in an ONNX file."""

    format_version: Annotated[int, Within(1, 2**31)]
    net: TableText
    classes: Annotated[list[str], Length(1, 1 << 24)]
    words: NotRequired[list[str] | None]
    preparation: dict[str, Any]  # a Preparation checks itself
    data: Data
    errors: dict[str, Measured]


class Description(Described):
    """``run.json``."""

    preparation_sha256: Sha


class JournalMark(TypedDict):
    """The part of ``metrics.jsonl`` that was there when a checkpoint was written."""

    bytes: Count
    sha256: Sha


class MetricsLine(TypedDict):
    """A line of ``metrics.jsonl``."""

    step: Count
    split: str
    epoch: Annotated[float, Within(0, 1e9)]
    loss: float | None
    rate: NotRequired[float]
    top1_error: Share
    top5_error: Share


class Line(TypedDict):
    """A line of ``metrics.jsonl`` or ``timings.jsonl``, as far as a training that is resumed must know it."""

    step: Count


class CheckpointNote(TypedDict):
    """``checkpoint.json``."""

    step: Count
    sha256: dict[str, Sha]
    state: dict[str, Any]


@dataclasses.dataclass
class Run:
    """A net and all it needs to be used.

    Attributes:
        path: the run's folder.
        net: with its weights, in evaluation mode.
        classes: their names, as the store has them.
        words: what people call them.
        preparation: how images are prepared.
        data: what it was trained on: the store's place, its fingerprint, images of each split.
        errors: measured errors by name of split.
        step: of the checkpoint that the weights are from.
    """

    path: str
    net: Network
    classes: list[str]
    words: list[str]
    preparation: Preparation
    data: dict
    errors: dict
    step: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(self.path).resolve().name


def describe(net: Network, classes: list[str], words: list[str] | None, preparation: Preparation, data: dict) -> dict:
    """What ``run.json`` says."""
    return {
        "format_version": FORMAT_VERSION,
        "net": {"name": net.table.name, "table": net.table.text},
        "classes": classes,
        "words": words,
        "preparation": {
            "size": preparation.size,
            "crop": preparation.crop,
            "scale": preparation.scale,
            "resized": preparation.resized,
            "resize": preparation.resize,
        },
        "data": data,
        "errors": {},
    }


def begin(folder: Path, description: dict, preparation: Preparation) -> None:
    """Writes what a run consists of besides its weights; ``run.json`` last."""
    tensors = {"mean_image": preparation.mean_image, "noise": preparation.noise}
    content = safetensors.torch.save(tensors)
    files.write_bytes(folder / "preparation.safetensors", content)
    _write_description(folder, {**description, "preparation_sha256": files.sha256_bytes(content)})


def _write_description(folder: Path, description: dict) -> None:
    """``run.json``, which says the SHA-256 of its own content: a change made by hand is seen by ``verify``."""
    files.write_json(folder / "run.json", files.seal(description))


def write_checkpoint(place: Path, step: int, parts: dict[str, dict[str, Tensor]], state: dict) -> None:
    """A checkpoint's files into a folder that the caller then moves into its place; ``checkpoint.json`` last.

    Args:
        place: the folder.
        step: of the training; 0 for imported weights.
        parts: tensors by file.
        state: what else a resumed training needs, as JSON.
    """
    for name, content in parts.items():
        weights.save_tensors(place / name, content)
    hashes = {name: files.sha256(place / name) for name in parts}
    files.write_json(place / "checkpoint.json", files.seal({"step": step, "sha256": hashes, "state": state}))


def note_errors(folder: str | os.PathLike, name: str, errors: dict) -> None:
    """Adds measured errors to ``run.json``."""
    description = read_description(folder)
    description["errors"][name] = errors
    _write_description(Path(folder), description)


def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """``run.json``. Raises ``WrongUse`` where there is no run, or one of a newer format, ``Failure`` where damaged."""
    file = Path(path) / "run.json"
    if not file.exists():
        if (Path(path) / "recipe.json").exists() and find_checkpoint(path):
            raise Failure(f"{file}: missing; the run was damaged: put the file back, or train again in another folder")
        raise WrongUse(f"{path}: no run there (it has no run.json); make one with `alexnet train STORE {path}`")
    return read_described(file, Description, "the run was damaged; train or import it again")


def read_described(file: str | os.PathLike, kind: Any, remedy: str) -> dict[str, Any]:
    """A JSON file that describes a run, held against its form. Raises as ``read_description``."""
    signatures.refuse(file, "JSON", but=[signatures.JSON, signatures.TEXT, signatures.EMPTY])
    return described(files.read_json(file, dict, remedy), kind, os.fspath(file), remedy)


def described(content: dict[str, Any], kind: Any, where: str, remedy: str) -> dict[str, Any]:
    """What ``describe`` said of a run, held against its form.

    Args:
        content: an object that was JSON.
        kind: ``Described``, or one with more keys.
        where: what it was read from.
        remedy: what to say behind what is wrong.

    Raises:
        WrongUse: it is of a newer format.
        Failure: a key is missing, of another type, or out of its range.
    """
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WrongUse(
            f"{where}: a run of format {version:,}, newer than this alexnet reads ({FORMAT_VERSION}); upgrade alexnet"
        )
    try:
        description = files.checked(content, kind)
    except Misfit as misfit:
        raise Failure(f"{where}: {misfit}; {remedy}") from misfit
    check_names(description["classes"], description.get("words"), where, remedy)
    return description


def table_of(
    description: dict[str, Any], where: str, remedy: str = "the run was damaged; train or import it again"
) -> Table:
    """The table of a description's net. Raises ``Failure`` where it is none."""
    try:
        return parse_table(description["net"]["table"], description["net"]["name"])
    except WrongUse as error:
        raise Failure(f"{where}: net.table: {error}; {remedy}") from error


def check_new_folder(folder: str | os.PathLike, what: str) -> None:
    """Sees that a folder can be made, before the work that it is for; leaves nothing behind.

    Args:
        folder: not there yet, or empty; what lies above it need not be there.
        what: it is for.

    Raises:
        WrongUse: something is there already, or nobody may write there.
    """
    target = Path(folder)
    try:
        if files.is_remote(folder):
            raise WrongUse(f"{folder}: can be read from there but not written; give a local folder")
        if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
            raise WrongUse(f"{folder}: is there already; give another folder for {what}")
        while not target.parent.exists():
            target = target.parent
        if not target.exists():
            files.check_output(target)
    except OSError as error:
        raise WrongUse(f"{folder}: cannot be written ({error.strerror}); give another folder for {what}") from error
    except ValueError as error:  # a name with a zero byte
        raise WrongUse(f"{files.plain(str(folder))!r}: {error}; give another name") from error


def check_names(classes: Sequence[str], words: Sequence[str] | None, where: str, remedy: str) -> None:
    """Raises ``Failure`` where two classes have one name, or the words are not one a class."""
    if len(set(classes)) != len(classes):
        raise Failure(f"{where}: classes: one comes twice; {remedy}")
    if words and len(words) != len(classes):
        raise Failure(f"{where}: words: {len(words):,} for {len(classes):,} classes; {remedy}")


def load_preparation(path: str | os.PathLike) -> Preparation:
    """How a run's images are prepared, on the CPU. Raises ``Failure`` where that is damaged."""
    file = Path(path) / "preparation.safetensors"
    description = read_description(path)
    tensors = weights.load_tensors(file)
    if files.sha256(file) != description["preparation_sha256"]:
        raise Failure(f"{file}: damaged (its SHA-256 differs from the one in run.json); train again")
    return preparation_of(description["preparation"], tensors, os.fspath(path))


def preparation_of(description: dict[str, Any], tensors: dict[str, Tensor], where: str) -> Preparation:
    """A preparation from what ``describe`` says of it and its two tensors.

    Args:
        description: its plain values.
        tensors: ``mean_image`` and ``noise``.
        where: what they were read from.

    Raises:
        Failure: something is missing, or does not go together.
    """
    values = {**description, **{name: tensors[name] for name in ("mean_image", "noise") if name in tensors}}
    fields = {field.name: field.default for field in dataclasses.fields(Preparation)}
    try:
        for name, default in fields.items():
            if name not in values and default is dataclasses.MISSING:
                raise WrongUse(f"preparation: {name}: is missing")
        return Preparation(**{name: value for name, value in values.items() if name in fields})
    except WrongUse as error:
        raise Failure(f"{where}: {error}; it was damaged or changed: train, export or import it again") from error


def read_journal(path: str | os.PathLike) -> tuple[list[tuple[bytes, dict[str, Any]]], int]:
    """The lines of a run's journal that can be read, as they lie there and as they read, and how many cannot be.

    A journal is written beside the training: a power cut may leave zeros in it, and its last line may be cut off, which
    does not count.
    """
    lines, unreadable = [], 0
    content = Path(path).read_bytes() if Path(path).exists() else b""
    for line in content.splitlines(keepends=True):
        try:
            lines.append((line, checked(files.parse_json(line), Line)))
            if not line.endswith(b"\n"):
                lines.pop()
        except ValueError:
            unreadable += line.endswith(b"\n")
    return lines, unreadable


def read_metrics(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl`` that have their figures."""
    lines = []
    for _, line in read_journal(Path(folder, "metrics.jsonl"))[0]:
        with contextlib.suppress(Misfit):
            lines.append(checked(line, MetricsLine))
    return lines


def is_run(path: str | os.PathLike) -> bool:
    """Whether there is a run at ``path``."""
    return (Path(path) / "run.json").exists()


def describe_run(path: str | os.PathLike) -> dict:
    """What a run is, for people and JSON."""
    description = read_description(path)
    checkpoints = {kind: find_checkpoint(path, kind) for kind in ("last", "best")}
    return {
        "run": os.fspath(path),
        "net": description["net"]["name"],
        "classes": description["classes"],
        "words": description.get("words") or description["classes"],
        "preparation": description["preparation"],
        "data": description["data"],
        "checkpoints": {kind: step_of(place) for kind, place in checkpoints.items() if place},
        "errors": description["errors"],
    }


def verify(path: str | os.PathLike) -> Iterator[tuple[str, str | None]]:
    """Checks every file that describes a run or holds its weights: yields its name and None, or what is wrong with it.

    What describes it says its own SHA-256; the other files' are in it, and the journal's up to a checkpoint with that.
    """
    folder = Path(path)
    expected = {"preparation.safetensors": read_description(path)["preparation_sha256"]}
    sealed = [name for name in ("run.json", "recipe.json") if (folder / name).exists()]
    for name in sealed:
        yield name, _seal_problem(folder / name)
    if "recipe.json" not in sealed and (folder / "metrics.jsonl").exists():
        yield "recipe.json", "missing"
    for name, digest in expected.items():
        yield name, "missing" if not (folder / name).exists() else _difference(folder / name, digest)
    newest, journal = -1, None
    for place in checkpoints(path):
        try:
            problems = list(_verify_checkpoint(place))
            note = read_note(place)
        except (Failure, OSError):
            if (place / "checkpoint.json").exists():
                raise
            continue  # a training that goes on has replaced it
        yield from problems
        if note["step"] > newest and note["state"].get("journal"):
            newest, journal = note["step"], note["state"]["journal"]
    if journal:
        yield "metrics.jsonl", _journal_problem(folder / "metrics.jsonl", journal)


def _verify_checkpoint(place: Path) -> Iterator[tuple[str, str | None]]:
    above = f"checkpoints/{place.name}"
    yield f"{above}/checkpoint.json", _seal_problem(place / "checkpoint.json")
    for name, digest in read_note(place)["sha256"].items():
        yield f"{above}/{name}", "missing" if not (place / name).exists() else _difference(place / name, digest)


def _seal_problem(path: Path) -> str | None:
    """Whether a JSON file is as it was written; a recipe is sealed where its run is."""
    content = files.read_json(path, dict)
    of_now = path.name == "recipe.json" and files.SEAL in files.read_json(path.with_name("run.json"), dict)
    return CHANGED if not files.seal_holds(content) or (of_now and files.SEAL not in content) else None


CHANGED = "its content is not what was written (SHA-256 differs)"


def _difference(path: Path, digest: str) -> str | None:
    return None if files.sha256(path) == digest else "its bytes are not those that were written (SHA-256 differs)"


def _journal_problem(path: Path, mark: JournalMark) -> str | None:
    """What is wrong with the lines that were there when the last checkpoint was written."""
    if not path.exists():
        return "missing"
    with open(path, "rb") as file:
        same = files.sha256_bytes(file.read(mark["bytes"])) == mark["sha256"]
    return None if same else f"its first {mark['bytes']:,} bytes are not those that were written (SHA-256 differs)"


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """All whole checkpoints of a run, by name."""
    places = sorted(Path(folder, "checkpoints").glob("*-*"))
    return [place for place in places if CHECKPOINT.fullmatch(place.name) and (place / "checkpoint.json").exists()]


def find_checkpoint(folder: str | os.PathLike, kind: str = "last") -> Path | None:
    """The newest whole checkpoint of a kind (``last``, ``best``, ``step``), or None."""
    for pause in LOOKS:
        places = [place for place in checkpoints(folder) if place.name.startswith(f"{kind}-")]
        if places:
            return max(places, key=step_of)
        if not Path(folder, "checkpoints").is_dir():
            break
        time.sleep(pause)  # a folder that is listed while a checkpoint is replaced may show neither
    return None


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's folder is named by."""
    return int(checkpoint.name.rpartition("-")[2])


def read_note(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's ``checkpoint.json``. Raises ``Failure`` where it is damaged."""
    note = files.read_json(checkpoint / "checkpoint.json", CheckpointNote, REMOVE)
    if "weights.safetensors" not in note["sha256"]:
        raise Failure(f"{checkpoint / 'checkpoint.json'}: sha256.weights.safetensors: is missing; {REMOVE}")
    return note


REMOVE = "where its folder is removed, the run goes back to an earlier checkpoint that was kept, or to its start"


def check_hashes(checkpoint: Path, names: list[str] | None = None) -> dict[str, Any]:
    """A checkpoint's ``checkpoint.json`` once the files' hashes agree with it.

    Raises:
        Failure: a file's bytes are not those that were written.
    """
    note = read_note(checkpoint)
    for name, digest in note["sha256"].items():
        if names is not None and name not in names:
            continue
        path = checkpoint / name
        if not path.exists():
            raise Failure(f"{path}: missing; {REMOVE}")
        if files.sha256(path) != digest:
            raise Failure(f"{path}: damaged (its SHA-256 differs from the one written with it); {REMOVE}")
    return note


def read_checkpoint(folder: str | os.PathLike, kind: str, read: Callable[[Path], T]) -> T | None:
    """What ``read`` makes of a run's newest checkpoint of a kind, None where there is none.

    A training that goes on meanwhile may replace the checkpoint that was found: then the next one is read.
    """
    while True:
        place = find_checkpoint(folder, kind)
        if place is None:
            return None
        try:
            return read(place)
        except (Failure, OSError):
            if (place / "checkpoint.json").exists():
                raise


def weights_digest(path: str | os.PathLike) -> str | None:
    """SHA-256 of a run's last weights, as its checkpoint says it; None where there is none."""
    note = read_checkpoint(path, "last", read_note)
    return None if note is None else note["sha256"]["weights.safetensors"]


def _weights(checkpoint: Path) -> tuple[int, dict[str, Tensor]]:
    note = check_hashes(checkpoint, ["weights.safetensors"])
    return note["step"], weights.load_tensors(checkpoint / "weights.safetensors")


def load(path: str | os.PathLike, checkpoint: str = "last", device: torch.device | str = "cpu") -> Run:
    """Opens a run; one that is being trained is read as it is at this moment, whole.

    Args:
        path: its folder.
        checkpoint: ``last`` or ``best``.
        device: where the net shall be.

    Raises:
        WrongUse: no run there.
        Failure: no checkpoint yet, or a damaged one.
    """
    description = read_description(path)
    preparation = load_preparation(path)
    loaded = read_checkpoint(path, checkpoint, _weights)
    if loaded is None:
        raise Failure(f"{path}: has no {checkpoint!r} checkpoint {_without(path, checkpoint)}")
    step, tensors = loaded
    table = table_of(description, f"{path}: run.json")
    try:
        check_side(table, preparation.crop)
        net = weights.filled(table, len(description["classes"]), tensors, f"{path}: checkpoint of step {step}")
    except WrongUse as error:
        raise Failure(f"{path}: its parts do not go together ({error}); train or import it again") from error
    device = torch.device(device)
    return Run(
        path=os.fspath(path),
        net=net.eval().to(device),
        classes=description["classes"],
        words=description.get("words") or description["classes"],
        preparation=preparation.to(device),
        data=description["data"],
        errors=description["errors"],
        step=step,
    )


def _without(path: str | os.PathLike, checkpoint: str) -> str:
    """What to do where a run has no checkpoint of a kind."""
    if checkpoint == "last" or find_checkpoint(path) is None:
        return "yet; train it on with `alexnet train`"
    if checkpoint == "best":
        return "(no validation images were measured before the last one was written); take the last one"
    return "(none was kept); take the last one"
