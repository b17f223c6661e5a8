"""Learning rates as functions of the step: schedules, warm-up, biases and single layers.

A schedule is a small frozen dataclass, ``MultiStep(25, 51, 79)`` say; ``Recipe(schedule=...)`` takes one in place of
its name and options.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from alexnet.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Moment:
    """Where a training is.

    Attributes:
        step: from 0.
        steps_per_epoch: steps in an epoch.
        epochs: of the whole training.
        warmup_epochs: before the schedule starts.
        validation: the validation error (0..1) of each measurement so far.
    """

    step: int
    steps_per_epoch: int
    epochs: int
    warmup_epochs: float = 0.0
    validation: Sequence[float] = ()

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.steps_per_epoch

    @property
    def after_warmup(self) -> float:
        """How much of what comes after warm-up is done, 0..1."""
        warmup, total = self.warmup_epochs * self.steps_per_epoch, self.epochs * self.steps_per_epoch
        return min(1.0, (self.step - warmup) / max(1.0, total - warmup))


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same rate always."""

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest."""
        return peak

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "constant"}


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Half a cosine wave from the highest rate to 0 (Loshchilov and Hutter, 2017)."""

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest."""
        return peak * 0.5 * (1 + math.cos(math.pi * moment.after_warmup))

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "cosine"}


@dataclasses.dataclass(frozen=True)
class Linear:
    """A straight line from the highest rate to 0."""

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest."""
        return peak * (1 - moment.after_warmup)

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "linear"}


@dataclasses.dataclass(frozen=True, init=False)
class MultiStep:
    """Divided by 10 at each milestone: ``MultiStep(25, 51, 79)``, by hand in 2012.

    Args:
        milestones: epochs, in rising order.
    """

    milestones: tuple[float, ...]

    def __init__(self, *milestones: float):
        object.__setattr__(self, "milestones", milestones)

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest."""
        return peak * 0.1 ** sum(moment.epoch >= milestone for milestone in self.milestones)

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "multistep", "milestones": self.milestones}


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Divided by 10 each time that the validation error stalls (paper 5).

    Attributes:
        patience: measurements in a row without a lower error.
        drops: how often at most (paper 5: three times).
    """

    patience: int = 5
    drops: int = 3

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest."""
        return peak * 0.1 ** self.drops_after(moment.validation)

    def drops_after(self, validation: Sequence[float]) -> int:
        """How often the rate has dropped after these validation errors."""
        best, waited, drops = math.inf, 0, 0
        for error in validation:
            if error < best:
                best, waited = error, 0
            else:
                waited += 1
                if waited == self.patience and drops < self.drops:
                    drops, waited = drops + 1, 0
        return drops

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "plateau", "plateau_patience": self.patience, "plateau_drops": self.drops}


@dataclasses.dataclass(frozen=True)
class Exponential:
    """From the highest rate to ``final_lr`` by the same factor every epoch (source numbers 155, 156)."""

    final_lr: float = 1e-5

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest, above 0."""
        return peak * (self.final_lr / peak) ** (moment.epoch / moment.epochs)

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "exponential", "final_lr": self.final_lr}


@dataclasses.dataclass(frozen=True)
class Staircase:
    """From the highest rate to ``final_lr`` in ``stages`` equally long stages (source numbers 169, 170)."""

    stages: int = 4
    final_lr: float = 1e-5

    def lr(self, peak: float, moment: Moment) -> float:
        """The learning rate at a moment; ``peak`` is the highest, above 0."""
        stage = min(self.stages - 1, math.floor(moment.epoch / moment.epochs * self.stages))
        return peak * (self.final_lr / peak) ** (stage / (self.stages - 1))

    def flat(self) -> dict[str, object]:
        """The recipe's fields that say the same."""
        return {"schedule": "staircase", "stages": self.stages, "final_lr": self.final_lr}


Schedule = Cosine | Linear | Plateau | MultiStep | Exponential | Staircase | Constant


@dataclasses.dataclass(frozen=True)
class LayerLr:
    """``conv1@72=0``: from an epoch on a layer's weights (``conv1.bias``: biases) have a learning rate of their own."""

    tensor: str
    epoch: float
    lr: float


NUMBER = r"(\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"  # not negative


def parse_layer_lr(rules: Sequence[str]) -> tuple[LayerLr, ...]:
    """``LAYER@EPOCH=LR`` in the order of the epochs. Raises ``UsageError`` naming the one that is wrong."""
    parsed = []
    for rule in rules:
        match = re.fullmatch(rf"([^@=]+?)(\.bias)?@{NUMBER}={NUMBER}", rule)
        if not match:
            raise UsageError(f"--layer-lr {rule}: give LAYER@EPOCH=LR, conv1@72=0 or conv1.bias@72=0 say")
        parsed.append(LayerLr(match[1] + (match[2] or ".weight"), float(match[3]), float(match[4])))
    return tuple(sorted(parsed, key=lambda rule: rule.epoch))


def parse_layer_weight_decay(rules: Sequence[str]) -> dict[str, float]:
    """``LAYER=DECAY`` by the tensor's name. Raises ``UsageError`` naming the one that is wrong."""
    parsed = {}
    for rule in rules:
        match = re.fullmatch(rf"([^@=]+)={NUMBER}", rule)
        if not match:
            raise UsageError(f"--layer-weight-decay {rule}: give LAYER=DECAY, fc10=1.0 say")
        parsed[match[1] + ".weight"] = float(match[2])
    return parsed


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """The learning rate of every parameter at every step of a training.

    Attributes:
        schedule: after warm-up.
        peak: the highest rate.
        epochs, steps_per_epoch: of the training.
        warmup_epochs: over which the rate rises from 0.
        bias_lr: of the biases; None: that of the weights.
        bias_schedule: ``same``: falls with the weights' rate; ``constant``: does not.
        layers: rules of single layers, in the order of their epochs.
    """

    schedule: Schedule
    peak: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: float
    bias_lr: float | None = None
    bias_schedule: Literal["same", "constant"] = "same"
    layers: tuple[LayerLr, ...] = ()

    def lr(self, step: int, validation: Sequence[float] = ()) -> float:
        """The weights' learning rate: a function of the step and of the validation errors measured before it.

        Args:
            step: from 0.
            validation: the validation error (0..1) of each measurement so far; only ``Plateau`` looks at it.
        """
        warmup = self.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.peak * (step + 1) / (math.floor(warmup) + 1)
        moment = Moment(step, self.steps_per_epoch, self.epochs, self.warmup_epochs, validation)
        return self.schedule.lr(self.peak, moment)

    def by_name(
        self, lr: float, epoch: float, names: Iterable[str], factors: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The learning rate of each parameter.

        Args:
            lr: of the weights at this step.
            epoch: epochs done.
            names: of the parameters; those ending in ``.bias`` are biases.
            factors: what single parameters' rates are multiplied with, unless a rule of their layer holds; a factor of
                0 always holds.
        """
        bias, factors = lr, factors or {}
        if self.bias_lr is not None:
            fallen = lr / self.peak if self.bias_schedule == "same" and self.peak else 1.0
            bias = self.bias_lr * fallen
        own = {rule.tensor: rule.lr for rule in self.layers if epoch >= rule.epoch}
        usual = {name: (bias if name.endswith(".bias") else lr) * factors.get(name, 1.0) for name in names}
        return {name: own.get(name, value) if factors.get(name) != 0 else 0.0 for name, value in usual.items()}
