"""What a run is, whole: net, data, recipe by the named one it is nearest to, training, errors, checkpoints."""

import dataclasses
import os
from typing import Any

from alexnet.errors import UsageError
from alexnet.evaluation.errors import described
from alexnet.files import checked
from alexnet.files.checked import Misfit
from alexnet.runs.checkpoint import count_parameters, read_checkpoint
from alexnet.runs.facts import Facts, read_facts
from alexnet.runs.history import latest_measurements
from alexnet.training import recipes
from alexnet.training.recipe import Settled, annotations


def describe_run(path: str | os.PathLike) -> dict[str, Any]:
    """What a run is, for people and JSON; no weights are read.

    Raises:
        UsageError: no run there.
        AlexNetError: it is damaged.
    """
    facts = read_facts(path)
    description = facts.description
    classes = description["classes"]
    return {
        "run": os.fspath(path),
        "net": description["net"]["name"],
        "parameters": read_checkpoint(path, max(facts.steps), count_parameters) if facts.steps else None,
        "classes": classes,
        "words": description.get("words") or classes,
        "preparation": description["preparation"],
        "data": description["data"],
        "recipe": facts.recipe and {key: value for key, value in facts.recipe.items() if key != "table"},
        **_named(facts),
        "epochs": facts.epochs,
        "epochs_asked": facts.epochs_asked,
        "best": facts.best and {key: facts.best[key] for key in ("step", "epoch", "top1_error")},
        "seconds": facts.seconds,
        "checkpoints": facts.checkpoints,
        "steps": facts.steps,
        "bytes": facts.bytes,
        "version": description.get("version"),
        "created": description.get("created"),
        "errors": {split: described(errors, len(classes)) for split, errors in description["errors"].items()},
        "evaluations": latest_measurements(path),
    }


def _named(facts: Facts) -> dict[str, Any]:
    """The named recipe that a run's is nearest to, and the options that differ."""
    images = (facts.description["data"].get("images") or {}).get("train")
    if facts.recipe is None or not images:
        return {"recipe_name": None, "recipe_differences": None}
    try:
        kinds = annotations(Settled)
        fields = {field.name for field in dataclasses.fields(Settled)} & set(facts.recipe)
        recipe = Settled(**{name: checked(facts.recipe[name], kinds[name], name) for name in fields})
        name, changes = recipes.nearest(recipe, images, facts.recipe.get("start_from") is not None)
    except (Misfit, UsageError, TypeError):  # of another version
        return {"recipe_name": None, "recipe_differences": None}
    return {"recipe_name": name, "recipe_differences": recipes.differences(changes)}
