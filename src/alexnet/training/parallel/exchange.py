"""What ranks hand each other in the middle of a net, forward and backward: whole maps from parts, whole batches.

Everything goes by ``all_to_all``: gloo's ``reduce_scatter`` moves what an ``all_reduce`` does, twice what is needed.
What is sent lies in memory as it is (channels-last), so nothing is transposed on the way.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup


def _flat(x: Tensor) -> Tensor:
    """(numbers,) of a tensor as they lie in memory, channels last."""
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).reshape(-1)


def _shaped(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor of a shape that ``_flat`` made one-dimensional."""
    if len(shape) != 4:
        return flat.view(*shape)
    count, maps, height, width = shape
    return flat.view(count, height, width, maps).permute(0, 3, 1, 2)


def swap(parts: Sequence[Tensor], shapes: Sequence[Sequence[int]], group: Group) -> list[Tensor]:
    """Sends a part to each rank of a group and gets one from each; its own part comes back as it is.

    Args:
        parts: one a rank, of one type.
        shapes: of what comes from each rank.
        group: of the ranks.
    """
    rank = dist.get_rank(group)
    sent = [_flat(part) if i != rank else part.new_empty(0) for i, part in enumerate(parts)]
    sizes = [torch.Size(shape).numel() if i != rank else 0 for i, shape in enumerate(shapes)]
    room = parts[0].new_empty(sum(sizes))
    dist.all_to_all_single(room, torch.cat(sent), sizes, [len(part) for part in sent], group=group)
    return [
        parts[rank] if i == rank else _shaped(flat, shapes[i]) for i, flat in enumerate(room.split(sizes))
    ]  # fmt: skip


class GatherMaps(torch.autograd.Function):
    """(N, own maps or units, ...) to (N, all of them, ...): each rank of the group then sees what all made.

    Backward, each rank's gradient of all of them is a part of a sum; its own maps' sum comes back.
    """

    @staticmethod
    def forward(ctx, x: Tensor, sizes: Sequence[int], group: Group) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        shapes = [(x.shape[0], size, *x.shape[2:]) for size in sizes]
        return torch.cat(swap([x] * len(sizes), shapes, group), 1)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        parts = gradients[0].split(list(ctx.sizes), 1)
        own = parts[dist.get_rank(ctx.group)]
        received = swap(parts, [own.shape] * len(parts), ctx.group)
        return sum(received[1:], received[0]), None, None


class GatherExamples(torch.autograd.Function):
    """(own images, ...) to (all ranks' images, ...), in the order of the ranks; backward, the sum over ranks of the
    gradients of its own images comes back."""

    @staticmethod
    def forward(ctx, x: Tensor, counts: Sequence[int], group: Group) -> Tensor:
        ctx.counts, ctx.group = counts, group
        return torch.cat(swap([x] * len(counts), [(count, *x.shape[1:]) for count in counts], group))

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        parts = gradients[0].split(list(ctx.counts))
        own = parts[dist.get_rank(ctx.group)]
        received = swap(parts, [own.shape] * len(parts), ctx.group)
        return sum(received[1:], received[0]), None, None


class GatherScores(torch.autograd.Function):
    """(N, own classes) to (N, all classes) where every rank of the group computes the same loss from them.

    Backward, each rank keeps its own classes' gradient: a sum would count it once a rank.
    """

    @staticmethod
    def forward(ctx, x: Tensor, sizes: Sequence[int], group: Group) -> Tensor:
        ctx.sizes, ctx.rank = sizes, dist.get_rank(group)
        return torch.cat(swap([x] * len(sizes), [(len(x), size) for size in sizes], group), 1)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        return gradients[0].split(list(ctx.sizes), 1)[ctx.rank].contiguous(), None, None


class OwnScores(torch.autograd.Function):
    """(all images, own classes) to (own images, all classes): each rank gets its own images' scores, and backward gives
    each rank its own classes' gradients of all images."""

    @staticmethod
    def forward(ctx, x: Tensor, sizes: Sequence[int], counts: Sequence[int], group: Group) -> Tensor:
        ctx.sizes, ctx.counts, ctx.group = sizes, counts, group
        count = counts[dist.get_rank(group)]
        return torch.cat(swap(x.split(list(counts)), [(count, size) for size in sizes], group), 1)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        parts = gradients[0].split(list(ctx.sizes), 1)
        size = ctx.sizes[dist.get_rank(ctx.group)]
        return torch.cat(swap(parts, [(count, size) for count in ctx.counts], ctx.group)), None, None, None
