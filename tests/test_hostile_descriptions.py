"""What a stranger's folder or ONNX file says of itself, each key wrong in every way: one line, or a run that works."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from alexnet import AlexNetError, Net, UsageError, load, predict
from alexnet.data.preprocessing import Preprocessing
from alexnet.interchange.exporting import _described, export
from alexnet.interchange.importing import import_weights
from alexnet.interchange.onnx_writer import write_onnx
from alexnet.runs.run import Run
from tests.fuzz.readers import TINY

CLASSES = ["first", "second"]
GONE = object()
HUBS = ("architectures", "model_type", "num_labels", "id2label", "label2id")  # keys for others, which nobody here reads
WRONG = [GONE, None, True, -5, 0, 0.5, 600, 2**40, 2**70, "x", "", [], [1, 2], ["a", 2], {}, {"a": 1}, [[]] * 3]
DATA = {"path": None, "store": None, "images": {"train": 4}, "imported": None}
ERRORS = {
    "val": {"images": 4, "views": 1, "top1_error": 0.5, "top1_interval": [0.1, 0.9], "top5_error": 0.0,
            "top5_interval": [0.0, 0.6], "loss": 1.0}
}  # fmt: skip


def tiny_run(folder: Path) -> Run:
    """An opened run of a net that sees the central 9 of 16 pixels."""
    (folder / "tiny.toml").write_text(TINY)
    preprocessing = Preprocessing(16, 9, 1.0, torch.full((3, 16, 16), 100.0), torch.zeros(3, 3))
    net = Net(str(folder / "tiny.toml"), 2, init="he").eval()
    return Run(str(folder), net, [*CLASSES], [*CLASSES], preprocessing, copy.deepcopy(DATA), copy.deepcopy(ERRORS), 0)


def tiny_onnx(run: Run, described: object = None, size: int = 9) -> bytes:
    """The same as ONNX, whose metadata may say otherwise."""
    own = {**_described(run), "noise": [0.0] * 9}
    text = json.dumps(own) if described is None else described if isinstance(described, str) else json.dumps(described)
    return write_onnx(
        run.net, size, {"alexnet": text}, (run.preprocessing.mean_image, run.preprocessing.channel_scale())
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def hub(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "hub"
    export(run, folder)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def keys(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """The path of every key and element."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from keys(inner, (*above, key))


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch):
    """A thousand runs are written: none need be on the disk."""
    monkeypatch.setattr("os.fsync", lambda file: None)


def changed(value: Any, path: tuple, new: object) -> Any:
    """A copy with one key gone or of another value."""
    value = inner = copy.deepcopy(value)
    for key in path[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


def settled(source: Path, room: Path, photo: Path) -> str:
    """Imports: what it was refused with, or nothing where the run that it made is whole and predicts."""
    said = ""
    try:
        import_weights(source, room / "run")
    except (AlexNetError, UsageError) as error:
        said = str(error)
    if said:
        assert not (room / "run").exists() and "\n" not in said and source.name in said, said
        return said
    (prediction,) = predict(load(room / "run"), [photo], top=2, precision="float32")
    assert abs(sum(share for _, share in prediction.top) - 1) < 1e-5
    shutil.rmtree(room / "run")
    return ""


def test_every_key_of_a_folders_description(hub, photo, tmp_path):
    folder = tmp_path / "hub"
    shutil.copytree(hub, folder)
    description = json.loads((hub / "config.json").read_text())
    refused = 0
    for path in (path for path in keys(description) if path[0] not in HUBS):
        for new in WRONG:
            (folder / "config.json").write_text(json.dumps(changed(description, path, new)))
            said = settled(folder, tmp_path, photo)
            refused += bool(said)
            assert not said or "config.json" in said, (path, new, said)
    assert refused > 300


def test_every_key_of_an_onnx_files_metadata(run, photo, tmp_path):
    described = {**_described(run), "noise": [0.0] * 9}
    described = json.loads(json.dumps(described))
    file = tmp_path / "a.onnx"
    model = onnx.load_model_from_string(tiny_onnx(run))
    refused = 0
    for path in keys(described):
        for new in WRONG[::2]:
            model.metadata_props[0].value = json.dumps(changed(described, path, new))
            file.write_bytes(model.SerializeToString())
            refused += bool(settled(file, tmp_path, photo))
    assert refused > 150


@pytest.mark.parametrize(
    ("path", "new", "words"),
    [
        (("preparation", "crop"), -5, "crop: -5: must be between 1 and 16,384"),
        (("preparation", "crop"), 600, "crop: 600: is larger than the images, whose size is 16"),
        (("preparation", "crop"), 5, "takes images of 9 pixels, not of 5"),
        (("preparation", "size"), 2**40, "size: 1099511627776: must be between 1 and 16,384"),
        (("preparation", "size"), 64, "mean_image: is (3, 16, 16) torch.float32, must be (3, 64, 64)"),
        (("preparation", "size"), "x", "size: x: must be a whole number"),
        (("preparation", "scale"), "x", "scale: x: must be a number or a list"),
        (("preparation", "scale"), [1, 2], "scale: [1, 2]: must be 3 values"),
        (("preparation", "scale"), float("nan"), "preprocessing: scale: None: must be a number"),
        (("preparation", "scale"), float("inf"), "preprocessing: scale: None: must be a number"),
        (("preparation", "resize"), "x", "resize: x: unknown"),
        (("classes",), ["a", 2], "classes[1]: 2: must be a text"),
        (("classes",), ["a", "a"], "classes: one comes twice"),
        (("classes",), ["a", "b", "c"], "classes: 3 names, its last layer has 2"),
        (("words",), ["a"], "words: 1 for 2 classes"),
        (("net", "table"), 7, "net.table: 7: must be a text"),
        (("net", "table"), "input = ", "net.table"),
        (("net", "table"), "x" * (1 << 21), "net.table"),
        (("format_version",), 99, "a run of format 99, newer than this alexnet reads"),
        (("format_version",), "2", "format_version: 2: must be a whole number"),
        (("format_version",), 2.0, "format_version: 2.0: must be a whole number"),
        (("data",), [], "data: []: must be an object"),
        (("errors",), 3, "errors: 3: must be an object"),
        (("errors", "val", "top1_error"), 5, "errors.val.top1_error: 5.0: must be between 0 and 1"),
        (("data", "imported"), {"file": "x"}, "data.imported.format: is missing"),
    ],
)
def test_the_line_names_file_and_key(path, new, words, hub, run, photo, tmp_path):
    shutil.copytree(hub, tmp_path / "hub")
    description = json.loads((hub / "config.json").read_text())
    (tmp_path / "hub/config.json").write_text(json.dumps(changed(description, path, new)))
    said = settled(tmp_path / "hub", tmp_path, photo)
    assert words in said and "config.json" in said
    own = changed({**json.loads(json.dumps(_described(run))), "noise": [0.0] * 9}, path, new)
    (tmp_path / "a.onnx").write_bytes(tiny_onnx(run, own))
    said = settled(tmp_path / "a.onnx", tmp_path, photo)
    assert words in said or "its graph sees 9 pixels" in said, said


HUGE = [
    TINY.replace("filters = 2", "filters = 1000000").replace("size = 3", "size = 3\npadding = 16000"),
    TINY.replace('units = "classes"', 'units = 1000000\n[layers.fc3]\nkind = "fully_connected"\nunits = "classes"'),
    TINY.replace('units = "classes"', 'units = 1000000\n[layers.fc3]\nkind = "fully_connected"\nunits = 1000000\n'
                 '[layers.fc4]\nkind = "fully_connected"\nunits = "classes"'),
    TINY.replace("[3, 9, 9]", "[3, 16384, 16384]").replace("filters = 2", "filters = 1048576"),
]  # fmt: skip


@pytest.mark.parametrize("table", HUGE)
def test_a_table_of_huge_layers_takes_no_memory(table, hub, run, photo, tmp_path):
    """Nothing is allocated before the weights in the file are found to be of its shapes."""
    shutil.copytree(hub, tmp_path / "hub")
    description = changed(json.loads((hub / "config.json").read_text()), ("net", "table"), table)
    (tmp_path / "hub/config.json").write_text(json.dumps(description))
    own = changed({**_described(run), "noise": [0.0] * 9}, ("net", "table"), table)
    (tmp_path / "a.onnx").write_bytes(tiny_onnx(run, own))
    before = torch.empty
    for source in (tmp_path / "hub", tmp_path / "a.onnx"):
        assert settled(source, tmp_path, photo)
    assert torch.empty is before


def test_small_weights_with_enormous_maps_are_refused(hub, photo, tmp_path):
    """A thousand filters of one pixel: 12 kB of weights, and 100 GB of maps at each photo."""
    table = TINY.replace("filters = 2\nsize = 3\nstride = 2", "filters = 4096\nsize = 1\npadding = 4000")
    table = table.replace(
        "[layers.fc2]", '[layers.pool]\nkind = "max_pool"\nsize = 8009\nstride = 8009\n\n[layers.fc2]'
    )
    shutil.copytree(hub, tmp_path / "hub")
    description = changed(json.loads((hub / "config.json").read_text()), ("net", "table"), table)
    (tmp_path / "hub/config.json").write_text(json.dumps(description))
    shapes = {"conv1.weight": (4096, 3, 1, 1), "conv1.bias": (4096,), "fc2.weight": (2, 4096), "fc2.bias": (2,)}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "hub/model.safetensors")
    assert "bytes of outputs an image" in settled(tmp_path / "hub", tmp_path, photo)


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("mean_image", torch.zeros(3, 4, 4)),
        ("mean_image", torch.zeros(0)),
        ("mean_image", torch.zeros(3, 16, 16, dtype=torch.float64)),
        ("mean_image", torch.full((3, 16, 16), float("nan"))),
        ("mean_image", None),
        ("noise", torch.zeros(2, 3)),
        ("noise", torch.full((3, 3), float("inf"))),
        ("noise", None),
    ],
)
def test_tensors_of_the_preparation(name, new, hub, photo, tmp_path):
    shutil.copytree(hub, tmp_path / "hub")
    tensors = {**load_file(hub / "preparation.safetensors"), name: new}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None},
              tmp_path / "hub/preparation.safetensors")  # fmt: skip
    assert name in settled(tmp_path / "hub", tmp_path, photo)


@pytest.mark.parametrize("noise", [[0.0] * 8, [0.0] * 10, [[0.0] * 3] * 3, ["x"] * 9, [1e400] * 9, 3, None])
def test_the_noise_in_an_onnx_file(noise, run, photo, tmp_path):
    (tmp_path / "a.onnx").write_bytes(tiny_onnx(run, {**_described(run), "noise": noise}))
    said = settled(tmp_path / "a.onnx", tmp_path, photo)
    assert "noise" in said or "is no JSON" in said


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "null", "{", '"x"', "1" * 5000, '{"format_version": 99}'])
def test_metadata_that_are_no_description(text, run, hub, photo, tmp_path):
    (tmp_path / "a.onnx").write_bytes(tiny_onnx(run, text))
    assert "a.onnx: metadata 'alexnet'" in settled(tmp_path / "a.onnx", tmp_path, photo)
    shutil.copytree(hub, tmp_path / "hub")
    (tmp_path / "hub/config.json").write_text(text)
    assert "config.json" in settled(tmp_path / "hub", tmp_path, photo)


def test_a_graph_that_sees_another_side_than_its_metadata_say(run, photo, tmp_path):
    (tmp_path / "a.onnx").write_bytes(tiny_onnx(run, size=10))
    assert "but its graph sees 10 pixels" in settled(tmp_path / "a.onnx", tmp_path, photo)


@pytest.mark.parametrize("member", ["config.json", "model.safetensors", "preparation.safetensors"])
def test_members_that_are_pointers_of_lfs(member, hub, photo, tmp_path):
    shutil.copytree(hub, tmp_path / "hub")
    (tmp_path / "hub" / member).write_text(LFS)
    said = settled(tmp_path / "hub", tmp_path, photo)
    assert f"{member}: is a pointer of Git LFS" in said and "git lfs pull" in said


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"


def test_the_same_of_a_run(hub, photo, tmp_path, alexnet):
    import_weights(hub, tmp_path / "run")
    for member in ("run.json", "preparation.safetensors"):
        whole = (tmp_path / "run" / member).read_bytes()
        (tmp_path / "run" / member).write_text(LFS)
        status, _, err = alexnet("predict", tmp_path / "run", photo)
        assert status == 1 and f"{member}: is a pointer of Git LFS" in err and err.count("\n") == 1
        (tmp_path / "run" / member).write_bytes(whole)
    assert alexnet("predict", tmp_path / "run", photo)[0] == 0


def test_options_that_a_folder_answers_itself(hub, tmp_path):
    (tmp_path / "classes.txt").write_text("a\nb\n")
    for options in ({"net": "paper"}, {"classes": tmp_path / "classes.txt"}, {"colors": "bgr"}):
        with pytest.raises(UsageError, match="a folder says itself"):
            import_weights(hub, tmp_path / "run", **options)


def test_where_its_data_were_is_nobodys_business(hub, photo, tmp_path):
    shutil.copytree(hub, tmp_path / "hub")
    description = changed(json.loads((hub / "config.json").read_text()), ("data", "path"), "/etc")
    (tmp_path / "hub/config.json").write_text(json.dumps(description))
    import_weights(tmp_path / "hub", tmp_path / "run")
    assert load(tmp_path / "run").data["path"] is None
