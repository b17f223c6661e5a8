"""A dataset that is made for object storage: shard by shard put where it belongs, and no longer kept here."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from alexnet import files
from alexnet.data.shards import UNFINISHED
from alexnet.files.copies import WHOLE, Copy


class Delivery:
    """Puts what is finished of a dataset where it belongs.

    Args:
        work: its working copy.
    """

    def __init__(self, work: Copy):
        self._work = work
        self.folder: Path = work.folder

    def __call__(self, shard: str) -> None:
        """Puts a finished shard up, then its note, by which it counts as finished; the shard goes from here."""
        notes = (f"{UNFINISHED}/{shard}{ending}" for ending in (".safetensors", ".npy", ".json"))
        self._work.put([f"{shard}.arrow", *notes])
        (self.folder / f"{shard}.arrow").unlink()

    def begin(self) -> None:
        """Puts up the note of what goes into the dataset, and sees what other parts have done."""
        self._work.put(["prepare.json"])
        self._work.look()

    def look(self) -> None:
        """Sees what other parts have done."""
        self._work.look()

    def finish(self) -> None:
        """Puts up what describes the dataset, ``dataset.json`` last; the notes go."""
        names = self._work.names(but=UNFINISHED)
        self._work.put(sorted(names, key=lambda name: name.endswith(WHOLE)))
        self._work.remove([name for name in self._work.known if name.startswith(f"{UNFINISHED}/")])


@contextlib.contextmanager
def delivered(dataset: str | os.PathLike, lock: str, say: Callable[[str], None]) -> Iterator[Delivery | None]:
    """Within the block this process alone does its part of a remote dataset; None for a local one.

    Args:
        dataset: where it belongs.
        lock: name of the part's.
        say: is told where the place of a process that died is taken.
    """
    if not files.is_remote(dataset):
        yield None
        return
    url = os.fsdecode(dataset).rstrip("/")
    folder = files.work_place(url, lock)
    with files.owned_remotely(url, folder, lock, say) as work:
        yield Delivery(work)
    files.drop_work(folder)
