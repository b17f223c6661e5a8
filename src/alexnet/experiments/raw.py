"""Raw figures: rows in a file, a JSON object a line, each of a condition and a seed; checked as they are read."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from matplotlib.figure import Figure

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.experiments.experiment import RAW, Experiment, Row
from alexnet.experiments.statistics import unpacked
from alexnet.files.old_names import current_condition
from alexnet.files.text import plain

ROWS = "case_rows"  # how many rows a condition has with a seed, in each of them where there are several
REMEDY = "remove it, and the others of its condition and seed: `alexnet reproduce` measures them again"


def rows_of(condition: str, seed: int, measured: Sequence[Row], on: str) -> list[Row]:
    """What was measured of a condition with a seed on a machine, as it is kept."""
    case = {"condition": condition, "seed": seed}
    more = {"machine": on} | ({ROWS: len(measured)} if len(measured) > 1 else {})
    return [{**case, **row, **case, **more} for row in measured]  # first, and whatever a row says of them


def whole(rows: Sequence[Row]) -> list[Row]:
    """Rows without those of a condition and seed of which some are gone."""
    there = Counter((row["condition"], row["seed"]) for row in rows)
    return [row for row in rows if there[row["condition"], row["seed"]] >= row.get(ROWS, 1)]


def to_bytes(rows: Sequence[Row]) -> bytes:
    """The content of a file of raw figures."""
    return "".join(files.to_json(row, indent=None) + "\n" for row in rows).encode("utf-8")


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of a file of raw figures.

    Raises:
        AlexNetError: a line is none, lacks what every row has, has a figure that none can have, or is there twice.
    """
    rows, there = [], dict[tuple[str, int], dict[int, Row]]()
    for number, line in enumerate(files.read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        where = f"{path}: line {number:,}"
        try:
            row = files.checked(files.parse_json(line), dict)
        except ValueError as error:
            raise AlexNetError(f"{where}: is no row of raw figures; {REMEDY}") from error
        problem = _problem(row)
        if problem:
            raise AlexNetError(f"{where}: {problem}; {REMEDY}")
        row["condition"] = current_condition(row["condition"])
        case = there.setdefault((row["condition"], row["seed"]), {})
        for before, other in case.items():
            if other == row:
                raise AlexNetError(f"{where}: is line {before:,} again; remove one of them")
        if ("wrong" in row or ROWS in row) and len(case) >= row.get(ROWS, 1):
            raise AlexNetError(f"{where}: is of the same condition and seed as line {next(iter(case)):,}; {REMEDY}")
        case[number] = row
        rows.append(row)
    return rows


def cases(rows: Sequence[Row]) -> set[tuple[str, int]]:
    """The conditions and seeds that rows are of."""
    return {(row["condition"], row["seed"]) for row in rows}


def measured_rows(folder: Path) -> list[Row]:
    """What was measured in a folder, of whole cases."""
    return whole(read_rows(folder / RAW)) if (folder / RAW).exists() else []


def _problem(row: Row) -> str | None:
    """What is wrong with a row, the first of it."""
    if not isinstance(row.get("condition"), str):
        return "names no condition"
    if plain(row["condition"]) != row["condition"]:
        return "condition: is no text"
    if not _is_count(row.get("seed"), 0):
        return "names no seed"
    if "machine" in row and not (isinstance(row["machine"], str) and plain(row["machine"]) == row["machine"]):
        return "machine: is no text"
    images, several = row.get("images", 1), row.get(ROWS, 1)
    if not isinstance(images, dict | list) and not _is_count(images, 1):
        return "images: is not a number of them"
    if not _is_count(several, 1):
        return f"{ROWS}: is not a number of them"
    for key in ("top1_error", "top5_error"):
        value: Any = row.get(key)
        unmeasured = value is None and (key == "top5_error" or "wrong" not in row)
        if not unmeasured and not (_is_number(value) and 0 <= value <= 1):
            return f"{key}: is not an error, 0 to 1"
    if "wrong" in row:
        try:
            unpacked(row["wrong"], row["images"])
        except (KeyError, TypeError, ValueError):
            return "wrong: does not say of each image whether it was told wrong"
    return None


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(experiment: Experiment, rows: Sequence[Row], path: str | os.PathLike[str]) -> tuple[list[str], Figure]:
    """The table of rows, as lines of Markdown, and their figure.

    Args:
        experiment: whose.
        rows: of one or more conditions.
        path: the file that they are from.

    Raises:
        AlexNetError: there are none, or they are not this experiment's, or do not go together.
    """
    if not rows:
        raise AlexNetError(f"{path}: holds no rows")
    try:
        return experiment.table(rows), experiment.figure(rows)
    except AlexNetError as error:
        raise type(error)(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise AlexNetError(
            f"{path}: its rows cannot be shown ({type(error).__name__}: {error}); if some were changed, remove these: "
            "`alexnet reproduce` measures them again"
        ) from error


def in_order(rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """Rows in the order of an experiment's conditions, then others as they came; of a condition by their seeds."""
    order = {condition: number for number, condition in enumerate(dict.fromkeys(
        (*conditions, *(row["condition"] for row in rows))))}  # fmt: skip
    return sorted(rows, key=lambda row: (order[row["condition"]], row["seed"]))
