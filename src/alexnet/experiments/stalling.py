"""When and why a training does not start: the first steps of a recipe and of its changes, layer by layer.

For each condition and seed the recipe's own images, masks, rates and update rule; a row a step (loss, rate), and at
steps 0, 1, 2, 4, 8, ... one for each layer: the root mean square of its outputs, how much of it differs from image to
image, the share of units that are 0 for every image of the batch, and the size of the weights' gradient and of the
weights. A run ends when it has started (the mean loss of ``WINDOW`` steps is below ``STARTED`` of ln(classes)), or
after so many steps.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib import ticker
from matplotlib.figure import Figure
from torch import Tensor

from alexnet.data.batches import Batch, ahead
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.experiments.experiment import PHOTOS, Case, Experiment, Row, Scale, by_condition
from alexnet.figures import style
from alexnet.files.old_names import current_recipe
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast
from alexnet.nets.table import Learning
from alexnet.nets.table_file import load_table
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import named
from alexnet.training.setup import set_up
from alexnet.training.start import optimizer_of, preprocessing_of, training_step
from alexnet.training.step import NotFinite, Sight

WINDOW, STARTED = 20, 0.85
STEPS = 400
SMOOTHED = 10  # steps whose mean loss is drawn
CLASSES = 10  # of raw figures that do not say how many
CONDITIONS = {  # a recipe with changes, and what the figure calls it
    "paper": "paper",
    "source": "source",
    "paper bias=0": "paper, biases 0",
    "paper input_scale=standardized": "paper, standardized inputs",
    "source input_scale=standardized": "source, standardized inputs",
    "paper init=he input_scale=standardized": "paper, He, standardized inputs",
    "default batch_size=128": "default",
}


def parsed(condition: str) -> tuple[Recipe, str | None]:
    """``paper init=he learning_rate=0.003``: a named recipe with changes; and ``bias=0``: of every layer of its net.

    Args:
        condition: the recipe's name, then fields and values, texts as they are and others as JSON.

    Raises:
        UsageError: no such recipe or field, or no value of it.
    """
    name, *changes = condition.split()
    recipe = named(name)
    if not all("=" in change for change in changes):
        raise UsageError(f"condition {condition!r}: give a recipe's name, then changes: paper init=he bias=0")
    values = current_recipe(dict(change.split("=", 1) for change in changes))
    bias = values.pop("bias", None)
    now = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    unknown = sorted(values.keys() - now.keys())
    if unknown:
        raise UsageError(f"condition {condition!r}: a recipe has no {unknown[0]}")
    texts = {key for key, value in now.items() if isinstance(value, str) or key in ("net", "freeze")}
    try:
        changed_fields = {key: text if key in texts else json.loads(text) for key, text in values.items()}
    except ValueError as error:
        raise UsageError(f"condition {condition!r}: a value is no JSON ({error})") from error
    return dataclasses.replace(recipe, **changed_fields), bias


def check(condition: str) -> None:
    """Raises ``UsageError`` where a condition is none, or there is no such net, or no such bias."""
    recipe, bias = parsed(condition)
    load_table(recipe.net or "paper")
    try:
        float(bias or 0)
    except ValueError as error:
        raise UsageError(f"condition {condition!r}: bias {bias} is no number") from error


def changed(condition: str, folder: Path) -> Recipe:
    """The recipe of a condition; a net whose biases are changed is written into ``folder``."""
    recipe, bias = parsed(condition)
    return recipe if bias is None else dataclasses.replace(recipe, net=_with_bias(recipe.net or "paper", bias, folder))


def _with_bias(net: str, bias: str, folder: Path) -> str:
    """A table of a net whose biases all begin at a value."""
    learning = [name for name, layer in load_table(net).layers.items() if isinstance(layer, Learning)]
    lines = [f"[layers.{name}]\nbias = {bias}\n" for name in learning]
    file = folder / f"{Path(net).stem}-bias-{bias}.toml"
    file.write_text(f'base = "{net}"\n' + "".join(lines), encoding="utf-8")
    return str(file)


def layers_of(net: Network, images: Tensor) -> list[Row]:
    """A row for each layer, of what it gives at test; the weights' gradients must be there."""
    net.eval()
    with torch.no_grad():
        outputs = net.activations(images, net.names)
    net.train()
    rows = []
    for name, output in outputs.items():
        values = output.float().flatten(1)
        row = {
            "layer": name,
            "rms": float(values.square().mean().sqrt()),
            "between_images": float(values.std(0).square().mean().sqrt()),
            "dead": float((values == 0).all(0).float().mean()),
        }
        weight = getattr(net.get_submodule(name), "weight", None)
        if weight is not None and weight.grad is not None:
            row |= {
                "gradient": float(weight.grad.square().mean().sqrt()),
                "weight": float(weight.detach().square().mean().sqrt()),
            }
        rows.append(row)
    return rows


def first_steps(dataset: Dataset, recipe: Recipe, steps: int, note: Callable[[Row], None]) -> None:
    """The first steps of a training, by the trainer's own step; ``note`` is called with each row."""
    setup = set_up(dataset, Path("nothing is written"), recipe, torch.device("cpu"))
    settled, net, batches = setup.recipe, setup.net, setup.batches
    net.initialize(settled.seed, settled.init)
    preprocessing = preprocessing_of(setup)
    update = training_step(setup, preprocessing, optimizer_of(setup))
    sight = Sight.of(settled, preprocessing, setup.device, batches.steps)
    rates = settled.learning_rates(batches.steps)
    watched: list[tuple[int, Batch]] = []

    def watch(*_: object) -> None:
        """Between the gradients and the update."""
        for number, batch in watched:
            images = sight.batch(batch, number)  # as in a step, in float32
            with autocast(setup.device, settled.precision):
                for row in layers_of(net, images):
                    note({"step": number, **row})

    update.optimizer.register_step_pre_hook(watch)
    chance, recent = math.log(len(dataset.classes)), []
    for step, batch in enumerate(ahead(batches.load, range(steps), 2)):
        watched[:] = [(step, batch)] if step & (step - 1) == 0 else []
        lr = rates.lr(step)
        update.optimizer.set_lr(rates.by_name(lr, step / batches.steps, update.optimizer.tensors))
        try:
            loss = float(update(batch, step).loss)
        except NotFinite:
            loss = math.nan
        note({"step": step, "loss": loss, "rate": lr})
        recent = [*recent[1 - WINDOW :], loss]
        if not math.isfinite(loss) or (len(recent) == WINDOW and sum(recent) / WINDOW < STARTED * chance):
            return


def measure(case: Case) -> list[Row]:
    """The rows of one condition's first steps."""
    rows: list[Row] = []
    recipe = dataclasses.replace(changed(case.condition, case.work), seed=case.seed)
    dataset = case.dataset()
    first_steps(dataset, recipe, case.scaled(STEPS), rows.append)
    return [{"classes": len(dataset.classes), **row} if "loss" in row else row for row in rows]


def _losses(rows: Sequence[Row]) -> dict[int, list[float]]:
    """The losses of one condition by seed."""
    losses: dict[int, list[float]] = {}
    for row in rows:
        if "loss" in row:
            losses.setdefault(row["seed"], []).append(math.nan if row["loss"] is None else row["loss"])
    return losses


def _left(rows: Sequence[Row]) -> dict[str, float]:
    """What of the outputs of a layer with weights differs from image to image at step 0, as a share."""
    return {
        row["layer"]: row["between_images"] / row["rms"]
        for row in rows
        if "weight" in row and row["step"] == 0 and row["seed"] == rows[0]["seed"]
    }


def table(rows: Sequence[Row]) -> list[str]:
    """A line a condition: when each seed started, or what its last hundred steps lost, and what the scores see."""
    lines = [
        "| recipe and changes | seeds: started at step | between-image ratio of the scores at step 0 |",
        "| --- | --- | --- |",
    ]
    for condition, group in by_condition(rows).items():
        chance = math.log(next(row.get("classes", CLASSES) for row in group if "loss" in row))
        words = []
        for seed, losses in _losses(group).items():
            if not math.isfinite(losses[-1]):
                words.append(f"{seed}: NaN at step {len(losses)}")
            elif sum(losses[-WINDOW:]) / WINDOW < STARTED * chance:
                words.append(f"{seed}: {len(losses)}")
            else:
                last = losses[-100:]
                words.append(f"{seed}: not in {len(losses)} (last {len(last)}: {sum(last) / len(last):.3f})")
        lines.append(f"| `{condition}` | {'; '.join(words)} | {list(_left(group).values())[-1]:.2%} |")
    return lines


def figure(rows: Sequence[Row]) -> Figure:
    """Losses against steps, each seed by a line style of its own, and what is left of the images by layer."""
    drawing = style.blank(11, 4.8)
    curves, ratios = drawing.subplots(1, 2)
    groups = by_condition(rows)
    shown = [condition for condition in CONDITIONS if condition in groups] or list(groups)
    for condition, color, marker in zip(shown, itertools.cycle(style.LINES), itertools.cycle(style.MARKERS)):
        label = CONDITIONS.get(condition, condition)
        losses = _losses(groups[condition])
        for (seed, values), dash in zip(losses.items(), itertools.cycle(style.DASHES)):
            means = [sum(values[i : i + SMOOTHED]) / SMOOTHED for i in range(len(values) - SMOOTHED + 1)]
            steps = range(SMOOTHED, len(values) + 1)
            seeds = f", seed {seed}" if len(losses) > 1 else ""
            curves.plot(steps, means, color=color, linestyle=dash, linewidth=1.3, label=label + seeds)
        left = _left(groups[condition])
        if left:
            look = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.2, "alpha": 0.85}
            ratios.semilogy(list(left), list(left.values()), label=label, **look)
    curves.set(xlabel="training step", ylabel=f"training loss, mean of {SMOOTHED} steps", ylim=(1.8, 2.8))
    curves.set_title("Loss of the first steps", loc="left", fontsize=11, color=style.INK)
    ratios.set(xlabel="layer", ylabel="standard deviation between images\n/ root mean square of the outputs")
    ratios.set_title("Between-image ratio at step 0", loc="left", fontsize=11, color=style.INK)
    ratios.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    ratios.minorticks_off()
    for axes in (curves, ratios):
        axes.grid(axis="y", color=style.GRID)
        style.clean(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7.5, frameon=False, handlelength=3)
    return drawing


STALLING = Experiment(
    "why a training does not start: input scale, weights and biases, layer by layer",
    conditions=tuple(CONDITIONS),
    seeds=(0,),
    measure=measure,
    figure=figure,
    table=table,
    check=check,
    paper="biases of 1 accelerate the early stages of learning (5); weights N(0, 0.01^2), pixels of 0..255",
    takes=PHOTOS,
    scales={
        "minutes": Scale(
            0.4,
            (0,),
            ("paper", "paper input_scale=standardized", "default batch_size=128"),
            "three conditions, 160 steps each, one seed",
            minutes=12,
        ),
        "hours": Scale(1.0, (0,), None, "every condition, 400 steps each, one seed"),
    },
)
