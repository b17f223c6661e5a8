"""Activations of layers for a set of stimuli, to a file that other programs open: ``alexnet features``."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.data.sources.pictures import Paths
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.activations import Activations, Pool, activations, shapes
from alexnet.evaluation.classifier import AnyRun, Classifier, opened
from alexnet.evaluation.stimuli import DatasetStimuli, Fit, Stimuli, as_in_training, stimuli_of
from alexnet.nets.layer_names import canonical
from alexnet.progress import clock, plural, size_text
from alexnet.ranks import current
from alexnet.runs.code import version
from alexnet.science import formats
from alexnet.science.formats.content import Content

MEASURED_SECONDS, MEASURED_BATCHES = 8.0, 4  # of work after the first batch, before its time is told
TEXT_BYTES = 200  # of an image's name, label and what was done, where nothing is known yet


@dataclasses.dataclass(frozen=True)
class Written:
    """What ``write_features`` wrote.

    Attributes:
        files: that are there now.
        images: rows.
        layers: the shape of one image's activations, by the layers' own names.
        bytes: of all files.
        bad: images that could not be read.
        seconds: that it took.
        expected_seconds, expected_bytes: as told after the first batches; None where all was done before.
    """

    files: list[str]
    images: int
    layers: dict[str, tuple[int, ...]]
    bytes: int
    bad: int
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
        fit_words: the same for people.
        note: called with a line on an image that could not be read, and on what was left out of a folder.
        tell: called with lines on what is written, and how long it takes.
        progress: called with images done and images in all.

    Raises:
        UsageError: no such layer or kind of file, a file that is there already, or a fit that the source cannot have.
        AlexNetError: not one image could be read, or the disk cannot hold the file.
    """
    if current().size > 1:
        raise UsageError("alexnet features: one process writes the file; give the command without torchrun")
    formats.kind_of(file)
    classifier = opened(run, precision)
    stimuli = stimuli_of(source, fit or as_in_training(classifier.preprocessing), split, note)
    names = canonical(classifier.net.table, layers)
    if fit and isinstance(stimuli, DatasetStimuli):
        raise UsageError(f"{stimuli.dataset.path}: its images are cropped and resized already; give their source")
    if fit and views != 1:
        raise UsageError(f"--views {views}: of images that are shown whole there is one view")
    outputs = formats.outputs(file, names)
    content = Content(
        shapes(classifier, names, pool),
        stimuli.count,
        stimuli.classes,
        classifier.name,
        _description(classifier, stimuli, names, views, pool, fit_words, dropout_factor),
    )
    _check_room(outputs, content)
    job = _Job(content, Path(file), tell or _silent, note or _silent)
    batches = activations(
        classifier, stimuli, names, views=views, pool=pool, dropout_factor=dropout_factor, workers=workers,
        progress=progress,
    )  # fmt: skip
    with formats.opened(file, content) as writer:
        for batch in batches:
            job.write(writer, batch)
        if not job.images:
            raise AlexNetError(f"not one of {plural(stimuli.count, 'image')} could be read; {file} was not written")
    return job.written(outputs)


def _silent(line: str) -> None:
    pass


def _check_room(outputs: list[Path], content: Content) -> None:
    """Refuses files that are there, and a disk that cannot hold them; removes what killed processes left of them."""
    files.check_output(outputs[-1])
    killed = files.remove_partials(outputs[-1])  # that appears last: with it half written, the others are left over
    for path in outputs:
        files.check_output(path)
        if os.path.lexists(path) and not killed:
            raise UsageError(
                f"{path}: is there already, and would be written with {outputs[-1].name}; give another name, or move "
                "it away"
            )
        files.remove_partials(path)
    folder = outputs[0].parent
    needed = content.bytes * (2 if outputs[0].suffix.lower() == ".mat" else 1) + TEXT_BYTES * content.count
    free = files.free_bytes(folder)
    if needed > free:
        raise AlexNetError(
            f"{outputs[0]}: {plural(content.count, 'image')} take {size_text(needed)}, and {size_text(free)} are free "
            "there; free some space, or give another place, fewer layers or pooled maps (--pool)"
        )


def _description(
    run: Classifier,
    stimuli: Stimuli,
    layers: list[str],
    views: int,
    pool: Pool | None,
    fit_words: str | None,
    dropout_factor: bool,
) -> dict[str, Any]:
    """What was done, for whoever opens the file; the same whenever it is done again."""
    preprocessing, whole = run.preprocessing, shapes(run, layers, pool)
    return {
        "program": f"alexnet {version()}",
        "run": run.path,
        "step": run.step,
        "net": run.net.table.name,
        "layers": {
            layer: {
                "shape": list(whole[layer]),
                "dropout_factor": run.net.dropout_factor(layer) if dropout_factor else 1.0,
            }
            for layer in layers
        },
        "dtype": "float32",
        "precision": run.precision,
        "views": views,
        "pool": pool,
        "source": stimuli.words,
        "classes": stimuli.classes,
        "fit": fit_words or preprocessing.resized,
        "sees": f"{preprocessing.crop}x{preprocessing.crop} pixels",
        "scale": preprocessing.scale,
    }


class _Job:
    """Counts, and says how long it will take once that is known."""

    def __init__(self, content: Content, path: Path, tell: Callable[[str], None], note: Callable[[str], None]):
        self.content, self.path, self.tell, self.note = content, path, tell, note
        self.images = self.bad = self.seen = self.batches = self.text = 0
        self.started = time.monotonic()
        self.first: tuple[int, float] | None = None  # images and time when the first batch was written
        self.expected: tuple[float, int] | None = None
        layers = ", ".join(f"{layer} ({'x'.join(map(str, shape))})" for layer, shape in content.layers.items())
        tell(f"{path}: {layers} of {plural(content.count, 'image')}: {size_text(content.bytes)}")

    def write(self, writer: formats.Writer, batch: Activations) -> None:
        for name, problem in batch.bad:
            self.note(f"{name}: {problem}")
        if batch.names:
            writer.add(batch)
        self.images += len(batch.names)
        self.bad += len(batch.bad)
        self.batches += 1
        self.text += sum(len(name.encode("utf-8", "replace")) for name in (*batch.names, *batch.done))
        self._estimate()

    def _estimate(self) -> None:
        done, now = self.images + self.bad, time.monotonic()
        if self.first is None:
            self.first = done, now
        elif self.expected is None:
            spent, count = now - self.first[1], done - self.first[0]
            if spent >= MEASURED_SECONDS and self.batches > MEASURED_BATCHES and done < self.content.count:
                left = (self.content.count - done) * spent / count
                size = self.content.bytes + self.content.count * self.text // max(1, self.images)
                self.expected = now - self.started + left, size
                self.tell(f"{self.path}: {size_text(size)}, {clock(self.expected[0])} in all, {clock(left)} from now")

    def written(self, outputs: list[Path]) -> Written:
        """What is there now."""
        return Written(
            files=[str(path) for path in outputs],
            images=self.images,
            layers=self.content.layers,
            bytes=sum(path.stat().st_size for path in outputs),
            bad=self.bad,
            seconds=time.monotonic() - self.started,
            expected_seconds=self.expected and self.expected[0],
            expected_bytes=self.expected and self.expected[1],
        )
