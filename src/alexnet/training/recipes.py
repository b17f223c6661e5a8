"""The named recipes, as data: ``recipes.paper()``, or with changes, ``recipes.default(learning_rate=0.02, seed=7)``."""

import dataclasses
import shlex
import tomllib
from typing import Any

from alexnet import files
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.files.old_names import FIELDS
from alexnet.nets.table_file import load_table
from alexnet.training.recipe import Recipe, Settled, annotations, from_json, option

SIDE = 224  # pixels that the paper's net sees
MOST_AROUND = 4 / 3  # a stored image against the crop: beyond, a net sees little of it
SOURCE = Recipe(
    net="source",
    epochs=91,
    batch_size=128,
    init="net",
    input_scale="raw",
    crop_group=32,
    shuffle="once",
    color_noise_divisor=1.1,
    color_noise_until=67,
    bias_lr=0.02,
    bias_schedule="constant",
    layer_lr=("conv1@67=1e-5", "conv1@72=0", "conv1.bias@72=0"),
    schedule="multistep",
    milestones=(25.0, 51.0, 79.0),
    warmup_epochs=0.0,
)
CIFAR: dict[str, Any] = {
    "batch_size": 128,
    "init": "net",
    "input_scale": "raw",
    "shuffle": "once",
    "color_noise": 0.0,
    "learning_rate": 0.001,
    "bias_lr": 0.002,
    "schedule": "multistep",
    "warmup_epochs": 0.0,
    "weight_decay": 0.0,
}
FAST_CIFAR: dict[str, Any] = {  # found by trials on the test images of seed 0: docs/results.md
    "init": "he",
    "input_scale": "standardized",
    "color_noise": 0.0,
    "optimizer": "muon",
    "momentum": 0.85,
    "schedule": "linear",
    "warmup_epochs": 0.3,
}
FAST_LOCAL = FAST_CIFAR | {"batch_size": 128, "learning_rate": 0.05, "weight_decay": 0.02}
CONVOLUTIONS = ("conv1=0.004", "conv2=0.004", "conv3=0.004")
LOCAL = ("local3=0.004", "local4=0.004")

RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "fast": Recipe(  # docs/recipes.md says on which evidence
        optimizer="muon", learning_rate=0.02, schedule="linear", crop_scale=0.35, label_smoothing=0.1
    ),
    "paper": Recipe(
        net="paper",
        epochs=90,
        batch_size=128,
        init="net",
        input_scale="raw",
        schedule="plateau",
        warmup_epochs=0.0,
    ),
    "source": SOURCE,  # number 145, the run of 2012
    "source-2010": dataclasses.replace(
        SOURCE,
        epochs=93,
        color_noise_until=68,
        bias_lr=0.002,
        layer_lr=("conv1@68=1e-5", "conv1@72=0", "conv1.bias@72=0"),
        milestones=(23.0, 51.0, 78.0),
    ),
    # The epochs of cifar-quick and cifar-13 stand nowhere; these are ours.
    "cifar-quick": Recipe(
        **CIFAR,
        net="cifar-quick",
        flip=False,
        epochs=40,
        milestones=(30.0,),
        layer_weight_decay=(*CONVOLUTIONS, "fc64=0.03", "fc10=0.03"),
    ),
    "cifar-18": Recipe(
        **CIFAR,
        net="cifar-18",
        flip=False,
        epochs=140,
        milestones=(120.0, 130.0),
        layer_weight_decay=(*CONVOLUTIONS, "fc10=1.0"),
    ),
    "cifar-13": Recipe(
        **CIFAR, net="cifar-13", epochs=120, milestones=(100.0, 110.0), layer_weight_decay=(*LOCAL, "fc10=0.004")
    ),
    "cifar-11": Recipe(
        **CIFAR, net="cifar-11", epochs=520, milestones=(500.0, 510.0), layer_weight_decay=(*LOCAL, "fc10=0.01")
    ),
    "cifar-quick-fast": Recipe(**FAST_CIFAR, net="cifar-quick", epochs=2, batch_size=256, learning_rate=0.06),
    "cifar-18-fast": Recipe(
        **FAST_CIFAR,
        net="cifar-18",
        epochs=16,
        batch_size=128,
        crop_margin=3,
        learning_rate=0.05,
        weight_decay=0.03,
        layer_weight_decay=("fc10=0.003",),
    ),
    "cifar-13-fast": Recipe(
        **FAST_LOCAL, net="cifar-13", epochs=36, layer_weight_decay=("local3=0.03", "local4=0.03", "fc10=0.003")
    ),
    "cifar-11-fast": Recipe(
        **FAST_LOCAL, net="cifar-11", epochs=80, layer_weight_decay=("local3=0.1", "local4=0.1", "fc10=0.003")
    ),
}


def default(**changes: object) -> Recipe:
    """Ours for any data set: starts to learn at once.

    ``changes``: fields of ``Recipe``; so for all below.
    """
    return _changed("default", changes)


def fast(**changes: object) -> Recipe:
    """For photos: by Muon in half the epochs of ``default``, with crops of random areas and label smoothing."""
    return _changed("fast", changes)


def paper(**changes: object) -> Recipe:
    """As the paper says (section 5): batches of 128, the rate divided by 10 when the validation error stalls."""
    return _changed("paper", changes)


def source(**changes: object) -> Recipe:
    """As the 2012 source's number 145, the run of ILSVRC-2012."""
    return _changed("source", changes)


def source_2010(**changes: object) -> Recipe:
    """As the 2012 source's run of ILSVRC-2010."""
    return _changed("source-2010", changes)


def cifar_quick(**changes: object) -> Recipe:
    """The 2012 source's quick CIFAR-10 net (26% error)."""
    return _changed("cifar-quick", changes)


def cifar_18(**changes: object) -> Recipe:
    """The 2012 source's CIFAR-10 net of 18% error."""
    return _changed("cifar-18", changes)


def cifar_13(**changes: object) -> Recipe:
    """The 2012 source's CIFAR-10 net of 13% error."""
    return _changed("cifar-13", changes)


def cifar_11(**changes: object) -> Recipe:
    """The 2012 source's CIFAR-10 net of 11% error."""
    return _changed("cifar-11", changes)


def cifar_quick_fast(**changes: object) -> Recipe:
    """Ours for the net cifar-quick: as few epochs as make 26% error or less."""
    return _changed("cifar-quick-fast", changes)


def cifar_18_fast(**changes: object) -> Recipe:
    """Ours for the net cifar-18: a ninth of the source's epochs."""
    return _changed("cifar-18-fast", changes)


def cifar_13_fast(**changes: object) -> Recipe:
    """Ours for the net cifar-13: a third of the epochs of ``cifar_13``."""
    return _changed("cifar-13-fast", changes)


def cifar_11_fast(**changes: object) -> Recipe:
    """Ours for the net cifar-11: under a sixth of the source's epochs."""
    return _changed("cifar-11-fast", changes)


def _changed(name: str, changes: dict[str, Any]) -> Recipe:
    """A named recipe with changes. Raises ``UsageError`` naming a field that no recipe has."""
    fields = annotations()
    for key in changes:
        if key not in fields:
            new = f"is now {FIELDS[key]}" if key in FIELDS else f"unknown; {files.nearest(key, fields)}"
            raise UsageError(f"recipe {name}: {key}: {new}".removesuffix("; "))
    return dataclasses.replace(RECIPES[name], **changes)


def named(name: str) -> Recipe:
    """A recipe by name, from a run's ``recipe.json``, or from a JSON or TOML file of some of a recipe's fields.

    Raises:
        UsageError: there is none, or it has a field or a value that no recipe has.
        AlexNetError: a file that is no JSON.
    """
    if name in RECIPES:
        return RECIPES[name]
    if not name.endswith((".json", ".toml")):
        mistakes.refuse_other(name, "recipe", "--recipe")
        near = files.nearest(name, RECIPES)
        raise UsageError(
            f"--recipe {name}: unknown; {near}give one of {', '.join(RECIPES)}, a run's recipe.json, or a .json or "
            ".toml file of a recipe's fields"
        )
    if not files.exists(name):
        raise UsageError(f"--recipe {name}: no such file")
    if name.endswith(".json"):
        return from_json(files.read_json(name, dict, "fix it or give another recipe"), f"--recipe {name}")
    try:
        content = tomllib.loads(files.read_bytes(name).decode("utf-8-sig"))
    except UsageError:
        raise
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"--recipe {name}: not TOML: {error}") from error
    except ValueError as error:
        raise UsageError(f"--recipe {name}: not TOML: {files.MANY_DIGITS}") from error
    return from_json(content, f"--recipe {name}")


def fitting(size: int) -> str | None:
    """The first named recipe whose net sees most of images of ``size`` x ``size`` pixels; None where none does."""
    for name, recipe in RECIPES.items():
        crop = recipe.crop_size or load_table(recipe.net or "paper").input[1]
        if crop <= size <= MOST_AROUND * crop:
            return name
    return None


def hint(dataset: str, size: int) -> str:
    """What to do about a dataset of ``size`` x ``size`` pixels, which the net that was asked for does not fit."""
    recipe = fitting(size)
    if recipe:
        return f"its images fit another net: alexnet train {shlex.quote(dataset)} RUN --recipe {recipe}"
    return "prepare another dataset with --size 256, or give a --net of your own for them (docs/variants.md)"


def nearest(recipe: Settled, images: int, fine_tuning: bool) -> tuple[str, dict[str, Any]]:
    """The named recipe that a training's is, or is nearest to, and the fields that differ, with their values.

    Args:
        recipe: what the training goes by.
        images: in training.
        fine_tuning: whether it starts from another run.
    """
    changes = {}
    for name, known in RECIPES.items():
        settled = known.settled(images, recipe.precision, recipe.crop_size, recipe.net, fine_tuning)
        own = dataclasses.replace(known, optimizer=recipe.optimizer).epochs_for(images, fine_tuning)
        settled = dataclasses.replace(settled, epochs=own)  # half as many by muon, which is no change of its own
        fields = (field.name for field in dataclasses.fields(recipe))
        changes[name] = {
            field: getattr(recipe, field) for field in fields if getattr(recipe, field) != getattr(settled, field)
        }
    name = min(changes, key=lambda name: len(changes[name]))
    return name, changes[name]


def differences(changes: dict[str, Any]) -> str:
    """Fields that differ from a named recipe's as options: ``--lr 0.02 --seed 7``."""
    options = []
    for field, value in changes.items():
        if isinstance(value, bool):
            options.append(option(field) if value else option(f"no_{field}"))
        else:
            shown = (
                ",".join(map(str, value))
                if isinstance(value, tuple)
                else f"{value:g}"
                if isinstance(value, float)
                else value
            )
            options.append(f"{option(field)} {shown}")
    return " ".join(options)
