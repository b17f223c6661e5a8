"""One training step: what the net sees of a batch, forward, backward, update. Nobody else writes one."""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import machine
from alexnet.data.batches import Batch
from alexnet.data.preprocessing import Preprocessing
from alexnet.evaluation.errors import top_k_errors
from alexnet.nets.layers import Draw
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, input_dtype
from alexnet.training.optimizer import Momentum
from alexnet.training.recipe import Settled

if TYPE_CHECKING:  # imported where there are ranks
    from alexnet.training.parallel.gradients import GradientSums

Transform = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


class NotFinite(Exception):
    """The loss is no number.

    Attributes:
        images: the ones that it is of, as the net saw them.
    """

    def __init__(self, images: Tensor):
        super().__init__("the loss is not finite")
        self.images = images


@dataclasses.dataclass(frozen=True)
class Sight:
    """What the net sees of a training batch: minus the mean, color noise, scaled (paper 2 and 4.1).

    Attributes:
        preprocessing: on the CPU.
        on_device: the same where the net is.
        seed, steps_per_epoch: of the training.
        dtype: of the net's input.
        noise: whether there is color noise.
        noise_until: epochs after which there is none; None: there always is.
        divisor: of the images, where there is noise.
        transform: the caller's own, of images as the net would see them and their row ids.
    """

    preprocessing: Preprocessing
    on_device: Preprocessing
    seed: int
    steps_per_epoch: int
    dtype: torch.dtype
    noise: bool = True
    noise_until: int | None = None
    divisor: float = 1.0
    transform: Transform | None = None

    @classmethod
    def of(
        cls,
        recipe: Settled,
        preprocessing: Preprocessing,
        device: torch.device,
        steps_per_epoch: int,
        transform: Transform | None = None,
    ) -> "Sight":
        """As a recipe says: with frozen layers, there is no color noise."""
        return cls(
            preprocessing,
            preprocessing.to(device),
            recipe.seed,
            steps_per_epoch,
            input_dtype(recipe.precision),
            bool(recipe.color_noise) and recipe.freeze is None,
            recipe.color_noise_until,
            recipe.color_noise_divisor,
            transform,
        )

    def shifts(self, rows: Tensor, step: int, device: torch.device) -> Tensor | None:
        """(N, 3) what is added to the images' colors at a step, where there is noise; the device is not waited for."""
        epoch = step // self.steps_per_epoch
        if not self.noise or (self.noise_until is not None and epoch >= self.noise_until):
            return None
        return self.preprocessing.color_noise(self.seed, epoch, rows).to(device, non_blocking=True)

    def batch(self, batch: Batch, step: int) -> Tensor:
        """(N, 3, crop, crop) what the net sees of a batch at a step."""
        device = self.on_device.mean_image.device
        return self.images(batch.to(device).images, batch.rows, self.shifts(batch.rows, step, device))

    def images(self, images: Tensor, rows: Tensor, shifts: Tensor | None) -> Tensor:
        """(N, 3, crop, crop) uint8 on the device, and their row ids and shifts, to what the net sees."""
        divisor = 1.0 if shifts is None else self.divisor
        images = self.on_device.apply(images, self.dtype, shifts, divisor)
        return self.transform(images, rows) if self.transform else images


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a step; nothing of it was waited for.

    Attributes:
        loss: () the mean over the batch, of all ranks.
        errors: (2,) top-1 and top-5 errors, means over the batch, of all ranks.
        scores: (N, classes) float32 or float64, before the update; with several ranks, of this one's images.
        labels: (N,) int64, on the device.
        images: the last part of the batch, as the net saw it.
    """

    loss: Tensor
    errors: Tensor
    scores: Tensor
    labels: Tensor
    images: Tensor


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step: called with a batch, it updates the net.

    Attributes:
        net: on its device.
        optimizer: of its parameters; their learning rates are set by whoever calls.
        precision: of the products: ``float32``, ``float64``, ``bf16``, ``fp16``.
        seed: of dropout's masks.
        sight: what the net sees of a batch's images; None: the images are as the net sees them.
        loss: (N, classes) scores and (N,) labels to their mean loss.
        parts: in which a batch goes through the net; their gradients are summed.
        scaler: of the loss, with fp16.
        learning: the first layer that learns; None: all do.
        computed: whether the batches' images are what that layer sees.
        sums: over the ranks that share each batch; None: nobody shares it.
    """

    net: Network
    optimizer: Momentum
    precision: str
    seed: int = 0
    sight: Sight | None = None
    loss: Loss = F.cross_entropy
    parts: int = 1
    scaler: torch.GradScaler | None = None
    learning: str | None = None
    computed: bool = False
    sums: "GradientSums | None" = None

    def __call__(self, batch: Batch, number: int = 0) -> Result:
        """Forward, backward, update.

        Args:
            batch: of images, uint8 where there is a ``sight``.
            number: of the step, from 0: dropout's masks and color noise are keyed by it.

        Raises:
            NotFinite: on a CPU: the loss is no number; nothing was updated.
        """
        device, count = next(self.net.parameters()).device, len(batch.rows)
        shifts = self.sight.shifts(batch.rows, number, device) if self.sight else None  # before the rows go there
        batch = batch.to(device)
        self.net.train()
        losses, scores, images = [], [], batch.images
        for rows in torch.arange(count).tensor_split(min(self.parts, count)):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            images = batch.images[part]
            if self.sight:
                images = self.sight.images(images, batch.rows[part], None if shifts is None else shifts[part])
            answer = self._forward(images, Draw(self.seed, number, batch.rows[part]))
            loss = self.loss(answer, batch.labels[part]) * (len(rows) / (batch.total or count))
            self._check(loss.detach(), images, alone=self.sums is None)
            if self.sums and part.stop == count:
                self.sums.start()
            with machine.repeatable(device):
                (self.scaler.scale(loss) if self.scaler else loss).backward()
            losses.append(loss.detach())
            scores.append(answer.detach())
        loss, errors = self._figures(sum(losses[1:], losses[0]), torch.cat(scores), batch)
        if self.sums:
            self.sums.wait()
            self._check(loss, images)
        with torch.profiler.record_function("update (momentum_step)"):
            self._update()
        return Result(loss, errors, torch.cat(scores), batch.labels, images)

    def _check(self, loss: Tensor, images: Tensor, alone: bool = True) -> None:
        """Raises ``NotFinite`` on a CPU; of several ranks each waits for the loss of all, so that all of them do."""
        if alone and loss.device.type == "cpu" and not math.isfinite(float(loss)):
            raise NotFinite(images)

    def _figures(self, loss: Tensor, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss and the errors of the whole batch."""
        wrong = [top_k_errors(scores, batch.labels, k).mean() for k in (1, 5)]
        if self.sums is None:
            return loss, torch.stack(wrong)
        share = len(batch.rows) / (batch.total or len(batch.rows))
        total = self.sums.total(torch.stack([loss, *(part * share for part in wrong)]).double())
        return total[0].to(loss.dtype), total[1:].float()

    def _forward(self, images: Tensor, draw: Draw) -> Tensor:
        """(N, classes) scores, in float32 at least."""
        with autocast(images.device, self.precision):
            if self.learning is None:
                scores = self.net(images, draw)
            else:
                if not self.computed:
                    with torch.no_grad():
                        images = self.net.eval().before(images, self.learning)
                    self.net.train()
                scores = self.net.onwards(images, self.learning, draw)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _update(self) -> None:
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
            self.scaler.step(self.optimizer)  # with fp16 not where a gradient overflowed
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()


@torch.no_grad()
def first_not_finite(net: Network, images: Tensor) -> str:
    """Where numbers stop being finite: the first parameter, or the first layer's activations."""
    for name, tensor in net.tensors().items():
        if not torch.isfinite(tensor).all():
            return f"the parameter {name}"
    if not torch.isfinite(images).all():
        return "the input"
    net.eval()
    images = images.to(next(net.parameters()).dtype)
    for name, tensor in net.activations(images, net.names).items():
        if not torch.isfinite(tensor).all():
            return f"the activations of {name}"
    return "the loss itself (every layer's activations are finite in float32)"
