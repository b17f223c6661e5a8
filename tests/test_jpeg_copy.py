"""CIFAR-10's images encoded once more are nearly the same ones, in their order, and can be prepared."""

import numpy as np
import pytest
from benchmarks import jpeg_copy
from PIL import Image

from alexnet import Dataset, UsageError, prepare
from alexnet.experiments.raw import to_bytes
from alexnet.experiments.statistics import packed


def test_images_that_are_encoded_again_stay_in_place():
    pixels = np.full((32, 32, 3), 60, np.uint8)
    pixels[9:21, 5:27] = 200
    again = jpeg_copy.encoded_again(pixels)
    assert again.shape == (32, 32, 3) and again.dtype == np.uint8
    change = np.abs(again.astype(int) - pixels).mean()
    shifted = [np.abs(np.roll(again, way, axis=axis).astype(int) - pixels).mean() for way in (1, -1) for axis in (0, 1)]
    assert 0 < change < min(shifted) / 2


def test_what_the_second_encoding_adds_is_paired_by_seed_and_image(tmp_path):
    wrong = np.zeros(100, bool)
    wrong[:20] = True
    rows = [
        {"condition": "net", "seed": seed, "images": 100, "top1_error": 0.2, "wrong": packed(wrong)}
        for seed in (0, 1, 2)
    ]
    more = wrong.copy()
    more[90:] = True
    other = [{**rows[0], "seed": 9}, {**rows[1], "top1_error": 0.3, "wrong": packed(more)}, rows[0]]
    for name, own in zip(jpeg_copy.RAW, (rows, other)):
        (tmp_path / name).write_bytes(to_bytes(own))
    (line,) = jpeg_copy.table(tmp_path)[2:]
    assert line.startswith("| net | 20.00% | 25.00% | +5.00, +0.00 to +") and line.endswith(" | 2 |")


def test_what_is_not_cifar_10_is_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="where CIFAR-10 has"):
        jpeg_copy.encode(dataset, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_data_set_is_written_as_cifar_10_in_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(jpeg_copy, "SPLITS", {"train": 12, "test": 4})
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
