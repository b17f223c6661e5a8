"""What a training is going to do, in words: before its first step, and for ``--dry-run``."""

import dataclasses
from collections.abc import Mapping

import torch

from alexnet import files, native
from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError
from alexnet.nets.network import Network
from alexnet.progress import Display, plural, size_text
from alexnet.runs.checkpoint import find_checkpoint, step_of
from alexnet.training.options import Options
from alexnet.training.recipe import Settled
from alexnet.training.recipes import differences, nearest
from alexnet.training.setup import Setup

FEW_IMAGES = 1000  # below which a training from scratch is told of a better way
PUBLISHED_SIDE = 200  # pixels: nets that published weights fit see at least as many


@dataclasses.dataclass(frozen=True)
class DiskNeed:
    """What a training's checkpoints take.

    Attributes:
        kept: bytes at the end.
        peak: bytes while the last checkpoint is replaced by its successor.
    """

    kept: int
    peak: int


def disk_need(setup: Setup, options: Options) -> DiskNeed:
    """Bytes of checkpoints: weights and velocities of the last one, weights of the best, and those that are kept."""
    itemsize = setup.dtype.itemsize
    weights = itemsize * sum(tensor.numel() for tensor in setup.net.state().values())
    velocities = itemsize * sum(tensor.numel() for tensor in setup.net.tensors().values())
    last, best = weights + velocities, weights if "val" in setup.dataset.splits else 0
    checkpoints = setup.recipe.epochs // options.keep_every if options.keep_every else 0
    if options.keep == "log":
        checkpoints += setup.steps.bit_length()
    kept = last + best + last * checkpoints
    return DiskNeed(kept, kept + last)


def check_disk(setup: Setup, options: Options) -> None:
    """Raises ``AlexNetError`` where the disk has no room for the checkpoints, before any step is trained."""
    last = find_checkpoint(setup.folder)
    if last is not None and step_of(last) >= setup.steps:
        return  # finished already: nothing more is written
    folder = setup.folder.resolve()
    there = sum(path.stat().st_size for path in folder.glob("checkpoints/*/*") if path.is_file())
    need, free = max(0, disk_need(setup, options).peak - there), files.free_bytes(folder)
    if free < need:
        raise AlexNetError(
            f"{setup.folder}: its checkpoints need {size_text(need)} of disk, {size_text(free)} are free there; make "
            "room, or give a folder on another disk"
        )


def plan(setup: Setup, options: Options) -> Mapping[str, str]:
    """What is trained, on what, how long, by which recipe, where, and what it takes of the disk; a text each."""
    recipe, dataset, splits = setup.recipe, setup.dataset, setup.dataset.splits
    images, need = len(setup.batches.split_rows), disk_need(setup, options)
    fine_tuning = setup.start_from is not None
    name, changes = nearest(recipe, images, fine_tuning)
    start = f", from {setup.start_from}" if fine_tuning else ""
    frozen = f", {recipe.freeze} and what is before it frozen" if recipe.freeze else ""
    validation = f"{splits['val']:,} validation" if "val" in splits else "no validation"
    return {
        "net": f"{setup.net.table.name}, {_parameters(setup.net):,} parameters{start}{frozen}",
        "recipe": name + (f" with {differences(changes)}" if changes else ""),
        "data": f"{dataset.path}: {images:,} training and {validation} images of "
        f"{plural(len(dataset.classes), 'class', 'classes')}",
        "training": f"{plural(recipe.epochs, 'epoch')} of {plural(setup.batches.steps, 'step')}: "
        f"{plural(setup.steps, 'step')}, batch size {recipe.batch_size:,}, "
        f"learning rate {recipe.learning_rate:g} ({recipe.schedule})",
        "machine": f"{setup.device.type}, {recipe.precision}, {plural(torch.get_num_threads(), 'thread')}, "
        f"{native.kernels(setup.device)} kernels",
        **({} if setup.layout.ranks == 1 else {"parallel": _parallel(setup)}),
        "disk": f"{size_text(need.kept)} for checkpoints, {size_text(need.peak)} while one is replaced; "
        f"{size_text(files.free_bytes(setup.folder))} free",
    }


def _parallel(setup: Setup) -> str:
    """The layout, and why it was chosen."""
    layout = setup.layout
    return layout.words() + (f"; {layout.why}" if layout.why else "")


def plan_line(name: str, text: str) -> str:
    """A line of a plan: its columns stand below each other."""
    return f"{name:<9} {text}"


def say_start(setup: Setup, options: Options, step: int, display: Display) -> None:
    """Says what is trained from which step on, and what about it may surprise."""
    for name, text in plan(setup, options).items():
        display.line(plan_line(name, text))
    for warning in surprises(setup):
        display.warn(warning)
    if step == 0 and setup.start_from is None and _may_start_from_published(setup):
        display.line("advice: few images; fine-tuning learns more from them: see --from in alexnet help train")
    display.line(f"{'resuming' if step else 'starting'} at step {step:,} of {setup.steps:,}")


def surprises(setup: Setup) -> list[str]:
    """What about a training is probably not meant, a line each."""
    crop_size, dataset, images = setup.recipe.crop_size, setup.dataset, len(setup.batches.split_rows)
    said = []
    if 2 * crop_size < dataset.size:
        said.append(
            f"warning: the net sees {crop_size}x{crop_size} pixels of images of {dataset.size}x{dataset.size}, less "
            f"than a quarter of each; prepare another dataset with a --size from {crop_size} to {4 * crop_size // 3}"
        )
    if setup.batches.steps == 1 and images > 1:
        said.append(f"note: {images} training images make one batch, so an epoch has one step")
    return said + _beyond_the_cache(dataset) + _vain_rates(setup.recipe)


def _beyond_the_cache(dataset: Dataset) -> list[str]:
    """That a dataset on object storage is larger than what is kept of it here, a line."""
    if not files.is_remote(dataset.path):
        return []
    needed = sum(files.sizes(dataset.path, [shard.file for shard in dataset.shards]).values())
    limit = files.cache_limit()
    if needed <= limit:
        return []
    return [
        f"warning: {dataset.path}: has {size_text(needed)} of shards, {size_text(limit)} are kept here, so they are "
        "fetched again in each epoch; set ALEXNET_CACHE_SIZE to more"
    ]


def _vain_rates(recipe: Settled) -> list[str]:
    """What of the learning rate never comes to pass, a line each."""
    said = []
    if not recipe.learning_rate and not recipe.layer_lr:
        said.append("warning: --lr 0: nothing will be learned")
    late = [milestone for milestone in recipe.milestones if milestone >= recipe.epochs]
    if recipe.schedule == "multistep" and late:
        said.append(
            f"warning: --milestones {','.join(f'{milestone:g}' for milestone in late)}: not reached in "
            f"{plural(recipe.epochs, 'epoch')}, so the learning rate does not fall there"
        )
    return said


def _may_start_from_published(setup: Setup) -> bool:
    return len(setup.batches.split_rows) < FEW_IMAGES and setup.net.table.input[1] >= PUBLISHED_SIDE


def _parameters(net: Network) -> int:
    return sum(tensor.numel() for tensor in net.tensors().values())
