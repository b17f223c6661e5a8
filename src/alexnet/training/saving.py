"""Writes checkpoints beside the training, in a thread of its own."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.runs.checkpoint import write_checkpoint

SHARE = 0.02  # of the training's time that writing may take


def check_there(run: Path) -> None:
    """Raises ``AlexNetError`` where a run's folder was removed or moved while it was trained."""
    if not (run / "run.json").exists():
        raise AlexNetError(
            f"{run}: was removed or moved while it was trained, so nothing more can be saved there; training stopped. "
            "Where it was moved, give its new place to the same command; else it begins anew"
        )


class Writer:
    """Copies the tensors at once, then writes the copy in a thread of its own; one write at a time.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "checkpoints"
        files.remove_leftovers(files.make_folder(self.folder), owned=True)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._future: Future[None] | None = None
        self._room: dict[str, Tensor] = {}
        self._cost = 0.0
        self._ended = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has gone by since the last write that another costs at most ``SHARE`` of it."""
        idle = self._future is None or self._future.done()
        return idle and time.monotonic() - self._ended >= self._cost / SHARE

    def _copy(self, kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        for name, tensor in tensors.items():
            key = f"{kind}/{name}"
            if key not in self._room:
                self._room[key] = torch.empty(tensor.shape, dtype=tensor.dtype)
            self._room[key].copy_(tensor.detach())
        return {name: self._room[f"{kind}/{name}"] for name in tensors}

    def save(
        self,
        kind: str,
        step: int,
        tensors: dict[str, Tensor],
        velocities: dict[str, Tensor],
        state: dict,
        best: tuple[int, dict[str, Tensor]] | None = None,
    ) -> None:
        """Writes a ``last`` or ``step`` checkpoint, and before it the ``best`` weights with their step, if given.

        Args:
            tensors, velocities: copied before this returns.
            best: not copied: nobody may change them any more. They cannot be resumed from.

        Raises:
            AlexNetError: this write's predecessor did not succeed (a full disk, say), or the run's folder is gone.
        """
        self.wait()
        check_there(self.folder.parent)
        started = time.monotonic()
        parts = {
            "weights.safetensors": self._copy("weights", tensors),
            "state.safetensors": self._copy("velocities", velocities),
        }

        def write() -> None:
            if best is not None:
                self._write("best", best[0], {"weights.safetensors": best[1]}, {})
            self._write(kind, step, parts, state)
            self._ended = time.monotonic()
            self._cost = self._ended - started

        self._future = self._pool.submit(write)

    def _write(self, kind: str, step: int, parts: dict[str, dict[str, Tensor]], state: dict) -> None:
        target = self.folder / f"{kind}-{step:08d}"
        self.folder.mkdir(exist_ok=True)  # somebody may have removed it; where the run itself is gone, an error
        if not target.exists():
            with files.atomic_folder(target, parents=False) as partial:
                write_checkpoint(partial, step, parts, state)
        if kind != "step":
            for old in self.folder.glob(f"{kind}-*"):
                if old.name < target.name:
                    files.remove_folder(old)

    def wait(self) -> None:
        """Waits for the write under way and raises what went wrong with it."""
        future, self._future = self._future, None
        if future:
            try:
                future.result()
            except (OSError, AlexNetError):
                check_there(self.folder.parent)  # which says more of it
                raise

    def close(self) -> None:
        """Waits, and ends the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown(wait=True)
