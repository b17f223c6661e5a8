"""Trainings of an experiment, nets that several conditions measure, and their errors, alone or averaged."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet import files, machine
from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError, Interrupted
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.errors import described
from alexnet.evaluation.evaluate import Evaluation, evaluate
from alexnet.experiments.experiment import NEVER, Case, Row, fitted, held_out_split
from alexnet.experiments.statistics import packed
from alexnet.runs.facts import training_seconds
from alexnet.runs.verify import verify
from alexnet.training.journal import Outcome
from alexnet.training.recipe import Recipe
from alexnet.training.train import train

BASE = Recipe()  # of nets that are trained on photos


def scaled(recipe: Recipe, share: float, images: int) -> Recipe:
    """A recipe for so many training images whose epochs are a share of its own, and its schedule with them.

    What is counted in epochs shrinks alike: milestones, the end of the color noise, single layers' rates and the
    patience of a plateau. The warm-up keeps its length, for a net needs as many steps of it, as far as there are so
    many.
    """
    if share == 1:
        return recipe
    whole = recipe.epochs_for(images)
    epochs = max(1, round(whole * share))
    factor, until = epochs / whole, recipe.color_noise_until
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        milestones=tuple(at * factor for at in recipe.milestones),
        color_noise_until=None if until is None else round(until * factor),
        layer_lr=tuple(
            re.sub("(?<=@)[^=]+", lambda at: f"{float(at[0]) * factor:.6g}", rule) for rule in recipe.layer_lr
        ),
        plateau_patience=max(1, round(recipe.plateau_patience * factor)),
        warmup_epochs=min(recipe.warmup_epochs, epochs),
    )


def train_for(
    case: Case,
    dataset: Dataset,
    run: Path,
    recipe: Recipe,
    start_from: Path | None = None,
    show: bool = True,
) -> Outcome:
    """Trains a run for a case, on its device; ``show`` as the case has it, or not at all.

    Raises ``Interrupted`` where a signal came when nothing of the training was left, too: the experiment has more.
    """
    shown = show and case.display.show
    outcome = train(dataset, run, recipe, start_from=start_from, device=case.device, show=shown)
    if outcome.asked_to_stop:
        raise Interrupted(f"{case.folder}: stopped when a training had ended; the same command goes on from there")
    return outcome


@dataclasses.dataclass(frozen=True)
class Trained:
    """A net that a case trained on photos.

    Attributes:
        dataset: the photos.
        split: the part of them that was held out.
        classifier: it, on the case's device.
        epochs: for which it was trained.
    """

    dataset: Dataset
    split: str
    classifier: Classifier
    epochs: int


def on_photos(case: Case, changes: Mapping[str, Any]) -> Trained:
    """Trains the paper's net on the case's photos, which are smaller below its full size, in the case's work folder.

    Args:
        case: with its scale, which the epochs follow, and its seed.
        changes: of the fields of ``BASE``.
    """
    dataset = case.dataset(size=case.stored)
    split, run = held_out_split(dataset), case.work / "run"
    recipe = scaled(dataclasses.replace(BASE, **changes), case.scale, dataset.splits["train"])
    net = fitted("paper", dataset.size, case.work)
    recipe = dataclasses.replace(recipe, net=net, seed=case.seed, validate_every=NEVER)
    outcome = train_for(case, dataset, run, recipe)
    return Trained(dataset, split, load(run, device=machine.choose_device(case.device)), outcome.epochs)


def damage(run: Path) -> str | None:
    """What is wrong with a run's files, the first of it; None where they are those that were written."""
    try:
        return next((f"{name}: {problem}" for name, problem in verify(run) if problem), None)
    except AlexNetError as error:
        return str(error)


def kept_net(
    case: Case, name: str, dataset: Dataset, recipe: Recipe, start_from: Path | None = None, shared: bool = True
) -> Path:
    """The run of a net that is trained unless it is there, whole; one that is damaged is trained again.

    Args:
        case: whose folder it lies in; an unfinished training there is gone on with.
        name: of the net, with its seed.
        dataset: what it is trained on.
        recipe: with its seed; its net is fitted to the stored images.
        start_from: the run whose weights it starts from.
        shared: whether other cases measure it, too; else it goes with this one.
    """
    folder = files.make_folder((case.folder if shared else case.work) / "runs" / name)
    own = dataclasses.replace(recipe, net=fitted(recipe.net or "paper", dataset.size, folder))
    return kept_run(case, folder, dataset, own, start_from)


def kept_run(case: Case, folder: Path, dataset: Dataset, recipe: Recipe, start_from: Path | None = None) -> Path:
    """The run in a folder, trained unless it is there, whole; but for a plateau, it is measured at the end alone."""
    run, unfinished = folder / "run", folder / "unfinished"
    problem = damage(run) if run.exists() else None
    if problem:
        case.display.line(f"{run}: damaged ({problem}); the net is trained again")
        files.remove_folder(run)
    if not run.exists():
        if recipe.schedule != "plateau":
            recipe = dataclasses.replace(recipe, validate_every=NEVER)
        train_for(case, dataset, unfinished, recipe, start_from)
        unfinished.rename(run)
    return run


def measured(case: Case, runs: Sequence[Path], dataset: Dataset, split: str, views: int) -> Row:
    """The errors of nets whose soft-max outputs are averaged, and which images they tell wrong, in the images' order.

    The top-5 error of at most five classes, which is always 0, is None.
    """
    device = machine.choose_device(case.device)
    evaluation = evaluate([load(run, device=device) for run in runs], dataset, split=split, views=views)
    errors: dict[str, Any] = described(evaluation.errors, len(dataset.classes))
    return {
        "classes": len(dataset.classes),
        "split": split,
        "views": views,
        "nets": len(runs),
        "top1_error": errors["top1_error"],
        "top5_error": errors["top5_error"],
        "loss": errors["loss"],
        "training_seconds": round(sum(training_seconds(run) or 0.0 for run in runs), 1),
        **wrong_images(evaluation),
    }


def wrong_images(evaluation: Evaluation) -> Row:
    """How many images were measured, and which were told wrong, in the data set's order: what is compared by image."""
    wrong = ~evaluation.correct[np.argsort(evaluation.rows)]
    return {"images": len(wrong), "wrong": packed(wrong)}


def error_cells(row: Row) -> str:
    """Top-1 and top-5 error as a table has them."""
    return f"{row['top1_error']:.1%} / " + ("-" if row["top5_error"] is None else f"{row['top5_error']:.1%}")
