"""What a server has: a run made ready, its thread, its dataset where that is still there."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.inside.units import unit_layers
from alexnet.web.batcher import Batcher
from alexnet.web.made_images import MadeImages
from alexnet.web.measuring import Measuring
from alexnet.web.pictures import example_rows, mean_png, row_of, shown_split
from alexnet.web.run_facts import run_facts
from alexnet.web.similar import Similar
from alexnet.web.top_images import TopImages
from alexnet.web.uploads import Uploads


class Store(NamedTuple):
    """A dataset that examples are from.

    Attributes:
        dataset: the one that the run was trained on.
        examples: row ids.
        row: a JPEG of these, side by side.
        measuring: errors on its validation images; None where it has none.
        top: the images that drive each unit most.
    """

    dataset: Dataset
    examples: list[int]
    row: bytes
    measuring: Measuring | None
    top: TopImages

    def may_be_read(self, row: int) -> bool:
        """Whether the page shows an image: the others are nobody's business."""
        mistaken = self.measuring is not None and row in self.measuring.mistakes
        return mistaken or row in self.examples or self.top.shows(row)


class Served(NamedTuple):
    """All that answers are made of.

    Attributes:
        classifier: the run; only the batcher's thread computes with it.
        exact: the same with float32 products, for features; its form is made when it is first asked.
        batcher, uploads, made: see there.
        store, similar: or None.
        facts: of the run, as JSON.
        mean: the mean image as PNG.
    """

    classifier: Classifier
    exact: Classifier
    batcher: Batcher
    uploads: Uploads
    made: MadeImages
    store: Store | None
    similar: Similar | None
    facts: dict[str, Any]
    mean: bytes


class Ready(NamedTuple):
    """A run to serve.

    Attributes:
        classifier: used by the batcher's thread alone while it is served.
        dataset: the one that it was trained on, if it is there.
        similar: an index that was made with it, or None.
    """

    classifier: Classifier
    dataset: Dataset | None
    similar: Similar | None = None


def names_of(runs: Sequence[Ready]) -> list[str]:
    """The runs' folders' names; their paths where the names are the same. Raises ``UsageError`` for one run twice."""
    for names in ([run.classifier.name for run in runs], [run.classifier.path for run in runs]):
        if len(set(names)) == len(names):
            return names
    raise UsageError(f"{runs[-1].classifier.path}: is the first run itself; give another one")


@contextlib.contextmanager
def served(runs: Sequence[Ready]) -> Iterator[dict[str, Served]]:
    """Makes runs ready to answer, by name; their threads end with the block."""
    names, turn = names_of(runs), threading.Lock()
    with contextlib.ExitStack() as stack:
        yield {name: _served(run, names, turn, stack) for name, run in zip(names, runs)}


def _served(run: Ready, names: list[str], turn: threading.Lock, stack: contextlib.ExitStack) -> Served:
    """One of the runs of these names."""
    classifier, dataset, similar = run
    batcher = stack.enter_context(Batcher(classifier, turn))
    uploads = stack.enter_context(Uploads(classifier.preprocessing))
    store = None
    if dataset is not None:
        rows, measuring = example_rows(dataset), None
        if "val" in dataset.splits:
            stack.enter_context(measuring := Measuring(batcher, dataset, "val"))
        stack.enter_context(top := TopImages(batcher, dataset, shown_split(dataset)))
        store = Store(dataset, rows, row_of(dataset, rows), measuring, top)
    facts = {
        **run_facts(classifier),
        "runs": names,
        "examples": store and [{"row": row, "label": int(store.dataset.labels[row])} for row in store.examples],
        "inside": True,
        "made": unit_layers(classifier),
        "units": unit_layers(classifier) if store else [],
        "similar": similar and similar.facts(),
        "measured": bool(store and store.measuring),
    }
    mean = mean_png(classifier.preprocessing)
    exact = classifier.with_precision("float32")
    return Served(classifier, exact, batcher, uploads, MadeImages(batcher), store, similar, facts, mean)
