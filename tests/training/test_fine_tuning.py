"""Training that starts from another run: what is taken, what is drawn, what stays, at which rate the rest learns."""

import dataclasses
import math

import pytest
import torch

from alexnet import AlexNetError, Dataset, Recipe, load, prepare, train
from alexnet.data.preprocessing import Preprocessing, views
from alexnet.nets.network import Network
from alexnet.runs.checkpoint import find_checkpoint
from alexnet.runs.run import load_preprocessing
from alexnet.training import frozen
from alexnet.training.frozen import FrozenFeatures
from alexnet.training.setup import set_up
from tests.conftest import SMALL_NET, fill, killed_at


@pytest.fixture(scope="module")
def recipe(net_file) -> Recipe:
    return Recipe(net=net_file, crop_size=48, batch_size=8, epochs=6, precision="float32")


@pytest.fixture(scope="module")
def old(dataset, recipe, tmp_path_factory):
    """A trained run on three classes."""
    run = tmp_path_factory.mktemp("old") / "run"
    train(dataset, run, recipe, show=False)
    return run


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Dataset:
    """A dataset of three other classes."""
    place = tmp_path_factory.mktemp("others")
    return prepare(fill(place / "pictures", ("azure", "lime", "ruby"), count=12), place / "store", size=64)


TUNING = Recipe(batch_size=8, epochs=3, precision="float32")


def final(run) -> dict[str, torch.Tensor]:
    return load(run).net.state()


def test_the_net_is_the_other_runs_and_the_last_layer_is_drawn_where_classes_differ(old, others, tmp_path, alexnet):
    status, _, err = alexnet("train", others.path, tmp_path / "run", "--from", old, "--epochs", 1, "--lr", 0)
    assert status == 0, err
    assert "conv1, conv2, fc3; initialized: fc4" in err
    before, after = final(old), final(tmp_path / "run")
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("fc4")), name
    assert load(tmp_path / "run").classes == ["azure", "lime", "ruby"]


def test_with_the_same_classes_the_last_layer_is_taken_too(old, dataset, tmp_path):
    train(
        dataset, tmp_path / "run", dataclasses.replace(TUNING, epochs=1, learning_rate=0.0), start_from=old, show=False
    )
    before = final(old)
    assert all(torch.equal(tensor, before[name]) for name, tensor in final(tmp_path / "run").items())


def test_images_are_prepared_as_the_other_runs_with_noise_of_these_images(old, others, tmp_path):
    train(others, tmp_path / "run", dataclasses.replace(TUNING, epochs=1), start_from=old, show=False)
    given, own = load_preprocessing(old), load_preprocessing(tmp_path / "run")
    assert torch.equal(own.mean_image, given.mean_image) and own.scale == given.scale and own.crop == given.crop == 48
    expected = Preprocessing.of(others, 48, "standardized", 0.1).noise
    assert torch.equal(own.noise, expected) and not torch.equal(own.noise, given.noise)


def test_what_was_taken_learns_at_a_share_of_the_rate(old, others, tmp_path):
    """One step from the same start: what a parameter moves by is its rate times the same gradient."""
    moved = {}
    start = None
    for share in (0.1, 1.0):
        run = tmp_path / str(share)
        one = dataclasses.replace(
            TUNING,
            batch_size=1000,
            epochs=1,
            pretrained_lr_factor=share,
            weight_decay=0.0,
            warmup_epochs=0.0,
            schedule="constant",
        )
        train(others, run, one, start_from=old, show=False)
        after = final(run)
        start = start or {**final(old), **drawn_last(others, old)}
        moved[share] = {name: (after[name] - start[name]).detach().double() for name in after}
    for name, whole in moved[1.0].items():
        factor = 1.0 if name.startswith("fc4") else 0.1
        assert float(whole.abs().max()) > 0
        torch.testing.assert_close(moved[0.1][name], factor * whole, rtol=1e-3, atol=2e-7, msg=name)


def drawn_last(dataset: Dataset, old) -> dict[str, torch.Tensor]:
    """The last layer as ``Recipe().init`` draws it."""
    net = Network(load(old).net.table, len(dataset.classes))
    net.initialize(0, "he")
    return {name: tensor for name, tensor in net.state().items() if name.startswith("fc4")}


@pytest.mark.parametrize("most", [frozen.MOST_BYTES, 0])
def test_frozen_layers_keep_every_bit_and_the_others_learn(old, others, tmp_path, monkeypatch, most):
    monkeypatch.setattr("alexnet.training.frozen.MOST_BYTES", most)
    train(others, tmp_path / "run", dataclasses.replace(TUNING, freeze="conv2"), start_from=old, show=False)
    before, after = final(old), final(tmp_path / "run")
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == name.startswith("conv"), name


def test_a_loss_that_is_no_number_is_said_where_features_are_computed_once(old, others, tmp_path):
    """What the net sees then are no images."""
    with pytest.raises(AlexNetError, match="not finite; first in what comes from fc3 on"):
        train(
            others, tmp_path / "run", dataclasses.replace(TUNING, freeze="conv2"), start_from=old, show=False,
            loss=lambda scores, labels: scores.sum() * math.nan,
        )  # fmt: skip


def test_a_rate_of_its_own_does_not_thaw_a_layer(old, others, tmp_path):
    recipe = dataclasses.replace(TUNING, freeze="conv2", layer_lr=("conv1@0=0.1", "fc3@0=0"))
    train(others, tmp_path / "run", recipe, start_from=old, show=False)
    before, after = final(old), final(tmp_path / "run")
    assert torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert torch.equal(after["fc3.weight"], before["fc3.weight"])


def test_features_are_what_the_first_learning_layer_sees_of_the_drawn_view(old, others, tmp_path):
    recipe = dataclasses.replace(TUNING, freeze="pool1", precision="float32")
    setup = set_up(others, tmp_path / "run", recipe, torch.device("cpu"), old)
    assert setup.learning == "conv2"
    run = load(old)
    features = FrozenFeatures(
        run.net, "conv2", run.preprocessing, others, setup.batches, setup.recipe, 1, lambda done, whole: None
    )
    seen_views = set()
    for step in range(2 * setup.batches.steps):
        batch = features.load(step)
        assert torch.equal(batch.rows, setup.batches.rows(step))
        for row, seen in zip(batch.rows.tolist(), batch.images):
            image = torch.from_numpy(others.image(row)).permute(2, 0, 1)[None]
            shown = run.preprocessing.apply(views(image, 48, 10).flatten(0, 1), torch.float32)
            with torch.no_grad():
                expected = run.net.activations(shown, ["pool1"])["pool1"]
            near = [float((each - seen).abs().max()) < 1e-5 * float(each.abs().max()) for each in expected]
            assert any(near)
            seen_views.add(near.index(True))
    assert len(seen_views) > 5  # over two epochs of 30 images nearly all ten come


def test_measured_from_features_as_from_images(old, others, tmp_path):
    recipe = dataclasses.replace(TUNING, freeze="conv2")
    train(others, tmp_path / "run", recipe, start_from=old, show=False)
    setup = set_up(others, tmp_path / "other", recipe, torch.device("cpu"), old)
    run = load(tmp_path / "run")
    features = FrozenFeatures(
        run.net, "fc3", run.preprocessing, others, setup.batches, setup.recipe, 1, lambda done, whole: None
    )
    found = features.measure()
    assert found.loss == pytest.approx(run.errors["val"]["loss"], rel=1e-5)
    assert found.top1_error == run.errors["val"]["top1_error"]


@pytest.mark.parametrize("step", [2, 7])
def test_it_resumes_bitwise(old, others, tmp_path, step):
    recipe = dataclasses.replace(TUNING, freeze="conv2")
    train(others, tmp_path / "whole", recipe, start_from=old, show=False)
    with killed_at(step):
        train(others, tmp_path / "killed", recipe, start_from=old, show=False)
    train(others, tmp_path / "killed", recipe, start_from=old, show=False)
    for file in ("weights.safetensors", "state.safetensors"):
        one, two = (find_checkpoint(tmp_path / name) for name in ("whole", "killed"))
        assert one and two and (one / file).read_bytes() == (two / file).read_bytes()
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "killed/metrics.jsonl").read_bytes()


def test_few_photos_are_enough(old, others, tmp_path):
    """From a run that knows these colors under other names, ten photos a class do at once what takes long alone."""
    outcome = train(
        others, tmp_path / "run", dataclasses.replace(TUNING, epochs=10, freeze="conv2"), start_from=old, show=False
    )
    assert outcome.errors and outcome.errors.top1_error <= 0.2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--net", "WIDE", "--freeze", "conv1"], "goes with --from"),
        (["--from", "OLD", "--freeze", "conv9"], "net small has conv1"),
        (["--from", "OLD", "--freeze", "fc4"], "no layer with weights comes after it"),
        (["--from", "OLD", "--net", "WIDE", "--freeze", "conv2"], "has no conv1.bias of this shape to keep"),
        (["--from", "nowhere"], "no run there"),
    ],
)
def test_what_cannot_be_meant(old, others, tmp_path, alexnet, options, said):
    (tmp_path / "wide.toml").write_text(SMALL_NET.replace("filters = 16\nsize = 5", "filters = 32\nsize = 5"))
    places = {"OLD": str(old), "WIDE": str(tmp_path / "wide.toml")}
    options = [places.get(each, each) for each in options]
    status, _, err = alexnet("train", others.path, tmp_path / "run", "--crop-size", 48, *options)
    assert status == 2 and said in err, err
    assert not list(tmp_path.glob("run/*"))


def test_a_store_of_another_size_is_refused(old, tmp_path, alexnet):
    fill(tmp_path / "pictures", ("azure", "lime"), count=4)
    dataset = prepare(tmp_path / "pictures", tmp_path / "store", size=72)
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", "--from", old)
    assert status == 2 and "--size 64" in err


def test_few_images_alone_are_told_of_the_better_way(others, old, small, tmp_path, alexnet, monkeypatch):
    _, _, err = alexnet("train", others.path, tmp_path / "small", *small)
    assert "tip" not in err  # no published weights fit so small a net
    monkeypatch.setattr("alexnet.training.plan.PUBLISHED_SIDE", 40)
    _, _, err = alexnet("train", others.path, tmp_path / "alone", *small)
    assert "advice: few images; fine-tuning learns more from them: see --from" in err
    _, _, err = alexnet("train", others.path, tmp_path / "tuned", "--from", old, "--epochs", 1)
    assert "tip" not in err


def test_epochs_of_a_fine_tuning():
    def epochs(images: int, fine_tuning: bool, optimizer: str = "momentum") -> int | None:
        return Recipe(optimizer=optimizer).settled(images, "float32", 224, "paper", fine_tuning).epochs

    assert [epochs(n, True) for n in (30, 160, 800, 5000)] == [100, 100, 20, 10]
    assert [epochs(n, False) for n in (30, 5000)] == [200, 32]
    assert epochs(800, True, "muon") == 20
