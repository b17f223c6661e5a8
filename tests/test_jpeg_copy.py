"""CIFAR-10's images encoded once more are nearly the same ones, in their order, and can be prepared."""

import numpy as np
import pytest
from benchmarks import jpeg_copy
from PIL import Image

from alexnet import Dataset, prepare


def test_images_that_are_encoded_again_stay_in_place():
    pixels = np.full((32, 32, 3), 60, np.uint8)
    pixels[9:21, 5:27] = 200
    again = jpeg_copy.encoded_again(pixels)
    assert again.shape == (32, 32, 3) and again.dtype == np.uint8
    change = np.abs(again.astype(int) - pixels).mean()
    shifted = [np.abs(np.roll(again, way, axis=axis).astype(int) - pixels).mean() for way in (1, -1) for axis in (0, 1)]
    assert 0 < change < min(shifted) / 2


def test_a_data_set_is_written_as_cifar_10_in_its_order(tmp_path):
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("airplane", "truck"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.kron(random.integers(256, size=(4, 4, 1), dtype=np.uint8), np.ones((8, 8, 3), np.uint8))
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    source = prepare(tmp_path / "images", tmp_path / "source", size=32, val_fraction=0.0)
    figures = jpeg_copy.encode(source, tmp_path / "again")
    assert figures["images"] == 16 and 0 < figures["mean_change_in_gray_levels"] < 20
    with pytest.raises(FileExistsError):
        jpeg_copy.encode(source, tmp_path / "again")
    batch = np.frombuffer((tmp_path / "again" / "cifar-10-batches-bin" / "data_batch_1.bin").read_bytes(), np.uint8)
    records = batch.reshape(12, 1 + 3 * 32 * 32)
    rows = np.sort(source.rows("train"))
    assert records[:, 0].tolist() == source.labels[rows].tolist()
    for record, row in zip(records, rows.tolist()):
        pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0).astype(int)
        assert np.abs(pixels - Dataset(source.path).image(row)).mean() < 20
