"""What the options of several commands have in common."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet import files
from alexnet.errors import UsageError


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
        try:
            files.check_output(path)
        except UsageError as error:
            raise UsageError(f"{option} {error}") from error
        real = os.path.realpath(path)
        if real in written:
            raise UsageError(f"{written[real]} and {option}: both name {path}; give two files")
        written[real] = option
        if real in read or _is_others(Path(real)):
            raise UsageError(
                f"{option} {path}: is there already, and is no file that {option} wrote; give another name"
            )


WRITTEN = (".csv", ".png", ".txt", ".tsv", "")  # endings of what options write


OWN = ("skipped.csv", "duplicates.csv")  # a dataset's


def _is_others(path: Path) -> bool:
    """Whether a file is there that no option of a command has written: an image, a dataset's or a run's, a table."""
    datasets = path.name in OWN and (path.parent / "dataset.json").exists()
    return path.exists() and path.is_file() and (path.suffix.lower() not in WRITTEN or datasets)
