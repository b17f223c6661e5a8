"""A dataset as other people's loops use it: a map-style torch data set, and a run's preprocessing as its transform."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils import data as torch_data
from torch.utils.data import ConcatDataset, DataLoader, Subset

from alexnet import Dataset, UsageError, prepare
from alexnet.data import codec as images
from alexnet.data.batches import whole_images
from alexnet.data.preprocessing import Preprocessing, views


def test_its_items_are_the_splits_images_in_order(dataset):
    for split in ("train", "val", None):
        data = Dataset(dataset.path, split)
        rows = dataset.rows(split) if split else np.arange(len(dataset.labels))
        assert isinstance(data, torch_data.Dataset) and len(data) == len(rows) and data.classes == dataset.classes
        assert data.targets == dataset.labels[rows].tolist()
        for index in (0, 1, len(rows) - 1, -1, -len(rows), np.int64(3), torch.tensor(4)):
            image, label = data[index]
            assert image.shape == (3, 64, 64) and image.dtype == torch.uint8 and type(label) is int
            np.testing.assert_array_equal(image.permute(1, 2, 0), dataset.image(int(rows[index])))
            assert label == dataset.labels[rows[index]]
        for index in (len(rows), -len(rows) - 1):
            with pytest.raises(IndexError):
                data[index]
        assert [label for _, label in data] == data.targets
    with pytest.raises(UsageError, match="has no split 'test'; it has train, val"):
        Dataset(dataset.path, "test")


def test_a_transform_gets_a_pil_image(dataset):
    data = Dataset(dataset.path, "val", transform=lambda image: (image.size, image.mode))
    assert data[0] == (((64, 64), "RGB"), 0)


@pytest.mark.parametrize("form", ["jpeg", "raw"])
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_workers_of_anybodys_loader_give_the_same(dataset, pictures, tmp_path, way, form):
    if form == "raw":
        dataset = prepare(pictures, tmp_path / "raw", size=64, format="raw")
    preprocessing = Preprocessing.of(dataset, 48, "standardized", 0.1)
    data = Dataset(dataset.path, "val", transform=preprocessing)
    data[0]  # its shard is open here
    loader = DataLoader(data, batch_size=5, num_workers=1, multiprocessing_context=way)
    batches = list(loader)
    expected = torch.stack([preprocessing(dataset.image(int(row))) for row in dataset.rows("val")])
    assert torch.equal(torch.cat([batch for batch, _ in batches]), expected)
    assert torch.cat([labels for _, labels in batches]).tolist() == data.targets
    plain = next(iter(DataLoader(Dataset(dataset.path, "val"), batch_size=3)))[0]
    assert plain.dtype == torch.uint8 and plain.shape == (3, 3, 64, 64)


def test_it_goes_with_torchs_tools_and_pickle(dataset):
    data = Dataset(dataset.path, "val")
    _ = data[0]
    copy = pickle.loads(pickle.dumps(data))
    assert len(copy) == 12 and torch.equal(copy[3][0], data[3][0]) and copy.split == "val"
    assert len(ConcatDataset([data, Dataset(dataset.path, "train")])) == len(dataset.labels)
    assert Subset(data, [5])[0][1] == data.targets[5]


@pytest.mark.parametrize("scale", ["raw", "standardized"])
def test_preprocessing_is_what_evaluate_feeds(dataset, scale):
    preprocessing = Preprocessing.of(dataset, 48, scale, 0.1)
    batch = next(iter(whole_images(dataset, "val", 12, 1)))
    fed = preprocessing.apply(views(batch.images, 48, 1)[0], torch.float32)
    for index, row in enumerate(dataset.rows("val")):
        pixels = dataset.image(int(row))
        for image in (pixels, Image.fromarray(pixels), torch.from_numpy(pixels.copy()).permute(2, 0, 1)):
            assert torch.equal(preprocessing(image), fed[index])


@pytest.mark.parametrize("resize", ["shorter-side", "warp"])
def test_images_of_other_sizes_are_resized_as_the_store_was(dataset, pictures, resize, tmp_path):
    other = prepare(pictures, tmp_path / "store", size=64, resize=resize, format="raw")
    preprocessing = Preprocessing.of(other, 48, "raw", 0.1)
    for row in (0, 17, 40):
        image = Image.open(pictures / other.name(row))
        assert torch.equal(preprocessing(image), preprocessing(other.image(row)))
    large = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    expected = images.decode_square(large, 64, resize)
    assert torch.equal(preprocessing(large), preprocessing(expected))
