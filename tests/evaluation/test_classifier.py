"""A run made ready: the same answers whatever form an image comes in, and refusals in words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet
from alexnet import AlexNetError, Recipe, UsageError, evaluate, features, load, predict, train
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.outputs import row_probabilities
from alexnet.runs.run import open_run


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "run"
    train(dataset, folder, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=4, precision="float32"), show=False)
    return folder


@pytest.fixture(scope="module")
def classifier(run) -> Classifier:
    return load(run, precision="float32")


def test_an_image_is_the_same_in_every_form(classifier, pictures):
    path = pictures / "red" / "003.jpg"
    image = Image.open(path)
    pixels = np.asarray(image)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    alone = classifier(str(path))
    assert alone.name == str(path) and alone.problem is None and len(alone.top) == 3
    assert alone.top == next(iter(predict(classifier, path))).top
    several = classifier([path, image, pixels, tensor, np.asfortranarray(pixels)], top=2, views=1)
    words, probabilities = zip(*alone.top[:2])
    for prediction in several:  # sums of a batch may differ in the last bit
        assert tuple(word for word, _ in prediction.top) == words
        assert [p for _, p in prediction.top] == pytest.approx(probabilities, rel=1e-5)
    assert [prediction.name for prediction in several[2:]] == ["image 2", "image 3", "image 4"]
    assert classifier(pixels).name == "image" and classifier([]) == []
    assert classifier((path,))[0].top == alone.top
    assert sum(probability for _, probability in classifier(path, views=10).top) == pytest.approx(1, abs=1e-5)
    gray = np.asarray(image.convert("L"))
    assert classifier(gray).top == classifier(np.stack([gray] * 3, 2)).top == classifier(image.convert("L")).top


def test_a_picture_that_a_program_has_opened_is_upright(classifier, pictures, tmp_path):
    image = Image.open(pictures / "green" / "000.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert classifier(Image.open(tmp_path / "turned.png")).top == classifier(np.asarray(image)).top


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((60, 60, 3), np.float32), "array of float32; give uint8, 0..255"),
        (torch.zeros(3, 60, 60), "tensor of torch.float32; give uint8, 0..255"),
        (np.zeros((3, 60, 60), np.uint8), r"array of shape (3, 60, 60); give (height, width, 3)"),
        (torch.zeros(60, 60, 3, dtype=torch.uint8), r"tensor of shape (60, 60, 3); give (3, height, width)"),
        (torch.zeros(2, 3, 60, 60, dtype=torch.uint8), "of several images give a list"),
        (np.zeros((60, 60, 4), np.uint8), "give (height, width, 3)"),
        (np.zeros((5, 60, 3), np.uint8), "60x5 pixels: a side below 8"),
        (np.zeros((60, 0, 3), np.uint8), "a side below 8"),
        (torch.tensor(3, dtype=torch.uint8), "tensor of shape ()"),
        (3, "image: of type int; give a path, a PIL image"),
        (None, "image: of type NoneType"),
        ({}, "image: of type dict"),
        ("nowhere.jpg", "nowhere.jpg: no such file"),
        (".", ".: is a folder; `predict` takes all images of one"),
        (Image.fromarray(np.full((20, 20), 9.5, np.float32)), "float pixels without a known range"),
    ],
)
def test_what_is_no_image_is_said(classifier, image, said):
    for images in (image, [image]):
        with pytest.raises(UsageError) as error:
            classifier(images)
        assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_cannot_be_decoded_is_said(classifier, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not at all")
    with pytest.raises(AlexNetError, match=r"bad.jpg: not decodable"):
        classifier(tmp_path / "bad.jpg")


def test_its_methods_are_the_functions(classifier, run, dataset, pictures):
    assert (
        classifier.evaluate(dataset.path, views=10).errors
        == evaluate(run, dataset, views=10, precision="float32").errors
    )
    assert list(classifier.predict(pictures / "red")) == list(predict(run, pictures / "red", precision="float32"))
    names, found = classifier.features(pictures / "red", ["conv2", "fc3"])
    expected = features(run, pictures / "red", ["conv2", "fc3"], precision="float32")
    assert names == expected[0] and all(np.array_equal(found[layer], expected[1][layer]) for layer in found)
    assert evaluate([classifier, str(run), open_run(run)], dataset, precision="float32").errors.images == 12


def test_features_are_the_nets_activations(classifier, dataset, tmp_path):
    for row in range(5):
        Image.fromarray(dataset.image(row)).save(tmp_path / f"{row}.png")
    _, found = classifier.features(tmp_path, ["pool1", "fc3", "fc4"])
    seen = torch.stack([classifier.preprocessing(dataset.image(row)) for row in range(5)])
    with torch.no_grad():
        expected = classifier.net.activations(seen, ["pool1", "fc3", "fc4"])
    for layer, outputs in expected.items():
        assert found[layer].dtype == np.float32
        np.testing.assert_allclose(found[layer], outputs.numpy(), rtol=1e-4, atol=1e-5)


def test_changed_weights_are_seen(run, dataset):
    own, other = load(run, precision="float32"), load(run, precision="float32")
    rows = dataset.rows("val")
    before = row_probabilities(own, dataset, rows)
    optimizer = torch.optim.SGD(own.net.parameters(), lr=0.5)
    own.net(torch.stack([own.preprocessing(dataset.image(0))])).square().sum().backward()
    optimizer.step()
    after = row_probabilities(own, dataset, rows)
    assert not np.array_equal(before, after) and np.array_equal(before, row_probabilities(other, dataset, rows))
    other.net.load_state_dict(own.net.state_dict())
    assert np.array_equal(after, row_probabilities(other, dataset, rows))


def test_the_form_for_inference_is_made_once(run, dataset, monkeypatch):
    from alexnet.evaluation import classifier as module

    calls, real = [], module.for_inference
    monkeypatch.setattr(module, "for_inference", lambda *given, **options: calls.append(1) or real(*given, **options))
    own = load(run)
    assert not calls
    for _ in range(3):
        own.evaluate(dataset)
        own(dataset.image(0))
    assert len(calls) == 1 and own.with_precision("auto") is own


def test_options_are_checked_by_name(run, dataset, pictures):
    for call in (
        lambda: load(run, precision="bf61"),
        lambda: evaluate(run, dataset, precision="bf61"),
        lambda: features(run, pictures, precision="bf61"),
        lambda: predict(run, pictures, precision="bf61"),
    ):
        with pytest.raises(UsageError, match="'bf61': unknown; perhaps you meant bf16"):
            call()
    with pytest.raises(UsageError, match="--device gpu: no such device; give auto, cpu"):
        load(run, device="gpu")
    with pytest.raises(UsageError, match="'bset': unknown; perhaps you meant best"):
        load(run, "bset")
    with pytest.raises(UsageError, match="--views 5: give 1, 9 or 10"):
        load(run)(dataset.image(0), views=5)
    with pytest.raises(UsageError, match="not a int"):
        evaluate(3, dataset)  # pyright: ignore[reportArgumentType]


def test_what_is_shown_fits_a_screen(classifier, dataset):
    shown = [
        repr(value)
        for value in (classifier, classifier.run, classifier.evaluate(dataset), classifier(dataset.image(0)))
    ]
    assert all(len(text) < 300 and "\n" not in text for text in shown)
    assert "net small, 3 classes, step 24" in shown[0] and "precision float32" in shown[0]
    assert shown[2].startswith("Evaluation(12 images, views: 1; top-1 error ")
    assert shown[3].startswith("Prediction(image: ")
    assert isinstance(classifier, alexnet.Classifier)
