"""Activations of layers for a set of stimuli, to a file that other programs open: ``alexnet features``."""

import dataclasses
import os
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import corners
from alexnet.data.sources.pictures import Paths
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.activations import Activations, Pool, activations, shapes
from alexnet.evaluation.classifier import AnyRun, Classifier, opened
from alexnet.evaluation.identity import weights_hash
from alexnet.evaluation.stimuli import DatasetStimuli, Fit, Stimuli, as_in_training, stimuli_of
from alexnet.nets.layer_names import canonical
from alexnet.progress import clock, plural, size_text
from alexnet.ranks import current
from alexnet.runs.code import version
from alexnet.science import formats
from alexnet.science.formats.columns import MOST_COLUMNS, Column, columns_of
from alexnet.science.formats.content import Content
from alexnet.science.leftovers import leftovers

MEASURED_SECONDS, MEASURED_BATCHES = 8.0, 4  # of work after the first batch, before its time is told
TEXT_BYTES = 300  # of an image's name, label and what was done, where nothing is known yet
TEXT_OVERHEAD = {".h5": 40, ".hdf5": 40, ".nc": 40, ".mat": 60, ".arrow": 4}  # bytes beside a text in such a file
FILE_OVERHEAD = {".nc": 36_000, ".h5": 4_000, ".hdf5": 4_000}  # bytes, of what else is in such a file
ORDER = "where the numbers of an image lie in one row: by its axes in their order, the last one fastest (C order)"
INPUT = "(pixels, 0 to 255, minus the center crop of the training images' mean image) times scale; mean: of its colors"


@dataclasses.dataclass(frozen=True)
class Written:
    """What ``write_features`` wrote.

    Attributes:
        files: that are there now.
        images: rows.
        layers: the shape of one image's activations, by the layers' own names.
        dropout_factors: of dropout at test, that each layer's activations have; 1 where there is none, or without it.
        model: what the file calls the net: the run's folder and the beginning of its weights' SHA-256.
        bytes: of all files.
        bad: images that could not be read.
        left_out: these: ``source_row`` in the source, from 0, ``name``, ``problem``.
        seconds: that it took.
        expected_seconds, expected_bytes: as told after the first batches; None where all was done before.
    """

    files: list[str]
    images: int
    layers: dict[str, tuple[int, ...]]
    dropout_factors: dict[str, float]
    model: str
    bytes: int
    bad: int
    left_out: list[dict[str, Any]]
    seconds: float
    expected_seconds: float | None = None
    expected_bytes: int | None = None


def write_features(
    run: AnyRun,
    source: Stimuli | Dataset | Paths,
    file: str | os.PathLike,
    layers: str | Sequence[str] = ("fc7",),
    *,
    split: str | None = None,
    views: int = 1,
    pool: Pool | None = None,
    fit: Fit | None = None,
    fit_words: str | None = None,
    dropout_factor: bool = True,
    precision: str = "float32",
    workers: int = 2,
    note: Callable[[str], None] | None = None,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Writes activations of layers to a file whose suffix says the kind, in memory that does not grow with it.

    The file appears when it is whole. What a killed process left is removed when it is given again.

    Args:
        run, source, layers, split, views, pool, dropout_factor, precision, workers: as for ``activations``.
        file: a new one, in .npy, .h5, .nc, .mat, .parquet, .arrow or .safetensors.
        fit: what makes of an image what the net takes; as in training if not given. Not for datasets.
        fit_words: the same for people; for ``fit`` in the description.
        note: called with a line on an image that could not be read, and on what was left out of a folder.
        tell: called with lines on what is written, and how long it takes.
        progress: called with images done and images in all.

    Raises:
        UsageError: no such layer or kind of file, a file that is there already, or a fit that the source cannot have.
        AlexNetError: not one image could be read, or the disk cannot hold the file.
    """
    if current().size > 1:
        raise UsageError("alexnet features: runs in one process; start it without torchrun")
    formats.kind_of(file)
    files.check_output(file)
    classifier = opened(run, precision)
    stimuli = stimuli_of(source, fit or as_in_training(classifier.preprocessing), split, note)
    names = canonical(classifier.net.table, layers)
    if fit and isinstance(stimuli, DatasetStimuli):
        raise UsageError(
            f"{stimuli.dataset.path}: a dataset's images are resized and cropped already; give the original images, or "
            "leave --stimuli, --fit and --degrees out"
        )
    if fit and views != 1:
        raise UsageError(
            f"--views {views}: cannot be combined with --stimuli exact, --fit pad or --degrees, which show whole "
            "images; leave --views out"
        )
    outputs = formats.outputs(file, names)
    description = _description(classifier, stimuli, names, views, pool, fit is not None, dropout_factor)
    if fit_words:
        description["fit"] = fit_words
    columns = _columns(stimuli, names)
    description["columns"] = {**_used(stimuli.used), **{name: column.header for name, column in columns.items()}}
    content = Content(
        shapes(classifier, names, pool), stimuli.count, stimuli.classes, description["model"], description, columns
    )
    _check_room(Path(file), outputs, content)
    job = _Job(content, Path(file), tell or _silent, note or _silent)
    batches = activations(
        classifier, stimuli, names, views=views, pool=pool, dropout_factor=dropout_factor, workers=workers,
        progress=progress,
    )  # fmt: skip
    with formats.opened(file, content) as writer:
        for batch in batches:
            job.write(writer, batch)
        if not job.images:
            what = "the image could not" if stimuli.count == 1 else f"none of the {stimuli.count:,} images could"
            raise AlexNetError(f"{file}: not written: {what} be read, see above; check SOURCE")
    return job.written(outputs)


def _columns(stimuli: Stimuli, layers: list[str]) -> dict[str, Column]:
    """What a list says of each image. Raises ``UsageError`` where it says more than a file should hold."""
    if len(stimuli.columns) > MOST_COLUMNS:
        raise UsageError(
            f"{stimuli.words}: has {len(stimuli.columns):,} columns beside {' and '.join(stimuli.used.values())}, but "
            f"at most {MOST_COLUMNS:,} go into a file; remove those that you do not need"
        )
    return columns_of(stimuli.columns, layers)


def _silent(line: str) -> None:
    pass


def _check_room(path: Path, outputs: list[Path], content: Content) -> None:
    """Refuses files that are there, and a disk that cannot hold them; removes what killed processes left of them."""
    for output in outputs:
        files.check_output(output)
    left = leftovers(outputs)
    for output in outputs:
        target = files.through(output)
        if os.path.lexists(target) and target not in left.finished:
            if output == path:
                raise UsageError(f"{output}: already exists; give another name, or remove it")
            raise UsageError(
                f"{output}: already exists, and would be written along with {path.name}; give {path.name} another name"
            )
    folder = files.through(outputs[0]).parent
    needed = content.activation_bytes * (2 if outputs[0].suffix.lower() == ".mat" else 1) + TEXT_BYTES * content.count
    free = files.free_bytes(folder) + left.bytes
    if needed > free:
        raise AlexNetError(
            f"{outputs[0]}: needs {size_text(needed)} for {plural(content.count, 'image')}, but only {size_text(free)} "
            "are free on that disk; free some space, write to another disk, or ask for fewer layers or pooled maps "
            "(--pool)"
        )
    left.remove()


def _description(
    run: Classifier,
    stimuli: Stimuli,
    layers: list[str],
    views: int,
    pool: Pool | None,
    whole: bool,
    dropout_factor: bool,
) -> dict[str, Any]:
    """What was done, for whoever opens the file; the same whenever it is done again.

    ``whole``: a fit made the images as large as the net sees them.
    """
    preprocessing, sizes, maps = run.preprocessing, shapes(run, layers, pool), shapes(run, layers)
    weights = weights_hash(run.net)
    side = preprocessing.crop if whole else stimuli.side or preprocessing.size
    described: dict[str, dict[str, Any]] = {
        layer: {
            "shape": list(sizes[layer]),
            "axes": ["map", "row", "column"][: len(sizes[layer])] if len(maps[layer]) == 3 else ["unit"],
            "dropout_factor": run.net.dropout_factor(layer) if dropout_factor else 1.0,
        }
        for layer in layers
    }
    if run.net.names[-1] in described:
        described[run.net.names[-1]]["units"] = "net_classes"
    return {
        "program": f"alexnet {version()}",
        "model": f"{files.plain(run.name)}-{weights[:8]}",
        "run": run.path,
        "weights": weights,
        "step": run.step,
        "net": run.net.table.name,
        "net_classes": run.classes,
        **({"net_class_words": run.words} if run.words != run.classes else {}),
        "layers": described,
        "order": ORDER,
        "dtype": "float32",
        "precision": run.precision,
        "views": views,
        "pool": pool,
        "source": stimuli.words,
        "source_classes": stimuli.classes,
        "fit": preprocessing.resized,
        "crop": {
            "side": preprocessing.crop,
            "of": side,
            "views": [
                {"top": top, "left": left, "flipped": flipped}
                for top, left, flipped in corners(side, preprocessing.crop, views)
            ],
        },
        "input": INPUT,
        "mean": [round(mean, 4) for mean in preprocessing.mean_image.double().mean((1, 2)).tolist()],
        "scale": preprocessing.scale,
    }


def _used(used: dict[str, str]) -> dict[str, str]:
    """What a list calls the columns of names and labels."""
    return {name: used[column] for name, column in (("name", "path"), ("label", "label")) if column in used}


class _Job:
    """Counts, and says how long it will take once that is known."""

    def __init__(self, content: Content, path: Path, tell: Callable[[str], None], note: Callable[[str], None]):
        self.content, self.path, self.tell, self.note = content, path, tell, note
        self.images = self.bad = self.seen = self.batches = self.text = 0
        self.started = time.monotonic()
        self.first: tuple[int, float] | None = None  # images and time when the first batch was written
        self.expected: tuple[float, int] | None = None
        layers = ", ".join(f"{layer} ({'x'.join(map(str, shape))})" for layer, shape in content.layers.items())
        tell(f"{path}: {layers} of {plural(content.count, 'image')}: {size_text(content.activation_bytes)}")

    def write(self, writer: formats.Writer, batch: Activations) -> None:
        for row, (name, problem) in zip(batch.bad_rows, batch.bad):
            self.note(f"{name}: {problem}; left out")
            self.content.left_out.append((row, name, problem))
        if batch.names:
            writer.add(batch)
        self.images += len(batch.names)
        self.bad += len(batch.bad)
        self.batches += 1
        if self.expected is None:
            self.text += self._table_bytes(batch)
        self._estimate()

    def _table_bytes(self, batch: Activations) -> int:
        """About the bytes that a file has for the table of these images."""
        lines, suffix = self.content.csv_lines(batch, self.images), self.path.suffix.lower()
        if suffix == ".parquet":  # which compresses it
            return len(zlib.compress(lines))
        texts = list(self.content.kinds.values()).count("text") * len(batch.names)
        return len(lines) + texts * TEXT_OVERHEAD.get(suffix, 0)

    def _estimate(self) -> None:
        done, now = self.images + self.bad, time.monotonic()
        if self.first is None:
            self.first = done, now
        elif self.expected is None:
            spent, count = now - self.first[1], done - self.first[0]
            if spent >= MEASURED_SECONDS and self.batches > MEASURED_BATCHES and done < self.content.count:
                left = (self.content.count - done) * spent / count
                size = self.content.activation_bytes + self.content.count * self.text // max(1, self.images)
                size += len(self.content.text(self.content.count)) + FILE_OVERHEAD.get(self.path.suffix.lower(), 0)
                self.expected = now - self.started + left, size
                self.tell(f"{self.path}: {size_text(size)}; {clock(self.expected[0])} in all, {clock(left)} to go")

    def written(self, outputs: list[Path]) -> Written:
        """What is there now."""
        return Written(
            files=[str(path) for path in outputs],
            images=self.images,
            layers=self.content.layers,
            dropout_factors={
                layer: described["dropout_factor"] for layer, described in self.content.description["layers"].items()
            },
            model=self.content.model,
            bytes=sum(path.stat().st_size for path in outputs),
            bad=self.bad,
            left_out=self.content.left_out_rows(),
            seconds=time.monotonic() - self.started,
            expected_seconds=self.expected and self.expected[0],
            expected_bytes=self.expected and self.expected[1],
        )
