"""What a training is: everything decided and checked, and nothing written."""

import dataclasses
import os
from pathlib import Path

import torch

from alexnet import files, machine
from alexnet.data.batches import Batches
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.nets.costs import check_side
from alexnet.nets.network import Network
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.ranks import current
from alexnet.runs import run as run_folder
from alexnet.training import recipes
from alexnet.training.parallel.layout import Layout, choose_layout
from alexnet.training.recipe import Recipe, Settled

Source = str | os.PathLike[str] | None
KEPT_SHARE = 8  # decoded images take this part of the memory at most


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training of which everything is decided and checked, and nothing written.

    Attributes:
        dataset: the images.
        folder: the run's.
        recipe: settled.
        device: of the net.
        start_from: the run whose weights are taken, if any.
        net: without values yet, on the CPU.
        learning: with ``freeze`` the first layer that learns; None: all do.
        batches: which images each step has.
        layout: of the net and its batches over ranks.
    """

    dataset: Dataset
    folder: Path
    recipe: Settled
    device: torch.device
    start_from: Source
    net: Network
    learning: str | None
    batches: Batches
    layout: Layout

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.recipe.epochs * self.batches.steps

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return torch.float64 if self.recipe.precision == "float64" else torch.float32

    @property
    def frozen(self) -> set[str]:
        """Parameters that do not learn."""
        if self.learning is None:
            return set()
        layers = self.net.names[: self.net.names.index(self.learning)]
        return {name for name in self.net.tensors() if name.split(".")[0] in layers}


def set_up_given(
    dataset: Dataset | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    recipe: Recipe | None,
    device: str,
    start_from: Source,
    parallel: str = "auto",
) -> Setup:
    """As ``set_up``, of what a caller gives: paths, the name of a device, a recipe or none.

    Raises:
        UsageError: one of them is something else, or as ``set_up``.
    """
    if not isinstance(recipe, Recipe | None):
        raise UsageError(f"recipe {recipe!r}: give a Recipe")
    check_places(dataset, folder, "new run")
    files.check_written(folder)
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    place, chosen = files.work_place(folder), machine.choose_device(device)
    return set_up(dataset, place, recipe or Recipe(), chosen, start_from, parallel)


def set_up(
    dataset: Dataset,
    folder: Path,
    recipe: Recipe,
    device: torch.device,
    start_from: Source = None,
    parallel: str = "auto",
) -> Setup:
    """Decides what a recipe leaves open and checks that all goes together.

    Raises:
        UsageError: it does not; nothing was written.
    """
    table, crop_size = _table(dataset, recipe.net, start_from)
    net = Network.empty(table, len(dataset.classes))
    precision = machine.choose_precision(recipe.precision, device)
    settled = recipe.settled(len(dataset.rows("train")), precision, crop_size, table.name, start_from is not None)
    _check_crop(dataset, table, settled)
    _check_layers(net, settled)
    if settled.schedule == "plateau" and "val" not in dataset.splits:
        raise UsageError(
            f"--schedule plateau: {dataset.path} has no validation images, so nobody would know when the rate falls; "
            "prepare it with some (--val-fraction), or give another --schedule"
        )
    learning = None
    if settled.freeze is not None:
        if start_from is None:
            raise UsageError("--freeze: goes with --from; layers that were drawn must learn")
        learning = table.next_learning(settled.freeze)
    batches = Batches(
        dataset,
        "train",
        settled.batch_size,
        settled.seed,
        settled.crop_size,
        settled.flip,
        pin=device.type == "cuda",
        shuffle=settled.shuffle,
        crop_group=settled.crop_group,
        crop_position=settled.crop_position,
        crop_scale=settled.crop_scale,
        crop_margin=settled.crop_margin,
        keep=machine.memory() // (KEPT_SHARE * current().size),
    )
    layout = choose_layout(
        parallel,
        current().size,
        table,
        len(dataset.classes),
        batches.smallest,
        settled.grad_accumulation,
        settled.whole_filters,
    )
    return Setup(dataset, folder, settled, device, start_from, net, learning, batches, layout)


def check_places(dataset: Dataset | str | os.PathLike, folder: str | os.PathLike, wanted: str) -> None:
    """Refuses a dataset and a folder that have changed places, and a folder that is something else than wanted."""
    mistakes.check_order("train", ("dataset", dataset), (wanted, folder))
    mistakes.refuse_other(folder, wanted)


def _table(dataset: Dataset, net: str | None, start_from: Source) -> tuple[Table, int]:
    """The net's table and the side of its crops: as the recipe says, or as the run that it starts from."""
    if start_from is None:
        table = load_table(net or "paper")
        return table, table.input[1]
    description = run_folder.read_description(start_from)
    prepared = description["preparation"]
    if prepared["size"] != dataset.size:
        raise UsageError(
            f"{dataset.path}: its images are {dataset.size} pixels wide, those of {start_from} were "
            f"{prepared['size']}; prepare another dataset with --size {prepared['size']}"
        )
    own = run_folder.table_of(description, str(start_from))
    table = own if net is None else load_table(net)
    return table, prepared["crop"] if table.layers == own.layers else table.input[1]


def _check_crop(dataset: Dataset, table: Table, recipe: Settled) -> None:
    """Refuses a crop that the dataset does not have or the net cannot take."""
    crop_size = recipe.crop_size
    if recipe.crop_margin >= dataset.size:
        raise UsageError(
            f"--crop-margin {recipe.crop_margin}: an image of {dataset.size}x{dataset.size} pixels "
            f"({dataset.path}) can be mirrored at its borders for {dataset.size - 1}; give at most that"
        )
    if crop_size > dataset.size:
        what = f"{dataset.path}: its images have {dataset.size}x{dataset.size} pixels"
        if crop_size != table.input[1]:
            raise UsageError(f"--crop-size {crop_size}: {what}; give at most {dataset.size}")
        raise UsageError(
            f"{what}, net {table.name} sees {crop_size}x{crop_size}; {recipes.hint(dataset.path, dataset.size)}"
        )
    try:
        check_side(table, crop_size)
    except UsageError as error:
        raise UsageError(f"--crop-size {crop_size}: {error}") from error


def _check_layers(net: Network, recipe: Settled) -> None:
    """Refuses learning rates and decays of layers that the net does not have."""
    own = net.tensors()
    names = [rule.tensor for rule in recipe.layer_lr_rules]
    for name in (*names, *recipe.layer_weight_decays):
        if name not in own:
            layers = dict.fromkeys(tensor.split(".")[0] for tensor in own)
            raise UsageError(
                f"--layer-lr, --layer-weight-decay: net {net.table.name} has no {name}; its layers: {', '.join(layers)}"
            )
