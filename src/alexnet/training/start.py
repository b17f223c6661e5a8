"""How a training starts: from nothing, from a checkpoint, or from another run's weights."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from alexnet import files, machine
from alexnet.data.batches import Batches
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.nets.costs import check_side
from alexnet.nets.network import Network
from alexnet.nets.precision import keep_copies
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.runs import checkpoint
from alexnet.runs import run as run_folder
from alexnet.training import recipes
from alexnet.training import state as checkpoints
from alexnet.training.optimizer import Momentum
from alexnet.training.options import Options
from alexnet.training.recipe import Recipe, Settled, difference, from_json
from alexnet.training.state import State
from alexnet.training.step import Sight, Step

Say = Callable[[str], None]
Source = str | os.PathLike[str] | None


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
    """

    dataset: Dataset
    folder: Path
    recipe: Settled
    device: torch.device
    start_from: Source
    net: Network
    learning: str | None
    batches: Batches

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.recipe.epochs * self.batches.steps

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
) -> Setup:
    """As ``set_up``, of what a caller gives: paths, the name of a device, a recipe or none.

    Raises:
        UsageError: one of them is something else, or as ``set_up``.
    """
    if not isinstance(recipe, Recipe | None):
        raise UsageError(f"recipe {recipe!r}: give a Recipe")
    mistakes.check_order("train", ("dataset", dataset), ("new run", folder))
    mistakes.refuse_other(folder, "new run")
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    return set_up(dataset, Path(folder), recipe or Recipe(), machine.choose_device(device), start_from)


def set_up(dataset: Dataset, folder: Path, recipe: Recipe, device: torch.device, start_from: Source = None) -> Setup:
    """Decides what a recipe leaves open and checks that all goes together.

    Raises:
        UsageError: it does not; nothing was written.
    """
    table, crop_size = _table(dataset, recipe.net, start_from)
    net = Network.empty(table, len(dataset.classes))
    precision = machine.choose_precision(recipe.precision, device)
    settled = recipe.settled(len(dataset.rows("train")), precision, crop_size, table.name, start_from is not None)
    _check_crop(dataset, table, settled.crop_size)
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
    )
    return Setup(dataset, folder, settled, device, start_from, net, learning, batches)


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
            f"{prepared['size']}; prepare the dataset again with --size {prepared['size']}"
        )
    own = run_folder.table_of(description, str(start_from))
    table = own if net is None else load_table(net)
    return table, prepared["crop"] if table.layers == own.layers else table.input[1]


def _check_crop(dataset: Dataset, table: Table, crop_size: int) -> None:
    """Refuses a crop that the dataset does not have or the net cannot take."""
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


def start(setup: Setup, say: Say) -> tuple[State, Preprocessing]:
    """Makes the run's folder, or checks that it holds the same training and reads where that is.

    Args:
        setup: the training.
        say: is told what people want to know.

    Returns:
        What changes in the training, on its device, and how its images are prepared, on the CPU.

    Raises:
        UsageError: the folder holds something else, or a training with other options.
        AlexNetError: a damaged checkpoint.
    """
    folder = files.make_folder(setup.folder)
    if (folder / "recipe.json").exists():
        _check_same(setup)
        preprocessing = run_folder.load_preprocessing(folder)
        saved, taken = _weights(setup, say)
    else:
        _check_free(folder)
        preprocessing = preprocessing_of(setup)
        saved, taken = _weights(setup, say)  # before anything is written: what it starts from may not be meant
        _write(setup, preprocessing)
    return _state(setup, saved, taken, say), preprocessing


def rehearsed(setup: Setup) -> tuple[State, Preprocessing]:
    """As ``start`` of a training that begins, but nothing is written, and what is there already is not read.

    Raises:
        UsageError: the folder holds something else, or a training with other options.
    """
    if (setup.folder / "recipe.json").exists():
        _check_same(setup)
    else:
        files.check_folder(setup.folder)
        if setup.folder.exists():
            _check_free(setup.folder)

    def say(line: str) -> None:
        """Nobody is told: the training will say it."""

    return _state(setup, None, _initialize(setup, say), say), preprocessing_of(setup)


def _state(setup: Setup, saved: checkpoints.Checkpoint | None, taken: list[str], say: Say) -> State:
    """What changes in the training, on its device: the net as it is, or as a checkpoint has it."""
    recipe, net = setup.recipe, setup.net
    net.to(setup.device, torch.float64 if recipe.precision == "float64" else torch.float32)
    optimizer = optimizer_of(setup)
    state = State(net, optimizer, torch.GradScaler(setup.device.type, enabled=recipe.precision == "fp16"), taken)
    if saved:
        state.restore(saved, str(setup.folder))
        if saved.note["threads"] != torch.get_num_threads():
            say(
                f"note: started with {saved.note['threads']} threads, resuming with {torch.get_num_threads()}: "
                "sums are rounded in another order, so the result is not bitwise the same"
            )
    if recipe.precision == "bf16" and recipe.grad_accumulation == 1:  # parts' gradients add up in float32
        optimizer.keep(keep_copies(net, torch.bfloat16))
    return state


def optimizer_of(setup: Setup) -> Momentum:
    """The recipe's, of the net's parameters."""
    recipe = setup.recipe
    decays = recipe.layer_weight_decays
    return Momentum(setup.net.tensors(), recipe.learning_rate, recipe.momentum, recipe.weight_decay, decays)


def training_step(
    setup: Setup,
    preprocessing: Preprocessing,
    optimizer: Momentum,
    scaler: torch.GradScaler | None = None,
    options: Options | None = None,
    computed: bool = False,
) -> Step:
    """The recipe's training step.

    Args:
        setup: the training; its net has its weights and is on its device.
        preprocessing: of images, on the CPU.
        optimizer: of the net's parameters.
        scaler: of the loss, with fp16.
        options: the caller's own loss and transform, if any.
        computed: whether the batches' images are what the first learning layer sees.
    """
    recipe, options = setup.recipe, options or Options()
    sight = Sight.of(recipe, preprocessing, setup.device, setup.batches.steps, options.transform)
    return Step(
        net=setup.net,
        optimizer=optimizer,
        precision=recipe.precision,
        seed=recipe.seed,
        sight=None if computed else sight,
        loss=options.loss or functools.partial(F.cross_entropy, label_smoothing=recipe.label_smoothing),
        parts=recipe.grad_accumulation,
        scaler=scaler,
        learning=setup.learning,
        computed=computed,
    )


def _asked(setup: Setup) -> dict[str, Any]:
    """What ``recipe.json`` says."""
    asked = {**dataclasses.asdict(setup.recipe), "table": setup.net.table.text, "store": setup.dataset.fingerprint}
    if setup.start_from is None:
        return {**asked, "start_from": None}
    weights = checkpoint.weights_digest(setup.start_from)
    return {**asked, "start_from": os.path.abspath(setup.start_from), "start_from_weights": weights}


def _check_same(setup: Setup) -> None:
    """Refuses a folder whose training was begun with other options."""
    note = setup.folder / "recipe.json"
    old = files.read_json(note, dict, "give another folder, or fix it")
    from_json(old, str(note), of_run=True)
    changed = difference(old, _asked(setup))
    if changed:
        _check_longer(setup, old, changed)
        shown = ["the net's table" if change.startswith("table ") else change for change in changed]
        raise UsageError(
            f"{setup.folder}: was begun with other options: {'; '.join(shown)}. "
            "Give the options it was begun with to go on, or another folder"
        )
    if files.SEAL not in old:  # of an earlier version
        files.write_json(note, files.seal(old))


def _check_longer(setup: Setup, old: dict[str, Any], changed: list[str]) -> None:
    """Says how to train longer, where nothing but the number of epochs is another and larger one."""
    before, now = old.get("epochs"), setup.recipe.epochs
    if len(changed) == 1 and isinstance(before, int) and changed[0].startswith("epochs ") and now > before:
        words = ("train", setup.dataset.path, f"{setup.folder}-longer", "--from", str(setup.folder))
        raise UsageError(
            f"{setup.folder}: was begun with other options: {changed[0]}, and its learning rate follows the epochs. "
            f"To train on from its weights: {mistakes.quoted('alexnet', *words)} --epochs {now - before}; to train "
            f"{now:,} epochs in one: give another folder"
        )


def _check_free(folder: Path) -> None:
    """Refuses a folder that holds something else than a new training may."""
    if run_folder.is_run(folder) and checkpoint.find_checkpoint(folder):
        imported = not (folder / "metrics.jsonl").exists()
        holds = "holds imported weights" if imported else "cannot be resumed, since its recipe.json is missing"
        raise UsageError(f"{folder}: {holds}; train on from them in another folder, with --from {folder}")
    leftover = [entry.name for entry in folder.iterdir() if not entry.name.endswith(files.PARTIAL)]
    if set(leftover) - {"run.json", "preparation.safetensors", files.LOCK}:
        mistakes.refuse(folder, "new run")


def preprocessing_of(setup: Setup) -> Preprocessing:
    """By the dataset's statistics; mean and scale are those of the run that it starts from."""
    recipe = setup.recipe
    own = Preprocessing.of(
        setup.dataset, recipe.crop_size, recipe.input_scale, recipe.color_noise, recipe.color_noise_by
    )
    if setup.start_from is None:
        return own
    other = run_folder.load_preprocessing(setup.start_from)
    return dataclasses.replace(own, mean_image=other.mean_image, scale=other.scale)


def _write(setup: Setup, preprocessing: Preprocessing) -> None:
    """What a run's folder has before its first checkpoint."""
    dataset = setup.dataset
    path = dataset.path if files.is_remote(dataset.path) else os.path.abspath(dataset.path)
    data = {"path": path, "store": dataset.fingerprint, "images": dataset.splits}
    description = run_folder.describe(setup.net, dataset.classes, dataset.description.get("words"), preprocessing, data)
    run_folder.begin(setup.folder, description, preprocessing)
    files.write_json(setup.folder / "recipe.json", files.seal(_asked(setup)))


def _weights(setup: Setup, say: Say) -> tuple[checkpoints.Checkpoint | None, list[str]]:
    """The checkpoint to go on from; where there is none, the net is initialized. And what is another run's."""
    saved = checkpoints.read(setup.folder)
    if saved is not None:
        return saved, []
    if (setup.folder / "metrics.jsonl").exists():
        say(f"note: {setup.folder}: no checkpoint to resume from; starting from the first step")
    return None, _initialize(setup, say)


def _initialize(setup: Setup, say: Say) -> list[str]:
    """Gives the net its first weights. Returns the parameters whose weights are another run's."""
    setup.net.initialize(setup.recipe.seed, setup.recipe.init)
    return [] if setup.start_from is None else _take_from(setup, setup.start_from, say)


def _take_from(setup: Setup, path: str | os.PathLike[str], say: Say) -> list[str]:
    """Takes another run's weights where name and shape agree, and says which; the parameters among them."""
    other, net, dataset = run_folder.open_run(path), setup.net, setup.dataset
    theirs, own, last = other.net.state(), net.state(), f"{net.names[-1]}."
    same_classes = dataset.classes == other.classes or dataset.words == other.words
    taken = [
        name
        for name, tensor in own.items()
        if name in theirs and theirs[name].shape == tensor.shape and (same_classes or not name.startswith(last))
    ]
    lacking = setup.frozen - set(taken)
    if lacking:
        raise UsageError(f"--freeze {setup.recipe.freeze}: {path} has no {min(lacking)} of this shape to keep")
    if not taken:
        raise UsageError(f"--from {path}: its net has no layer of the same name and shape as {net.table.name}'s")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(theirs[name])
    layers = list(dict.fromkeys(name.split(".")[0] for name in taken))
    drawn = list(dict.fromkeys(name.split(".")[0] for name in own if name not in taken))
    say(f"from {path}: {', '.join(layers)}; initialized: {', '.join(drawn) or 'none'}")
    return [name for name in taken if name in net.tensors()]
