"""Which net a file's tensors are the weights of, by names, shapes and layers."""

import dataclasses
from collections.abc import Sequence

import torch

from alexnet.errors import UsageError
from alexnet.interchange.foreign import Foreign, difference, matched_words, shape_words
from alexnet.interchange.preprocessing import USUAL
from alexnet.interchange.torch_file import AVERAGED
from alexnet.nets import weights
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table, tables

FIRST = [*USUAL, *sorted(set(tables()) - set(USUAL))]  # the order in which nets are tried
MOST_LAYERS = 8  # fully connected, that may be the last


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which of a file's sets of tensors are weights of which net."""

    part: Foreign
    table: Table
    classes: int

    @property
    def averaged(self) -> bool:
        """Whether they are averages of weights (EMA, SWA), by their place in the file."""
        return AVERAGED.search(self.part.path) is not None


def choose(
    parts: Sequence[Foreign], choices: Sequence[Table], asked: str | None, file: str
) -> tuple[Choice, list[str]]:
    """The one set of tensors, and the one net that it is of; and what whoever uses it must know."""
    fits = [fit for part in parts for fit in _fits(part, choices)]
    if not fits:
        raise UsageError(_no_fit(parts, choices, asked, file))
    plain = [fit for fit in fits if not fit.averaged] or fits
    chosen = plain[0]
    others = [fit for fit in plain if fit.part is not chosen.part and not _same(fit.part, chosen.part)]
    if others:
        names = ", ".join(dict.fromkeys(_path_words(fit) for fit in (chosen, *others)))
        raise UsageError(
            f"{file}: holds the weights of several nets: {names}; save one of them alone: "
            f"torch.save(torch.load(FILE)[KEY], OTHER)"
        )
    nets = [fit.table.name for fit in plain if fit.part is chosen.part]
    if len(nets) > 1:
        raise UsageError(f"{file}: could be {', '.join(nets)}, whose tensors have the same shapes; give --net")
    left = list(dict.fromkeys(_path_words(fit) for fit in fits if fit.averaged != chosen.averaged))
    notes = [f"the weights are those of {_path_words(chosen)}, not of {', '.join(left)}"] if left else []
    if chosen.averaged:
        notes.append(f"the weights are averages: those of {_path_words(chosen)}; the file has no others")
    matched = matched_words(chosen.part, weights.outline(chosen.table, chosen.classes))
    return chosen, [*notes, *([matched] if matched else [])]


def _path_words(fit: Choice) -> str:
    return fit.part.path or "the file's first level"


def _same(one: Foreign, other: Foreign) -> bool:
    """Whether two sets of tensors are one, saved twice."""
    return set(one.tensors) == set(other.tensors) and all(
        tensor.shape == other.tensors[name].shape and torch.equal(tensor, other.tensors[name])
        for name, tensor in one.tensors.items()
    )


def _fits(part: Foreign, choices: Sequence[Table]) -> list[Choice]:
    """The nets that a set of tensors may be of."""
    return [
        Choice(part, table, classes)
        for table in choices
        for classes in _classes_of(part, table)
        if _difference(part, table, classes) is None
    ][: len(choices)]


def _difference(part: Foreign, table: Table, classes: int) -> str | None:
    try:
        return difference(part, weights.outline(table, classes), part.side or table.input[1])
    except UsageError as error:
        return str(error)
    except RuntimeError:
        return f"it sees images of {part.side} pixels"


def _no_fit(parts: Sequence[Foreign], choices: Sequence[Table], asked: str | None, file: str) -> str:
    """Why a file holds no weights that are wanted, and what to do."""
    part = max(parts, key=lambda part: len(part.tensors))
    others = [load_table(name) for name in FIRST if name != asked]
    if len(choices) == 1:
        wrong = _difference(part, choices[0], _classes_of(part, choices[0])[0])
        fits = [fit.table.name for part in parts for fit in _fits(part, others)]
        hint = f"give --net {fits[0]}" if fits else "give --net with the .toml table of its layers"
        return f"{file}: these are not weights of {choices[0].name}: {wrong}; {hint}"
    name, tensor = next(iter(part.tensors.items()))
    return (
        f"{file}: holds no weights of a net that comes with alexnet; {len(part.tensors):,} tensors, the first "
        f"{name} ({shape_words(tensor)}); give --net with its .toml table"
    )


def _classes_of(part: Foreign, table: Table) -> list[int]:
    """Numbers of classes that may be meant: the rows of the last layer's weights, or of any where it is not named."""
    last = part.tensors.get(f"{list(table.layers)[-1]}.weight")
    rows = [len(tensor) for tensor in reversed(part.tensors.values()) if tensor.dim() == 2]
    return list(dict.fromkeys([len(last)] if last is not None and last.dim() else rows))[:MOST_LAYERS] or [1000]
