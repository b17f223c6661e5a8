"""Batches are a function of the step; crops, mirrors, noise and mean by the contract."""

import contextlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet import Recipe, native
from alexnet.data import batches as batches_module
from alexnet.data.batches import Batches, Region, Share, ahead, between, crop, region, resized_crop, whole_images
from alexnet.data.preprocessing import Preprocessing
from alexnet.data.statistics import Statistics, Sums, products
from alexnet.training.setup import set_up_given


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_loader_threads_change_no_byte(dataset, threads, scale):
    batches = Batches(dataset, "train", 7, seed=3, crop=48, crop_scale=scale)
    expected = [batches.load(step) for step in range(20)]
    again = Batches(dataset, "train", 7, seed=3, crop=48, crop_scale=scale)
    for found, wanted in zip(ahead(again.load, range(20), threads), expected, strict=True):
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
                crop(image, Region(top, left, side, side), mirrored, room[:side])
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


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_a_crop_depends_on_epoch_and_row_alone(dataset, scale):
    """Batch size and ranks change which images come together, and no pixel of theirs."""
    by_row = {}
    for size, share in ((5, Share()), (48, Share()), (9, Share(0, 2)), (9, Share(1, 2))):
        batches = Batches(dataset, "train", size, seed=2, crop=48, crop_scale=scale).shared(share)
        for step in range(batches.steps):
            batch = batches.load(step)
            for row, image in zip(batch.rows.tolist(), batch.images):
                assert torch.equal(by_row.setdefault(row, image), image)
    other = Batches(dataset, "train", 48, seed=2, crop=48, crop_scale=scale)
    assert len(by_row) == 48
    assert any(not torch.equal(by_row[row], image) for row, image in zip(other.rows(1).tolist(), other.load(1).images))


@pytest.mark.parametrize(
    "more",
    [{}, {"crop_scale": 0.3}, {"crop_position": "center"}, {"crop_group": 5}, {"flip": False}, {"crop_margin": 9}],
)
@pytest.mark.parametrize("path", ["compiled", "portable"])
def test_images_that_are_kept_give_the_same_and_are_decoded_once(dataset, monkeypatch, more, path):
    """On either path, in any order, with loading threads; beyond what may be kept they are decoded anew."""
    decoded, real = [], type(dataset).image
    monkeypatch.setattr(type(dataset), "image", lambda *args: decoded.append(args[1]) or real(*args))
    room = 48 * 3 * 64 * 64
    kept, anew = (Batches(dataset, "train", 7, 2, 48, **more, keep=bytes_) for bytes_ in (room, room - 1))
    with native.portable() if path == "portable" else contextlib.nullcontext():
        for batch, step in zip(ahead(kept.load, range(20, 0, -1), 3), range(20, 0, -1), strict=True):
            assert torch.equal(batch.images, anew.load(step).images)
        before = len(decoded)
        assert before >= 48 + sum(len(anew.rows(step)) for step in range(1, 21))
        for step in range(21, 35):
            kept.load(step)
        assert len(decoded) == before
        anew.load(21)
        assert len(decoded) > before


def test_crops_with_a_margin_reach_beyond_the_image_where_it_is_mirrored(dataset):
    """Each is a piece of the image with its reflection around, flipped or not; all positions come."""
    batches, corners = Batches(dataset, "train", 48, seed=0, crop=62, crop_margin=2), set()
    for step in range(12):
        batch = batches.load(step)
        for row, found in zip(batch.rows.tolist(), batch.images.permute(0, 2, 3, 1).numpy()):
            around = np.pad(dataset.image(row), ((2, 2), (2, 2), (0, 0)), "reflect")
            pieces = {(top, left): around[top : top + 62, left : left + 62] for top in range(7) for left in range(7)}
            places = {at for at, piece in pieces.items() if (piece == found).all() or (piece[:, ::-1] == found).all()}
            assert places
            corners |= places
    assert len(corners) == 49


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


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    "shown", [Region(0, 0, 64, 64), Region(3, 9, 40, 31), Region(50, 0, 14, 64), Region(63, 63, 1, 1)]
)
def test_a_resized_crop_is_pillows(shown, mirrored):
    """Enlarged and shrunk; within one gray level, which rounding may take."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    image.flags.writeable = False  # as those of a raw dataset
    box = (shown.left, shown.top, shown.left + shown.width, shown.top + shown.height)
    for side in (48, 20):
        out = np.full((side + 1, side, 3), 7, np.uint8)
        resized_crop(image, shown, mirrored, out[:side])
        expected = Image.fromarray(image).crop(box).resize((side, side), Image.Resampling.BILINEAR)
        expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else expected
        assert np.abs(out[:side].astype(int) - np.asarray(expected)).max() <= 1 and (out[side] == 7).all()


def test_a_region_has_the_area_and_aspect_that_was_asked_for():
    """Areas spread evenly, aspects evenly in their logarithm, places up to every edge; 200,000 of them by NumPy."""
    numbers = np.random.default_rng(0).random((200_000, 4))
    top, left, height, width = np.array([region(2000, 0.36, *drawn) for drawn in numbers.tolist()]).T
    assert min(top.min(), left.min()) == 0 and max((top + height).max(), (left + width).max()) == 2000
    area, aspect = height * width / 2000**2, np.log(width / height)
    np.testing.assert_allclose(np.quantile(area, [0, 0.25, 0.5, 0.75, 1]), [0.36, 0.52, 0.68, 0.84, 1], atol=0.003)
    low, high = aspect[area < 0.7], aspect[area > 0.99]
    spread = np.log(4 / 3) * np.linspace(-1, 1, 5)
    np.testing.assert_allclose(np.quantile(low, np.linspace(0, 1, 5)), spread, atol=0.005)
    assert np.abs(high).max() < -np.log(0.99) + 0.002  # nearly the whole image is nearly square
    assert abs(np.corrcoef(top[height < 1500] / (2000 - height[height < 1500]), area[height < 1500])[0, 1]) < 0.01
    assert region(64, 0.01, 0.0, 0.0, 0.999, 0.999) == (57, 58, 7, 6)  # 64 x 0.1 x the root of 4/3, and by that root


@pytest.mark.parametrize("crops", [{"crop_position": "center"}, {"crop_scale": 0.3}, {"crop_margin": 8}])
def test_a_recipes_crops_are_those_of_its_trainings_batches(dataset, net_file, tmp_path, crops):
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, seed=4, **crops)
    batches = set_up_given(dataset, tmp_path / "run", recipe, "cpu", None).batches
    plain = Batches(dataset, "train", 8, seed=4, crop=48)
    assert torch.equal(batches.load(1).images, Batches(dataset, "train", 8, seed=4, crop=48, **crops).load(1).images)
    assert torch.equal(batches.rows(1), plain.rows(1)) and not torch.equal(batches.load(1).images, plain.load(1).images)


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
