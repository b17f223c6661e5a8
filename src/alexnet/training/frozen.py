"""Layers that do not learn: what they give of each image is computed once, and training goes on from there."""

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import randomness
from alexnet.data.batches import Batch, Batches, whole_images
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing, views
from alexnet.evaluation.classifier import BATCH
from alexnet.evaluation.errors import Errors, Judged
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, input_dtype
from alexnet.progress import Display
from alexnet.training.options import Options
from alexnet.training.recipe import Settled
from alexnet.training.setup import Setup

MOST_BYTES = 1 << 31  # of what is kept; where it would be more, each step computes it anew
VIEWS, UNFLIPPED = 10, 5  # paper 4.1: four corners and the center, and these flipped
IMAGES_AT_ONCE = 32


class FrozenFeatures:
    """What the layers before one give, for all training images in ten views and all validation images in one.

    Args:
        net: on its device, its weights in place.
        layer: the first that learns.
        preprocessing: on the net's device.
        dataset: the images.
        batches: which images each step has.
        recipe: settled.
        workers: threads that decode.
        progress: called with images done and images in all.
    """

    def __init__(
        self,
        net: Network,
        layer: str,
        preprocessing: Preprocessing,
        dataset: Dataset,
        batches: Batches,
        recipe: Settled,
        workers: int,
        progress: Callable[[int, int], None],
    ):
        self.net, self.layer, self.preprocessing, self.dataset = net, layer, preprocessing, dataset
        self.batches, self.recipe, self.workers = batches, recipe, workers
        self.device = next(net.parameters()).device
        self.views = VIEWS if recipe.flip else UNFLIPPED
        splits = [split for split in ("train", "val") if split in dataset.splits]
        self._progress, self._done, self._all = progress, 0, sum(dataset.splits[split] for split in splits)
        self.seen = {split: self._compute(split, self.views if split == "train" else 1) for split in splits}
        self.places = torch.full((len(dataset.labels),), -1)
        self.places[batches.split_rows] = torch.arange(len(batches.split_rows))

    @torch.no_grad()
    def _compute(self, split: str, count: int) -> Tensor:
        """(images, views, ...) in the type that products give, on the CPU."""
        self.net.eval()
        parts = []
        for batch in whole_images(self.dataset, split, IMAGES_AT_ONCE, self.workers):
            pixels = batch.to(self.device).images
            seen = views(pixels, self.preprocessing.crop, VIEWS if count > 1 else 1)[:count]
            inputs = self.preprocessing.apply(seen.flatten(0, 1), input_dtype(self.recipe.precision))
            with autocast(self.device, self.recipe.precision):
                outputs = self.net.before(inputs, self.layer)
            parts.append(outputs.unflatten(0, (count, len(pixels))).transpose(0, 1).cpu())
            self._done += len(pixels)
            self._progress(self._done, self._all)
        return torch.cat(parts)

    def load(self, step: int) -> Batch:
        """A step's batch: its ``images`` are what the first learning layer sees, each of the epoch's own view."""
        rows = self.batches.rows(step)
        drawn = randomness.integers(self.recipe.seed, "view", step // self.batches.steps, rows, [self.views])[:, 0]
        seen = self.seen["train"][self.places[rows], drawn]
        return Batch(seen, self.batches.labels[rows], rows, self.batches.total(step))

    @torch.no_grad()
    def measure(self) -> Errors:
        """Errors on the validation split, one view."""
        self.net.eval()
        labels = torch.from_numpy(self.dataset.labels[self.dataset.rows("val")]).split(BATCH)
        judged = []
        for part, right in zip(self.seen["val"][:, 0].split(BATCH), labels):
            with autocast(self.device, self.recipe.precision):
                scores = self.net.onwards(part.to(self.device), self.layer)
            judged.append(Judged.of(F.softmax(scores.float(), 1).cpu(), right))
        return Judged.joined(judged).errors(1)


def bytes_needed(net: Network, layer: str, crop: int, dataset: Dataset, recipe: Settled) -> int:
    """Memory that ``FrozenFeatures`` would keep."""
    with torch.device("meta"):
        copy = Network(net.table, 2).eval()
        seen = copy.before(torch.zeros(1, net.table.input[0], crop, crop), layer).numel()
    each = seen * input_dtype(recipe.precision).itemsize
    views = VIEWS if recipe.flip else UNFLIPPED
    return each * (dataset.splits["train"] * views + dataset.splits.get("val", 0))


def computed(setup: Setup, options: Options) -> bool:
    """Whether what frozen layers give is computed once: there are any, it fits, and nobody changes the images."""
    if setup.learning is None or options.transform or options.batches:
        return False
    recipe = setup.recipe
    return bytes_needed(setup.net, setup.learning, recipe.crop_size, setup.dataset, recipe) <= MOST_BYTES


def compute(
    setup: Setup, options: Options, net: Network, preprocessing: Preprocessing, display: Display
) -> FrozenFeatures | None:
    """What the frozen layers give, where it is ``computed``."""
    if setup.learning is None or not computed(setup, options):
        return None
    with contextlib.closing(Display(display.show, unit="images")) as counting:
        return FrozenFeatures(
            net,
            setup.learning,
            preprocessing.to(setup.device),
            setup.dataset,
            setup.batches,
            setup.recipe,
            options.decoders(setup.dataset.size),
            counting.counter("caching features of the frozen layers"),
        )
