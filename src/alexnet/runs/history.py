"""What was measured with a run: ``evaluations.jsonl``, a line a measurement, added by ``alexnet evaluate``."""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.files import Count, Misfit, Within, checked, remote
from alexnet.runs.code import version
from alexnet.runs.journal import Share, journal_bytes

FILE = "evaluations.jsonl"


class Measurement(TypedDict):
    """A line of ``evaluations.jsonl``.

    ``dataset`` is the path as it was given, ``store`` the dataset's fingerprint; errors are as in ``run.json``, and
    those of the top 5 None where a dataset has no more than five classes.
    """

    time: str
    version: NotRequired[str | None]
    dataset: str
    store: str
    split: str
    views: Annotated[int, Within(1, 10)]
    step: Count
    precision: str
    images: Count
    top1_error: Share
    top1_interval: tuple[Share, Share]
    top5_error: Share | None
    top5_interval: tuple[Share, Share] | None
    loss: float | None


def add_measurement(folder: str | os.PathLike, measured: dict[str, Any]) -> None:
    """Adds a line at once, with the time and our version. Where the run's folder cannot be written, nothing happens.

    Args:
        folder: the run's.
        measured: what a ``Measurement`` has besides.
    """
    if files.is_remote(folder):
        _add_remotely(os.fspath(folder), measured)
        return
    if not Path(folder, "run.json").exists():
        return
    path = Path(folder, FILE)
    if path.exists() and not path.is_file():  # a pipe or a device: writing there may wait for ever
        return
    line = _line(measured)
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(file).st_size
            if size:
                os.lseek(file, -1, os.SEEK_END)
            torn = size and os.read(file, 1) != b"\n"  # by a power cut, or a full disk
            os.write(file, b"\n" + line if torn else line)
        finally:
            os.close(file)


def _line(measured: dict[str, Any]) -> bytes:
    content = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "version": version(), **measured}
    return (files.to_json(content, indent=None) + "\n").encode()


def _add_remotely(folder: str, measured: dict[str, Any]) -> None:
    """As ``add_measurement``: objects cannot be added to, so the file is written anew; the last one to do so stays."""
    path = files.join(folder, FILE)
    with contextlib.suppress(AlexNetError, OSError):
        before = files.read_bytes(path) if files.exists(path) else b""
        torn = before and not before.endswith(b"\n")
        remote.write(path, before + b"\n" * bool(torn) + _line(measured))


@files.of_run
def read_measurements(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines that can be read, oldest first."""
    content, lines = b"", []
    with contextlib.suppress(OSError):
        content = journal_bytes(Path(folder, FILE))
    for line in content.splitlines():
        with contextlib.suppress(ValueError, Misfit):
            lines.append(checked(files.parse_json(line), Measurement))
    return lines


@files.of_run
def latest_measurements(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The newest line of each dataset, split, number of views, step and precision, in the order of these."""
    newest = {}
    for line in read_measurements(folder):
        key = tuple(line[name] for name in ("store", "split", "views", "step", "precision"))
        newest.pop(key, None)
        newest[key] = line
    return [newest[key] for key in sorted(newest, key=lambda key: (*key[1:4], *key))]
