"""The layouts of a net and its batches over ranks, and which one to take."""

import dataclasses

from alexnet.errors import UsageError
from alexnet.nets.table import Table
from alexnet.training.parallel.names import check_layout
from alexnet.training.parallel.part import Place, Scheme, hybrid_plan, towers_plan


@dataclasses.dataclass(frozen=True)
class Layout:
    """How ranks share a net and a batch.

    Attributes:
        name: ``data``, ``towers``, ``hybrid`` or ``sharded``.
        data: parts of each batch.
        parts: ranks that together have one whole net (its divided layers); 1: each has all of it.
        why: it was chosen.
        scheme: of ``hybrid``, see ``Part``.
    """

    name: str
    data: int
    parts: int = 1
    why: str = ""
    scheme: Scheme = "whole"

    @property
    def ranks(self) -> int:
        """How many there are."""
        return self.data if self.name == "hybrid" else self.data * self.parts

    def words(self) -> str:
        """For people: ``towers x data, 4 ranks``."""
        if self.ranks == 1:
            return "one process"
        both = f"towers x data ({self.parts} x {self.data})" if self.name == "towers" and self.data > 1 else self.name
        both += "" if self.scheme == "whole" else f" ({self.scheme})"
        return f"{both}, {self.ranks} ranks"

    def places(self, table: Table, classes: int, index: int) -> list[Place] | None:
        """The plan of part ``index`` of a net; None where each rank has all of it."""
        if self.name == "towers" and self.parts > 1:
            return towers_plan(table, classes, index)
        if self.name == "hybrid" and self.parts > 1:
            return hybrid_plan(table, classes, self.parts, index)
        return None


def choose_layout(
    name: str,
    ranks: int,
    table: Table,
    classes: int,
    smallest_batch: int,
    grad_accumulation: int = 1,
    whole_filters: bool = False,
) -> Layout:
    """The layout of a training.

    Args:
        name: as asked for.
        ranks: of the job.
        table, classes: of the net.
        smallest_batch: images of the smallest batch of all ranks.
        grad_accumulation: parts in which each rank's images go through the net.
        whole_filters: whether the update needs all of a convolution's filters.

    Raises:
        UsageError: the net, the batch or the ranks do not allow it.
    """
    check_layout(name)
    if ranks == 1:
        if name.startswith(("towers", "hybrid")):
            raise UsageError(f"--parallel {name}: needs two processes or more; give --devices 2, or use torchrun")
        return Layout("data", 1)
    layout = _automatic(ranks, table, classes) if name == "auto" else _asked(name, ranks, table)
    if whole_filters and layout.name == "towers":
        raise UsageError(
            "--parallel towers: each rank has a part of a convolution's filters, and --optimizer muon needs all of "
            "them; give --parallel data or hybrid"
        )
    if smallest_batch < layout.data:
        raise UsageError(
            f"--batch-size: an epoch's smallest batch has {smallest_batch} images, fewer than the {layout.data} ranks "
            f"that share it; give a larger one, or fewer ranks"
        )
    if grad_accumulation > 1 and smallest_batch // layout.data < grad_accumulation:
        raise UsageError(
            f"--grad-accumulation {grad_accumulation}: a rank has {smallest_batch // layout.data} images of an epoch's "
            "smallest batch, too few for so many parts; give a smaller one, or a larger --batch-size"
        )
    layout.places(table, classes, 0)  # refuses what cannot be divided
    if any(layer.kind == "batch_norm" for layer in table.layers.values()):
        raise UsageError(
            f"net {table.name}: its batch norms see a rank's images alone, so {ranks} ranks would train another net "
            "than one; train it in one process"
        )
    return layout


def _asked(name: str, ranks: int, table: Table) -> Layout:
    if name == "towers":
        towers = table.towers
        if towers < 2:
            raise UsageError(
                f"--parallel towers: net {table.name} has one tower; give --parallel data or hybrid, or a net of two "
                "(--net paper)"
            )
        if ranks % towers:
            raise UsageError(
                f"--parallel towers: net {table.name} has {towers} towers, which {ranks} ranks cannot share; start "
                f"{towers}, {2 * towers}, ..."
            )
        return Layout("towers", ranks // towers, towers)
    if name.startswith("hybrid"):
        scheme: Scheme = "turns" if name == "hybrid-turns" else "mixed" if name == "hybrid-mixed" else "whole"
        return Layout("hybrid", ranks, ranks, scheme=scheme)
    return Layout(name, ranks)


def _automatic(ranks: int, table: Table, classes: int) -> Layout:
    return Layout("data", ranks, why="every rank the whole net")
