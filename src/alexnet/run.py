"""A trained network on disk, and how to open it.

A run is a folder::

    run.json                 net's table, class names, how images are prepared, measured errors
    preparation.safetensors  mean image and colour noise
    recipe.json              everything the training was told
    checkpoints/last-00001234/   weights.safetensors, state.safetensors, checkpoint.json (hashes)
    checkpoints/best-00001200/   the same of the lowest validation error
    metrics.jsonl, timings.jsonl, curve.png
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from alexnet import files
from alexnet.data.augment import Preparation
from alexnet.errors import Failure, WrongUse
from alexnet.nets import weights
from alexnet.nets.network import Network, parse_table

FORMAT_VERSION = 2  # since 2 the scale may be three numbers, and data say where weights were imported from
CHECKPOINT = re.compile(r"(last|best|step)-(\d{8,})")


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
    files.write_json(folder / "run.json", {**description, "preparation_sha256": files.sha256_bytes(content)})


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
    files.write_json(place / "checkpoint.json", {"step": step, "sha256": hashes, "state": state})


def note_errors(folder: str | os.PathLike, name: str, errors: dict) -> None:
    """Adds measured errors to ``run.json``."""
    description = files.read_json(Path(folder) / "run.json")
    description["errors"][name] = errors
    files.write_json(Path(folder) / "run.json", description)


def read_description(path: str | os.PathLike) -> dict:
    """``run.json``. Raises ``WrongUse`` where there is no run, or one of a newer format."""
    file = Path(path) / "run.json"
    if not file.exists():
        raise WrongUse(f"{path}: no run there (it has no run.json); make one with `alexnet train STORE {path}`")
    description = files.read_json(file)
    version = description.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise WrongUse(
            f"{path}: a run of format {version}, newer than this alexnet reads ({FORMAT_VERSION}); upgrade alexnet"
        )
    return description


def load_preparation(path: str | os.PathLike) -> Preparation:
    """How a run's images are prepared, on the CPU."""
    file = Path(path) / "preparation.safetensors"
    told = read_description(path)
    tensors = weights.load_tensors(file)
    if files.sha256(file) != told.get("preparation_sha256"):
        raise Failure(f"{file}: damaged (its SHA-256 differs from the one in run.json); train again")
    return preparation_of(told["preparation"], tensors["mean_image"], tensors["noise"])


def preparation_of(told: dict, mean_image: Tensor, noise: Tensor) -> Preparation:
    """A preparation from what ``describe`` says of it and its two tensors. Raises ``Failure`` where that is damaged."""
    try:
        scale = tuple(told["scale"]) if isinstance(told["scale"], list) else told["scale"]
        return Preparation(**{**told, "scale": scale}, mean_image=mean_image, noise=noise)
    except (KeyError, TypeError) as error:
        raise Failure(f"a run's preparation is damaged ({error}); train or import it again") from error


def is_run(path: str | os.PathLike) -> bool:
    """Whether there is a run at ``path``."""
    return (Path(path) / "run.json").exists()


def describe_run(path: str | os.PathLike) -> dict:
    """What a run is, for people and JSON."""
    told = read_description(path)
    found = {kind: find_checkpoint(path, kind) for kind in ("last", "best")}
    return {
        "run": os.fspath(path),
        "net": told["net"]["name"],
        "classes": told["classes"],
        "words": told.get("words") or told["classes"],
        "preparation": told["preparation"],
        "data": told["data"],
        "checkpoints": {kind: int(place.name.split("-")[1]) for kind, place in found.items() if place},
        "errors": told["errors"],
    }


def verify(path: str | os.PathLike) -> Iterator[tuple[str, str | None]]:
    """Checks every file's hash: yields its name and None, or what is wrong with it."""
    expected = {"preparation.safetensors": read_description(path).get("preparation_sha256")}
    for place in sorted(Path(path, "checkpoints").glob("*-*")):
        if CHECKPOINT.fullmatch(place.name) and (place / "checkpoint.json").exists():
            hashes = files.read_json(place / "checkpoint.json")["sha256"]
            expected |= {f"checkpoints/{place.name}/{name}": digest for name, digest in hashes.items()}
    for name, digest in expected.items():
        if not Path(path, name).exists():
            yield name, "missing"
        elif files.sha256(Path(path, name)) != digest:
            yield name, "its bytes are not those that were written (SHA-256 differs)"
        else:
            yield name, None


def find_checkpoint(folder: str | os.PathLike, kind: str = "last") -> Path | None:
    """The newest whole checkpoint of a kind (``last``, ``best``, ``step``), or None."""
    found = []
    for entry in Path(folder, "checkpoints").glob(f"{kind}-*"):
        match = CHECKPOINT.fullmatch(entry.name)
        if match and (entry / "checkpoint.json").exists():
            found.append((int(match[2]), entry))
    return max(found)[1] if found else None


def check_hashes(checkpoint: Path, names: list[str] | None = None) -> dict:
    """A checkpoint's ``checkpoint.json`` once the files' hashes agree with it.

    Raises:
        Failure: a file's bytes are not those that were written.
    """
    note = files.read_json(checkpoint / "checkpoint.json")
    for name, digest in note["sha256"].items():
        if names is not None and name not in names:
            continue
        path = checkpoint / name
        if not path.exists() or files.sha256(path) != digest:
            raise Failure(
                f"{path}: damaged (its SHA-256 differs from the one written with it); "
                "remove this checkpoint's folder to go back to another one"
            )
    return note


def load(path: str | os.PathLike, checkpoint: str = "last", device: torch.device | str = "cpu") -> Run:
    """Opens a run.

    Args:
        path: its folder.
        checkpoint: ``last`` or ``best``.
        device: where the net shall be.

    Raises:
        WrongUse: no run there.
        Failure: no checkpoint yet, or a damaged one.
    """
    description = read_description(path)
    place = find_checkpoint(path, checkpoint)
    if place is None:
        raise Failure(f"{path}: has no {checkpoint!r} checkpoint yet; train it on with `alexnet train`")
    note = check_hashes(place, ["weights.safetensors"])
    table = parse_table(description["net"]["table"], description["net"]["name"])
    net = Network(table, len(description["classes"]))
    weights.put(net, weights.load_tensors(place / "weights.safetensors"), str(place))
    device = torch.device(device)
    return Run(
        path=os.fspath(path),
        net=net.eval().to(device),
        classes=description["classes"],
        words=description.get("words") or description["classes"],
        preparation=load_preparation(path).to(device),
        data=description["data"],
        errors=description["errors"],
        step=note["step"],
    )
