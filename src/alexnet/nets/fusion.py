"""Which runs of layers the compiled path does in one pass over memory: a plan beside the net, made from its table."""

import dataclasses
import functools

from alexnet.native import BETA, MOST_WINDOW, Stage
from alexnet.nets.table import (
    AveragePoolLayer,
    ConvolutionLayer,
    Layer,
    LocallyConnectedLayer,
    MaxPoolLayer,
    ResponseNormLayer,
)

BEFORE = ":before"  # of a layer's name: its outputs before the activation function


@dataclasses.dataclass(frozen=True)
class Step:
    """Layers that are computed together.

    Attributes:
        layers: in order.
        head: the first one, where its products come before the stage; its activation is then part of the stage.
        stage: what the compiled path does with the rest in one pass; None: each layer by itself.
    """

    layers: tuple[Layer, ...]
    head: ConvolutionLayer | LocallyConnectedLayer | None = None
    stage: Stage | None = None


@functools.lru_cache(maxsize=256)
def plan(layers: tuple[Layer, ...], wanted: frozenset[str] = frozenset()) -> tuple[Step, ...]:
    """A net's layers as steps, as few passes over memory as the compiled path knows.

    Args:
        layers: of a table, in order.
        wanted: names of layers whose outputs are asked for: no stage hides one of these; with ``:before``, those
            before the activation function.
    """
    steps: list[Step] = []
    while layers:
        steps.append(_step(layers, wanted))
        layers = layers[len(steps[-1].layers) :]
    return tuple(steps)


def _step(layers: tuple[Layer, ...], wanted: frozenset[str]) -> Step:
    """The first layers that are computed together."""
    head = _head(layers[0])
    if head and head.name in wanted:
        return Step((head,))
    start = 1 if head else 0
    norm, pool = _norm_and_pool(layers[start : start + 2], wanted)
    covered = start + (norm is not None) + (pool is not None)
    if covered == start:
        return Step(layers[:1])
    stage = Stage(
        relu_before=head is not None and head.activation == "relu",
        norm=None if norm is None else (norm.size, norm.groups, norm.k, norm.alpha),
        pool=None if pool is None else (pool.window.size, pool.window.stride),
        relu_after=pool is not None and pool.activation == "relu",
        average=isinstance(pool, AveragePoolLayer),
    )
    return Step(layers[:covered], head, stage)


def _head(layer: Layer) -> ConvolutionLayer | LocallyConnectedLayer | None:
    """A layer whose products a stage may follow."""
    products = isinstance(layer, ConvolutionLayer | LocallyConnectedLayer)
    return layer if products and not layer.dropout and layer.activation in (None, "relu") else None


def _norm_and_pool(
    layers: tuple[Layer, ...], wanted: frozenset[str]
) -> tuple[ResponseNormLayer | None, MaxPoolLayer | AveragePoolLayer | None]:
    """The norm and the pooling that come next, as far as one pass can do them."""
    first = layers[0] if layers else None
    norm = first if isinstance(first, ResponseNormLayer) and first.beta == BETA else None
    if norm and norm.name + BEFORE in wanted:  # only a layer by itself hands that out
        return None, None
    rest = layers[1:] if norm else layers
    pool = rest[0] if rest and not (norm and norm.name in wanted) else None
    if not isinstance(pool, MaxPoolLayer | AveragePoolLayer) or pool.activation not in (None, "relu"):
        return norm, None
    fits = pool.window.stride <= pool.window.size <= MOST_WINDOW
    return norm, pool if fits and pool.name + BEFORE not in wanted else None
