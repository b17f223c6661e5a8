"""Batches are a function of the step; crops, mirrors, noise and mean by the contract."""

import contextlib
import sys

import numpy as np
import pytest
import torch

from alexnet import native
from alexnet.data import batches as batches_module
from alexnet.data.batches import Batches, ahead, between, crop, whole_images
from alexnet.data.preprocessing import Preprocessing
from alexnet.data.statistics import Statistics, Sums, products


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_loader_threads_change_no_byte(dataset, threads):
    batches = Batches(dataset, "train", 7, seed=3, crop=48)
    expected = [batches.load(step) for step in range(20)]
    for found, wanted in zip(
        ahead(Batches(dataset, "train", 7, seed=3, crop=48).load, range(20), threads), expected, strict=True
    ):
        assert torch.equal(found.images, wanted.images)
        assert torch.equal(found.labels, wanted.labels) and torch.equal(found.rows, wanted.rows)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_loading_between_steps_gives_the_same_and_fetches_what_comes(dataset, threads):
    batches, fetched = Batches(dataset, "train", 7, seed=3, crop=48), []
    expected = [Batches(dataset, "train", 7, seed=3, crop=48).load(step) for step in range(3, 20)]

    def fetch(step: int) -> None:
        batches.fetch(step)
        fetched.append(step)

    for found, wanted in zip(between(batches.load, range(3, 20), threads, fetch), expected, strict=True):
        assert torch.equal(found.images, wanted.images) and torch.equal(found.rows, wanted.rows)
    assert sorted(fetched) == list(range(3 + threads, 20))
    with pytest.raises(ZeroDivisionError):
        list(between(lambda step: 1 // (step - 4), range(3, 20), threads))


def test_a_batchs_pixels_never_change_while_anybody_has_it(dataset, monkeypatch):
    """Whatever is loaded beside it; nor where references are not counted, as Python 3.14 leaves those of locals out."""
    monkeypatch.setattr(sys, "getrefcount", lambda thing: 3)
    batches = Batches(dataset, "train", 8, seed=0, crop=48)
    alive = [batches.load(step) for step in range(3)]
    views = [batches.load(3).images[2:3], batches.load(4).images.permute(0, 2, 3, 1).numpy()[1]]
    pixels = [batch.images.clone() for batch in alive] + [views[0].clone(), views[1].copy()]
    for _ in ahead(batches.load, range(5, 25), 3):
        pass
    assert all(torch.equal(batch.images, before) for batch, before in zip(alive, pixels[:3]))
    assert torch.equal(views[0], pixels[3]) and (views[1] == pixels[4]).all()


def test_started_in_the_middle_it_is_the_same(dataset):
    batches = Batches(dataset, "train", 7, seed=3, crop=48)
    late = list(ahead(batches.load, range(13, 15), 2))
    assert [b.rows.tolist() for b in late] == [batches.load(step).rows.tolist() for step in (13, 14)]


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own(dataset):
    batches = Batches(dataset, "train", 7, seed=0, crop=48)
    assert batches.steps == 7  # 48 images: 7 batches of 6 or 7
    epochs = [[int(r) for step in range(e * 7, e * 7 + 7) for r in batches.rows(step)] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == dataset.rows("train").tolist()
    assert epochs[0] != epochs[1]
    assert {len(batches.rows(step)) for step in range(7)} == {6, 7}


def test_windows_are_runs_of_the_store_shuffled(dataset, monkeypatch):
    """Every image once an epoch; each window's come from two runs of four rows; another order every epoch."""
    monkeypatch.setattr(batches_module, "PIECE_ROWS", 4)
    monkeypatch.setattr(batches_module, "WINDOW_PIECES", 2)
    batches = Batches(dataset, "train", 8, seed=0, crop=48, shuffle="windows")
    epochs = []
    for epoch in range(2):
        order = [int(r) for step in range(epoch * 6, epoch * 6 + 6) for r in batches.rows(step)]
        assert sorted(order) == dataset.rows("train").tolist()
        windows = [order[i : i + 8] for i in range(0, 48, 8)]
        assert all(len({row // 4 for row in window}) == 2 for window in windows)
        assert any(window != sorted(window) for window in windows)
        epochs.append(windows)
    assert {frozenset(w) for w in epochs[0]} != {frozenset(w) for w in epochs[1]}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [1, 2, 5, 6, 7, 48, 63, 64])
def test_crops_of_every_width_at_every_edge(side, mirrored):
    """Against NumPy's slices, the bytes behind the crop left as they were."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for top, left in ((0, 0), (64 - side, 64 - side), ((64 - side) // 2, (64 - side) // 3)):
        for portable in (False, True):
            room = np.full((side + 1, side, 3), 7, np.uint8)
            with native.portable() if portable else contextlib.nullcontext():
                crop(image, top, left, mirrored, room[:side])
            view = image[top : top + side, left : left + side]
            assert (room[:side] == (view[:, ::-1] if mirrored else view)).all() and (room[side] == 7).all()


def test_sums_and_products_are_exact():
    """Integers of an image whose products go beyond 2**32."""
    image = np.random.default_rng(0).integers(200, 256, (512, 512, 3)).astype(np.uint8)
    flat = image.reshape(-1, 3).astype(object)
    found = []
    for portable in (False, True):
        with native.portable() if portable else contextlib.nullcontext():
            sums = Sums.zero(512)
            sums.add(image, products(image))
            sums.add(image, products(image))
            found.append(sums)
    assert found[0].products[0, 1] > 2**32
    assert (found[0].products == found[1].products).all() and (found[0].pixels == found[1].pixels).all()
    assert int(found[0].products[1, 2]) == 2 * int((flat[:, 1] * flat[:, 2]).sum())
    assert (found[0].pixels == 2 * image.astype(int)).all()


def test_a_crop_depends_on_epoch_and_row_alone(dataset):
    """Batch size changes which images come together, and no pixel of theirs."""
    by_row = {}
    for size in (5, 48):
        batches = Batches(dataset, "train", size, seed=2, crop=48)
        for step in range(batches.steps):
            batch = batches.load(step)
            for row, image in zip(batch.rows.tolist(), batch.images):
                assert torch.equal(by_row.setdefault(row, image), image)


def test_crops_are_pieces_of_the_image_and_reach_everywhere(dataset):
    batches = Batches(dataset, "train", 48, seed=0, crop=62)
    seen = set()
    for step in range(12):
        batch = batches.load(step)
        for row, piece in zip(batch.rows.tolist(), batch.images.permute(0, 2, 3, 1).numpy()):
            whole = dataset.image(row)
            places = [
                (top, left, flipped)
                for top in range(3)
                for left in range(3)
                for flipped in (False, True)
                if (whole[top : top + 62, left : left + 62][:, :: -1 if flipped else 1] == piece).all()
            ]
            assert len(places) == 1
            seen.add(places[0])
    assert len(seen) == 18  # 3 x 3 places, mirrored or not


@pytest.mark.parametrize("group", [1, 8])
def test_central_crops_are_always_the_same_piece_and_flip_as_random_ones(dataset, group):
    """Of 64 pixels the 49 from the seventh on; whether one is flipped is not asked of where it lies."""
    still = Batches(dataset, "train", 48, seed=0, crop=49, crop_group=group, crop_position="center")
    random = Batches(dataset, "train", 48, seed=0, crop=49, crop_group=group)
    flips = set()
    for step in range(4):
        pairs = zip(still.load(step).images.permute(0, 2, 3, 1).numpy(), random.load(step).images.permute(0, 2, 3, 1))
        for row, (image, other) in zip(still.rows(step).tolist(), pairs, strict=True):
            whole = dataset.image(row)
            flipped = any(
                (whole[top : top + 49, left : left + 49][:, ::-1] == other.numpy()).all()
                for top in range(16)
                for left in range(16)
            )
            assert (image == whole[7:56, 7:56][:, :: -1 if flipped else 1]).all()
            flips.add(flipped)
    assert flips == {False, True}


def test_whole_images_come_in_the_stores_order(dataset):
    found = list(whole_images(dataset, "val", 5, 3))
    assert torch.cat([b.rows for b in found]).tolist() == dataset.rows("val").tolist()
    assert (found[0].images[1].permute(1, 2, 0).numpy() == dataset.image(int(found[0].rows[1]))).all()


def test_preparation_is_mean_noise_and_scale(dataset):
    crops = torch.randint(0, 256, (6, 3, 48, 48), dtype=torch.uint8)
    preprocessing = Preprocessing.of(dataset, 48, "standardized", 0.1)
    noise = preprocessing.color_noise(0, 4, torch.arange(6))
    found = preprocessing.apply(crops, torch.float32, noise).numpy()
    statistics: Statistics = dataset.statistics
    center = statistics.mean_image[:, 8:56, 8:56]
    deviation = np.sqrt((statistics.deviation**2).mean())
    expected = (crops.numpy() - center + noise.numpy()[:, :, None, None]) / deviation
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pixels = Preprocessing.of(dataset, 48, "raw", 0.1).apply(crops, torch.float32)
    np.testing.assert_allclose(pixels.numpy(), crops.numpy() - center, atol=1e-4)


def test_color_noise_has_a_hundredth_of_the_covariance(dataset):
    preprocessing = Preprocessing.of(dataset, 48, "raw", 0.1)
    noise = preprocessing.color_noise(0, 0, torch.arange(40_000)).numpy()
    statistics = dataset.statistics
    covariance = statistics.eigenvectors @ np.diag(statistics.eigenvalues) @ statistics.eigenvectors.T
    np.testing.assert_allclose(np.cov(noise.T), 0.01 * covariance, atol=0.03 * 0.01 * np.abs(covariance).max())
    assert torch.equal(preprocessing.color_noise(0, 0, torch.tensor([17])), torch.from_numpy(noise[17:18]))
