"""A trained network on disk, and how to open it.

A run is a folder::

    run.json                 net's table, class names, how images are prepared, measured errors
    preparation.safetensors  mean image and color noise
    recipe.json              everything the training was told
    checkpoints/last-00001234/   weights.safetensors, state.safetensors, checkpoint.json (hashes)
    checkpoints/best-00001200/   the same of the lowest validation error
    metrics.jsonl, timings.jsonl, curve.png
    evaluations.jsonl        what ``alexnet evaluate`` measured
"""

import dataclasses
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import Count, Length, Misfit, Sha, Within, mistakes, signatures
from alexnet.nets.costs import check_side
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table, parse_table
from alexnet.runs.checkpoint import (
    AnyCheckpoint,
    find_checkpoint,
    kept_steps,
    parse_checkpoint,
    read_checkpoint,
    read_weights,
    step_of,
    steps_text,
)
from alexnet.runs.code import version
from alexnet.runs.journal import Share

if TYPE_CHECKING:  # imported where tensors are read or written: what a run is, is said without torch
    from torch import Tensor

    from alexnet.data.preprocessing import Preprocessing
    from alexnet.nets.network import Network

DAMAGED = "the run was damaged; train or import it again"
FORMAT_VERSION = 2  # since 2 the scale may be three numbers, and data say where weights were imported from


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
    store: str | None  # its fingerprint, under the name that it has had on disk from the start
    images: dict[str, Count]
    imported: NotRequired[Origin | None]
    name: NotRequired[str | None]


class Described(TypedDict):
    """What ``describe`` says of a run: in ``run.json``, in a hub folder's ``config.json``, in an ONNX file."""

    format_version: Annotated[int, Within(1, 2**31)]
    net: TableText
    classes: Annotated[list[str], Length(1, 1 << 24)]
    words: NotRequired[list[str] | None]
    preparation: dict[str, Any]  # a Preprocessing checks itself
    data: Data
    errors: dict[str, Measured]


class Description(Described):
    """``run.json``."""

    preparation_sha256: Sha
    version: NotRequired[str | None]  # of alexnet, by which it was made
    created: NotRequired[str]  # when, in UTC


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Run:
    """What a run's folder holds: a net and all it needs to be used. ``Classifier`` uses it.

    Attributes:
        path: the run's folder.
        net: with its weights, in evaluation mode, on the CPU.
        classes: their names, as the dataset has them.
        words: what people call them.
        preprocessing: how images are prepared.
        data: what it was trained on: the dataset's place, its fingerprint, images of each split.
        errors: measured at the end of training, by name of split; empty where the weights are of an earlier step.
        step: of the checkpoint that the weights are from.
    """

    path: str
    net: "Network"
    classes: list[str]
    words: list[str]
    preprocessing: "Preprocessing"
    data: dict[str, Any]
    errors: dict[str, Any]
    step: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return files.folder_name(self.path)

    def __repr__(self) -> str:
        return f"Run({self.summary()})"

    def summary(self) -> str:
        """What it is, in a line."""
        errors = "".join(f", {split} error {told['top1_error']:.1%}" for split, told in self.errors.items())
        return f"{self.path!r}: net {self.net.table.name}, {len(self.classes):,} classes, step {self.step:,}{errors}"


def describe(
    net: "Network", classes: list[str], words: list[str] | None, preprocessing: "Preprocessing", data: dict
) -> dict:
    """What ``run.json`` says."""
    return {
        "format_version": FORMAT_VERSION,
        "net": {"name": net.table.name, "table": net.table.text},
        "classes": classes,
        "words": words,
        "preparation": {
            "size": preprocessing.size,
            "crop": preprocessing.crop,
            "scale": preprocessing.scale,
            "resized": preprocessing.resized,
            "resize": preprocessing.resize,
        },
        "data": data,
        "errors": {},
    }


def begin(folder: Path, description: dict, preprocessing: "Preprocessing") -> None:
    """Writes what a run consists of besides its weights; ``run.json`` last."""
    import safetensors.torch

    tensors = {"mean_image": preprocessing.mean_image, "noise": preprocessing.noise}
    content = safetensors.torch.save(tensors)
    files.write_bytes(folder / "preparation.safetensors", content)
    made = {"version": version(), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    _write_description(folder, {**description, "preparation_sha256": files.sha256_bytes(content), **made})


def _write_description(folder: Path, description: dict) -> None:
    """``run.json``, which says the SHA-256 of its own content: a change made by hand is seen by ``verify``."""
    files.write_json(folder / "run.json", files.seal(description))


def note_errors(folder: str | os.PathLike, name: str, errors: dict) -> None:
    """Adds measured errors to ``run.json``."""
    description = read_description(folder)
    description["errors"][name] = errors
    _write_description(Path(folder), description)


@files.of_run
def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """``run.json``. Raises ``UsageError`` where there is none or a newer one, ``AlexNetError`` where it is damaged."""
    mistakes.check_path(path, "run")
    file = Path(path) / "run.json"
    named = os.fspath(path).strip()
    if not named or not file.exists():
        if named and (Path(path) / "recipe.json").exists() and find_checkpoint(path):
            raise AlexNetError(
                f"{file}: missing; the run was damaged: put the file back, or train again in another folder"
            )
        mistakes.refuse(path, "run")
    return read_described(file, Description, DAMAGED)


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
        UsageError: it is of a newer format.
        AlexNetError: a key is missing, of another type, or out of its range.
    """
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UsageError(
            f"{where}: a run of format {version:,}, newer than this alexnet reads ({FORMAT_VERSION}); upgrade alexnet"
        )
    try:
        description = files.checked(content, kind)
    except Misfit as misfit:
        raise AlexNetError(f"{where}: {misfit}; {remedy}") from misfit
    check_names(description["classes"], description.get("words"), where, remedy)
    return description


def table_of(description: dict[str, Any], where: str, remedy: str = DAMAGED) -> Table:
    """The table of a description's net. Raises ``AlexNetError`` where it is none."""
    try:
        return parse_table(description["net"]["table"], description["net"]["name"])
    except UsageError as error:
        raise AlexNetError(f"{where}: net.table: {error}; {remedy}") from error


def check_names(classes: Sequence[str], words: Sequence[str] | None, where: str, remedy: str) -> None:
    """Raises ``AlexNetError`` where two classes have one name, or the words are not one a class."""
    if len(set(classes)) != len(classes):
        raise AlexNetError(f"{where}: classes: one comes twice; {remedy}")
    if words and len(words) != len(classes):
        raise AlexNetError(f"{where}: words: {len(words):,} for {len(classes):,} classes; {remedy}")


@files.of_run
def load_preprocessing(path: str | os.PathLike) -> "Preprocessing":
    """How a run's images are prepared, on the CPU. Raises ``AlexNetError`` where that is damaged."""
    from alexnet.nets import weights

    file = Path(path) / "preparation.safetensors"
    description = read_description(path)
    tensors = weights.load_tensors(file)
    if files.sha256(file) != description["preparation_sha256"]:
        raise AlexNetError(f"{file}: damaged (its SHA-256 differs from the one in run.json); train again")
    return preprocessing_of(description["preparation"], tensors, os.fspath(path))


def preprocessing_of(description: dict[str, Any], tensors: "dict[str, Tensor]", where: str) -> "Preprocessing":
    """A preprocessing from what ``describe`` says of it and its two tensors.

    Args:
        description: its plain values.
        tensors: ``mean_image`` and ``noise``.
        where: what they were read from.

    Raises:
        AlexNetError: something is missing, or does not go together.
    """
    from alexnet.data.preprocessing import Preprocessing

    values = {**description, **{name: tensors[name] for name in ("mean_image", "noise") if name in tensors}}
    fields = {field.name: field.default for field in dataclasses.fields(Preprocessing)}
    try:
        for name, default in fields.items():
            if name not in values and default is dataclasses.MISSING:
                raise UsageError(f"preprocessing: {name}: is missing")
        return Preprocessing(**{name: value for name, value in values.items() if name in fields})
    except UsageError as error:
        raise AlexNetError(f"{where}: {error}; it was damaged or changed: train, export or import it again") from error


def table_at(net: str) -> tuple[Table, int | None]:
    """The table of a net (its name, or a .toml file) or of a run, whose number of classes is told, too.

    Raises:
        UsageError: no such net, and no run.
    """
    if not is_run(net):
        return load_table(net), None
    description = read_description(net)
    return table_of(description, net), len(description["classes"])


def is_run(path: str | os.PathLike) -> bool:
    """Whether there is a run at ``path``."""
    return files.exists(files.join(path, "run.json"))


@files.of_run
def open_run(path: str | os.PathLike, checkpoint: AnyCheckpoint = "last") -> Run:
    """Opens a run; one that is being trained is read as it is at this moment, whole.

    Args:
        path: its folder.
        checkpoint: ``last``; ``best``, of the lowest validation error; or a step, as 4, ``4`` or ``step-00000004``.

    Raises:
        UsageError: no run there, or no such checkpoint.
        AlexNetError: no checkpoint yet, or a damaged one.
    """
    from alexnet.nets import weights

    parse_checkpoint(checkpoint)
    description = read_description(path)
    preprocessing = load_preprocessing(path)
    weights_of_step = read_checkpoint(path, checkpoint, read_weights)
    if weights_of_step is None:
        raise _without(path, checkpoint)
    step, tensors = weights_of_step
    table = table_of(description, f"{path}: run.json")
    try:
        check_side(table, preprocessing.crop)
        net = weights.filled(table, len(description["classes"]), tensors, f"{path}: checkpoint of step {step}")
    except UsageError as error:
        raise AlexNetError(f"{path}: its parts do not go together ({error}); train or import it again") from error
    return Run(
        path=files.named(os.fspath(path)),
        net=net.eval(),
        classes=description["classes"],
        words=description.get("words") or description["classes"],
        preprocessing=preprocessing,
        data=description["data"],
        errors=description["errors"] if _is_last(path, step) else {},
        step=step,
    )


def _is_last(path: str | os.PathLike, step: int) -> bool:
    """Whether a step is that of the last checkpoint, which the errors in ``run.json`` are of."""
    last = find_checkpoint(path)
    return last is not None and step_of(last) == step


def _without(path: str | os.PathLike, checkpoint: AnyCheckpoint) -> AlexNetError:
    """What to say where a run lacks a checkpoint."""
    kind, step = parse_checkpoint(checkpoint)
    steps = kept_steps(path)
    if not steps or (kind == "last" and step is None):
        return AlexNetError(f"{path}: has no {checkpoint!r} checkpoint yet; train it on with `alexnet train`")
    if step is None and kind == "best":
        why = "(no validation images were measured before the last one was written); take the last one"
        return AlexNetError(f"{path}: has no 'best' checkpoint {why}")
    what = "that was kept for good" if step is None else f"of step {step:,}" + (f" called {kind}" if kind else "")
    has = f"it has {'that' if len(steps) == 1 else 'those'} of step {steps_text(steps)}"
    return UsageError(f"{path}: has no checkpoint {what}; {has} (--keep-every and --keep log keep more)")
