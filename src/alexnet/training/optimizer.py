"""The source's update rule."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch
from torch import Tensor

from alexnet import native
from alexnet.errors import UsageError

BLOCK_ELEMENTS = 1 << 20  # weight, velocity and gradient of a block stay in the cache between the passes
VELOCITY = "velocity"


class Momentum(torch.optim.Optimizer):
    """``v <- momentum v - lr (gradient + weight_decay w)``, ``w <- w + v`` (paper 5; 2012 source).

    With a learning rate that changes this is not ``torch.optim.SGD``, whose velocity is multiplied by the new rate.
    Biases have no decay. A rate of 0 leaves weights and velocities as they are. Works in any loop, with torch's
    ``lr_scheduler`` and ``GradScaler``: every parameter is a group with ``name``, ``lr``, ``momentum`` and
    ``weight_decay`` of its own.

    Args:
        named_parameters: ``net.named_parameters()``, or parameters by name; those named ``bias`` or ``....bias`` are
            biases.
        lr: learning rate; >= 0.
        momentum: >= 0.
        weight_decay: of all but biases; >= 0.
        weight_decays: of single parameters, by name.

    Raises:
        UsageError: parameters without names, or a number that cannot be meant.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        weight_decays: Mapping[str, float] | None = None,
    ):
        for name, value in {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}.items():
            if not 0 <= value < math.inf:
                raise UsageError(f"{type(self).__name__}: {name} {value}: must be at least 0")
        pairs: list[Any] = list(named_parameters.items() if isinstance(named_parameters, Mapping) else named_parameters)
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            raise UsageError(f"{type(self).__name__}: its parameters have no names; give net.named_parameters()")
        own = weight_decays or {}
        groups: list[dict[str, Any]] = [
            {
                "params": [tensor],
                "name": name,
                "weight_decay": own.get(name, 0.0 if name.rpartition(".")[2] == "bias" else weight_decay),
            }
            for name, tensor in pairs
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.copies: Mapping[str, Tensor] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's own, but for its decorator, which imports torch's compiler: seconds at the start of a training."""
        add = torch.optim.Optimizer.add_param_group
        getattr(add, "__wrapped__", add)(self, param_group)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name."""
        return {group["name"]: group["params"][0] for group in self.param_groups}

    @property
    def velocities(self) -> dict[str, Tensor]:
        """Each parameter's velocity by its name, laid out in memory as the parameter is."""
        return {name: self._velocity(tensor) for name, tensor in self.tensors.items()}

    def keep(self, copies: Mapping[str, Tensor]) -> None:
        """Takes these tensors' gradients from copies of lower precision that the products use, and keeps them equal.

        Args:
            copies: by name, of the same layout in memory.
        """
        self.copies = dict(copies)

    def set_lr(self, rates: Mapping[str, float]) -> None:
        """Gives each parameter a learning rate, by its name."""
        for group in self.param_groups:
            group["lr"] = rates[group["name"]]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Updates every parameter that has a gradient, which is that of the mean loss.

        Args:
            closure: computes the loss and its gradients first, where given.

        Returns:
            What ``closure`` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (tensor,) = group["params"]
            copy = self.copies.get(group["name"])
            gradient = (tensor if copy is None else copy).grad
            if group["lr"] != 0 and gradient is not None and tensor.numel():  # a rank may have nothing of a layer
                self._update(group, gradient, copy)
        return loss

    def _update(self, group: dict[str, Any], gradient: Tensor, copy: Tensor | None) -> None:
        """Updates a group's parameter, and its copy of lower precision where it has one."""
        (tensor,) = group["params"]
        velocity = self._velocity(tensor)
        momentum, lr, weight_decay = group["momentum"], float(group["lr"]), group["weight_decay"]
        in_one_pass = compiled_step(tensor, gradient, copy)
        if in_one_pass:
            in_one_pass(tensor, velocity, laid_out_as(gradient, tensor), copy, momentum, lr, weight_decay)
            torch.autograd.graph.increment_version([tensor, velocity])  # torch has not seen who wrote there
            return
        block = BLOCK_ELEMENTS if tensor.device.type == "cpu" else tensor.numel()
        parts = (tensor, velocity, gradient, tensor if copy is None else copy.detach())
        for w, v, g, low in zip(*(flat(part, like=tensor).split(block) for part in parts)):
            v.mul_(momentum).add_(g, alpha=-lr)
            if weight_decay:
                v.add_(w, alpha=-lr * weight_decay)
            w.add_(v)
            if copy is not None:
                low.copy_(w)

    def _velocity(self, tensor: Tensor) -> Tensor:
        """A parameter's velocity, 0 at first."""
        state = self.state[tensor]
        if VELOCITY not in state:
            state[VELOCITY] = torch.zeros_like(tensor, requires_grad=False)
        return state[VELOCITY]

    def state_dict(self) -> dict[str, Any]:
        """Groups and velocities, as ``torch.save`` and ``load_state_dict`` take them."""
        self.velocities  # noqa: B018 - those of parameters that were never updated are 0, and are written, too
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes groups and velocities from ``state_dict()``; the velocities are copied."""
        super().load_state_dict(state_dict)
        for tensor in self.tensors.values():
            loaded = self._velocity(tensor)
            self.state[tensor][VELOCITY] = torch.empty_like(tensor, requires_grad=False).copy_(loaded)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for tensor in (*self.tensors.values(), *self.copies.values()):
            tensor.grad = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "copies": self.copies}


def compiled_step(tensor: Tensor, gradient: Tensor, copy: Tensor | None) -> Callable[..., None] | None:
    """The compiled update for a parameter, its gradient and its copy; None: there is none for these."""
    if tensor.dtype != torch.float32:
        return None
    if tensor.is_cuda:
        from alexnet.native import cuda  # Triton takes long

        return cuda.momentum_step if cuda.runs(gradient, *(() if copy is None else (copy,))) else None
    takes = native.available(tensor.device, gradient.dtype) and (copy is None or copy.dtype == torch.bfloat16)
    return native.momentum_step if takes else None


def laid_out_as(gradient: Tensor, tensor: Tensor) -> Tensor:
    """A gradient whose elements lie in memory as the tensor's do."""
    if gradient.stride() == tensor.stride():
        return gradient
    return torch.empty_like(tensor, dtype=gradient.dtype).copy_(gradient)


def flat(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """One-dimensional, in the order in which ``like`` lies in memory; in its own, it is a view."""
    like = tensor if like is None else like
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    return tensor.permute(order).reshape(-1)
