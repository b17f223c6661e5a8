"""The source's update rule, and schedules as functions of the step."""

import math

import torch
from torch import Tensor

from alexnet.training.recipe import Recipe

BLOCK_ELEMENTS = 1 << 20  # weight, velocity and gradient of a block stay in the cache between the passes


class Momentum:
    """``v <- momentum v - rate (gradient + decay w)``, ``w <- w + v`` (paper 5; 2012 source).

    With a rate that changes this is not ``torch.optim.SGD``, whose velocity is multiplied by the new rate.
    Biases have no decay. A rate of 0 leaves weights and velocities as they are.

    Args:
        tensors: parameters by name; those ending in ``.bias`` are biases.
        momentum, decay: see above.
    """

    def __init__(self, tensors: dict[str, Tensor], momentum: float, decay: float):
        self.tensors, self.momentum, self.decay = tensors, momentum, decay
        self.velocities = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Updates every parameter from its ``grad``, which is the gradient of the mean loss."""
        if rate == 0:
            return
        for name, tensor in self.tensors.items():
            assert tensor.grad is not None
            decay = 0.0 if name.endswith(".bias") else self.decay
            block = BLOCK_ELEMENTS if tensor.device.type == "cpu" else tensor.numel()
            blocks = (_flat(t).split(block) for t in (tensor, self.velocities[name], tensor.grad))
            for w, v, g in zip(*blocks):
                v.mul_(self.momentum).add_(g, alpha=-rate)
                if decay:
                    v.add_(w, alpha=-rate * decay)
                w.add_(v)

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for tensor in self.tensors.values():
            tensor.grad = None


def _flat(tensor: Tensor) -> Tensor:
    """A one-dimensional view in memory's order: filters are channels-last, so row, column, map."""
    return (tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor).reshape(-1)


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
    if recipe.schedule == "plateau":
        return recipe.rate / 10 ** plateau_falls(validation, recipe.patience, recipe.falls)
    return recipe.rate


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
