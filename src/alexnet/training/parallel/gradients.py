"""Gradients summed over ranks while the backward pass goes on, each parameter by itself, so always in one order.

``DistributedDataParallel`` cuts gradients into buckets anew after its first step: resumed, it would add them up in
another order, and from three ranks on the bits differ.
"""

from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.training.optimizer import flat, laid_out_as

SMALL_BYTES = 1 << 16  # gradients up to this size go together, at the end: each message costs a link's delay


class GradientSums:
    """Sums of gradients over a group of ranks.

    Args:
        tensors: by name, the leaves to which gradients come: parameters, or their copies in lower precision.
        group: over which; None: there is nothing to sum.
        after: called when all are summed.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        group: dist.ProcessGroup | None,
        after: Callable[[], None] | None = None,
    ):
        self._group, self._after, self._on = group, after, False
        self._works: list[dist.Work] = []
        self._small: list[Tensor] = []
        for tensor in tensors.values():
            if group is not None and tensor.requires_grad:
                tensor.register_post_accumulate_grad_hook(self._ready)

    def start(self) -> None:
        """From here on a gradient that is complete is sent: the backward pass that comes is the step's last."""
        self._on = self._group is not None

    def _ready(self, tensor: Tensor) -> None:
        if not self._on or tensor.grad is None:
            return
        tensor.grad = laid_out_as(tensor.grad, tensor)
        if tensor.grad.nbytes <= SMALL_BYTES:
            self._small.append(tensor.grad)
        else:
            self._send(tensor.grad)

    def _send(self, tensor: Tensor) -> None:
        in_order = flat(tensor)  # NCCL takes no other order of six dimensions
        work = dist.all_reduce(in_order, group=self._group, async_op=True)
        if work is not None:
            self._works.append(work)

    def total(self, figures: Tensor) -> Tensor:
        """A small tensor's sum over the group, in place."""
        if self._group is not None:
            dist.all_reduce(figures, group=self._group)
        return figures

    def wait(self) -> None:
        """Waits for all gradients that were sent."""
        together: dict[torch.dtype, list[Tensor]] = {}
        for gradient in self._small:
            together.setdefault(gradient.dtype, []).append(gradient)
        summed: list[tuple[Tensor, Tensor]] = []
        for gradients in together.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._send(flat)
            summed += zip(gradients, flat.split([gradient.numel() for gradient in gradients]))
        for work in self._works:
            work.wait()
        for gradient, part in summed:
            gradient.copy_(part.view(gradient.shape))
        self._works, self._small, self._on = [], [], False
        if self._after:
            self._after()
