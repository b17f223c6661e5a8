"""Training as people write it: an optimizer in a loop of their own, schedules, listeners, recipes from files."""

import copy
import dataclasses
import io
import json
import math
from pathlib import Path

import pytest
import torch

import alexnet as package
from alexnet import Recipe, UsageError, load, train
from alexnet.files.old_names import FIELDS, LATER, VALUES, current_recipe
from alexnet.training import recipes
from alexnet.training.journal import StepReport
from alexnet.training.optimizer import Momentum
from alexnet.training.options import TINY, Options
from alexnet.training.recipe import Settled, annotations, from_json
from alexnet.training.recipes import RECIPES, named
from alexnet.training.schedule import Constant, Cosine, Exponential, Linear, MultiStep, Plateau, Staircase


def small_net() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))


def loop(net: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range, scheduler=None) -> None:
    """A loop as anybody writes it."""
    for step in steps:
        images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


def state(net: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in net.parameters()]


def test_in_ones_own_loop_with_torchs_scheduler():
    """With lr the only thing that changes it is the formula, in float64 by hand."""
    net = small_net().double()
    w = {name: tensor.detach().clone() for name, tensor in net.named_parameters()}
    v = {name: torch.zeros_like(tensor) for name, tensor in w.items()}
    optimizer = package.Momentum(net.named_parameters(), lr=0.1, momentum=0.8, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1)
    other = copy.deepcopy(net)
    for step in range(6):
        images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(step)).double()
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()
        scheduler.step()
        other.load_state_dict(w)
        other.zero_grad()
        other(images).square().mean().backward()
        lr = 0.1 * 0.1 ** (step // 2)
        for name, tensor in other.named_parameters():
            decay = 0.0 if name.endswith("bias") else 0.01
            v[name] = 0.8 * v[name] - lr * (tensor.grad + decay * w[name])
            w[name] = w[name] + v[name]
    for name, tensor in net.named_parameters():
        torch.testing.assert_close(tensor.detach(), w[name], rtol=1e-12, atol=1e-12)


def test_its_groups_are_one_a_tensor_and_biases_do_not_decay():
    optimizer = Momentum(small_net().named_parameters(), weight_decays={"2.weight": 0.5})
    groups = {
        group["name"]: (group["lr"], group["momentum"], group["weight_decay"]) for group in optimizer.param_groups
    }
    assert groups == {"0.weight": (0.01, 0.9, 5e-4), "0.bias": (0.01, 0.9, 0), "2.weight": (0.01, 0.9, 0.5),
                      "2.bias": (0.01, 0.9, 0)}  # fmt: skip
    alone = Momentum(torch.nn.Linear(2, 2).named_parameters())
    assert [group["weight_decay"] for group in alone.param_groups] == [5e-4, 0.0]


def test_saved_and_loaded_it_goes_on_bitwise():
    whole, net = small_net(), small_net()
    for each in (whole, net):
        each[0].to(memory_format=torch.channels_last)
    loop(whole, Momentum(whole.named_parameters(), lr=0.1), range(6))
    first = Momentum(net.named_parameters(), lr=0.1)
    loop(net, first, range(3))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = Momentum(dict(net.named_parameters()), lr=7.0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(first.velocities.values(), second.velocities.values(), strict=True))
    kept = second.velocities["0.weight"].clone()
    loop(net, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(state(net), state(whole), strict=True))
    assert not torch.equal(kept, second.velocities["0.weight"])
    assert torch.equal(first.velocities["0.weight"], kept)  # the loaded one has velocities of its own


def test_closure_copy_and_what_cannot_be_meant():
    net = small_net()
    optimizer = Momentum(net.named_parameters())

    def closure() -> float:
        optimizer.zero_grad()
        loss = net(torch.ones(1, 3, 8, 8)).square().mean()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) > optimizer.step(closure) > 0
    again = copy.deepcopy(optimizer)
    again.step()
    for wrong in ({"lr": -1.0}, {"momentum": math.nan}, {"weight_decay": math.inf}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Momentum(net.named_parameters(), **wrong)
    with pytest.raises(UsageError, match=r"give net\.named_parameters"):
        Momentum(net.parameters())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("schedule", "flat"),
    [
        (MultiStep(25, 51, 79), {"schedule": "multistep", "milestones": (25.0, 51.0, 79.0)}),
        (Plateau(patience=3, drops=2), {"schedule": "plateau", "plateau_patience": 3, "plateau_drops": 2}),
        (Cosine(), {"schedule": "cosine"}),
        (Linear(), {"schedule": "linear"}),
        (Exponential(final_lr=1e-4), {"schedule": "exponential", "final_lr": 1e-4}),
        (Staircase(stages=5, final_lr=1e-4), {"schedule": "staircase", "stages": 5, "final_lr": 1e-4}),
        (Constant(), {"schedule": "constant"}),
    ],
)
def test_a_schedule_is_the_recipes_fields(schedule, flat):
    assert Recipe(schedule=schedule) == Recipe(**flat)
    assert Recipe(schedule=schedule).settled(100, "float32", 224, "paper").learning_rates(10).schedule == schedule
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.final_lr = 1


def test_a_schedule_that_cannot_be_meant_is_refused():
    for schedule, said in ((MultiStep(3, 2), "--milestones"), (Plateau(0), "--plateau-patience 0"),
                           (MultiStep(), "--milestones"), (Staircase(1), "--stages 1")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            Recipe(schedule=schedule)


def test_who_listens_hears_of_every_step(dataset, net_file, tmp_path):
    heard: list[StepReport] = []
    recipe = recipes.default(net=net_file, crop_size=48, batch_size=8, epochs=2)
    train(dataset, tmp_path / "run", recipe, show=False, on_step=heard.append)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["split"] == "train"]
    assert [(r.step, r.epoch, r.loss, r.lr, r.top1_error, r.top5_error) for r in heard] == [
        (s["step"], s["epoch"], s["loss"], s["rate"], s["top1_error"], s["top5_error"]) for s in steps
    ]
    assert str(heard[0]).startswith("step 1  epoch 0.17  loss ") and "lr 0.00143" in str(heard[0])


def test_settled_has_no_open_question():
    asked = Recipe()
    settled = asked.settled(5000, "bf16", 224, "paper")
    assert isinstance(settled, Settled) and not isinstance(asked, Settled)
    decided = {name for name, kind in annotations(Recipe).items() if kind != annotations(Settled)[name]}
    assert decided == {"net", "epochs", "batch_size", "crop_size", "precision"}
    assert (settled.net, settled.epochs, settled.batch_size, settled.crop_size) == ("paper", 32, 64, 224)
    for name in decided:
        with pytest.raises(UsageError):
            dataclasses.replace(settled, **{name: "auto" if name == "precision" else None})
    assert asked.batch_size is None


def test_named_recipes_with_changes():
    assert recipes.default(learning_rate=0.02, seed=7) == Recipe(learning_rate=0.02, seed=7)
    functions = {name: getattr(recipes, name.replace("-", "_"))() for name in RECIPES}
    assert functions == RECIPES and package.recipes is recipes
    with pytest.raises(UsageError, match="learnig_rate: unknown; perhaps you meant learning_rate"):
        recipes.paper(learnig_rate=1)
    with pytest.raises(UsageError, match="rate: is now learning_rate"):
        recipes.paper(rate=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.json", '{"learning_rate": 0.02, "schedule": "multistep", "milestones": [3, 5]}'),
        ("mine.toml", 'learning_rate = 0.02\nschedule = "multistep"\nmilestones = [3, 5]\n'),
        ("before.json", '{"rate": 0.02, "schedule": "steps", "falls_after": [3, 5]}'),
    ],
)
def test_a_file_of_some_fields_is_a_recipe(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert named(str(tmp_path / name)) == Recipe(learning_rate=0.02, schedule="multistep", milestones=(3.0, 5.0))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "learning_rate = ", "not TOML"),
        ("a.toml", "learnig_rate = 1", "perhaps you meant learning_rate"),
        ("a.toml", "learning_rate = -1", "--lr -1"),
        ("a.json", '{"rate": 1, "learning_rate": 2}', "rate: is now learning_rate"),
        ("a.json", '{"table": "", "seed": 0}', "is no recipe of a run"),
        ("none.toml", None, "no such file"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_its_name(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as error:
        named(str(tmp_path / name))
    assert said in str(error.value) and name in str(error.value)


def test_names_of_before_are_read_through_one_table():
    fields = annotations(Recipe)
    assert set(FIELDS.values()) <= set(fields) and not set(FIELDS) & set(fields)
    before = json.loads(Path("tests/before/run/recipe.json").read_text())
    assert set(fields) - set(current_recipe(before)) == set(LATER)
    assert vars(Recipe()).items() >= LATER.items()  # nobody's training changed
    assert from_json(before, "recipe.json").color_noise_by == "std"
    for name, values in VALUES.items():
        for old, new in values.items():
            with pytest.raises(UsageError, match=f"{old}: is now {new}"):
                Recipe(**{name: old})


def test_a_run_of_before_resumes_under_the_names_of_today(dataset, net_file, tmp_path):
    """Its recipe.json keeps its old names; only what differs is refused, under the new ones."""
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, shuffle="once")
    train(dataset, tmp_path / "run", recipe, show=False)
    note = tmp_path / "run" / "recipe.json"
    old_fields = {new: old for old, new in FIELDS.items()}
    content = json.loads(note.read_text())
    del content["seal"]
    content = {old_fields.get(key, key): {"once": "fixed", "std": "deviation"}.get(value, value)
               if isinstance(value, str) else value for key, value in content.items()}  # fmt: skip
    note.write_text(json.dumps(content))
    assert train(dataset, tmp_path / "run", recipe, show=False).steps == load(tmp_path / "run").step
    with pytest.raises(UsageError, match="shuffle once -> epoch"):
        train(dataset, tmp_path / "run", dataclasses.replace(recipe, shuffle="epoch"), show=False)


@pytest.mark.parametrize("option", ["--lr", "--learning-rate"])
def test_both_names_of_the_learning_rate(alexnet, dataset, small, tmp_path, option):
    assert alexnet("train", dataset.path, tmp_path / "run", *small, option, 0.003)[0] == 0
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["learning_rate"] == 0.003


def test_tiny_images_are_decoded_by_one_thread_unless_asked_otherwise():
    assert Options().decoders(TINY) == 1 and Options().decoders(TINY + 1) >= 2
    assert Options(workers=3).decoders(TINY) == Options(workers=3).decoders(256) == 3
