"""How a training starts: from nothing, from a checkpoint, or from another run's weights."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from alexnet import files
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.nets.precision import keep_copies
from alexnet.runs import checkpoint
from alexnet.runs import run as run_folder
from alexnet.runs.code import code
from alexnet.training import state as checkpoints
from alexnet.training.muon import Muon
from alexnet.training.optimizer import Momentum
from alexnet.training.options import Options
from alexnet.training.recipe import difference, from_json
from alexnet.training.setup import Setup
from alexnet.training.state import State
from alexnet.training.step import Sight, Step

if TYPE_CHECKING:  # imported where there are ranks
    from alexnet.training.parallel.division import Division

Say = Callable[[str], None]


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
    net.to(setup.device, setup.dtype)
    optimizer = optimizer_of(setup)
    state = State(net, optimizer, torch.GradScaler(setup.device.type, enabled=recipe.precision == "fp16"), taken)
    if saved:
        state.restore(saved, str(setup.folder))
        if saved.note["threads"] != torch.get_num_threads():
            say(
                f"note: started with {saved.note['threads']} threads, resuming with {torch.get_num_threads()}: "
                "sums are rounded in another order, so the result is not bitwise the same"
            )
        before, now = saved.note.get("layout", "one process"), setup.layout.words()
        if before != now:
            say(f"note: started as {before}, resuming as {now}: the result is not bitwise the same")
    if recipe.precision == "bf16" and recipe.grad_accumulation == 1:  # parts' gradients add up in float32
        optimizer.keep(keep_copies(net, torch.bfloat16))
    return state


def optimizer_of(setup: Setup) -> Momentum:
    """The recipe's, of the net's parameters."""
    recipe, tensors = setup.recipe, setup.net.tensors()
    rates = (recipe.learning_rate, recipe.momentum, recipe.weight_decay, recipe.layer_weight_decays)
    return Muon(tensors, *rates, setup.net.filters()) if recipe.optimizer == "muon" else Momentum(tensors, *rates)


def training_step(
    setup: Setup,
    preprocessing: Preprocessing,
    optimizer: Momentum,
    scaler: torch.GradScaler | None = None,
    options: Options | None = None,
    computed: bool = False,
    division: "Division | None" = None,
) -> Step:
    """The recipe's training step.

    Args:
        setup: the training; its net has its weights and is on its device.
        preprocessing: of images, on the CPU.
        optimizer: of the net's parameters.
        scaler: of the loss, with fp16.
        options: the caller's own loss and transform, if any.
        computed: whether the batches' images are what the first learning layer sees.
        division: of the net over ranks, if any.
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
        sums=None if division is None else division.sums({**optimizer.tensors, **optimizer.copies}),
    )


def _asked(setup: Setup) -> dict[str, Any]:
    """What ``recipe.json`` says."""
    asked = dataclasses.asdict(setup.recipe)
    asked |= {"table": setup.net.table.text, "store": setup.dataset.fingerprint, "code": code()}
    if setup.start_from is None:
        return {**asked, "start_from": None}
    weights = checkpoint.weights_digest(setup.start_from)
    return {**asked, "start_from": files.absolute(setup.start_from), "start_from_weights": weights}


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
    if len(changed) == 1 and isinstance(before, int) and changed[0].startswith("--epochs ") and now > before:
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
    names = [entry.name for entry in folder.iterdir() if not entry.name.endswith(files.PARTIAL)]
    leftover = [name for name in names if not name.startswith(files.LOCK)]
    if set(leftover) - {"run.json", "preparation.safetensors"}:
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
    data = {"path": files.absolute(dataset.path), "store": dataset.fingerprint, "images": dataset.splits}
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
