"""Arms differ in what they say they do, share their runs where they can, and are compared image by image."""

import dataclasses
import functools
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet import Interrupted, Recipe, UsageError, evaluate
from alexnet.experiments import ablations, arms, cifar, experiment, known, nets, photos, runner, statistics
from alexnet.experiments.statistics import unpacked
from alexnet.nets.network import Network
from alexnet.nets.table import DropoutRule
from alexnet.nets.table_file import load_table
from alexnet.progress import Display
from alexnet.training.recipes import RECIPES

RECIPE = Recipe(net="cifar-18", batch_size=8, epochs=1)


def untimed(rows):
    return [row | {"training_seconds": 0} for row in rows]


def small(compared: dict[str, arms.Arm]) -> dict[str, experiment.Experiment]:
    """An experiment that compares these with a small net."""
    own = dataclasses.replace(
        cifar.LRN, conditions=tuple(compared), measure=functools.partial(arms.measure, compared, RECIPE),
        table=functools.partial(arms.table, compared), needs=None, takes="photos",
    )  # fmt: skip
    return {"lrn": own}


def case_of(dataset, folder: Path, scale: float = 0.5) -> experiment.Case:
    return experiment.Case("whole", 0, folder, folder, dataset.path, scale, "cpu", Display(False))


def net_of(name: str, dataset, folder: Path) -> Network:
    """An ablation's net for the data set's images, initialized."""
    own = arms.own_recipe(ablations.ABLATIONS[name], RECIPES["default"], case_of(dataset, folder), dataset, folder)
    net = Network(load_table(own.net or ""), 3)
    net.initialize(0, own.init)
    return net.eval()


def test_arms_are_compared_image_by_image(dataset, tmp_path, monkeypatch):
    compared = {"whole": arms.Arm(says="11%"), "no norm": arms.Arm(net=cifar.NO_NORMS, says="13%")}
    monkeypatch.setattr(known, "EXPERIMENTS", small(compared))
    made = runner.reproduce("lrn", tmp_path / "e", data=dataset.path, seeds=[0, 1], scale=1, show=False)
    assert [(row["condition"], row["seed"]) for row in made.rows] == [
        ("whole", 0), ("whole", 1), ("no norm", 0), ("no norm", 1),
    ]  # fmt: skip
    for row in made.rows:
        assert unpacked(row["wrong"], row["images"]).mean() == pytest.approx(row["top1_error"])
    ((other, difference),) = arms.differences(made.rows).values()
    means = [np.mean([row["top1_error"] for row in made.rows if row["condition"] == arm]) for arm in compared]
    assert other == "whole" and difference.mean == pytest.approx(means[1] - means[0])
    assert made.table[2].startswith("| whole |") and made.table[3].endswith("| 13% |")
    with pytest.raises(UsageError, match="condition 'other': give one of whole, no norm"):
        runner.reproduce("lrn", tmp_path / "f", data=dataset.path, conditions=["other"], show=False)


def test_views_and_averages_are_of_the_runs_that_are_there(dataset, tmp_path, monkeypatch):
    compared = {"whole": arms.Arm(), "views": arms.Arm(of="whole", views=9), "nets": arms.Arm(of="whole", nets=2)}
    monkeypatch.setattr(known, "EXPERIMENTS", small(compared))
    real, calls = nets.train, []

    def stops(dataset, run, recipe, **more):
        calls.append(recipe.seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(dataset, run, recipe, **more)

    monkeypatch.setattr(nets, "train", stops)
    options = {"data": dataset.path, "seeds": [0, 1], "scale": 1, "show": False}
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("lrn", tmp_path / "e", **options)
    made = runner.reproduce("lrn", tmp_path / "e", **options)
    assert calls == [0, 1, 1]  # one training for each seed: three arms
    runs = sorted((tmp_path / "e" / "runs").glob("*/run"))
    probabilities = np.mean([evaluate(run, dataset).probabilities for run in runs], 0)
    wrong = probabilities.argmax(1) != dataset.labels[dataset.rows("val")]
    rows = [row for row in made.rows if row["condition"] == "nets"]
    assert len(rows) == 2 and all(np.array_equal(unpacked(row["wrong"], len(wrong)), wrong) for row in rows)
    views = {row["seed"]: row for row in made.rows if row["condition"] == "views"}
    assert views[1]["loss"] == pytest.approx(evaluate(runs[1], dataset, views=9).errors.loss) and len(runs) == 2
    whole = runner.reproduce("lrn", tmp_path / "whole", **options)
    assert untimed(whole.rows) == untimed(made.rows)


def test_a_signal_in_the_last_step_of_a_training_stops_the_experiment(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(known, "EXPERIMENTS", small({"whole": arms.Arm(), "no norm": arms.Arm(net=cifar.NO_NORMS)}))
    real, trained = nets.train, []

    def with_signal(dataset, run, recipe, **more):
        trained.append(recipe.seed)
        last = recipe.epochs_for(dataset.splits["train"]) * -(-dataset.splits["train"] // recipe.batch_size)

        def at_the_end(report):
            if report.step == last and len(trained) == 1:
                signal.raise_signal(signal.SIGTERM)

        return real(dataset, run, recipe, on_step=at_the_end, **more)

    monkeypatch.setattr(nets, "train", with_signal)
    options = {"data": dataset.path, "seeds": [0], "scale": 1, "show": False}
    with pytest.raises(Interrupted, match="e: stopped when a training had ended; the same command goes on"):
        runner.reproduce("lrn", tmp_path / "e", **options)
    assert trained == [0]
    made = runner.reproduce("lrn", tmp_path / "e", **options)
    whole = runner.reproduce("lrn", tmp_path / "whole", **options)
    assert untimed(made.rows) == untimed(whole.rows)


def row(condition: str, seed: int, wrong: list[int], **more: object) -> experiment.Row:
    packed = statistics.packed(np.array(wrong, bool))
    error = sum(wrong) / len(wrong)
    return {"condition": condition, "seed": seed, "images": len(wrong), "top1_error": error, "wrong": packed, **more}


def test_what_is_concluded_is_of_the_seeds_that_both_arms_have():
    rows = [row("whole", 0, [0] * 40), *(row("other", seed, [1] * 40) for seed in (0, 1, 2))]
    assert "worse than the first, by one seed alone" in arms.table({}, rows)[3]
    rows.insert(1, row("whole", 1, [0] * 40))
    assert "worse than the first, by the 2 seeds that both have |" in arms.table({}, rows)[3]
    assert arms.differences(rows)["other"][1].seeds == 2


def test_an_arm_may_be_held_against_another_than_the_first():
    rows = [
        row("whole", 0, [0, 0, 0, 0]), row("stepped", 0, [1, 1, 0, 0]),
        row("exponential", 0, [1, 0, 0, 0], against="stepped"),
    ]  # fmt: skip
    compared = arms.differences(rows)
    assert compared["stepped"][0] == "whole" and compared["stepped"][1].mean == 0.5
    assert compared["exponential"][0] == "stepped" and compared["exponential"][1].mean == -0.25
    assert "-25.00 points" in arms.table({}, rows)[4] and "(to stepped)" in arms.table({}, rows)[4]
    assert arms.differences([rows[0], rows[2]])["exponential"][1].mean == 0.25  # nothing else is there


def test_one_average_of_several_nets_is_one_figure():
    rows = [row("whole", seed, [seed == 0, seed == 1, 0, 0]) for seed in (0, 1)]
    rows += [row("nets", seed, [0, 0, 0, 0], nets=3) for seed in (0, 1)]
    assert arms.table({}, rows)[3].startswith("| nets | 0.00% | 0.00% | -25.00 points")


def test_a_scale_shortens_the_schedule_with_the_epochs():
    recipe = nets.scaled(RECIPES["cifar-18"], 0.1, 50_000)
    assert recipe.epochs == 14 and recipe.milestones == (12.0, 13.0)
    assert nets.scaled(Recipe(), 0.5, 5000).epochs == 16  # of 160,000 crops
    assert nets.scaled(RECIPES["fast"], 0.5, 5000).epochs == 8
    assert nets.scaled(Recipe(), 1, 5000) == Recipe()


def test_every_arm_is_a_net_and_a_recipe(dataset, tmp_path):
    for compared, base in (
        (ablations.ABLATIONS, "default"), (cifar.LRN_ARMS, "cifar-11"), (cifar.CIFAR_ARMS, "cifar-quick"),
        (cifar.FAST_ARMS, "cifar-quick"), (photos.PHOTO_ARMS, "default"),
        (cifar.ABLATIONS_CIFAR, "cifar-11"), (cifar.ABLATIONS_FAST, "cifar-18-fast"),
    ):  # fmt: skip
        others = []
        for arm in compared.values():
            own = arms.own_recipe(arm, RECIPES[base], case_of(dataset, tmp_path), dataset, tmp_path)
            table = load_table(own.net or "paper")
            assert table.sized(10)[-1].made == (10,)
            trained = dataclasses.replace(own, net=None), tuple(table.layers.values()), table.towers
            assert arm.of or trained not in others, arm  # each arm changes something
            others.append(trained)
            assert {arm.of, arm.against} - {""} <= set(compared)


def test_the_18_nets_arms_change_what_they_are_called_by(dataset, tmp_path):
    tables = {}
    for name, arm in cifar.ABLATIONS_FAST.items():
        own = arms.own_recipe(arm, RECIPES["cifar-18-fast"], case_of(dataset, tmp_path), dataset, tmp_path)
        tables[name] = load_table(own.net or "").layers
    whole = tables["whole"]
    assert set(whole) - set(tables["without norms"]) == {"rnorm1", "rnorm2"}
    pools = [layer for name, layer in tables["pooling without overlap"].items() if name.startswith("pool")]
    assert [(pool.window.size, pool.window.stride) for pool in pools] == [(2, 2)] * 3
    assert tables["with dropout"]["fc10"].dropout == DropoutRule(0.5, of_inputs=True)
    assert {layer.activation for layer in tables["tanh"].values()} == {None, "tanh"}
    changed = [{name for name in table if table[name] != whole.get(name)} for table in tables.values()]
    assert changed == [
        set(), set(), {"pool1", "pool2", "pool3"}, {"fc10"}, set(), set(), {"pool1", "conv2", "conv3"},
    ]  # fmt: skip


def test_towers_that_never_talk_meet_in_the_last_layer_alone(dataset, tmp_path):
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    for name, apart in (("whole", False), ("towers that never talk", True)):
        net = net_of(name, dataset, tmp_path)
        with torch.no_grad():
            before = net.activations(images, ["conv3", "fc6", "fc7", "fc8"])
            net.get_parameter("conv1.weight")[48:] *= -3.0  # the second tower's
            after = net.activations(images, ["conv3", "fc6", "fc7", "fc8"])
        for layer in ("conv3", "fc6", "fc7"):
            units = before[layer].shape[1] // 2
            assert torch.equal(before[layer][:, :units], after[layer][:, :units]) == apart, layer
            assert not torch.equal(before[layer][:, units:], after[layer][:, units:])
        assert not torch.equal(before["fc8"], after["fc8"])


def test_the_second_norm_below_the_relu_sees_negative_sums(dataset, tmp_path):
    net = net_of("second norm below the ReLU", dataset, tmp_path)
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = net.activations(images, ["conv2", "norm2", "pool2"])
    squares = F.pad(outputs["conv2"].reshape(2, 2, 128, 6, 6).square(), (0, 0, 0, 0, 2, 2))
    sums = torch.stack([squares[:, :, i : i + 128] for i in range(5)]).sum(0).reshape(2, 256, 6, 6)
    by_hand = outputs["conv2"] / (2 + 1e-4 * sums) ** 0.75
    assert (outputs["conv2"] < 0).any() and torch.allclose(outputs["norm2"], by_hand, atol=1e-6)
    pooled = F.max_pool2d(by_hand.relu(), 3, 2, ceil_mode=True)
    assert torch.allclose(outputs["pool2"], pooled, atol=1e-6)


def test_one_gpus_net_has_the_shapes_of_the_sources(dataset, tmp_path):
    """Number 145-half, which is the net ``one-gpu``."""
    ours = {name: tuple(p.shape) for name, p in net_of("one GPU's net", dataset, tmp_path).named_parameters()}
    (tmp_path / "half.toml").write_text('base = "one-gpu"\ninput = [3, 56, 56]\n')
    source = Network(load_table(str(tmp_path / "half.toml")), 3)
    assert ours == {name: tuple(parameter.shape) for name, parameter in source.named_parameters()}


def test_the_plan_says_the_seeds_that_the_papers_effects_need():
    words = arms.plan_words(10_000, 1, cifar.ABLATIONS_CIFAR)
    assert "on 10,000 images 1 seed sees a difference of 1.1 points" in words  # 2.8 sqrt(0.15 / 10,000)
    assert "without norms, 1.4 points: 3;" in words and "overlap, 0.4 points: 10;" in words


def test_what_an_experiment_says_is_what_the_source_measured():
    """Differences in the last column are those of the errors beside them (original.md)."""
    notes = {"145": (40.66, 18.21), "148": (42.03, 19.36), "147": (41.06, 18.51), "150": (41.83, 19.33),
             "166": (41.10, 18.67), "156": (40.76, 18.35)}  # fmt: skip
    says = [arm.says for arm in ablations.ABLATIONS.values()]
    for number, (top1, top5) in notes.items():
        (line,) = [line for line in says if line.startswith(f"{number}: {top1:.2f} / {top5:.2f}") and
                   ("+" in line or number == "145") and "equal stages" not in line]  # fmt: skip
        if number != "145":
            assert f"{top1 - 40.66:+.2f} / {top5 - 18.21:+.2f}" in line
