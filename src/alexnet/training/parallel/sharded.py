"""A net whose fully connected layers lie in slices on the ranks and come together when they are used (FSDP2).

For nets of many classes: fc8 of 22,000 has 90 million weights. Convolutions are whole everywhere: they hold 4% of the
paper's weights, and ``fully_shard`` takes no channels-last parameters.
"""

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from alexnet.nets.layers import FullyConnected
from alexnet.nets.network import Network
from alexnet.nets.table import Table


class ShardedNetwork(Network):
    """A net that ``shard`` divides once it has its weights.

    Attributes:
        sizes: of the ranks' slices of each divided layer, by its name.
    """

    def __init__(self, table: Table, classes: int):
        with torch.device("meta"):
            super().__init__(table, classes)
        self.allocate()
        self.sizes: dict[str, tuple[int, ...]] = {}
        self._own: dict[str, Tensor] = {}

    def shard(self, mesh: DeviceMesh) -> None:
        """Keeps this rank's slice of each fully connected layer."""
        layers = {name: layer for name, layer in self.named_children() if isinstance(layer, FullyConnected)}
        for name, layer in layers.items():
            count, ranks = layer.out_features, mesh.size()
            size = -(-count // ranks)  # as torch cuts: the last ones may have fewer, or nothing
            self.sizes[name] = tuple(max(0, min(size, count - i * size)) for i in range(ranks))
            fully_shard(layer, mesh=mesh)
            assert isinstance(layer, FSDPModule)
            layer.set_gradient_divide_factor(1.0)  # sums over the whole batch, not means over ranks
            layer.set_force_sum_reduction_for_comms(True)
            for key, parameter in layer.named_parameters():
                self._own[f"{name}.{key}"] = parameter.to_local().detach().requires_grad_()  # pyright: ignore[reportAttributeAccessIssue]

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), **self._own}

    def collect(self) -> None:
        """Hands the gradients of the slices to the tensors that ``tensors`` gives."""
        for name, own in self._own.items():
            parameter = self.get_parameter(name)
            own.grad = None if parameter.grad is None else parameter.grad.to_local()  # pyright: ignore[reportAttributeAccessIssue]
            parameter.grad = None
