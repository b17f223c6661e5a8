"""The first fifty steps of ``source``, update by update, against NumPy's float64 and plain torch's float32.

The net is number 145 made narrow (the whole one on real photos: mark ``photos``), the recipe ``source`` with the epochs
of its hand-set schedule divided by ten, so that all of it happens within ten epochs of five steps: rates that fall,
conv1 cut ahead and then frozen, noise and its divisor ended. The start is one that learns: half of the weights that
keep the signal's size (conv1's divided by the pixels' deviation), in a run that ``--from`` takes up. From larger ones
the loss rises first, and then one pooling window whose two largest values are a float32's last bit apart is enough to
part two correct trainings.
"""

import contextlib
import dataclasses
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet import Dataset, Recipe, load, prepare, randomness, train
from alexnet.data.batches import Batches
from alexnet.data.preprocessing import Preprocessing
from alexnet.evaluation.classifier import Classifier
from alexnet.nets import weights
from alexnet.nets.network import Network
from alexnet.runs.run import Run
from alexnet.training.optimizer import Momentum
from alexnet.training.recipes import RECIPES
from tests.conftest import fill
from tests.oracle import nets
from tests.oracle.training import Training, colors, crop_of, rates, ten_views

STEPS, EPOCHS, SEED = 50, 10, 3
SCHEDULE = {"falls": (3, 6, 8), "cut": 5, "frozen": 8}  # the run of 2012: 25, 51, 79; 67; 72
NARROW = """
base = "source"
input = [3, 80, 80]
layers.conv1.filters = 16
layers.conv2.filters = 32
layers.conv3.filters = 48
layers.conv4.filters = 48
layers.conv5.filters = 32
layers.fc6.units = 64
layers.fc7.units = 64
"""


def recipe_of(net: str, batch: int, precision: str) -> Recipe:
    return dataclasses.replace(
        RECIPES["source"], net=net, batch_size=batch, epochs=EPOCHS, seed=SEED, precision=precision,
        milestones=(3, 6, 8), color_noise_until=7, layer_lr=("conv1@5=1e-5", "conv1@8=0", "conv1.bias@8=0"),
        validate_every=99,
    )  # fmt: skip


def start(dataset: Dataset, net: str, batch: int, folder, gain: float) -> dict[str, np.ndarray]:
    """A run that learns from here on, in ``folder``, and its weights."""
    recipe = dataclasses.replace(
        recipe_of(net, batch, "float32"), init="he", learning_rate=0.0, bias_lr=0.0, layer_lr=(), epochs=1
    )
    initialize = Network.initialize

    def smaller(self, seed, init="net"):
        initialize(self, seed, init)
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.mul_(1.0 if name.startswith("fc8") else gain)
            self.tensors()["conv1.weight"].div_(float(np.sqrt((dataset.statistics.deviation**2).mean())))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "initialize", smaller)
        train(dataset, folder, recipe, show=False)
    from alexnet import load

    return {name: tensor.detach().numpy().copy() for name, tensor in load(folder).net.state().items()}


def sample(value: np.ndarray) -> np.ndarray:
    """A copy; of a large tensor every so-many-th weight, at least 65,536 of them: fifty whole nets are 24 GB."""
    return value.copy() if value.size <= 1 << 17 else value.reshape(-1)[:: value.size >> 16].copy()


class Enough(Exception):
    """Raised in the middle of a training that need not be seen to its end."""


def updates(
    case: "Case", recipe: Recipe, enough: Callable[[list[dict[str, np.ndarray]]], bool] = lambda kept: False
) -> tuple[list[dict[str, np.ndarray]], list[float]]:
    """What the trainer's weights are after each update, and the losses; until ``enough`` says so of the weights."""
    kept = []
    step = Momentum.step

    def noted(self):
        step(self)
        kept.append({name: sample(tensor.detach().numpy()) for name, tensor in self.tensors.items()})
        if enough(kept):
            raise Enough

    begin = load(case.folder / "start").net.state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Momentum, "step", noted)
        patch.setattr(Network, "initialize", lambda self, *_: weights.put(self, begin, "start"))
        folder = Path(tempfile.mkdtemp(dir=case.folder)) / "run"
        with contextlib.suppress(Enough):
            train(case.dataset, folder, recipe, show=False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return kept, [line["loss"] for line in lines if line["split"] == "train"]


class Given:
    """What both witnesses are told: images, labels and masks of each step, from the numbers of the contract."""

    def __init__(self, dataset: Dataset, net: str, batch: int):
        self.dataset, self.net = dataset, Network(net, len(dataset.classes))
        self.side = self.net.table.input[1]
        self.order = Batches(dataset, "train", batch, SEED, self.side, shuffle="once", crop_group=32)
        rows = dataset.rows("train")
        pixels = np.stack([dataset.image(int(row)) for row in rows])
        mean, vectors, deviations = colors(pixels)
        self.mean = np.float32(mean)  # as runs keep it
        vectors *= np.sign((vectors * dataset.statistics.eigenvectors).sum(0))  # an eigenvector has no sign of its own
        self.directions = 0.1 * vectors * deviations
        self.preprocessing = Preprocessing.of(dataset, self.side, "raw", 0.1)

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        dataset, epoch = self.dataset, step // self.order.steps
        rows = self.order.rows(step)
        noisy = epoch < 7
        drawn = randomness.normal(SEED, "colour noise", epoch, rows, 3).double().numpy()
        shifts = self.preprocessing.color_noise(SEED, epoch, rows).double().numpy()  # made in float32
        np.testing.assert_allclose(shifts, drawn @ self.directions.T, atol=1e-4)
        places = np.arange(len(rows)) + (step % self.order.steps) * len(rows)  # batches are of one size here
        chunks = torch.from_numpy(places // 32)
        free = dataset.size - self.side + 1
        corners = randomness.integers(SEED, "crop of a chunk", epoch, chunks, [free, free]).tolist()
        mirrors = randomness.integers(SEED, "mirror of a chunk", epoch, chunks, [2])[:, 0].tolist()
        images = np.stack([
            crop_of(dataset.image(row), corners[i], mirrors[i], self.side, self.mean,
                    shifts[i] * noisy, 1.1 if noisy else 1.0)
            for i, row in enumerate(rows.tolist())
        ])  # fmt: skip
        masks = {
            layer: randomness.keep_mask(SEED, layer, step, rows, getattr(self.net, layer).out_features, 0.5).numpy()
            for layer in ("fc6", "fc7")
        }
        return images, dataset.labels[rows.numpy()], {name: mask.astype(np.float64) for name, mask in masks.items()}


class PlainTorch:
    """The same by torch's own layers and gradients, as a port would write it; in float32, or float64."""

    def __init__(self, begin: dict[str, np.ndarray], dtype: torch.dtype = torch.float32):
        self.dtype = dtype
        self.w = {name: torch.from_numpy(value.copy()).to(dtype).requires_grad_() for name, value in begin.items()}
        self.v = {name: torch.zeros_like(value) for name, value in self.w.items()}

    def scores(self, x, masks):
        p = self.w

        def norm(x):  # torch's alpha is divided by the size, as the source's; a tower's maps at a time
            return torch.cat([F.local_response_norm(part, 5, 1e-4, 0.75, 2.0) for part in x.chunk(2, 1)], 1)

        def within(x):
            return x / (1 + 1e-3 * F.avg_pool2d(x * x, 5, 1, 2, count_include_pad=True)) ** 0.75

        def pool(x):
            return F.max_pool2d(x, 3, 2, ceil_mode=True)

        over = (-(x.shape[2] - 11)) % 4
        x = F.relu(pool(norm(F.conv2d(F.pad(x, (0, over, 0, over)), p["conv1.weight"], p["conv1.bias"], 4))))
        x = pool(within(norm(F.relu(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], 1, 2, 1, 2)))))
        x = F.relu(F.conv2d(x, p["conv3.weight"], p["conv3.bias"], 1, 1))
        x = F.relu(F.conv2d(x, p["conv4.weight"], p["conv4.bias"], 1, 1, 1, 2))
        x = F.relu(pool(F.conv2d(x, p["conv5.weight"], p["conv5.bias"], 1, 1, 1, 2))).flatten(1)
        for layer in ("fc6", "fc7"):
            x = F.relu(F.linear(x, p[f"{layer}.weight"], p[f"{layer}.bias"])) * masks[layer]
        return F.linear(x, p["fc8.weight"], p["fc8.bias"])

    def step(self, images, labels, masks, epoch):
        given = {name: torch.from_numpy(mask).to(self.dtype) for name, mask in masks.items()}
        loss = F.cross_entropy(self.scores(torch.from_numpy(images).to(self.dtype), given), torch.from_numpy(labels))
        loss.backward()
        with torch.no_grad():
            for name, w in self.w.items():
                rate = rates(name, epoch, SCHEDULE)
                if rate:
                    v = self.v[name].mul_(0.9).sub_(rate * w.grad)
                    if name.endswith("weight"):
                        v.sub_(rate * 0.0005 * w)
                    w.add_(v)
                w.grad = None
        return float(loss.detach())


def far(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], begin: dict[str, np.ndarray]) -> float:
    """The largest difference of a tensor, as a share of the way that it has come from its start (norms)."""
    return max(
        float(np.linalg.norm(found[name] - value) / max(np.linalg.norm(value - begin[name]), 1e-30))
        for name, value in expected.items()
    )


@dataclasses.dataclass
class Case:
    """A dataset, the narrow net, a start, and what the two witnesses make of it."""

    dataset: Dataset
    net: str
    batch: int
    folder: Path
    begin: dict[str, np.ndarray]
    exact: list[dict[str, np.ndarray]]
    plain: list[dict[str, np.ndarray]]
    losses: list[float]


def case_of(
    dataset: Dataset,
    net: str,
    batch: int,
    folder: Path,
    gain: float = 0.5,
    exact_steps: int = STEPS,
    dtype: torch.dtype = torch.float32,
) -> Case:
    begin = start(dataset, net, batch, folder / "start", gain)
    given, exact = Given(dataset, net, batch), Training(nets.NETS["source"], begin, SCHEDULE)
    plain = PlainTorch(begin, dtype)
    kept: tuple[list, list] = ([], [])
    losses = []
    for step in range(STEPS):
        told = given.step(step)
        plain.step(*told, step // given.order.steps)
        if step < exact_steps:
            losses.append(exact.step(*told, step // given.order.steps))
            kept[0].append({name: sample(value) for name, value in exact.w.items()})
        kept[1].append({name: sample(value.detach().numpy()) for name, value in plain.w.items()})
    begun = {name: sample(value) for name, value in begin.items()}
    return Case(dataset, net, batch, folder, begun, *kept, losses)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("fifty")
    fill(folder / "pictures", ("blue", "green", "red", "yellow"), count=10)
    dataset = prepare(folder / "pictures", folder / "store", size=96, format="raw", val_fraction=0)
    net = folder / "narrow.toml"
    net.write_text(NARROW)
    return case_of(dataset, str(net), 8, folder)


EXACT = 1e-9  # of the way from the start, at every one of fifty updates
ROUNDED = 0.05  # with luck 1e-5; a pooling window with two values a float32's last bit apart costs up to 0.01


def farthest(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]], case: Case) -> float:
    """The largest distance from the expected updates, of as many as there are of both."""
    return max(far(ours, theirs, case.begin) for ours, theirs in zip(found, expected))


def test_fifty_updates_in_float64_are_the_oracles(case, record_property):
    found, losses = updates(case, recipe_of(case.net, case.batch, "float64"))
    assert np.mean(case.losses[-10:]) < 0.75 * np.mean(case.losses[:5])  # it learns
    np.testing.assert_allclose(losses, case.losses, rtol=1e-6)  # metrics.jsonl has them in float32
    record_property("farthest", farthest(found, case.exact, case))
    assert len(found) == STEPS and farthest(found, case.exact, case) < EXACT


def test_fifty_updates_in_float32_are_plain_torchs(case, record_property):
    found, _ = updates(case, recipe_of(case.net, case.batch, "float32"))
    record_property("farthest", farthest(found, case.plain, case))
    assert len(found) == STEPS and farthest(found, case.plain, case) < ROUNDED
    assert farthest(found, case.exact, case) < ROUNDED


@pytest.mark.slow
@pytest.mark.photos
def test_the_whole_net_on_real_photos(photos, tmp_path, record_property):
    """Number 145 with its 60 million weights, in float64: fifty updates are plain torch's, the first three NumPy's.

    In float32 two correct trainings part here within a few steps: fifty steps on forty photos hardly learn, and what a
    gradient is then is small beside what it is the difference of.
    """
    with tarfile.open(photos / "imagenette-dev.tar") as archive:
        members = [each for each in archive if each.isfile() and "/train/" in "/" + each.name]
        chosen = [each for number, each in enumerate(sorted(members, key=lambda e: e.name)) if number % 500 < 4]
        archive.extractall(tmp_path / "photos", chosen, filter="data")
    folder = next(iter((tmp_path / "photos").rglob("train")))
    dataset = prepare(folder, tmp_path / "store", format="raw", val_fraction=0)
    assert dataset.splits == {"train": 40} and len(dataset.classes) == 10
    case = case_of(dataset, "source", 8, tmp_path, exact_steps=3, dtype=torch.float64)
    found, losses = updates(case, recipe_of("source", 8, "float64"))
    assert np.mean(losses[-10:]) < np.mean(losses[:5])
    assert len(found) == STEPS
    ways = farthest(found, case.exact, case), farthest(found, case.plain, case)
    record_property("farthest", ways)
    assert max(ways) < EXACT


def test_ten_views_of_what_was_trained_are_the_oracles(case):
    """Outputs halved, no noise, no divisor, the mean's center crop in every view (shares are float32)."""
    given = Given(case.dataset, case.net, case.batch)
    net = given.net.double().eval()
    for name, tensor in net.tensors().items():
        tensor.data.copy_(torch.from_numpy(case.exact[-1][name]))
    pixels = np.stack([case.dataset.image(row) for row in (0, 11, 22)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    run = Run("", net, case.dataset.classes, case.dataset.words, given.preprocessing, {}, {}, 0)
    found = Classifier(run, precision="float64").probabilities(images, 10).numpy()

    def scores(view):
        return nets.run(nets.NETS["source"], view, case.exact[-1])[0]

    expected = [ten_views(image, given.side, given.mean, scores) for image in pixels]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def table(change: str):
    """The narrow net with a change."""

    def mutate(case: Case, patch: pytest.MonkeyPatch) -> dict:
        file = case.folder / "mutant.toml"
        file.write_text(NARROW + change)
        return {"net": str(file)}

    return mutate


def recipe(**change):
    return lambda case, patch: change


def rates_of_torch(case: Case, patch: pytest.MonkeyPatch) -> dict:
    """torch.optim.SGD's rule: the velocity is multiplied by the new rate."""

    def step(self):
        with torch.no_grad():
            for group in self.param_groups:
                (tensor,) = group["params"]
                if group["lr"]:
                    decayed = tensor.grad + group["weight_decay"] * tensor
                    tensor.sub_(group["lr"] * self.velocities[group["name"]].mul_(group["momentum"]).add_(decayed))

    patch.setattr(Momentum, "step", step)
    return {}


def decayed_biases(case: Case, patch: pytest.MonkeyPatch) -> dict:
    begin = Momentum.__init__

    def init(self, tensors, lr, momentum, weight_decay, weight_decays=None):
        begin(self, tensors, lr, momentum, weight_decay, dict.fromkeys(tensors, weight_decay))

    patch.setattr(Momentum, "__init__", init)
    return {}


def masks_of_another_step(case: Case, patch: pytest.MonkeyPatch) -> dict:
    keep = randomness.keep_mask
    patch.setattr(
        randomness, "keep_mask", lambda seed, layer, step, rows, *rest: keep(seed, layer, step + 1, rows, *rest)
    )
    return {}


def one_mask_for_both_layers(case: Case, patch: pytest.MonkeyPatch) -> dict:
    keep = randomness.keep_mask
    patch.setattr(randomness, "keep_mask", lambda seed, layer, *rest: keep(seed, "fc6", *rest))
    return {}


def mean_color(case: Case, patch: pytest.MonkeyPatch) -> dict:
    """The mean color in place of the mean image."""
    of = Preprocessing.of

    def flat(*given):
        found = of(*given)
        color = found.mean_image.mean((1, 2), keepdim=True)
        return dataclasses.replace(found, mean_image=color + torch.zeros_like(found.mean_image))

    patch.setattr(Preprocessing, "of", flat)
    return {}


def summed_loss(case: Case, patch: pytest.MonkeyPatch) -> dict:
    loss = F.cross_entropy
    patch.setattr(F, "cross_entropy", lambda scores, labels, **options: loss(scores, labels, **options) * len(labels))
    return {}


MUTANTS = {
    "momentum 0.89": recipe(momentum=0.89),
    "decay 0.0004": recipe(weight_decay=0.0004),
    "biases that decay": decayed_biases,
    "the weights' rate for biases": recipe(bias_lr=0.01),
    "biases' rate that falls": recipe(bias_schedule="same"),
    "a fall an epoch late": recipe(milestones=(4, 6, 8)),
    "torch's momentum": rates_of_torch,
    "conv1 not cut": recipe(layer_lr=("conv1@8=0", "conv1.bias@8=0")),
    "conv1 not frozen": recipe(layer_lr=("conv1@5=1e-5",)),
    "the sum of the losses": summed_loss,
    "no color noise": recipe(color_noise=0.0),
    "noise by eigenvalue": recipe(color_noise_by="eigenvalue"),
    "noise to the end": recipe(color_noise_until=None),
    "no division by 1.1": recipe(color_noise_divisor=1.0),
    "mean color": mean_color,
    "pixels divided by their deviation": recipe(input_scale="standardized"),
    "a crop an image": recipe(crop_group=1),
    "no mirrors": recipe(flip=False),
    "reshuffled batches": recipe(shuffle="epoch"),
    "another step's masks": masks_of_another_step,
    "one mask for both layers": one_mask_for_both_layers,
    "inverted dropout": table('layers.fc6.dropout_scaled = "in training"'),
    "no dropout in fc7": table("layers.fc7.dropout = 0"),
    "alpha not divided": table("layers.rnorm2.alpha_divided = false"),
    "norm across towers": table('layers.rnorm2.sees = "both towers"'),
    "no norm within maps": table('remove = ["cnorm2"]'),
    "ReLU before the first norm": table('layers.conv1.activation = "relu"'),
    "another seed": recipe(seed=SEED + 1),
}


SMALL = {"biases that decay"}  # what rounding may do as well


LATE = {  # seen by the last steps alone: make test-slow
    "biases that decay", "noise to the end", "conv1 not frozen", "conv1 not cut", "a fall an epoch late",
    "biases' rate that falls", "norm across towers", "torch's momentum", "the sum of the losses",
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LATE else []) for n in MUTANTS])
def test_a_mistake_anywhere_breaks_the_bounds(case, name, monkeypatch):
    """Each by itself parts the trainings by far more than is allowed, at the latest after fifty steps."""

    def broken(found: list[dict[str, np.ndarray]]) -> tuple[bool, bool]:
        return farthest(found, case.exact, case) > 1e6 * EXACT, farthest(found, case.plain, case) > ROUNDED

    def enough(found: list[dict[str, np.ndarray]]) -> bool:
        return len(found) % 5 == 0 and all(broken(found))

    with monkeypatch.context() as patch:
        change = MUTANTS[name](case, patch)
        found, _ = updates(case, dataclasses.replace(recipe_of(case.net, case.batch, "float64"), **change), enough)
    assert broken(found) == (True, name not in SMALL)
