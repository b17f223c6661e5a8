"""Weights of other programs: each format in its own layout, its answers those of an engine that nobody here wrote."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from PIL import Image

from alexnet import Net, UsageError, load, predict, prepare
from alexnet.data import imagenet
from alexnet.interchange.class_names import read_classes
from alexnet.interchange.importing import import_weights
from alexnet.interchange.preprocessing import CAFFE_BGR
from alexnet.runs.verify import verify
from tests.hostile_weights import zeros
from tests.nets.test_nets import relative
from tests.weights_files import blob, caffemodel, in_opencv, torchvisions_layers, zoo_onnx

WORDS = list(imagenet.classes().values())


def drawn(name: str, classes: int = 1000) -> Net:
    """A net with weights, and biases that matter, of which each class is a different one."""
    net = Net(name, classes, seed=3, init="he").eval()
    for key, value in net.tensors().items():
        if key.endswith("bias"):
            value.data.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(len(key)))
    return net


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Four 256x256 pictures, lossless, so that no decoder or scaling stands between two programs."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(7)
    for i in range(4):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def pixels(images: list[Path]) -> np.ndarray:
    """(n, 256, 256, 3) uint8 RGB."""
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])


def predicted(run: Path, images: list[Path]) -> np.ndarray:
    """(n, 1000) probabilities in the order of ImageNet's words."""
    place = {wnid: i for i, wnid in enumerate(imagenet.classes())}
    found = np.zeros((len(images), 1000))
    for row, each in enumerate(predict(load(run), images, top=1000, precision="float32")):
        for wnid, (word, share) in zip(each.classes, each.top):
            found[row, place[wnid]] = share
            assert word == WORDS[place[wnid]]
    return found


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_torchvisions_weights_in_all_their_files(images, tmp_path, alexnet):
    torch.manual_seed(5)
    net = torchvisions_layers()
    state = net.state_dict()
    torch.save(state, tmp_path / "zip.pth")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "hub.safetensors")
    parallel = {name.replace("features.", "features.module."): value for name, value in state.items()}
    torch.save({"epoch": 89, "arch": "alexnet", "state_dict": parallel}, tmp_path / "checkpoint.pth.tar")
    # torchvision.transforms: ToTensor, Normalize, CenterCrop(224) of 256x256
    scaled = torch.from_numpy(pixels(images)).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = ((scaled - mean.view(3, 1, 1)) / deviation.view(3, 1, 1))[:, :, 16:240, 16:240]
    with torch.no_grad():
        expected = softmax(net.classifier(net.features(scaled).flatten(1)).double().numpy())
    for file in ("zip.pth", "legacy.pth", "hub.safetensors", "checkpoint.pth.tar"):
        status, out, err = alexnet("import", tmp_path / file, tmp_path / "run" / file, "--json")
        assert status == 0, err
        assert json.loads(out)["net"] == "torchvision" and json.loads(out)["parameters"] == 61_100_840
        found = predicted(tmp_path / "run" / file, images)
        assert (found.argmax(1) == expected.argmax(1)).all() and relative(found, expected) < 1e-5, file
    assert all(problem is None for _, problem in verify(tmp_path / "run" / "zip.pth"))
    run = load(tmp_path / "run" / "zip.pth")
    assert torch.equal(run.net.tensors()["conv1.weight"], state["features.0.weight"])  # exact: nothing was folded in
    assert run.preprocessing.resize == "shorter-side" and run.preprocessing.crop == 224 and run.data["path"] is None


@pytest.mark.parametrize(
    ("name", "old"),
    [
        pytest.param("caffe", True, marks=pytest.mark.slow),
        ("caffe", False),
        pytest.param("caffenet", True, marks=pytest.mark.slow),
    ],
)
def test_caffes_weights_with_its_mean_image(name, old, images, tmp_path, alexnet):
    net = drawn(name)
    model, mean_file = tmp_path / "net.caffemodel", tmp_path / "mean.binaryproto"
    model.write_bytes(caffemodel(net, old))
    mean = np.random.default_rng(1).uniform(80, 140, (3, 256, 256)).astype(np.float32)  # BGR
    mean_file.write_bytes(blob(torch.from_numpy(mean)[None], True))
    bgr = (
        pixels(images)[..., ::-1].transpose(0, 3, 1, 2) - mean
    )  # as Caffe's transformer: minus the mean, then the crop
    crops = np.ascontiguousarray(bgr[:, :, 14:241, 14:241], np.float32)
    other = in_opencv(net, norm_first=name == "caffe")
    other.setInput(crops)
    expected = softmax(other.forward("fc8").astype(np.float64))
    status, out, err = alexnet("import", model, tmp_path / "run", "--mean", mean_file)
    assert status == 0, err
    assert f"net {name}," in out and ("V1 layers" in out) == old
    found = predicted(tmp_path / "run", images)
    assert (found.argmax(1) == expected.argmax(1)).all() and relative(found, expected) < 1e-4
    run = load(tmp_path / "run")
    assert (run.preprocessing.size, run.preprocessing.crop, run.preprocessing.resize) == (256, 227, "warp")
    assert torch.equal(run.net.tensors()["conv1.weight"], net.tensors()["conv1.weight"].flip(1))


def test_opencv_reads_the_old_layout_that_we_write():
    """The layout that the import is tested with is the one that others know."""
    net = drawn("caffe", 10)
    other = in_opencv(net, norm_first=True, old=True)
    images = np.random.default_rng(0).normal(0, 60, (1, 3, 227, 227)).astype(np.float32)
    other.setInput(images)
    with torch.no_grad():
        assert relative(net(torch.from_numpy(images)).numpy(), other.forward("fc8")) < 1e-4


def test_caffes_mean_colors_where_no_mean_image_is_given(images, tmp_path):
    net = drawn("caffe")
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(net, False))
    import_weights(tmp_path / "net.caffemodel", tmp_path / "run", "caffe")
    bgr = pixels(images)[..., ::-1].astype(np.float32) - np.array(CAFFE_BGR, np.float32)
    crops = np.ascontiguousarray(bgr[:, 14:241, 14:241].transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = softmax(net(torch.from_numpy(crops)).double().numpy())
    assert relative(predicted(tmp_path / "run", images), expected) < 1e-4


@pytest.mark.parametrize("name", ["caffe", pytest.param("caffenet", marks=pytest.mark.slow)])
def test_the_onnx_zoos_graphs(name, images, tmp_path, alexnet):
    net = drawn(name)
    model = zoo_onnx(net, 224)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    bgr = pixels(images)[..., ::-1].astype(np.float32) - np.array(CAFFE_BGR, np.float32)
    crops = np.ascontiguousarray(bgr[:, 16:240, 16:240].transpose(0, 3, 1, 2))
    expected = np.concatenate([session.run(None, {"data_0": crop[None]})[0] for crop in crops])
    status, out, err = alexnet("import", tmp_path / "net.onnx", tmp_path / "run")
    assert status == 0, err
    assert f"net {name}," in out and "crop 224" in out  # the zoo's copies see 224, Caffe's originals 227
    found = predicted(tmp_path / "run", images)
    assert (found.argmax(1) == expected.argmax(1)).all() and relative(found, expected) < 1e-4


def test_a_graph_for_images_of_another_side_is_refused_at_once(tmp_path, alexnet):
    """torchvision's own pools to 6x6 whatever the side; its layers as a net of ours do not."""
    net = zeros("torchvision", 10)
    (tmp_path / "net.onnx").write_bytes(zoo_onnx(net, 227).SerializeToString())
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(10))))
    status, _, err = alexnet("import", tmp_path / "net.onnx", tmp_path / "run", "--classes", tmp_path / "classes.txt")
    assert status == 2 and "takes images of 224 pixels, not of 227" in err and not (tmp_path / "run").exists()


def test_a_last_layer_of_another_name_and_classes_of_a_file(tmp_path, images):
    net = drawn("caffenet", 20)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(net, False, last="fc8_flickr"))
    (tmp_path / "styles.txt").write_text("\n".join(f"style {i}" for i in range(20)))
    made = import_weights(tmp_path / "net.caffemodel", tmp_path / "run", classes=tmp_path / "styles.txt")
    assert made.net == "caffenet" and made.classes == 20
    assert next(iter(predict(load(tmp_path / "run"), images[:1]))).top[0][0].startswith("style ")


@pytest.mark.parametrize(("options", "turned"), [([], False), (["--color-order", "bgr"], True)])
def test_in_torchs_files_colors_are_rgb_unless_it_is_said(options, turned, tmp_path, alexnet):
    """Of our own run of Caffe's net, say, whose first layer was turned when it was imported."""
    net = drawn("caffe", 3)
    (tmp_path / "classes.txt").write_text("a\nb\nc")
    safetensors.torch.save_file(
        {k: v.detach().contiguous() for k, v in net.state().items()}, tmp_path / "a.safetensors"
    )
    options = [*options, "--net", "caffe", "--classes", tmp_path / "classes.txt"]
    status, _, err = alexnet("import", tmp_path / "a.safetensors", tmp_path / "run", *options)
    assert status == 0, err
    own, found = net.tensors()["conv1.weight"], load(tmp_path / "run").net.tensors()["conv1.weight"]
    assert torch.equal(found, own.flip(1) if turned else own)


def test_imagenets_thousand_classes():
    known = imagenet.classes()
    assert len(known) == 1000 and list(known) == sorted(known) and len(set(known)) == 1000
    assert known["n01440764"] == "tench, Tinca tinca" and next(iter(known)) == "n01440764"
    assert list(known)[-1] == "n15075141" and list(known.values())[281] == "tabby, tabby cat"
    assert list(known.values())[207] == "golden retriever"


def test_files_of_classes(tmp_path):
    both, names = tmp_path / "synset_words.txt", tmp_path / "names.txt"
    both.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    names.write_text("cat\n\ndog, tame\n")
    assert read_classes(both) == (["n01440764", "n01443537"], ["tench, Tinca tinca", "goldfish"])
    assert read_classes(names) == (["cat", "dog, tame"], None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\ufeffn01440764 tench\nn01443537 goldfish\n".encode(), ["tench", "goldfish"]),
        ("n01440764 tench\r\nn01443537 goldfish\r\n".encode("utf-16"), ["tench", "goldfish"]),
        (b"\xfe\xff" + "n01440764 tench\nn01443537 goldfish".encode("utf-16-be"), ["tench", "goldfish"]),
        ("n01440764 tench\nn01443537 goldfish".encode("utf-32"), ["tench", "goldfish"]),
        (b"n01440764\ttench\rn01443537, gold fish\r", ["tench", "gold fish"]),
    ],
)
def test_classes_behind_a_mark(content, words, tmp_path):
    """As editors of Windows save them: the words behind a WNID are seen all the same."""
    (tmp_path / "classes.txt").write_bytes(content)
    assert read_classes(tmp_path / "classes.txt") == (["n01440764", "n01443537"], words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cat\nBär\n".encode("cp1252"), "line 2: is no text in UTF-8"),
        (b"\xff\xfec\x00a", "line 1: is no text in UTF-16-LE"),
        (b"cat\ndo\x1b[2Jg\n", "line 2: has the control character U+001B"),
        (b"cat\ndo\0g\n", "line 2: has the control character U+0000"),
        ("cat\n\ufeffdog".encode(), "line 2: has the control character U+FEFF"),
        ("cat\n\ndog\u2028x".encode(), "line 3: has the control character U+2028"),
        (b"cat\n\ndog\ncat\n", "line 4: the class 'cat' comes twice (line 1)"),
        (b"n00000001 a\nn00000001 b", "line 2: the class 'n00000001' comes twice"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (None, "no such file"),
    ],
)
def test_a_list_of_classes_that_is_none(content, words, tmp_path):
    file = tmp_path / "classes.txt"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_classes(file)
    assert str(raised.value).startswith(f"--classes {file}: {words}")


def test_the_imported_run_is_used_like_any_other(tmp_path, alexnet):
    """A dataset of some of ImageNet's classes, prepared another way: measured among these, with a warning."""
    rng = np.random.default_rng(0)
    for wnid in ("n01440764", "n02102040", "n03888257"):
        (tmp_path / "photos" / wnid).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(rng.integers(0, 256, (260, 300, 3), dtype=np.uint8)).save(
                tmp_path / "photos" / wnid / f"{i}.png"
            )
    dataset = prepare(tmp_path / "photos", tmp_path / "store")
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(drawn("caffe"), False))
    import_weights(tmp_path / "net.caffemodel", tmp_path / "run")
    status, out, err = alexnet("evaluate", tmp_path / "run", dataset.path, "--json")
    assert status == 0 and json.loads(out)["images"] == 3
    assert "prepare another dataset with --size 256 --resize warp" in err and "measured among the 3 of" in err
    status, out, _ = alexnet("show", tmp_path / "run", tmp_path / "photos", "--output", tmp_path / "pictures")
    assert status == 0 and {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "filters.png",
        "predictions.png",
    }
    assert alexnet("info", tmp_path / "run")[0] == 0 and alexnet("verify", tmp_path / "run")[0] == 0
    status, _, err = alexnet("train", dataset.path, tmp_path / "run")
    assert status == 2 and "--from" in err
    status, _, err = alexnet("import", tmp_path / "net.caffemodel", tmp_path / "run")
    assert status == 2 and "is there already" in err
