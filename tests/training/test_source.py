"""The source's training: its recipes, rates by layer, freezing, chunks, fixed batches, noise with its divisor."""

import itertools
import json
import signal

import numpy as np
import pytest
import torch

from alexnet import Dataset, Interrupted, Recipe, UsageError, load, train
from alexnet.data.batches import Batches
from alexnet.data.preprocessing import Preprocessing, noise_directions, views
from alexnet.runs.checkpoint import find_checkpoint
from alexnet.training.optimizer import Momentum
from alexnet.training.recipes import RECIPES, named
from alexnet.training.schedule import LearningRates, parse_layer_lr
from alexnet.training.train import train_seeds
from tests.data import archives


def rates_of(recipe: Recipe, steps_per_epoch: int) -> LearningRates:
    """The learning rates of a recipe."""
    return recipe.settled(100, "float32", 224, "paper").learning_rates(steps_per_epoch)


def test_hand_set_schedules_of_2012_and_2010():
    """original.md: /10 after 25, 51, 79 (2010: 23, 51, 78); conv1 1e-5 from 67 (68), 0 from 72 on; biases constant."""
    names = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"]
    for name, falls, cut, bias in (("source", (25, 51, 79), 67, 0.02), ("source-2010", (23, 51, 78), 68, 0.002)):
        recipe = named(name)
        for epoch in range(recipe.epochs):
            rate = rates_of(recipe, 10).lr(epoch * 10)
            expected = 0.01 / 10 ** sum(epoch >= fall for fall in falls)
            assert rate == pytest.approx(expected, rel=1e-12)
            found = rates_of(recipe, 10).by_name(rate, epoch, names)
            first = 0.0 if epoch >= 72 else 1e-5 if epoch >= cut else expected
            assert [found[n] for n in names] == pytest.approx([first, 0.0 if epoch >= 72 else bias, expected, bias])


def test_formulas():
    straight = Recipe(
        epochs=10, learning_rate=0.02, final_lr=5e-6, schedule="exponential", warmup_epochs=0
    )  # source number 155
    rates = rates_of(straight, 4)
    assert rates.lr(0) == 0.02 and rates.lr(40) == pytest.approx(5e-6)
    assert rates.lr(20) == pytest.approx((0.02 * 5e-6) ** 0.5)
    steps = Recipe(
        epochs=8, learning_rate=0.01, final_lr=2e-5, schedule="staircase", stages=4, warmup_epochs=0
    )  # source number 169
    found = [rates_of(steps, 1).lr(step) for step in range(8)]
    assert found[0] == found[1] == 0.01 and found[6] == found[7] == pytest.approx(2e-5)
    ratios = [b / a for a, b in itertools.pairwise(found[::2])]
    assert ratios == pytest.approx([(2e-5 / 0.01) ** (1 / 3)] * 3)


def test_rates_of_biases_and_layers():
    recipe = Recipe(learning_rate=0.001, bias_lr=0.002, layer_lr=("conv1@2=0.5", "conv1@4=0", "fc10.bias@3=0.25"))
    names = ["conv1.weight", "conv1.bias", "fc10.bias"]
    rates = rates_of(recipe, 10)
    assert list(rates.by_name(0.0001, 0, names).values()) == pytest.approx([0.0001, 0.0002, 0.0002])  # fall together
    assert list(rates.by_name(0.001, 3.5, names).values()) == [0.5, 0.002, 0.25]
    assert rates.by_name(0.001, 4, names)["conv1.weight"] == 0.0
    assert [each.epoch for each in parse_layer_lr(("a@9=1", "a@3=2"))] == [3, 9]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer_lr": ("conv1=3",)}, "--layer-lr conv1=3"),
        ({"layer_lr": ("conv1@x=3",)}, "--layer-lr conv1@x=3"),
        ({"layer_weight_decay": ("fc10",)}, "--layer-weight-decay fc10"),
        ({"schedule": "multistep"}, "--milestones"),
        ({"schedule": "multistep", "milestones": (3.0, 2.0)}, "rising order"),
        ({"crop_group": 0}, "--crop-group 0"),
        ({"color_noise_divisor": 0.0}, "--color-noise-divisor"),
    ],
)
def test_recipes_that_cannot_be_meant(change, said):
    with pytest.raises(UsageError) as error:
        Recipe(**change)
    assert said in str(error.value)


def test_all_recipes_are_whole():
    promised = {  # original.md, "The CIFAR-10 nets"
        "cifar-quick": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc64": 0.03, "fc10": 0.03},
        "cifar-18": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc10": 1.0},
        "cifar-13": {"local3": 0.004, "local4": 0.004, "fc10": 0.004},
        "cifar-11": {"local3": 0.004, "local4": 0.004, "fc10": 0.01},
    }
    for name, decays in promised.items():
        recipe = RECIPES[name]
        assert {k: float(v) for k, v in (each.split("=") for each in recipe.layer_weight_decay)} == decays
        assert (recipe.learning_rate, recipe.bias_lr, recipe.momentum, recipe.weight_decay) == (0.001, 0.002, 0.9, 0.0)
        assert recipe.flip == (name in ("cifar-13", "cifar-11"))


class Oracle:
    """The update rule in NumPy, from original.md: v <- 0.9 v - eps g - eps decay w, w <- w + v; 0 freezes all."""

    def __init__(self, tensors: dict[str, np.ndarray], decays: dict[str, float]):
        self.w, self.decays = tensors, decays
        self.v = {name: np.zeros_like(w) for name, w in tensors.items()}

    def step(self, gradients: dict[str, np.ndarray], rates: dict[str, float]) -> None:
        for name, eps in rates.items():
            if eps:
                self.v[name] = 0.9 * self.v[name] - eps * gradients[name] - eps * self.decays[name] * self.w[name]
                self.w[name] = self.w[name] + self.v[name]


def followed(mutate: str | None = None) -> float:
    """How far twenty updates with changing rates, decays and a freeze are from the oracle's, largest difference."""
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (4, 3, 3, 3), "conv1.bias": (4,), "fc10.weight": (5, 7), "fc10.bias": (5,)}
    start = {name: rng.normal(0, 1, shape) for name, shape in shapes.items()}
    decays = {"conv1.weight": 0.004, "conv1.bias": 0.0, "fc10.weight": 1.0, "fc10.bias": 0.0}
    oracle = Oracle({name: value.copy() for name, value in start.items()}, decays)
    tensors = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in start.items()}
    own = {"fc10.weight": 0.5 if mutate == "decay" else 1.0}
    momentum = Momentum(tensors, weight_decay=0.004, weight_decays=own)
    recipe = Recipe(
        epochs=20, learning_rate=0.01, bias_lr=0.01 if mutate == "bias rate" else 0.02, bias_schedule="constant",
        schedule="multistep", milestones=(9.0 if mutate == "fall" else 8.0,), warmup_epochs=0.0,
        layer_lr=() if mutate == "freeze" else ("conv1@12=0",),
    )  # fmt: skip
    rates = rates_of(recipe, 1)
    for step in range(20):
        rate = 0.001 if step >= 8 else 0.01
        expected = {name: 0.02 if name.endswith("bias") else rate for name in shapes}
        expected["conv1.weight"] *= step < 12
        gradients = {name: rng.normal(0, 1, shape) for name, shape in shapes.items()}
        oracle.step(gradients, expected)
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(gradients[name].copy())
        momentum.set_lr(rates.by_name(rates.lr(step), step, tensors))
        momentum.step()
    return max(float(np.abs(tensors[name].detach().numpy() - oracle.w[name]).max()) for name in shapes)


def test_twenty_updates_are_the_oracles_and_any_mistake_shows():
    assert followed() < 1e-14
    for mutate in ("decay", "bias rate", "fall", "freeze"):
        assert followed(mutate) > 1e-4, mutate


def test_mini_batches_with_fixed_members(dataset):
    fixed, free = (Batches(dataset, "train", 7, seed=3, crop=48, shuffle=o) for o in ("once", "epoch"))
    rows = [[b.rows(step).tolist() for step in range(14)] for b in (fixed, free)]
    assert rows[0][:7] == rows[0][7:] and rows[1][:7] != rows[1][7:]
    first, second = fixed.load(2), fixed.load(9)
    assert not torch.equal(first.images, second.images)  # crops and mirrors are initialized


def test_chunks_share_position_and_mirror(tmp_path):
    """Images that say where they are: within a chunk all crops agree, and chunks don't."""
    source = tmp_path / "source"
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    for name in ("a", "b"):
        (source / name).mkdir(parents=True)
        for number in range(24):
            (source / name / f"{number}.png").write_bytes(
                archives.encoded(archives.Image.fromarray(np.stack([y, x, 0 * x], -1)))
            )
    from alexnet import prepare

    dataset = prepare(source, tmp_path / "store", size=64, format="raw", val_fraction=0)
    batches = Batches(dataset, "train", 16, seed=1, crop=40, crop_group=8)
    seen = []
    for step in range(30):
        images = batches.load(step).images
        for part in images.split(8):
            assert all(torch.equal(part[0], each) for each in part)
            seen.append(part[0, :2, 0, 0].tolist())
    assert len(seen) == 60 and len({tuple(place) for place in seen}) > 50
    other = Batches(dataset, "train", 24, seed=1, crop=40, crop_group=8)  # another batch size, the same chunks
    assert torch.equal(other.load(0).images[:16], batches.load(0).images)


def test_noise_by_eigenvalue_is_the_papers_sentence(dataset):
    """Paper 4.1: [p1 p2 p3][a1 l1, a2 l2, a3 l3], with deviations of the source in place of l where asked for."""
    statistics = dataset.statistics
    for by, sizes in (("eigenvalue", statistics.eigenvalues), ("std", np.sqrt(statistics.eigenvalues))):
        found = noise_directions(statistics, 0.1, by).double().numpy()
        np.testing.assert_allclose(found, 0.1 * statistics.eigenvectors * sizes[None, :], rtol=1e-6, atol=1e-5)


def test_order_of_mean_noise_and_division(dataset):
    preprocessing = Preprocessing.of(dataset, 48, "raw", 0.1)
    crops = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    noise = preprocessing.color_noise(0, 1, torch.arange(3))
    found = preprocessing.apply(crops, torch.float32, noise, divisor=1.1).numpy()
    mean = dataset.statistics.mean_image[:, 8:56, 8:56]
    np.testing.assert_allclose(found, (crops.numpy() - mean + noise.numpy()[:, :, None, None]) / 1.1, atol=1e-4)


def test_nine_views_are_a_grid():
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = views(images, 24, 9)
    places = [(top, left) for top in (0, 4, 8) for left in (0, 4, 8)]
    assert all(torch.equal(v, images[:, :, t : t + 24, a : a + 24]) for v, (t, a) in zip(found, places, strict=True))


def options(net_file: str, **more) -> Recipe:
    return Recipe(net=net_file, batch_size=8, epochs=3, precision="float32", **more)


def test_a_layer_frozen_from_an_epoch_on_is_bit_constant(dataset, net_file, tmp_path):
    recipe = options(net_file, layer_lr=("conv1@1=0", "conv1.bias@1=0"), warmup_epochs=0.0)
    train(dataset, tmp_path / "run", recipe, keep_every=1, show=False)
    kept = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    first, last = (load_weights(place) for place in (kept[0], kept[-1]))
    assert torch.equal(first["conv1.weight"], last["conv1.weight"]) and torch.equal(
        first["conv1.bias"], last["conv1.bias"]
    )
    assert not torch.equal(first["conv2.weight"], last["conv2.weight"])


def load_weights(place):
    from alexnet.nets import weights

    return weights.load_tensors(place / "weights.safetensors")


def test_noise_and_its_division_end_together(dataset, net_file, tmp_path, monkeypatch):
    seen = []
    apply = Preprocessing.apply

    def noted(self, crops, dtype, noise=None, divisor=1.0):
        seen.append((noise is not None, divisor))
        return apply(self, crops, dtype, noise, divisor)

    with monkeypatch.context() as patch:
        patch.setattr(Preprocessing, "apply", noted)
        recipe = options(net_file, color_noise_until=2, color_noise_divisor=1.1, validate_every=99)
        train(dataset, tmp_path / "run", recipe, show=False)
    training = [each for each in seen if each[0] or each[1] != 1.0]
    assert training == [(True, 1.1)] * 12  # two epochs of six steps; then, and at test, neither


def test_log_spaced_checkpoints_and_seeds(alexnet, dataset, small, tmp_path):
    assert alexnet("train", dataset.path, tmp_path / "run", *small, "--keep", "log")[0] == 0
    kept = sorted(int(place.name.split("-")[1]) for place in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert kept == [1, 2, 4, 8, 16]
    status, out, _ = alexnet("train", dataset.path, tmp_path / "runs", *small, "--seeds", "0..2", "--json")
    assert status == 0 and [each["run"][-6:] for each in json.loads(out)] == ["seed-0", "seed-1", "seed-2"]
    assert json.loads((tmp_path / "runs" / "seed-2" / "recipe.json").read_text())["seed"] == 2
    weights = [
        (find_checkpoint(tmp_path / "runs" / f"seed-{n}") / "weights.safetensors").read_bytes() for n in range(3)
    ]
    assert (
        len(set(weights)) == 3
        and weights[0] == (find_checkpoint(tmp_path / "run") / "weights.safetensors").read_bytes()
    )
    status, _, err = alexnet("train", dataset.path, tmp_path / "none", *small, "--seeds", "3..1")
    assert status == 2 and "--seeds 3..1" in err


def test_a_signal_in_the_last_step_of_a_seed_stops_before_the_next(dataset, net_file, tmp_path):
    def at_the_end(report):
        if report.step == 3:
            signal.raise_signal(signal.SIGTERM)

    recipe = Recipe(net=str(net_file), epochs=1, batch_size=16)
    with pytest.raises(Interrupted, match="seed-4: finished; the same command goes on with seed 5"):
        train_seeds(dataset, tmp_path / "runs", recipe, [4, 5], on_step=at_the_end, show=False)
    assert not (tmp_path / "runs" / "seed-5").exists()
    outcomes = train_seeds(dataset, tmp_path / "runs", recipe, [4, 5], show=False)
    assert [(outcome.steps, outcome.asked_to_stop) for outcome in outcomes] == [(3, False), (3, False)]


def test_a_run_begins_from_another_layer_by_layer(alexnet, dataset, small, tmp_path):
    """As the source's sixth-layer nets did: what has the same name and shape is taken, the rest drawn."""
    first = tmp_path / "first"
    assert alexnet("train", dataset.path, first, *small)[0] == 0
    other = archives.ilsvrc_2012(tmp_path / "source")
    assert alexnet("prepare", other, tmp_path / "store", "--size", 64)[0] == 0
    status, _, err = alexnet("train", tmp_path / "store", tmp_path / "second", *small, "--from", first, "--keep", "log",
                             "--lr", 0)  # fmt: skip
    assert status == 0 and f"from {first}: conv1, conv2, fc3; initialized: fc4" in err  # other classes
    begun = load_weights(tmp_path / "second" / "checkpoints" / "step-00000001")
    ended = load(first).net.state()
    assert all(torch.equal(begun[name], ended[name]) != name.startswith("fc4") for name in ended)
    status, _, err = alexnet("train", tmp_path / "store", tmp_path / "second", *small, "--lr", 0)
    assert status == 2 and "--from" in err  # the same command goes on; another is refused
    status, _, err = alexnet("train", tmp_path / "store", tmp_path / "third", *small, "--from", tmp_path / "nowhere")
    assert status == 2 and "no run there" in err


def test_rates_of_layers_that_are_not_there(alexnet, dataset, small, tmp_path):
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", *small, "--layer-lr", "conv9@1=0")
    assert status == 2 and "has no conv9.weight; its layers: conv1, conv2, fc3, fc4" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["cifar-quick", "cifar-18", "cifar-13", "cifar-11"])
def test_cifar_recipes_run_and_are_measured_by_nine_views(alexnet, tmp_path, name):
    archive = archives.cifar10(tmp_path / "source", "binary")
    dataset = tmp_path / "store"
    assert alexnet("prepare", archive, dataset, "--val-fraction", 0.2)[0] == 0
    status, _, err = alexnet("train", dataset, tmp_path / "run", "--recipe", name, "--epochs", 2, "--milestones", 1)
    assert status == 0, err
    told = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert told["crop_size"] == (24 if name in ("cifar-13", "cifar-11") else 32)
    found = json.loads(alexnet("evaluate", tmp_path / "run", dataset, "--split", "test", "--views", 9, "--json")[1])
    assert found["images"] == 10 and found["views"] == 9
    assert Dataset(dataset).splits["test"] == 10


def test_runs_of_an_older_version_go_on(alexnet, dataset, small, tmp_path):
    """A recipe.json that does not know the new fields is that of their defaults."""
    assert alexnet("train", dataset.path, tmp_path / "run", *small)[0] == 0
    file = tmp_path / "run" / "recipe.json"
    told = json.loads(file.read_text())
    for new in ("crop_group", "crop_position", "crop_scale", "crop_margin", "shuffle", "color_noise_by",
                "color_noise_until", "bias_lr", "layer_lr", "milestones", "start_from"):  # fmt: skip
        del told[new]
    file.write_text(json.dumps(told))
    assert alexnet("train", dataset.path, tmp_path / "run", *small)[0] == 0
    assert named(str(file)).crop_group == 1


def test_ones_own_transform_loss_and_batches(dataset, net_file, tmp_path):
    """Plain callables: what they return is what is trained on."""
    recipe = options(net_file, warmup_epochs=0.0)
    batches = Batches(dataset, "train", 8, recipe.seed, 48)
    train(dataset, tmp_path / "plain", recipe, show=False)
    same = {
        "transform": lambda images, rows: images.clone(),
        "loss": lambda scores, labels: torch.nn.functional.cross_entropy(scores, labels),
        "batches": batches.load,
    }
    train(dataset, tmp_path / "same", recipe, show=False, **same)
    plain, found = (load(tmp_path / name).net.state() for name in ("plain", "same"))
    assert all(torch.equal(plain[name], found[name]) for name in plain)
    seen = []
    train(
        dataset,
        tmp_path / "dark",
        recipe,
        show=False,
        transform=lambda images, rows: seen.append(rows.tolist()) or images * 0,
    )
    assert sorted(row for rows in seen[:6] for row in rows) == dataset.rows("train").tolist()
    dark = load(tmp_path / "dark").net.state()
    begun = load(tmp_path / "dark")  # black images have no gradient for the first layer's weights
    begun.net.initialize(recipe.seed, "he")
    decayed = dark["conv1.weight"] / begun.net.state()["conv1.weight"]
    assert float(decayed.std()) < 1e-4 and 0.99 < float(decayed.mean()) < 1
    train(dataset, tmp_path / "still", recipe, show=False, loss=lambda scores, labels: scores.sum() * 0)
    still = load(tmp_path / "still").net.state()
    assert torch.equal(still["fc4.bias"], torch.zeros(3))
