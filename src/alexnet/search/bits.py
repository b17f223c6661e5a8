"""What binary codes of an index's images are worth: recall, precision by label, distinct codes, bytes, time."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from alexnet.errors import UsageError
from alexnet.progress import plural
from alexnet.search.codes import BITS, FITTED, KINDS, MOST_BITS, Coder, packed, possible
from alexnet.search.images import Names, read_names
from alexnet.search.library import faiss
from alexnet.search.manifest import Content, open_rows, read_whole
from alexnet.search.projection import single, spread_sample
from alexnet.search.rows import Rows

IMAGES, QUERIES = 20_000, 200  # of an index at most: searched, searched for
RANKED = 200  # images that are ranked again by their activations
LEAST = 100  # images of an index whose codes can be compared


@dataclasses.dataclass(frozen=True)
class Worth:
    """What a kind of code of some length gave.

    Attributes:
        kind: of ``KINDS``; ``exact`` is Euclidean distance.
        bits: of a code; 0 of exact search.
        recall10, recall100: share of the exact nearest that are among as many nearest codes.
        ranked10, ranked100: the same after the ``RANKED`` nearest codes were ranked by their activations.
        map: mean average precision of images of the query's label, by codes alone; None without labels.
        ranked_map: the same after ranking again.
        distinct: codes among the images.
        bytes: of an image.
        milliseconds: of a search for the ``RANKED`` nearest codes, in one thread.
    """

    kind: str
    bits: int
    recall10: float
    recall100: float
    ranked10: float
    ranked100: float
    map: float | None
    ranked_map: float | None
    distinct: int
    bytes: int
    milliseconds: float


@dataclasses.dataclass(frozen=True)
class Compared:
    """Codes of an index beside each other.

    Attributes:
        images, queries, fitted: of them; queries are not among the images, and codes are fitted to the images.
        ranked: images that are ranked again.
        components: principal ones of the images: codes that give each a bit have at most so many.
        worths: exact search first.
    """

    images: int
    queries: int
    fitted: int
    ranked: int
    components: int
    worths: list[Worth]


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Images and queries with what exact search gives."""

    images: np.ndarray
    queries: np.ndarray
    labels: np.ndarray | None
    own: np.ndarray
    order: np.ndarray


def compare_codes(
    index: str | os.PathLike,
    kinds: Sequence[str] = KINDS,
    bits: Sequence[int] = BITS,
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Binary codes of an index's images, beside exact search by the Euclidean distance of what the index stores.

    Args:
        index: its folder.
        kinds: of ``codes.KINDS``.
        bits: lengths, multiples of 8.
        progress: called with codes done and codes in all.

    Raises:
        UsageError: no index there, or one of few images.
        AlexNetError: a damaged one.
    """
    content, (rows, names) = read_whole(index, _read)
    if len(names) < LEAST:
        raise UsageError(
            f"{index}: has {plural(len(names), 'image')}, too few to compare codes on; index {LEAST} or more"
        )
    trial = _trial(rows, names, content["bound"]["numbers"])
    coder = Coder(trial.images[spread_sample(len(trial.images), FITTED)])
    worths, most = [_exact(trial)], min(MOST_BITS, coder.most_bits)
    wanted = [(kind, count) for kind in kinds for count in bits if possible(kind, count, most)]
    for done, (kind, count) in enumerate(wanted, 1):
        encode = coder.encoder(kind, count)
        worths.append(_worth(trial, kind, count, packed(encode(trial.images)), packed(encode(trial.queries))))
        if progress:
            progress(done, len(wanted))
    return Compared(len(trial.images), len(trial.queries), min(len(trial.images), FITTED), RANKED, most, worths)


def _read(folder: Path, content: Content) -> tuple[Rows, Names]:
    return open_rows(folder, content), read_names(folder, content)


def _trial(rows: Rows, names: Names, numbers: int) -> _Trial:
    """Queries spread over the images, and the others in an order that says nothing of their labels."""
    places = np.random.default_rng(0).permutation(spread_sample(len(names), IMAGES + QUERIES))
    count = min(QUERIES, len(places) // 4)
    chosen, others = places[:count], places[count:]
    images, queries = (rows.take(names.rows[some])[:, :numbers] for some in (others, chosen))
    words = [np.array([names.label(place) for place in some.tolist()]) for some in (others, chosen)]
    labeled = len(set(words[0].tolist())) > 1
    return _Trial(images, queries, words[0] if labeled else None, words[1], _ordered(queries, images))


def _ordered(queries: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(m, n) images by Euclidean distance, nearest first."""
    both, wanted = single(images), single(queries)
    squared = np.einsum("ij,ij->i", both, both) - 2 * (wanted @ both.T)
    return np.argsort(squared, axis=1, kind="stable")


def _exact(trial: _Trial) -> Worth:
    precision = _mean_precision(trial, trial.order)
    width = trial.images.shape[1] * 2
    return Worth("exact", 0, 1.0, 1.0, 1.0, 1.0, precision, precision, len(np.unique(trial.images, axis=0)), width, 0.0)


def _worth(trial: _Trial, kind: str, bits: int, images: np.ndarray, queries: np.ndarray) -> Worth:
    library = faiss()
    scan = library.IndexBinaryFlat(bits)
    scan.add(np.ascontiguousarray(images))
    ranked, seconds = [], []
    for query, exact in zip(queries, _places(trial.order)):
        started = time.perf_counter()
        _, near = scan.search(query[None], min(RANKED, len(images)))
        seconds.append(time.perf_counter() - started)
        ranked.append(near[0][np.argsort(exact[near[0]], kind="stable")])
    apart = np.stack([np.bitwise_count(query ^ images).sum(1, dtype=np.int32) for query in queries])
    order = np.argsort(apart, axis=1, kind="stable")
    again = np.stack(ranked)
    behind = np.stack([np.concatenate([row, rest[~np.isin(rest, row)]]) for row, rest in zip(again, order)])
    return Worth(
        kind=kind, bits=bits, recall10=_recall(trial, order, 10), recall100=_recall(trial, order, 100),
        ranked10=_recall(trial, again, 10), ranked100=_recall(trial, again, 100),
        map=_mean_precision(trial, order), ranked_map=_mean_precision(trial, behind),
        distinct=len(np.unique(images, axis=0)), bytes=bits // 8, milliseconds=1000 * float(np.median(seconds)),
    )  # fmt: skip


def _places(order: np.ndarray) -> np.ndarray:
    """(m, n) the place of each image in an order."""
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None], axis=1)
    return places


def _recall(trial: _Trial, order: np.ndarray, count: int) -> float:
    hits = [len(set(a[:count].tolist()) & set(b[:count].tolist())) for a, b in zip(trial.order, order)]
    return sum(hits) / (min(count, trial.order.shape[1]) * len(hits))


def _mean_precision(trial: _Trial, order: np.ndarray) -> float | None:
    """Mean over queries of the average precision of images with the query's label."""
    if trial.labels is None:
        return None
    right = trial.labels[order] == trial.own[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    counts = right.sum(1)
    return float(((precision * right).sum(1)[counts > 0] / counts[counts > 0]).mean())
