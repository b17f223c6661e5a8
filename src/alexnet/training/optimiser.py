"""The source's update rule, and schedules as functions of the step."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from alexnet import native
from alexnet.training.recipe import Recipe, layer_rates

BLOCK_ELEMENTS = 1 << 20  # weight, velocity and gradient of a block stay in the cache between the passes


class Momentum(torch.optim.Optimizer):
    """``v <- momentum v - rate (gradient + decay w)``, ``w <- w + v`` (paper 5; 2012 source).

    With a rate that changes this is not ``torch.optim.SGD``, whose velocity is multiplied by the new rate.
    Biases have no decay. A rate of 0 leaves weights and velocities as they are.

    Args:
        tensors: parameters by name; those ending in ``.bias`` are biases.
        momentum, decay: see above.
        decays: of single tensors, by name.
    """

    def __init__(
        self, tensors: dict[str, Tensor], momentum: float, decay: float, decays: Mapping[str, float] | None = None
    ):
        super().__init__([{"params": [tensor], "name": name} for name, tensor in tensors.items()], {})
        self.tensors, self.momentum = tensors, momentum
        self.decays = {name: 0.0 if name.endswith(".bias") else decay for name in tensors} | dict(decays or {})
        self.velocities = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        self.copies: Mapping[str, Tensor] = {}

    def keep(self, copies: Mapping[str, Tensor]) -> None:
        """Takes these tensors' gradients from copies of lower precision that the products use, and keeps them equal.

        Args:
            copies: by name, of the same layout in memory.
        """
        self.copies = copies

    @torch.no_grad()
    def step(self, rates: Mapping[str, float]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Updates every parameter from its ``grad``, which is the gradient of the mean loss, at its own rate."""
        for name, tensor in self.tensors.items():
            if rates[name] == 0:
                continue
            copy = self.copies.get(name)
            gradient = (tensor if copy is None else copy).grad
            assert gradient is not None
            compiled = tensor.dtype == torch.float32 and native.available(tensor.device, gradient.dtype)
            if compiled and (copy is None or copy.dtype == torch.bfloat16):
                native.momentum_step(
                    tensor, self.velocities[name], _laid_out_as(gradient, tensor), copy,
                    self.momentum, rates[name], self.decays[name],
                )  # fmt: skip
            else:
                self._blocks(name, gradient, rates[name], self.decays[name])

    def _blocks(self, name: str, gradient: Tensor, rate: float, decay: float) -> None:
        tensor, copy = self.tensors[name], self.copies.get(name)
        block = BLOCK_ELEMENTS if tensor.device.type == "cpu" else tensor.numel()
        parts = [tensor, self.velocities[name], gradient, tensor if copy is None else copy.detach()]
        for w, v, g, low in zip(*(_flat(part, tensor).split(block) for part in parts)):
            v.mul_(self.momentum).add_(g, alpha=-rate)
            if decay:
                v.add_(w, alpha=-rate * decay)
            w.add_(v)
            if copy is not None:
                low.copy_(w)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for tensor in (*self.tensors.values(), *self.copies.values()):
            tensor.grad = None


def _laid_out_as(gradient: Tensor, tensor: Tensor) -> Tensor:
    """A gradient whose elements lie in memory as the tensor's do."""
    if gradient.stride() == tensor.stride():
        return gradient
    return torch.empty_like(tensor, dtype=gradient.dtype).copy_(gradient)


def _flat(tensor: Tensor, like: Tensor) -> Tensor:
    """One-dimensional, in the order in which ``like`` lies in memory: for ``like`` itself a view."""
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    return tensor.permute(order).reshape(-1)


def rate_at(recipe: Recipe, step: int, steps_per_epoch: int, validation: list[float]) -> float:
    """The learning rate of a step: a function of the step and of the validation errors measured before it.

    Args:
        recipe: settled (its ``epochs`` given).
        step: from 0.
        steps_per_epoch: steps an epoch.
        validation: validation error after each measurement so far; only ``plateau`` looks at it.
    """
    assert recipe.epochs is not None
    warmup = recipe.warmup * steps_per_epoch
    if step < warmup:
        return recipe.rate * (step + 1) / (math.floor(warmup) + 1)
    if recipe.schedule == "cosine":
        total = recipe.epochs * steps_per_epoch
        share = (step - warmup) / max(1.0, total - warmup)
        return recipe.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return recipe.rate * _share(recipe, step / steps_per_epoch, validation)


def _share(recipe: Recipe, epoch: float, validation: list[float]) -> float:
    """What is left of the highest rate after so many epochs."""
    assert recipe.epochs is not None
    if recipe.schedule == "plateau":
        return 0.1 ** plateau_falls(validation, recipe.patience, recipe.falls)
    if recipe.schedule == "steps":
        return 0.1 ** sum(epoch >= fall for fall in recipe.falls_after)
    if recipe.schedule == "exponential":
        return (recipe.final_rate / recipe.rate) ** (epoch / recipe.epochs)
    if recipe.schedule == "stairs":
        stair = min(recipe.stairs - 1, math.floor(epoch / recipe.epochs * recipe.stairs))
        return (recipe.final_rate / recipe.rate) ** (stair / (recipe.stairs - 1))
    assert recipe.schedule == "constant", recipe.schedule
    return 1.0


def rates_at(
    recipe: Recipe, rate: float, epoch: float, names: Iterable[str], shares: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The rate of each parameter.

    Args:
        recipe: settled.
        rate: of the weights at this step, from ``rate_at``.
        epoch: done so far.
        names: of the parameters; those ending in ``.bias`` are biases.
        shares: what single parameters' rates are multiplied with, unless ``layer_rates`` says theirs; 0 always holds.
    """
    bias, shares = rate, shares or {}
    if recipe.bias_rate is not None:
        fallen = rate / recipe.rate if recipe.bias_schedule == "same" and recipe.rate else 1.0
        bias = recipe.bias_rate * fallen
    own = {each.tensor: each.rate for each in layer_rates(recipe.layer_rates) if epoch >= each.epoch}
    usual = {name: (bias if name.endswith(".bias") else rate) * shares.get(name, 1.0) for name in names}
    return {name: own.get(name, value) if shares.get(name) != 0 else 0.0 for name, value in usual.items()}


def plateau_falls(validation: list[float], patience: int, most: int) -> int:
    """How often the rate has fallen: each time ``patience`` measurements in a row brought no lower error."""
    best, waited, falls = math.inf, 0, 0
    for error in validation:
        if error < best:
            best, waited = error, 0
        else:
            waited += 1
            if waited == patience and falls < most:
                falls, waited = falls + 1, 0
    return falls
