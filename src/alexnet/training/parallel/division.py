"""What of a training each rank has: its part of the net and of each batch, and how the whole comes together again."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from alexnet.data.batches import Share
from alexnet.nets import weights
from alexnet.nets.network import Network
from alexnet.nets.precision import keep_copies
from alexnet.nets.table import Table
from alexnet.ranks import Ranks
from alexnet.training.parallel.gradients import GradientSums
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.part import Part, Place
from alexnet.training.parallel.sharded import ShardedNetwork


class Division:
    """A net divided over ranks by a layout.

    Args:
        ranks: the job's.
        layout: how.
        table, classes: of the whole net.
        device: of this rank.

    Attributes:
        share: this rank's part of each batch.
        net: this rank's part of the net, or all of it; without values.
    """

    def __init__(self, ranks: Ranks, layout: Layout, table: Table, classes: int, device: torch.device):
        self.ranks, self.layout = ranks, layout
        self._data = self._model = dist.group.WORLD
        index = 0
        if layout.name == "hybrid":
            index, self.share = ranks.rank, Share(ranks.rank, layout.data)
        elif layout.parts > 1:
            mesh = init_device_mesh(device.type, (layout.data, layout.parts), mesh_dim_names=("data", "towers"))
            self._data, self._model = mesh.get_group("data"), mesh.get_group("towers")
            index, self.share = mesh.get_local_rank("towers"), Share(mesh.get_local_rank("data"), layout.data)
        else:
            self.share = Share(ranks.rank, layout.data)
        places = layout.places(table, classes, index)
        assert self._model is not None
        if layout.name == "sharded":
            index, self.net = ranks.rank, ShardedNetwork(table, classes)
        else:
            self.net = self._part(table, classes, places, index)
        self._index = index

    def _part(self, table: Table, classes: int, places: list[Place] | None, index: int) -> Network:
        if places is None:
            return Network.empty(table, classes)
        assert self._model is not None
        return Part(table, classes, places, index, self._model, self.layout.scheme)

    def settle(self) -> None:
        """The net has its weights and is on its device: what is kept in slices only is cut."""
        if isinstance(self.net, ShardedNetwork):
            device = next(self.net.parameters()).device
            self.net.shard(init_device_mesh(device.type, (self.ranks.size,)))

    def _sizes(self, name: str) -> tuple[int, ...] | None:
        """Of a parameter's parts, first dimension; None: it is whole here."""
        return self.net.sizes.get(name.rpartition(".")[0]) if isinstance(self.net, Part | ShardedNetwork) else None

    def own(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of a parameter, or of its velocity."""
        sizes = self._sizes(name)
        return whole if sizes is None else whole.split(list(sizes))[self._index]

    def room(self, name: str, part: Tensor) -> Tensor:
        """An empty tensor of the whole of which a rank has ``part``, laid out in memory as it is."""
        sizes = self._sizes(name)
        shape = part.shape if sizes is None else (sum(sizes), *part.shape[1:])
        return _laid_out(part.new_empty(shape), part)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole parameters, or velocities, from all ranks' parts; every rank must ask. What is whole is not copied."""
        return {name: self._whole(name, tensor.detach()) for name, tensor in tensors.items()}

    def _whole(self, name: str, own: Tensor) -> Tensor:
        sizes = self._sizes(name)
        if sizes is None:
            return own
        assert self._model is not None
        parts = [own.new_empty((size, *own.shape[1:])) for size in sizes]
        members = dist.get_process_group_ranks(self._model)
        for index, part in enumerate(parts):  # broadcasts, since parts may differ in size
            if index == self._index:
                part.copy_(own)
            if len(part):
                dist.broadcast(part, members[index], group=self._model)
        return _laid_out(torch.cat(parts), own)

    def whole_net(self) -> Network:
        """The net with all its weights, on this rank's device; every rank must ask."""
        if not isinstance(self.net, Part | ShardedNetwork):
            return self.net
        some = next(self.net.parameters())
        net = Network.empty(self.net.table, self.net.classes).to(some.device, some.dtype)
        weights.put(net, self.whole(self.net.state()), "the ranks' parts")
        return net

    def copies(self, precision: str) -> dict[str, Tensor]:
        """Copies of the products' weights in their own type, where a net keeps any: sharded ones do not."""
        if precision != "bf16" or isinstance(self.net, ShardedNetwork):
            return {}
        return keep_copies(self.net, torch.bfloat16)

    def sums(self, leaves: Mapping[str, Tensor]) -> GradientSums:
        """Of gradients, over the ranks that have the same part.

        Args:
            leaves: to which gradients come, by parameter's name.
        """
        if self.layout.name in ("hybrid", "sharded"):  # what is divided is summed already
            leaves = {name: leaf for name, leaf in leaves.items() if self._sizes(name) is None}
        alone = self.layout.data == 1
        after = self.net.collect if isinstance(self.net, ShardedNetwork) else None
        return GradientSums(leaves, None if alone else self._data, after)


def _laid_out(whole: Tensor, part: Tensor) -> Tensor:
    """A tensor whose elements lie in memory in the order of another one's of as many dimensions."""
    order = sorted(range(part.dim()), key=part.stride, reverse=True)
    return whole.permute(order).contiguous().permute([order.index(i) for i in range(part.dim())])
