"""What to say of a path that is not what a command wants: what it is, and the command to give."""

import os
import shlex
from collections.abc import Sequence
from typing import NoReturn

from alexnet.errors import UsageError
from alexnet.files import kinds
from alexnet.files.checked import nearest
from alexnet.files.kinds import Kind, kind_of

WANTED = {  # what a command may want, in words
    "dataset": "a dataset",
    "run": "a run",
    "dataset or run": "a dataset or a run",
    "images": "images",
    "images or dataset": "images or a dataset",
    "index": "an index of images",
    "source": "a folder, archive or table of images",
    "stimuli": "a dataset, images, or a list of images",
    "weights": "a file of weights",
    "net": "a net",
    "recipe": "a recipe",
    "new dataset": "a folder for a new dataset",
    "new run": "a folder for a new run",
    "new runs": "a folder for new runs",
    "new demo": "a folder for the demo",
    "new experiment": "a folder for a new experiment",
    "new index": "a folder for a new index",
    "new file": "a new file",
}
FIT = {  # kinds that are what is wanted
    "dataset": (kinds.DATASET, kinds.UNFINISHED),
    "run": (kinds.RUN,),
    "images": (kinds.IMAGES, kinds.IMAGE, kinds.ARCHIVE),
    "images or dataset": (kinds.IMAGES, kinds.IMAGE, kinds.ARCHIVE, kinds.DATASET),
    "index": (kinds.INDEX,),
    "source": (kinds.IMAGES, kinds.ARCHIVE, kinds.SOURCES, kinds.TABLE),
    "stimuli": (kinds.DATASET, kinds.IMAGES, kinds.IMAGE, kinds.ARCHIVE, kinds.SOURCES, kinds.TABLE),
    "weights": (kinds.WEIGHTS, kinds.EXPORT),
    "new dataset": (kinds.DATASET, kinds.UNFINISHED, kinds.NOTHING, kinds.EMPTY),
    "new run": (kinds.RUN, kinds.DAMAGED, kinds.NOTHING, kinds.EMPTY),
    "new runs": (kinds.SEEDS, kinds.HOLDER, kinds.NOTHING, kinds.EMPTY),
    "new index": (kinds.INDEX, kinds.NOTHING, kinds.EMPTY),
    "new file": (kinds.NOTHING, kinds.FILE, kinds.WEIGHTS, kinds.EXPORT),
}
PREPARE = "first: alexnet prepare {path} {dataset}"
USES = {  # what to do with a thing of a kind, whatever was wanted
    kinds.DATASET: "to train on it: alexnet train {path} RUN",
    kinds.UNFINISHED: "give the same `alexnet prepare` command again",
    kinds.RUN: "alexnet info {path} says what it is",
    kinds.INDEX: "alexnet search {path} IMAGE finds similar images in it",
    kinds.CHECKPOINT: "give its run, {inside}, and --checkpoint {checkpoint}",
    kinds.EXPORT: "first: alexnet import {path} RUN",
    kinds.SEEDS: "give one of them: {inside}; alexnet compare {path} compares them, and "
    "alexnet evaluate {path}/seed-* DATASET averages their outputs",
    kinds.HOLDER: "give one that is in it: {inside}",
    kinds.PART: "give {inside}",
    kinds.IMAGES: PREPARE,
    kinds.SOURCES: PREPARE,
    kinds.ARCHIVE: PREPARE,
    kinds.TABLE: PREPARE,
    kinds.IMAGE: "alexnet predict RUN {path} says what is on it",
    kinds.NET: "alexnet train DATASET RUN --net {path} trains it",
    kinds.RECIPE: "alexnet train DATASET RUN --recipe {path} trains by it",
    kinds.WEIGHTS: "first: alexnet import {path} RUN",
}
INSTEAD = {  # where what to do depends on what was wanted
    **{("run", kind): f"{PREPARE}; then: alexnet train {{dataset}} RUN"
       for kind in (kinds.IMAGES, kinds.SOURCES, kinds.ARCHIVE, kinds.TABLE)},
    ("dataset", kinds.IMAGE): "give a folder of images with one folder per class to alexnet prepare first",
    ("dataset", kinds.RUN): "give the dataset, as `alexnet prepare` made it",
    ("dataset", kinds.DAMAGED): "give the dataset, as `alexnet prepare` made it",
    ("index", kinds.RUN): "make one first: alexnet index {path} SOURCE INDEX",
    ("index", kinds.IMAGES): "make one first: alexnet index RUN {path} INDEX",
    ("index", kinds.ARCHIVE): "make one first: alexnet index RUN {path} INDEX",
    ("source", kinds.IMAGE): "give a folder of images with one folder per class; "
    "alexnet predict RUN {path} says what is on it",
    ("source", kinds.DATASET): "to train on it: alexnet train {path} RUN; --layout table makes another dataset of it",
    ("source", kinds.RUN): "give the images: a folder or an archive",
    ("source", kinds.EXPORT): "give the images: a folder or an archive",
    ("images", kinds.DATASET): "to measure on it: alexnet evaluate RUN {path}; to see predictions: "
    "alexnet show RUN --dataset {path}",
    ("images", kinds.RUN): "give one run, then images, or a folder or an archive of them",
    ("net", kinds.RUN): "to see its net: alexnet summary {path}; to start from its weights: --from {path}",
    ("net", kinds.RECIPE): "give it with --recipe",
    ("recipe", kinds.RUN): "give its recipe: --recipe {recipe}",
    ("recipe", kinds.NET): "give it with --net",
    ("weights", kinds.RUN): "alexnet predict {path} IMAGE takes it as it is",
    ("weights", kinds.NET): "give the file of weights, and this table with --net",
}  # fmt: skip
MAKE = {  # what to do where there is nothing of what is wanted
    "dataset": "make one: alexnet prepare SOURCE {path}",
    "run": "make one: alexnet train DATASET {path}",
    "dataset or run": "alexnet prepare SOURCE DATASET makes a dataset, alexnet train DATASET RUN a run",
    "images or dataset": "give image files, or a folder or an archive of them, or a dataset",
    "index": "make one: alexnet index RUN SOURCE {path}",
    "images": "give image files, or a folder or an archive of them",
    "source": "give a folder or an archive of images with one folder per class",
    "stimuli": "give a dataset, image files, a folder or an archive of them, or a CSV of their paths",
    "weights": "`alexnet download` fetches published weights",
    "net": "give a name of `alexnet nets`, or a .toml file",
    "recipe": "give a name of `alexnet recipes`, or a .json or .toml file",
}
LIKENESS = 0.75  # of a path and one that could be meant: any two names have some letters in common
MOST_SIBLINGS = 1000  # names beside one that is not there


class Swapped(UsageError):
    """Arguments in another order than a command takes them.

    Args:
        reason: what they are.
        command: its name.
        given, right: the arguments, as they came and as they should.
    """

    def __init__(self, reason: str, command: str, given: Sequence[str], right: Sequence[str]):
        super().__init__(f"{reason}: {quoted('alexnet', command, *right)}")
        self._reason, self._pairs = reason, dict(zip(given, right))

    def told(self, words: Sequence[str], places: Sequence[int]) -> str:
        """The same, with the options of the command line that was given.

        Args:
            words: of the command line.
            places: of its arguments among them.
        """
        right = [self._pairs.get(word, word) if place in places else word for place, word in enumerate(words)]
        return f"{self._reason}: {quoted('alexnet', *right)}"


def quoted(*words: str) -> str:
    """Words as a shell takes them."""
    return shlex.join(f"./{word}" if word.startswith("-") and os.path.lexists(word) else word for word in words)


def check_path(path: object, wanted: str) -> None:
    """Raises ``UsageError`` for what is neither a path nor anything opened: None, a number, bytes (but of images).

    Args:
        path: as it was given.
        wanted: a key of ``WANTED``.
    """
    no_path = isinstance(path, bytearray | int | float | dict | set) or path is None
    if no_path or (isinstance(path, bytes) and wanted != "images"):
        name = type(path).__name__
        raise UsageError(f"{path!r:.60}: give {WANTED[wanted]} by its path, a str or a pathlib.Path, not a {name}")


def refuse(path: str | os.PathLike[str], wanted: str, option: str = "", own: str | None = None) -> NoReturn:
    """Says what a path is that is not what is wanted, and what to do.

    Args:
        path: as it was given.
        wanted: a key of ``WANTED``.
        option: whose value it is, if it is no argument.
        own: what it was seen to be, a ``dataset``, a ``run`` or an ``export``; looked at if not given.

    Raises:
        UsageError: always.
    """
    kind = kind_of(path, wanted) if own is None else Kind(own, kinds.WORDS[own])
    raise UsageError(words_of(os.fsdecode(path), wanted, kind, option))


def refuse_other(path: str | os.PathLike[str], wanted: str, option: str = "") -> None:
    """As ``refuse``, where there is something at the path of which it is known that it is something else."""
    kind = kind_of(path, wanted)
    harmless = (kinds.NOTHING, kinds.BLANK, kinds.REMOTE, kinds.FILE, kinds.TABLE, kinds.FOLDER, kinds.EMPTY)
    if wanted == "weights":  # a checkpoint's file is one of weights, too; and some are called checkpoint.pth.tar
        harmless = (*harmless, kinds.PART, kinds.ARCHIVE)
    if kind.name not in (*FIT.get(wanted, ()), *harmless):
        raise UsageError(words_of(os.fsdecode(path), wanted, kind, option))


def refuse_neither(path: str | os.PathLike[str]) -> None:
    """Raises ``UsageError`` where there is neither a dataset, finished or not, nor a run at a path."""
    kind = kind_of(path)
    if kind.name not in (kinds.DATASET, kinds.UNFINISHED, kinds.RUN, kinds.DAMAGED, kinds.REMOTE):
        refuse(path, "dataset or run")


def words_of(path: str, wanted: str, kind: Kind, option: str = "") -> str:
    """What ``refuse`` says."""
    at = f"{option} {path}" if option else path
    if kind.name == kinds.BLANK:
        return f"{option or WANTED[wanted]}: the name is empty; give {WANTED[wanted]}"
    make = MAKE.get(wanted, "give another folder").format(path=_makeable(path, wanted, kind))
    if kind.name in (kinds.NOTHING, kinds.REMOTE):
        missing = {name: f"no {name}" for name in ("index", "dataset", "run")}
        missing["dataset or run"] = "neither a dataset nor a run"
        nothing = "no such file or folder" if kind.name == kinds.NOTHING else "no such objects"
        none = f"{missing[wanted]} there ({nothing})" if wanted in missing else nothing
        return f"{at}: {none}; {_near(path, wanted)}{make}"
    what = f"neither {WANTED['dataset']} nor {WANTED['run']}" if wanted == "dataset or run" else f"not {WANTED[wanted]}"
    todo = make if wanted.startswith("new ") else INSTEAD.get((wanted, kind.name), USES.get(kind.name, make))
    names = {
        "path": quoted(path),
        "dataset": quoted(_new_dataset(path)),
        "inside": quoted(kind.inside),
        "recipe": quoted(os.path.join(path, "recipe.json")),
        "checkpoint": _checkpoint_of(path),
    }
    return f"{at}: is {kind.words}, {what}; {todo.format(**names)}"


def _makeable(path: str, wanted: str, kind: Kind) -> str:
    """What to call the thing that is to be made: as it was called, where nothing is in its way."""
    return quoted(path) if kind.name in (kinds.NOTHING, kinds.EMPTY, kinds.REMOTE) else wanted.upper()


def _checkpoint_of(path: str) -> str:
    """What ``--checkpoint`` takes for a checkpoint's folder."""
    kind, _, step = os.path.basename(os.path.normpath(path)).partition("-")
    return str(int(step)) if kind == "step" and step.isdigit() else kind if kind in ("last", "best") else "last"


def _new_dataset(path: str) -> str:
    """A name for a dataset of images: one that is free, if it can be."""
    name = os.path.basename(os.path.normpath(path)).partition(".")[0] or "images"
    free = (new for new in ("dataset", f"{name}-dataset", f"{name}-dataset-2") if not os.path.lexists(new))
    return next(free, "DATASET")


def _near(path: str, wanted: str) -> str:
    """``perhaps you meant run; `` where something of what is wanted has a name that is near."""
    folder = os.path.dirname(path)
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry, _ in zip(entries, range(MOST_SIBLINGS))]
    except (OSError, ValueError):
        return ""
    fit = [os.path.join(folder, name) for name in names if _fits(wanted, kind_of(os.path.join(folder, name)))]
    return nearest(path, fit, LIKENESS)


def _fits(wanted: str, kind: Kind) -> bool:
    known = FIT.get(wanted) or (kinds.DATASET, kinds.RUN) if wanted == "dataset or run" else FIT.get(wanted, ())
    return kind.name in (*known, kinds.REMOTE)


MOST_CHECKED = 16  # arguments whose order is looked at


def check_order(command: str, *arguments: tuple[str, object]) -> None:
    """Refuses arguments that would be right in another order; any others are looked at where they are opened.

    Args:
        command: its name.
        arguments: what each must be (a key of ``FIT``), and its path; one that is opened already cannot be wrong.

    Raises:
        Swapped: two of them are swapped: with the right command.
        UsageError: one is no path and nothing opened.
    """
    for wanted, path in arguments:
        check_path(path, wanted)
    paths = [os.fsdecode(path) for _, path in arguments if isinstance(path, str | bytes | os.PathLike)]
    if len(paths) != len(arguments) or len(paths) > MOST_CHECKED:
        return
    seen = [kind_of(path) for path in paths]
    wrong = [i for i, (wanted, _) in enumerate(arguments) if not _fits(wanted, seen[i])]
    if kinds.REMOTE in [entry.name for entry in seen] and kinds.NOTHING in [entry.name for entry in seen]:
        return  # a URL may be where something is read from, or where it cannot be written
    for i in wrong:
        for j in (j for j in range(len(paths)) if j != i):
            order = list(range(len(paths)))
            order[i], order[j] = order[j], order[i]
            if all(_fits(wanted, seen[k]) for (wanted, _), k in zip(arguments, order)):
                first, second = (i, j) if seen[i].name != kinds.NOTHING else (j, i)
                is_what = f"{paths[first]}: is {seen[first].words}, not {WANTED[arguments[first][0]]}"
                is_what += (
                    f", and {paths[second]} is {seen[second].words}" if seen[second].name != kinds.NOTHING else ""
                )
                raise Swapped(f"{is_what}; the arguments are swapped", command, paths, [paths[k] for k in order])
