"""When and why a training does not start: the first steps of a recipe and of its changes, layer by layer.

For each condition and seed the recipe's own images, masks, rates and update rule; a JSON line a step (loss, rate),
and at steps 0, 1, 2, 4, 8, ... one for each layer: the root mean square of its outputs, how much of it differs
from image to image, the share of units that are 0 for every image of the batch, and the size of the weights' gradient
and of the weights. A run ends when it has started (the mean loss of ``WINDOW`` steps is below ``STARTED`` of
ln(classes)), or after so many steps.

    python benchmarks/stalling.py STORE OUT.jsonl --steps 400 --seeds 0 1 -- paper "paper initialisation=he"
"""

import argparse
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import torch
import torch.nn.functional as F

from alexnet import Recipe, Store
from alexnet.data.augment import Preparation
from alexnet.data.batches import Batches, ahead
from alexnet.machine import choose_precision
from alexnet.nets.layers import Draw
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, input_dtype
from alexnet.training.optimiser import Momentum, rate_at, rates_at
from alexnet.training.recipe import layer_decays, named

WINDOW, STARTED = 20, 0.85


def changed(condition: str) -> Recipe:
    """``paper initialisation=he rate=0.003``: a named recipe with changes; ``net`` may be TOML lines over a base."""
    name, *changes = condition.split()
    recipe = named(name)
    kinds = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    given = dict(change.split("=", 1) for change in changes)
    bias = given.pop("bias", None)
    recipe = dataclasses.replace(
        recipe, **{key: (text if isinstance(kinds[key], str) else json.loads(text)) for key, text in given.items()}
    )
    if bias is None:
        return recipe
    net = recipe.net or "paper"
    layers = [key for key, keys in Network(net, 2).table.layers.items() if "bias" in keys]
    table = f'base = "{net}"\n' + "".join(f"[layers.{layer}]\nbias = {bias}\n" for layer in layers)
    file = Path(tempfile.mkdtemp()) / f"{net}-bias-{bias}.toml"
    file.write_text(table, encoding="utf-8")
    return dataclasses.replace(recipe, net=str(file))


def layers_of(net: Network, images: torch.Tensor, draw: Draw) -> list[dict]:
    """A line for each layer; the gradients must be there."""
    net.eval()
    with torch.no_grad():
        found = net.activations(images, net.names)
    net.train()
    lines = []
    for name, out in found.items():
        out = out.float().flatten(1)
        line = {
            "layer": name,
            "rms": float(out.square().mean().sqrt()),
            "between_images": float(out.std(0).square().mean().sqrt()),
            "dead": float((out == 0).all(0).float().mean()),
        }
        weight = getattr(net.layers[name], "weight", None)
        if weight is not None and weight.grad is not None:
            line |= {
                "gradient": float(weight.grad.square().mean().sqrt()),
                "weight": float(weight.detach().square().mean().sqrt()),
            }
        lines.append(line)
    return lines


def run(store: Store, recipe: Recipe, steps: int, note: Callable[..., None]) -> tuple[int, float]:
    """The first steps of a training, as the trainer makes them. Returns the last step and its loss."""
    device = torch.device("cpu")
    precision = choose_precision("auto", device)
    net = Network(recipe.net or "paper", len(store.classes))
    recipe = recipe.settled(len(store.rows("train")), precision, net.table.input[1])
    assert recipe.batch and recipe.crop
    net.initialise(recipe.seed, recipe.initialisation)
    preparation = Preparation.of(store, recipe.crop, recipe.input_scale, recipe.colour_noise, recipe.noise_by)
    batches = Batches(
        store, "train", recipe.batch, recipe.seed, recipe.crop, recipe.mirror,
        order=recipe.order, chunk=recipe.chunk,
    )  # fmt: skip
    optimiser = Momentum(net.tensors(), recipe.momentum, recipe.decay, layer_decays(recipe.layer_decays))
    chance, recent = math.log(len(store.classes)), []
    step, value = 0, math.nan
    for step, batch in enumerate(ahead(batches.load, range(steps), 2)):
        epoch = step // batches.steps
        noise = preparation.colour_noise(recipe.seed, epoch, batch.rows) if recipe.colour_noise else None
        divisor = recipe.noise_divisor if noise is not None else 1.0
        images = preparation.apply(batch.images, input_dtype(precision), noise, divisor)
        net.train()
        draw = Draw(recipe.seed, step, batch.rows)
        with autocast(device, precision):
            loss = F.cross_entropy(net(images, draw).float(), batch.labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        rate = rate_at(recipe, step, batches.steps, [])
        if step & (step - 1) == 0:
            with autocast(device, precision):
                for line in layers_of(net, images, draw):
                    note(step=step, **line)
        value = float(loss.detach())
        note(step=step, loss=value, rate=rate)
        optimiser.step(rates_at(recipe, rate, step / batches.steps, optimiser.tensors))
        optimiser.zero_grad()
        recent = [*recent[1 - WINDOW :], value]
        if not math.isfinite(value) or (len(recent) == WINDOW and sum(recent) / WINDOW < STARTED * chance):
            break
    return step, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("out")
    parser.add_argument("conditions", nargs="+")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    store = Store(options.store)
    for condition in options.conditions:
        for seed in options.seeds:
            begun = time.monotonic()
            recipe = dataclasses.replace(changed(condition), seed=seed)
            with open(options.out, "a", encoding="utf-8") as file:
                step, loss = run(store, recipe, options.steps, _noting(file, condition, seed))
            seconds = time.monotonic() - begun
            print(f"{condition}, seed {seed}: loss {loss:.4f} at step {step}, {seconds:.0f} s", flush=True)


def _noting(file: TextIO, condition: str, seed: int) -> Callable[..., None]:
    def note(**line: object) -> None:
        file.write(json.dumps({"condition": condition, "seed": seed, **line}) + "\n")

    return note


if __name__ == "__main__":
    main()
