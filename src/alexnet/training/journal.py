"""What a training writes down: metrics.jsonl, timings.jsonl, TensorBoard."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from alexnet import files
from alexnet.errors import WrongUse
from alexnet.runs.journal import read_journal


class Lines:
    """A file of JSON lines, each with a ``step``, that can be cut back to a step.

    Args:
        path: the file.
        step: lines beyond this step are cut off: they were written after the checkpoint that is resumed from.

    Attributes:
        unreadable: lines that were left out since they are no JSON of this kind.
    """

    def __init__(self, path: Path, step: int):
        lines, self.unreadable = read_journal(path)
        kept = b"".join(line for line, content in lines if content["step"] <= step)
        with files.explained(path):
            if not path.exists() or path.read_bytes() != kept:
                files.write_bytes(path, kept)
            self._file = open(path, "ab")
        self.path = path
        self._bytes, self._digest = len(kept), hashlib.sha256(kept)

    def write(self, **values: Any) -> None:
        """Adds a line."""
        line = (files.to_json(values, indent=None) + "\n").encode()
        self._bytes += len(line)
        self._digest.update(line)
        with files.explained(self.path):
            self._file.write(line)

    def mark(self) -> dict[str, Any]:
        """How long the file is by now, and the SHA-256 of that: what a checkpoint says of it."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def flush(self) -> None:
        """Has the operating system put what was written on the disk: a checkpoint says how long the file is."""
        with files.explained(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        with files.explained(self.path):
            self._file.close()


class Journal:
    """The journal of one run: ``metrics.jsonl`` holds what is reproducible, ``timings.jsonl`` what is not."""

    def __init__(self, folder: Path, step: int, tensorboard: bool):
        self.metrics = Lines(folder / "metrics.jsonl", step)
        self.timings = Lines(folder / "timings.jsonl", step)
        self._board = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise WrongUse("--tensorboard: is not installed; pip install 'alexnet[tensorboard]'") from error
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, **values: Any) -> None:
        """A line of metrics: ``step``, ``epoch``, ``split``, and figures."""
        self.metrics.write(**values)
        if self._board:
            for name in ("rate", "loss", "top1_error", "top5_error"):
                if name in values:
                    self._board.add_scalar(f"{values['split']}/{name}", values[name], values["step"])

    def flush(self) -> None:
        """Hands everything to the operating system; a checkpoint follows it."""
        self.metrics.flush()
        self.timings.flush()
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Closes the files."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.metrics.close)
            stack.callback(self.timings.close)
            if self._board:
                stack.callback(self._board.close)
