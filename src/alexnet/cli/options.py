"""What several commands have in common: options with their texts, and checks of what is given."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import kinds

Split = Literal["train", "val", "test"]
File = Annotated[str, arg(metavar="FILE")]
Folder = Annotated[str, arg(metavar="FOLDER")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Json:
    """For commands whose result can be read by programs."""

    json: bool = False
    """Print the result as JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Working(Json):
    """For commands that take a while and say how far they are."""

    quiet: bool = False
    """Show no progress, only results and warnings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnDevice:
    """For commands that compute with a net."""

    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """cpu, cuda, cuda:N or mps. auto: CUDA, else MPS, else CPU."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfCheckpoint:
    """For commands that read a run."""

    checkpoint: Annotated[str, arg(metavar="{last,best,STEP}")] = "last"
    """Checkpoint to use: the last one, the best one (lowest validation error), or that of a step, if it was kept (see
    train's --keep-every and --keep)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring(OfCheckpoint, OnDevice):
    """For commands that give images to a trained net."""

    views: Literal[1, 9, 10] = 1
    """Crops of each image whose outputs are averaged. 1: the center. 10: corners and center, and their flips (paper
    4.1). 9: a 3x3 grid (2012 source on CIFAR-10)."""

    precision: Literal["auto", "float32", "bf16", "fp16", "int8"] = "auto"
    """Precision of matrix products and convolutions. auto: bf16 where the machine is fast at it. int8: the weights of
    the fully connected layers are rounded to int8; the rest is as with auto."""

    workers: int = 2
    """Threads that decode images."""


def check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str]) -> None:
    """Refuses, before the work, a file that could not be written, or that would overwrite another or an input.

    Args:
        outputs: an option's name and the file it names.
        inputs: paths that the command reads.
    """
    written: dict[str, str] = {}
    read = {os.path.realpath(path) for path in inputs if not files.is_remote(path)}
    for option, path in outputs.items():
        if path is None:
            continue
        if path == "-":
            raise UsageError(f"{option} -: is no standard output here; give a file (a file of that name: ./-)")
        try:
            files.check_output(path)
        except AlexNetError as error:
            raise type(error)(f"{option} {error}") from error
        real = os.path.realpath(path)
        if real in written:
            raise UsageError(f"{written[real]} and {option}: both name {path}; give two files")
        written[real] = option
        picture = _is_picture(option, path)
        if real in read or _is_others(Path(real), option, picture):
            raise UsageError(
                f"{option} {path}: is there already, and is no file that {option} wrote; give another name, or remove "
                "the file"
            )
        _check_ending(option, path, picture)


TABLE_ENDINGS, PICTURE_ENDINGS = (".csv", ".txt", ".tsv", ""), (".png", "")  # of what options write


OWN = {"curve.png": "run.json"}  # what a command writes of itself, and what lies beside


HEADS = {  # how the tables begin that an option writes: only such a table is replaced
    "--csv": b"image,unsure,problem,",
    "--per-class": b"class,images,top1_error",
    "--confusion": b"true class,",
    "--predictions": b"name,true_class,predicted_class,",
    "--calibration": b"from,to,images,confidence,",
}
EITHER = ("--per-class", "--confusion", "--calibration")  # a picture where the file's name ends in .png


def _is_picture(option: str, path: str) -> bool:
    """Whether an option writes a picture to a path, else a table."""
    return option not in HEADS or (option in EITHER and path.lower().endswith(".png"))


def _check_ending(option: str, path: str, picture: bool) -> None:
    """Raises ``UsageError`` where a name's ending is of something else than what is written."""
    if Path(path).suffix.lower() in (PICTURE_ENDINGS if picture else TABLE_ENDINGS):
        return
    if option in EITHER:
        raise UsageError(f"{option} {path}: is written as a table or a picture; give a name that ends in .csv or .png")
    what, ending = ("PNG", ".png") if picture else ("CSV", ".csv")
    raise UsageError(f"{option} {path}: is written as {what}; give a name that ends in {ending}")


def _is_others(path: Path, option: str, picture: bool) -> bool:
    """Whether a file is there that is not what the option writes: an image, a run's, anybody's table or picture.

    Args:
        path: the file.
        option: its name.
        picture: it writes a picture there; else a table.
    """
    if not path.is_file():
        return False
    endings = (*TABLE_ENDINGS, *PICTURE_ENDINGS)
    if path.suffix.lower() not in endings or (path.name in OWN and (path.parent / OWN[path.name]).exists()):
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError:
        return True
    if not start:
        return False
    if picture:
        return not start.startswith(kinds.IMAGE_STARTS) or kinds.is_another_picture(path)
    return not start.startswith(HEADS[option])


MOST_SEEDS, LAST_SEED = 10_000, 2**32 - 1  # runs; of a recipe


def seed_list(text: str) -> list[int]:
    """``0..9``, ``0-9`` or ``0,3,7`` as numbers."""
    match = re.fullmatch(r"(\d+)(?:\.\.|-)(\d+)", text)
    seeds: Sequence[int] = []
    if match and 0 <= int(match[2]) - int(match[1]) < MOST_SEEDS:
        seeds = range(int(match[1]), int(match[2]) + 1)
    elif re.fullmatch(r"\d+(,\d+)*", text):
        seeds = list(map(int, text.split(",")))
    if not seeds:
        raise UsageError(f"--seeds {text}: give 0..9 or 0,3,7 (a range, or single ones)")
    if max(seeds) > LAST_SEED:
        raise UsageError(f"--seeds {text}: a seed is 0 to {LAST_SEED:,}")
    return list(seeds)
