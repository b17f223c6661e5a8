"""Writing a change of an index: new files beside the old ones, then the manifest, which makes them the index."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from alexnet.search import approximate, exact
from alexnet.search.approximate import Approximate, Cells
from alexnet.search.images import Images, write_images
from alexnet.search.manifest import (
    FORMAT_VERSION,
    Bound,
    Content,
    Part,
    open_rows,
    read_arrays,
    read_part,
    write_arrays,
    write_manifest,
    write_part,
)
from alexnet.search.pieces import Piece
from alexnet.search.projection import SAMPLE, Projection, fit, single, spread_sample
from alexnet.search.rows import AT_ONCE, Rows, append, padded

MOST_EXACT = 50_000  # images
GROWN = 4  # times as many images as before, with which what was fitted to them is fitted again
PAIRED = 256  # images whose distances are a sample of all
SAMPLED = 131_072  # images at most that faiss's index is trained on


@dataclasses.dataclass(frozen=True)
class Before:
    """An index before a change: its manifest and its images."""

    content: Content
    images: Images


@dataclasses.dataclass(frozen=True)
class Stored:
    """The vectors of an index after a change.

    Attributes:
        rows: all of them.
        ids: (n,) which of them are images.
        added: the last ones that are new; all of them where the file was written anew.
        parts: the files.
        projection: what made them of activations, of an approximate index.
    """

    rows: Rows
    ids: np.ndarray
    added: np.ndarray
    parts: dict[str, Part]
    projection: Projection | None


def committed(
    folder: Path,
    before: Before | None,
    kept: Images,
    new: Images,
    pieces: list[Piece],
    bound: Bound,
    sources: list[str],
    left_out: Sequence[str] = (),
) -> Content:
    """Writes an index of images that stay and images that are new.

    Args:
        folder: of the index.
        before: what it was.
        kept: rows as before.
        new: in the order of the pieces.
        pieces: their activations.
        bound, sources, left_out: for the manifest.

    Raises:
        AlexNetError: the disk is full; the index stays as it was.
    """
    change = before.content["change"] + 1 if before else 1
    total = len(kept) + len(new)
    is_exact = total <= MOST_EXACT and not (before and before.content["kind"] == "approximate")
    stored = _stored(folder, change, before, kept, new, pieces, bound["numbers"], is_exact)
    stays = dataclasses.replace(kept, rows=stored.ids[: len(kept)])
    images = stays.and_those(dataclasses.replace(new, rows=stored.ids[len(kept) :]))
    content: Content = {
        "format_version": FORMAT_VERSION, "change": change, "bound": bound, "sources": sources,
        "left_out": list(left_out),
        "kind": "exact" if is_exact else "approximate", "images": total, "rows": len(stored.rows),
        "width": stored.rows.width, "fitted_to": total, "trained_on": 0, "probes": 0, "recall": None,
        "recall_images": 0, "typical": 0.0, "parts": {**stored.parts, **write_images(folder, change, images)},
    }  # fmt: skip
    write = _write_exact if is_exact else _write_approximate
    content = write(folder, content, before, stored)
    write_manifest(folder, content)
    return content


def _stored(
    folder: Path,
    change: int,
    before: Before | None,
    kept: Images,
    new: Images,
    pieces: list[Piece],
    numbers: int,
    is_exact: bool,
) -> Stored:
    """Writes vectors: behind those that are there, or all anew where the kind changes or most are not used."""
    same_kind = before is not None and (before.content["kind"] == "exact") == is_exact
    total = len(kept) + len(new)
    behind = before is not None and same_kind and before.content["rows"] + len(new) <= 2 * total
    old = open_rows(folder, before.content) if before else None
    projection = None
    if not is_exact:
        if before and same_kind:
            projection = read_projection(folder, before.content)
        else:
            projection = fit(_sample(old, kept, pieces, total, numbers), approximate.NUMBERS)
    computed = (piece.activations() for piece in pieces)
    made = (part if projection is None else projection(part).astype(np.float16) for part in computed)
    width = padded(numbers) if projection is None else padded(projection.width)
    if behind and before and old:
        vectors, first = before.content["parts"]["vectors"]["file"], before.content["rows"]
        old_sums = read_part(folder, before.content, "sums").view(np.uint64)
        sums = np.concatenate([old_sums, append(folder / vectors, first, width, made)])
        ids = np.concatenate([kept.rows, first + np.arange(len(new))])
    else:
        vectors, first = f"vectors-{change}.f16", 0
        again = _again(old, kept, numbers, None if same_kind else projection)
        sums = append(folder / vectors, 0, width, itertools.chain(again, made))
        ids = np.arange(total)
    parts: dict[str, Part] = {
        "vectors": {"file": vectors, "bytes": len(sums) * width * 2, "checksum": None},
        "sums": write_part(folder, f"sums-{change}.u64", sums.astype("<u8")),
    }
    return Stored(Rows(folder / vectors, sums, width), ids, ids[ids >= first], parts, projection)


def _again(old: Rows | None, kept: Images, numbers: int, projection: Projection | None) -> Iterator[np.ndarray]:
    """The vectors of images that stay, for a file of their own."""
    for start in range(0, len(kept), AT_ONCE):
        assert old is not None
        part = old.take(kept.rows[start : start + AT_ONCE])
        yield part if projection is None else projection(part[:, :numbers]).astype(np.float16)


def _sample(old: Rows | None, kept: Images, pieces: list[Piece], total: int, numbers: int) -> np.ndarray:
    """(n, d) float16 activations, spread over all images."""
    places = spread_sample(total, SAMPLE)
    parts = [] if old is None else [old.take(kept.rows[places[places < len(kept)]])[:, :numbers]]
    first = len(kept)
    for piece in pieces:
        last = first + len(piece.wanted)
        own = places[(places >= first) & (places < last)]
        if len(own):
            parts.append(piece.activations()[own - first])
        first = last
    return np.concatenate(parts)


def _write_exact(folder: Path, content: Content, before: Before | None, stored: Stored) -> Content:
    """Short rows of all images; the projection is fitted again when the images have become many more."""
    rows, ids, change, numbers = stored.rows, stored.ids, content["change"], content["bound"]["numbers"]
    fitted = before is not None and before.content["kind"] == "exact" and len(ids) < GROWN * before.content["fitted_to"]
    if before and fitted:
        projection, part = read_projection(folder, before.content), before.content["parts"]["projection"]
    else:
        projection = fit(rows.take(ids[spread_sample(len(ids))])[:, :numbers], exact.NUMBERS)
        part = write_projection(folder, change, projection)
    heads = np.concatenate(
        [
            projection(rows.take(ids[start : start + AT_ONCE])[:, :numbers]).astype(np.float16)
            for start in range(0, len(ids), AT_ONCE)
        ]
    )
    chosen = single(rows.take(ids[spread_sample(len(ids), PAIRED)]))
    squared = np.einsum("ij,ij->i", chosen, chosen)
    apart = np.maximum(0, squared[:, None] + squared - 2 * (chosen @ chosen.T))[np.triu_indices(len(chosen), 1)]
    return {
        **content,
        "fitted_to": before.content["fitted_to"] if before and fitted else len(ids),
        "typical": float(np.sqrt(np.median(apart))) if len(apart) else 0.0,
        "parts": {
            **content["parts"],
            "projection": part,
            "scan": write_arrays(folder, f"scan-{change}.safetensors", {"heads": heads}),
        },
    }


def _write_approximate(folder: Path, content: Content, before: Before | None, stored: Stored) -> Content:
    """faiss's index of all images, and the recall that it reaches."""
    rows, ids, change, projection = stored.rows, stored.ids, content["change"], stored.projection
    assert projection is not None
    trained = len(ids)
    is_old = before is not None and before.content["kind"] == "approximate"
    if before and is_old:
        turn = read_arrays(folder, before.content, "projection")["turn"]
        part = before.content["parts"]["projection"]
    else:
        turn = approximate.rotation(projection.width)
        part = write_projection(folder, change, projection, turn)
    behind = len(stored.added) < len(ids) or not len(stored.added)
    if before and is_old and behind and len(ids) < GROWN * before.content["trained_on"]:
        trained = before.content["trained_on"]
        cells = read_cells(folder, before.content, turn)
        gone = np.setdiff1d(before.images.rows, ids, assume_unique=True)
        if len(gone):
            cells.remove(gone)
        added = stored.added
    else:
        sample = single(rows.take(ids[spread_sample(len(ids), SAMPLED)]))
        cells, added = Cells.trained(sample, len(ids), turn), ids
    for start in range(0, len(added), AT_ONCE):
        some = added[start : start + AT_ONCE]
        cells.add(some, single(rows.take(some)))
    measured = Approximate(rows, projection, cells, 0).measured()
    return {
        **content,
        "fitted_to": before.content["fitted_to"] if before and is_old else len(ids),
        "trained_on": trained, "probes": measured.probes, "recall": measured.recall,
        "recall_images": measured.queries, "typical": measured.typical,
        "parts": {
            **content["parts"], "projection": part,
            "scan": write_part(folder, f"scan-{change}.faiss", cells.content()),
        },
    }  # fmt: skip


def write_projection(folder: Path, change: int, projection: Projection, turn: np.ndarray | None = None) -> Part:
    """Principal components, and a rotation, as a file of an index."""
    arrays = {"mean": projection.mean, "components": projection.components, "kept": np.array([projection.kept])}
    return write_arrays(folder, f"projection-{change}.safetensors", arrays | ({} if turn is None else {"turn": turn}))


def read_projection(folder: Path, content: Content) -> Projection:
    """What ``write_projection`` wrote."""
    arrays = read_arrays(folder, content, "projection")
    return Projection(arrays["mean"], arrays["components"], float(arrays["kept"][0]))


def read_cells(folder: Path, content: Content, turn: np.ndarray) -> Cells:
    """faiss's index, once its checksum was right."""
    return Cells.read(read_part(folder, content, "scan"), turn, folder / content["parts"]["scan"]["file"])
