"""How long a step takes under a layout, by one small model: compute, bytes, bandwidth, latency, overlap.

- A rank computes for so many seconds, shared out over forward, backward and layers by their multiply-adds.
- Parameters cost a rank time, too, whatever the batch: gradients and updates of those that it has.
- On a CPU, bytes cost its cores time as well (``handling``), which nothing hides.
- What the net waits for (maps, slices) adds up: bytes over bandwidth, and a latency for each message.
- Gradients are sent one after another as soon as the backward pass has made them; what is still on its way when that
  pass ends is waited for. Where a batch goes through in parts, that is the pass of the last one.
- Layers that are frozen have no backward pass, and no gradients.
"""

import dataclasses

from alexnet.nets.costs import costs
from alexnet.nets.table import Table
from alexnet.training.parallel.costs import WHOLE, Exchange, Passes, exchanges, first_with_gradients, own_share, rounds
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.link import Link

WAITED_SUMS = 2  # a step's figures, and whether a rank was asked to stop: two small sums


@dataclasses.dataclass(frozen=True)
class Predicted:
    """A step, in seconds.

    Attributes:
        compute: of the rank's own work.
        handling: of its cores for what is sent.
        waited: for maps, slices and figures.
        exposed: for gradients after the backward pass.
        link: all that the link does, hidden or not.
    """

    compute: float
    handling: float
    waited: float
    exposed: float
    link: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute + self.handling + self.waited + self.exposed

    @property
    def hidden(self) -> float:
        """Share of the link's time that a step does not wait for."""
        return 0.0 if not self.link else 1 - (self.waited + self.exposed) / self.link


@dataclasses.dataclass(frozen=True)
class Work:
    """Multiply-adds of a layer in a step, for one image: those of its forward pass, and of its backward pass."""

    name: str
    forward: int
    backward: int


def predict(
    table: Table,
    classes: int,
    layout: Layout,
    batch: float,
    compute: float,
    link: Link,
    *,
    update: float = 0.0,
    handling: float = 0.0,
    overlap: bool = True,
    precision: str = "float32",
    backend: str = "gloo",
    passes: Passes = WHOLE,
) -> Predicted:
    """A step of a layout.

    Args:
        table, classes: of the net.
        layout: over ranks.
        batch: images of all ranks.
        compute: seconds that a rank computes in a step: the layouts share the work alike.
        link: between ranks.
        update: seconds that all of the net's parameters cost a rank beside that, of which it has its share.
        handling: seconds of a rank's cores a byte sent.
        overlap: whether gradients are sent while the backward pass goes on.
        precision, backend, passes: as for ``exchanges``.
    """
    if layout.ranks == 1:
        return Predicted(compute + update, 0.0, 0.0, 0.0, 0.0)
    parts = exchanges(table, classes, layout, batch / layout.data, precision, backend, passes)
    sums = [part for part in parts if part.kind == "gradients"]
    figures = WAITED_SUMS * rounds(layout.ranks, backend) * link.latency
    waited = figures + sum(
        link.seconds(part.sent, part.rounds, part.kind == "maps") for part in parts if part.kind != "gradients"
    )
    handled = handling * sum(part.sent for part in parts)
    sending = sum(link.seconds(part.sent, part.rounds) for part in sums)
    gradients_handled = handling * sum(part.sent for part in sums)
    compute += update * own_share(table, classes, layout, passes) if update else 0.0
    work = operations(table, classes, passes, first_with_gradients(table, classes, layout, passes))
    exposed = _exposed(work, passes.parts, sums, compute, gradients_handled, link) if overlap else sending
    return Predicted(compute, handled, waited, exposed, waited + sending)


def operations(table: Table, classes: int, passes: Passes = WHOLE, first: int | None = None) -> list[Work]:
    """Of each layer in a step, for one image.

    Args:
        table, classes: of the net.
        passes: through it.
        first: layer with gradients, if it is not the first one that learns.
    """
    layers = costs(table, classes)
    if first is None:
        first = first_with_gradients(table, classes, Layout("data", 1), passes)
    weighty = next(i for i, row in enumerate(layers) if row.multiply_adds and i >= first)
    return [
        Work(
            row.name,
            0 if passes.computed and i < first else row.multiply_adds,
            row.multiply_adds * (0 if i < first else 1 if i <= weighty else 2),
        )
        for i, row in enumerate(layers)
    ]


def _exposed(
    work: list[Work], parts: int, sums: list[Exchange], compute: float, handled: float, link: Link
) -> float:  # fmt: skip
    """Seconds for which gradients are on their way after the backward pass: of the last part, which sends them."""
    back = sum(row.backward for row in work)
    second = compute / (back + sum(row.forward for row in work)) / parts  # of a multiply-add of one part
    stretch = 1.0 if not compute else 1 + handled / (back * second)
    ends, clock = {}, 0.0
    for row in reversed(work):
        clock += stretch * second * row.backward
        ends[row.name] = clock
    free = 0.0
    for part in sums:
        free = max(free, ends.get(part.layer, clock)) + link.seconds(part.sent, part.rounds)
    return max(0.0, free - clock)
