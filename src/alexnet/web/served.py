"""What a server has: a run made ready, its thread, its dataset where that is still there."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import Classifier
from alexnet.web.batcher import Batcher
from alexnet.web.measuring import Measuring
from alexnet.web.pictures import example_rows, mean_png, row_of
from alexnet.web.run_facts import run_facts
from alexnet.web.similar import Similar
from alexnet.web.uploads import Uploads


class Store(NamedTuple):
    """A dataset that examples are from.

    Attributes:
        dataset: the one that the run was trained on.
        examples: row ids.
        row: a JPEG of these, side by side.
        measuring: errors on its validation images; None where it has none.
    """

    dataset: Dataset
    examples: list[int]
    row: bytes
    measuring: Measuring | None

    def may_be_read(self, row: int) -> bool:
        """Whether the page shows an image: the others are nobody's business."""
        return row in self.examples or (self.measuring is not None and row in self.measuring.mistakes)


class Served(NamedTuple):
    """All that answers are made of.

    Attributes:
        classifier: the run; only the batcher's thread computes with it.
        batcher, uploads: see there.
        store, similar: or None.
        facts: of the run, as JSON.
        mean: the mean image as PNG.
    """

    classifier: Classifier
    batcher: Batcher
    uploads: Uploads
    store: Store | None
    similar: Similar | None
    facts: dict[str, Any]
    mean: bytes


@contextlib.contextmanager
def served(classifier: Classifier, dataset: Dataset | None, similar: Similar | None = None) -> Iterator[Served]:
    """Makes a run ready to answer; its threads end with the block.

    Args:
        classifier: used by the batcher's thread alone while the block runs.
        dataset: the one that it was trained on, if it is there.
        similar: an index that was made with it, or None.
    """
    with contextlib.ExitStack() as stack:
        batcher = stack.enter_context(Batcher(classifier))
        uploads = stack.enter_context(Uploads(classifier.preprocessing))
        store = None
        if dataset is not None:
            rows, measuring = example_rows(dataset), None
            if "val" in dataset.splits:
                measuring = stack.enter_context(Measuring(batcher, dataset, "val"))
            store = Store(dataset, rows, row_of(dataset, rows), measuring)
        facts = {
            **run_facts(classifier),
            "examples": store and [{"row": row, "label": int(store.dataset.labels[row])} for row in store.examples],
            "inside": True,
            "similar": similar and {"layer": similar.layer, "words": similar.words, "images": len(similar)},
            "measured": bool(store and store.measuring),
        }
        yield Served(classifier, batcher, uploads, store, similar, facts, mean_png(classifier.preprocessing))
