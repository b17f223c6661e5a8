"""Raw figures: rows in a file, a JSON object a line, each of a condition and a seed; checked as they are read."""

import os
from collections.abc import Sequence
from typing import Any

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.experiments.experiment import Experiment, Row
from alexnet.experiments.statistics import unpacked

ROWS = "case_rows"  # how many rows a condition has with a seed, in each of them where there are several
REMEDY = "remove it, and the others of its condition and seed: the same command measures them again"


def rows_of(condition: str, seed: int, measured: Sequence[Row]) -> list[Row]:
    """What was measured of a condition with a seed, as it is kept."""
    several = {ROWS: len(measured)} if len(measured) > 1 else {}
    return [{"condition": condition, "seed": seed, **row, **several} for row in measured]


def is_whole(rows: Sequence[Row], condition: str, seed: int) -> bool:
    """Whether all rows of a condition with a seed are there."""
    own = [row for row in rows if (row["condition"], row["seed"]) == (condition, seed)]
    return bool(own) and len(own) >= max(row.get(ROWS, 1) for row in own)


def to_bytes(rows: Sequence[Row]) -> bytes:
    """The content of a file of raw figures."""
    return "".join(files.to_json(row, indent=None) + "\n" for row in rows).encode("utf-8")


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of a file of raw figures.

    Raises:
        AlexNetError: a line is none, lacks what every row has, has a figure that none can have, or is there twice.
    """
    rows, lines = [], dict[str, int]()
    for number, line in enumerate(files.read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        where = f"{path}: line {number:,}"
        try:
            row = files.checked(files.parse_json(line), dict)
        except ValueError as error:
            raise AlexNetError(f"{where}: is no row of raw figures; {REMEDY}") from error
        problem = _problem(row)
        if lines.setdefault(line, number) != number:
            problem = f"is line {lines[line]:,} again"
        if problem:
            raise AlexNetError(f"{where}: {problem}; {REMEDY}")
        rows.append(row)
    return rows


def _problem(row: Row) -> str | None:
    """What is wrong with a row, the first of it."""
    if not isinstance(row.get("condition"), str):
        return "names no condition"
    if not _is_count(row.get("seed"), 0):
        return "names no seed"
    for key in ("images", ROWS):
        if not isinstance(row.get(key), dict | list) and not _is_count(row.get(key, 1), 1):
            return f"{key}: is not a number of them"
    for key in ("top1_error", "top5_error"):
        value = row.get(key, 0.0)
        if not (_is_number(value) and 0 <= value <= 1) and not (value is None and key == "top5_error"):
            return f"{key}: is not an error, 0 to 1"
    if "wrong" in row:
        try:
            unpacked(row["wrong"], row["images"])
        except (KeyError, TypeError, ValueError):
            return "wrong: does not say of each image whether it was told wrong"
    return None


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def table_of(experiment: Experiment, rows: Sequence[Row], path: str | os.PathLike[str]) -> list[str]:
    """Lines of Markdown: the table of rows from a file. Raises ``AlexNetError`` where they do not go together."""
    try:
        return experiment.table(rows)
    except AlexNetError as error:
        raise type(error)(f"{path}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise AlexNetError(
            f"{path}: a row lacks a figure of this experiment, or has another ({type(error).__name__}: {error}); "
            "remove the rows that were changed: the same command measures them again"
        ) from error
