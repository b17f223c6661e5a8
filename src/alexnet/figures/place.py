"""Where pictures of a run go: checked before the work, written whole, local or remote."""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

from alexnet import files
from alexnet.errors import UsageError
from alexnet.figures.style import ABOUT, save, save_image
from alexnet.files import kinds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 80  # bytes of a photo's name, and of a class, in a picture's
Drawing: TypeAlias = "Figure | Image.Image | bytes | None"  # None: there is nothing to draw


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder for pictures.

    Attributes:
        belongs: its path or URL.
        folder: the same where it is local.
    """

    belongs: str | os.PathLike
    folder: Path | None

    @classmethod
    def of(
        cls, run: str | os.PathLike, output: str | os.PathLike | None, names: Sequence[str], inputs: Sequence[str] = ()
    ) -> "Place":
        """The folder asked for, or the run's.

        Args:
            run: its folder.
            output: or None.
            names: of the files to write.
            inputs: files that are read.

        Raises:
            UsageError: it holds another run or a dataset, or a file may not be written or is one of the inputs.
        """
        belongs = run if output is None else output
        files.check_written(belongs)
        return cls(belongs, None if files.is_remote(belongs) else _local_folder(run, output, names, inputs))

    def write(self, drawings: Mapping[str, Drawing], wrote: Callable[[Path | str], None]) -> Sequence[Path | str]:
        """Writes those that there are, by their names; calls ``wrote`` with each when it is there."""
        if self.folder:
            return _write(drawings, self.folder, wrote)
        with files.sent(self.belongs) as folder:
            written = _write(drawings, files.make_folder(folder), lambda path: None)
        names = [files.join(self.belongs, path.name) for path in written]
        for name in names:
            wrote(name)
        return names


def named_picture(kind: str, *texts: str | None) -> str:
    """``inside-dog-tabby.png`` of ``inside``, ``dog`` and ``tabby``: letters that names have anywhere, not too many."""
    letters = [re.sub(r"[^\w.-]+", "-", text).strip("-.") for text in texts if text]
    parts = [text.encode()[:LONGEST].decode(errors="ignore") for text in letters]
    return "-".join([kind, *filter(None, parts)]) + ".png"


def own_name(folder: str | os.PathLike, name: str, about: str) -> str:
    """A picture's name; with a number behind it where one of ours in a local folder has it and shows something else."""
    if files.is_remote(folder):
        return name
    stem, ending = os.path.splitext(name)
    names = itertools.chain([name], (f"{stem}-{number}{ending}" for number in itertools.count(2)))
    return next(name for name in names if not _shows_else(os.path.join(folder, name), about))


def _shows_else(path: str, about: str) -> bool:
    """Whether a picture of ours is there that shows something else."""
    if not os.path.isfile(path) or kinds.is_another_picture(path):
        return False
    try:
        with Image.open(path) as image:
            return image.info.get(ABOUT) != about
    except (OSError, ValueError, SyntaxError):
        return True


def _write(drawings: Mapping[str, Drawing], folder: Path, wrote: Callable[[Path | str], None]) -> list[Path]:
    written = []
    for name, drawing in drawings.items():
        if drawing is None:
            continue
        path = folder / name
        if isinstance(drawing, bytes):
            files.write_bytes(path, drawing)
        elif isinstance(drawing, Image.Image):
            save_image(drawing, path)
        else:
            save(drawing, path)
        written.append(path)
        wrote(path)
    return written


def _local_folder(
    run: str | os.PathLike, output: str | os.PathLike | None, names: Sequence[str], inputs: Sequence[str]
) -> Path:
    """Where the pictures go; refused where they would overwrite another's, or what is read."""
    folder = files.make_folder(output or run)
    other_run = (folder / "run.json").exists() and (files.is_remote(run) or not folder.samefile(run))
    if other_run or any((folder / name).exists() for name in ("dataset.json", "prepare.json")):
        raise UsageError(f"{folder}: holds {'another run' if other_run else 'a dataset'}; give another --output")
    for target in (folder / name for name in names):
        files.check_output(target)
        if any(os.path.realpath(path) == os.path.realpath(target) for path in inputs):
            raise UsageError(f"{target}: is one of the images, and would be overwritten; give another --output")
        if output is not None and not (folder / "run.json").exists() and kinds.is_another_picture(target):
            raise UsageError(f"{target}: is there already, and is no picture of alexnet's; give another --output")
    return folder
