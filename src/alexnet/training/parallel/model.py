"""How long a step takes under a layout, by one small model: compute, bytes, bandwidth, latency, overlap.

- A rank computes for so many seconds, shared out over forward, backward and layers by their multiply-adds.
- Parameters cost a rank time, too, whatever the batch: gradients and updates of those that it has.
- On a CPU, bytes cost its cores time as well (``handling``), which nothing hides.
- What the net waits for (maps, slices) adds up: bytes over bandwidth, and a latency for each message.
- Gradients are sent one after another as soon as the backward pass has made them; what is still on its way when that
  pass ends is waited for.
"""

import dataclasses

from alexnet.nets.costs import costs
from alexnet.nets.table import Table
from alexnet.training.parallel.costs import Exchange, exchanges, own_share, rounds
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
        precision, backend: as for ``exchanges``.
    """
    if layout.ranks == 1:
        return Predicted(compute + update, 0.0, 0.0, 0.0, 0.0)
    parts = exchanges(table, classes, layout, batch / layout.data, precision, backend)
    sums = [part for part in parts if part.kind == "gradients"]
    figures = WAITED_SUMS * rounds(layout.ranks, backend) * link.latency
    waited = figures + sum(
        link.seconds(part.sent, part.rounds, part.kind == "maps") for part in parts if part.kind != "gradients"
    )
    handled = handling * sum(part.sent for part in parts)
    sending = sum(link.seconds(part.sent, part.rounds) for part in sums)
    gradients_handled = handling * sum(part.sent for part in sums)
    compute += update * own_share(table, classes, layout) if update else 0.0
    exposed = _exposed(table, classes, sums, compute, gradients_handled, link) if overlap else sending
    return Predicted(compute, handled, waited, exposed, waited + sending)


def _exposed(table: Table, classes: int, sums: list[Exchange], compute: float, handled: float, link: Link) -> float:
    """Seconds for which gradients are on their way after the backward pass."""
    layers = costs(table, classes)
    first = next(row.name for row in layers if row.multiply_adds)
    backward = {row.name: row.multiply_adds * (1 if row.name == first else 2) for row in layers}
    total = sum(backward.values()) + sum(row.multiply_adds for row in layers)
    stretch = 1.0 if not compute else 1 + handled / (compute * sum(backward.values()) / total)
    ends, clock = {}, 0.0
    for row in reversed(layers):
        clock += stretch * compute * backward[row.name] / total
        ends[row.name] = clock
    free = 0.0
    for part in sums:
        free = max(free, ends.get(part.layer, clock)) + link.seconds(part.sent, part.rounds)
    return max(0.0, free - clock)
