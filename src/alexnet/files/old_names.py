"""Names of before: what recipes that were written then are read through, and what says which name is today's."""

from typing import Any

FIELDS = {  # of a recipe
    "rate": "learning_rate",
    "batch": "batch_size",
    "accumulate": "grad_accumulation",
    "initialisation": "init",
    "crop": "crop_size",
    "mirror": "flip",
    "chunk": "crop_group",
    "order": "shuffle",
    "colour_noise": "color_noise",
    "noise_by": "color_noise_by",
    "noise_divisor": "color_noise_divisor",
    "noise_until": "color_noise_until",
    "bias_rate": "bias_lr",
    "layer_rates": "layer_lr",
    "layer_decays": "layer_weight_decay",
    "old_rate": "pretrained_lr_factor",
    "falls_after": "milestones",
    "final_rate": "final_lr",
    "stairs": "stages",
    "warmup": "warmup_epochs",
    "patience": "plateau_patience",
    "falls": "plateau_drops",
    "decay": "weight_decay",
}

VALUES = {  # of a recipe's fields, by their names of today
    "init": {"table": "net"},
    "input_scale": {"pixels": "raw", "deviation": "standardized"},
    "shuffle": {"reshuffled": "epoch", "fixed": "once"},
    "color_noise_by": {"deviation": "std"},
    "schedule": {"steps": "multistep", "stairs": "staircase"},
}

LATER = {  # fields of a recipe that came later, as trainings before were
    "crop_position": "random",
    "crop_scale": 1.0,
    "crop_margin": 0,
    "optimizer": "momentum",
}

OPTIONS = {  # of the command line
    **{f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in FIELDS.items()},
    "--rate": "--lr",
    "--no-mirror": "--no-flip",
    "--loaders": "--workers",
    "--shares": "--ensemble-weights",
    "--search-shares": "--tune-ensemble-weights",
    "--unsure": "--min-confidence",
    "--max-bad": "--max-bad-fraction",
    "--store": "--dataset",
    "--preparation": "--preprocessing",
    "--colours": "--color-order",
    "--without-preparation": "--without-preprocessing",
    "--licence": "--license",
    "--tensorboard": "--log",
}


def current_recipe(content: dict[str, Any]) -> dict[str, Any]:
    """What a ``recipe.json`` says, under the names of today; a key whose new name is there, too, stays as it is."""
    renamed = {}
    for key, value in content.items():
        new = FIELDS.get(key, key)
        if new in content:
            new = key
        values = VALUES.get(new, {})
        renamed[new] = values.get(value, value) if isinstance(value, str) else value
    return renamed


def run_recipe(content: dict[str, Any]) -> dict[str, Any]:
    """A run's ``recipe.json`` as one of today would say it: what came later is as trainings were before."""
    return LATER | current_recipe(content)


def current_condition(condition: str) -> str:
    """``paper batch=128`` of raw figures of before, under the names of today."""
    name, *changes = condition.split(" ")
    if not all("=" in change for change in changes):  # a condition in words
        return condition
    renamed = current_recipe(dict(change.split("=", 1) for change in changes))
    return " ".join([name, *(f"{key}={value}" for key, value in renamed.items())])
