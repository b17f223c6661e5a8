"""Nets for other programs: their answers are ours, what comes back is the same to the last bit, the card is read."""

import copy
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from alexnet import Net, Recipe, UsageError, load, predict, train
from alexnet.interchange.exporting import export
from alexnet.interchange.importing import import_weights
from alexnet.interchange.onnx_writer import write_onnx
from alexnet.nets.inference import for_inference
from alexnet.nets.table_file import tables
from alexnet.runs.run import load_preprocessing
from tests.nets.test_nets import relative
from tests.test_hostile_descriptions import tiny_run
from tests.weights_files import torchvisions_layers


def in_onnx_runtime(content: bytes | str, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images})[0])


@pytest.fixture(scope="module")
def trained(dataset, net_file, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "colours"
    train(dataset, run, Recipe(net=net_file, batch_size=8, epochs=6), show=False)
    return run


def biased(net: Net) -> Net:
    for key, value in net.state().items():
        if not key.endswith("weight"):
            value.data.uniform_(0.1, 0.5)
    return net.eval()


@pytest.mark.parametrize("name", tables())
def test_every_net_gives_its_scores_in_onnx_runtime(name):
    net = Net(name, 10, init="he")
    biased(net)
    side = net.table.input[1]
    content = write_onnx(net, side, {"classes": "[]"})
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    kinds = {node.op_type for node in onnx.load_model_from_string(content).graph.node}
    norms = [layer for layer in net.table.layers.values() if layer.kind == "response_norm"]
    assert ("LRN" in kinds) == bool(norms)  # the native operator, not what torch's exporter makes of it
    for count in (1, 3):
        images = np.random.default_rng(count).normal(0, 40, (count, 3, side, side)).astype(np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(images)).numpy()
        assert relative(in_onnx_runtime(content, images), expected) < 1e-4, count


@pytest.mark.parametrize(
    "change",
    [
        'layers.conv1.activation = "tanh"',
        'layers.conv2.activation = "gelu"',
        'layers.conv2.activation = "sigmoid"',
        'layers.conv2.activation = "abs_tanh"',
        'layers.norm1.kind = "batch_norm"',
        'layers.pool1 = { kind = "average_pool", size = 3, stride = 2 }',
        'layers.fc6.dropout = 0.3\nlayers.fc6.dropout_of = "inputs"',
    ],
)
def test_variants_too(change, tmp_path):
    (tmp_path / "own.toml").write_text(f'base = "paper"\n{change}\n')
    net = Net(str(tmp_path / "own.toml"), 5, init="he")
    biased(net)
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(images)).numpy()
    assert relative(in_onnx_runtime(write_onnx(net, 224, {}), images), expected) < 1e-4


def test_uint8_images_in_probabilities_out(trained, dataset, tmp_path, alexnet):
    status, out, err = alexnet("export", trained, tmp_path / "net.onnx")
    assert status == 0, err
    assert f"on 60 images ({dataset.path})" in out
    shown = np.stack([dataset.image(row) for row in range(7)])
    found = in_onnx_runtime(str(tmp_path / "net.onnx"), shown)
    run = load(trained)
    assert found.shape == (7, 3) and np.allclose(found.sum(1), 1, atol=1e-6)
    from PIL import Image

    for row, picture in enumerate(shown):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
        (said,) = predict(run, [tmp_path / f"{row}.png"], precision="float32")
        own = dict(said.top)
        assert np.allclose(found[row], [own[word] for word in run.words], atol=1e-5)
    model = onnx.load(str(tmp_path / "net.onnx"))
    told = {each.key: each.value for each in model.metadata_props}
    assert json.loads(told["classes"]) == ["blue", "green", "red"] and "64x64 RGB" in told["images"]


def test_prepared_images_in_scores_out(trained, dataset, tmp_path, alexnet):
    status, out, err = alexnet("export", trained, tmp_path / "net.onnx", "--without-preprocessing", "--json")
    assert status == 0 and json.loads(out)["largest_difference"] < 1e-4, err
    run = load(trained)
    seen = run.preprocessing.apply(
        torch.from_numpy(dataset.image(0))[None, 8:56, 8:56].permute(0, 3, 1, 2), torch.float32
    )
    with torch.no_grad():
        expected = run.net(seen).numpy()
    assert relative(in_onnx_runtime(str(tmp_path / "net.onnx"), seen.contiguous().numpy()), expected) < 1e-5


def test_int8_is_a_third_and_gives_the_answers_of_our_int8():
    net = Net("one-gpu", 4, init="he")
    narrow = for_inference(net.eval(), torch.float32, int8=True)
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 224, 224)).astype(np.float32)
    small, large = write_onnx(narrow, 224, {}), write_onnx(net, 224, {})
    assert len(small) < len(large) / 3
    with torch.no_grad():
        expected = narrow(torch.from_numpy(images)).numpy()
    found = in_onnx_runtime(small, images)
    assert relative(found, expected) < 1e-5 < relative(found, in_onnx_runtime(large, images))


def test_another_answer_is_not_written(trained, tmp_path, alexnet, monkeypatch):
    monkeypatch.setattr("alexnet.interchange.exporting.onnx_writer.write_onnx", wrong(write_onnx))
    status, _, err = alexnet("export", trained, tmp_path / "net.onnx")
    assert status == 1 and "nothing was written" in err and not list(tmp_path.iterdir())


def wrong(write):
    """An exporter that forgets that dropout halves the outputs at test."""

    def written(net, *arguments):
        other = copy.deepcopy(net)
        for dropout in other.dropouts.values():
            dropout.inverted = True
        return write(other, *arguments)

    return written


def same(one: Path, two: Path) -> None:
    a, b = load(one), load(two)
    assert a.classes == b.classes and a.words == b.words and a.net.table.layers == b.net.table.layers
    for name, tensor in a.net.state().items():
        assert torch.equal(tensor, b.net.state()[name]), name
    p, q = load_preprocessing(one), load_preprocessing(two)
    assert torch.equal(p.mean_image, q.mean_image) and torch.equal(p.noise, q.noise)
    assert (p.size, p.crop, p.scale, p.resize, p.resized) == (q.size, q.crop, q.scale, q.resize, q.resized)


def test_round_trips_are_exact(trained, tmp_path, alexnet):
    assert alexnet("export", trained, tmp_path / "hub")[0] == 0
    assert alexnet("import", tmp_path / "hub", tmp_path / "from-hub")[0] == 0
    same(trained, tmp_path / "from-hub")
    assert load(trained).errors == load(tmp_path / "from-hub").errors
    assert alexnet("export", tmp_path / "from-hub", tmp_path / "again")[0] == 0
    for name in ("model.safetensors", "preparation.safetensors"):
        assert (tmp_path / "hub" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert alexnet("export", trained, tmp_path / "net.onnx")[0] == 0
    assert alexnet("import", tmp_path / "net.onnx", tmp_path / "from-onnx")[0] == 0
    same(trained, tmp_path / "from-onnx")


def test_an_onnx_file_without_its_preparation_is_not_guessed_at(trained, tmp_path, alexnet):
    assert alexnet("export", trained, tmp_path / "net.onnx", "--without-preprocessing")[0] == 0
    status, _, err = alexnet("import", tmp_path / "net.onnx", tmp_path / "run")
    assert status == 2 and "the mean image is not in it" in err and not (tmp_path / "run").exists()


def test_torchvisions_state_dict(tmp_path, alexnet):
    torch.manual_seed(3)
    net = torchvisions_layers()
    torch.save(net.state_dict(), tmp_path / "theirs.pth")
    import_weights(tmp_path / "theirs.pth", tmp_path / "run")
    for file in ("ours.pth", "ours.safetensors"):
        status, out, err = alexnet("export", tmp_path / "run", tmp_path / file)
        assert status == 0 and "its images: float32 (N, 3, 224, 224)" in out, err
        path = tmp_path / file
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        assert set(found) == set(net.state_dict())
        assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
        torchvisions_layers().load_state_dict(found, strict=True)


def test_the_card_is_read_by_the_hubs_library(trained, dataset, tmp_path, alexnet):
    assert alexnet("export", trained, tmp_path / "hub", "--license", "mit")[0] == 0
    card = ModelCard.load(tmp_path / "hub" / "README.md", ignore_metadata_errors=False)
    told = card.data.to_dict()
    assert told["license"] == "mit" and told["pipeline_tag"] == "image-classification"
    error = load(trained).errors["val"]["top1_error"]
    (result,) = card.data.eval_results
    assert result.metric_type == "accuracy" and result.metric_value == pytest.approx(1 - error)
    assert result.dataset_name == Path(dataset.path).name and result.task_type == "image-classification"
    for part in (
        "## Use",
        "## Data",
        "## Recipe",
        "## Evaluation",
        "## License",
        "## Limits",
        f"{error:.2%}",
        "blue; green",
    ):
        assert part in card.text, part
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    for file in ("README.md", "config.json"):
        assert str(Path(dataset.path).parent) not in (tmp_path / "hub" / file).read_text()  # no path of this disk
    assert config["id2label"] == {"0": "blue", "1": "green", "2": "red"} and config["num_labels"] == 3
    assert set(load_file(tmp_path / "hub" / "model.safetensors")) == set(load(trained).net.state())
    assert "top-5" not in card.text  # of three classes


def test_the_card_shows_what_was_evaluated_of_these_weights(trained, dataset, tmp_path, alexnet):
    shutil.copytree(trained, tmp_path / "run")
    assert alexnet("evaluate", tmp_path / "run", dataset.path, "--views", 10)[0] == 0
    told = json.loads(alexnet("evaluate", tmp_path / "run", dataset.path, "--views", 10, "--json")[1])
    assert alexnet("export", tmp_path / "run", tmp_path / "hub")[0] == 0
    assert f"| val | 12 | 10 | {told['top1_error']:.2%} (" in (tmp_path / "hub" / "README.md").read_text()
    best = load(tmp_path / "run", "best")
    assert best.step == load(tmp_path / "run").step or not best.errors  # errors are those of the last weights


@pytest.mark.parametrize(
    ("file", "options", "said"),
    [
        ("net.pth", [], "a state dict is for net torchvision"),
        ("net.tflite", [], "give a file ending in .onnx"),
        ("hub", ["--precision", "int8"], "are for .onnx files"),
        ("net.onnx", ["--images", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_meant(trained, tmp_path, alexnet, file, options, said):
    status, _, err = alexnet("export", trained, tmp_path / file, *options)
    assert status == 2 and said in err and not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    status, _, err = alexnet("export", trained, tmp_path / "there")
    assert status == 2 and "is there already" in err


def test_a_package_that_is_missing_is_named(trained, tmp_path, alexnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, _, err = alexnet("export", trained, tmp_path / "net.onnx")
    assert status == 2 and "pip install 'alexnet[onnx]'" in err and not list(tmp_path.iterdir())


def test_without_a_store_it_is_checked_on_drawn_images(trained, tmp_path):
    assert export(trained, tmp_path / "hub").format == "hub"
    import_weights(tmp_path / "hub", tmp_path / "run")
    description = json.loads((tmp_path / "run/run.json").read_text())
    description["data"]["path"] = str(tmp_path / "gone")
    (tmp_path / "run/run.json").write_text(json.dumps(description))
    made = export(tmp_path / "run", tmp_path / "net.onnx")
    assert made.checked_on == "synthetic images" and made.images == 100 and made.largest_difference is not None


@pytest.fixture
def few(monkeypatch) -> None:
    """An ONNX file is checked on three images: drawing a hundred takes seconds."""
    monkeypatch.setattr("alexnet.interchange.exporting.CHECKED", 3)


def test_the_opened_run_stays_as_it_was(few, tmp_path):
    run = tiny_run(tmp_path)
    run.net.double().train()
    before = {name: tensor.clone() for name, tensor in run.net.state().items()}
    for file in ("net.onnx", "hub"):
        export(run, tmp_path / file)
    assert run.net.training and all(torch.equal(run.net.state()[name], value) for name, value in before.items())
    assert {value.dtype for value in run.net.state().values()} == {torch.float64}


@pytest.mark.parametrize("name", ["alexnet-v1.0", "a.b", "net.2012.paper", ".hidden"])
def test_a_name_with_dots_is_a_folders(name, tmp_path):
    assert export(tiny_run(tmp_path), tmp_path / name).format == "hub"
    assert (tmp_path / name / "config.json").exists()


@pytest.mark.parametrize("ending", [".h5", ".pb", ".caffemodel", ".npz", ".bin", ".ckpt", ".pkl", ".PT2", ".keras"])
def test_other_programs_endings_are_no_folders(ending, tmp_path):
    with pytest.raises(UsageError, match=r"give a file ending in \.onnx, \.pth or \.safetensors, or a folder"):
        export(tiny_run(tmp_path), tmp_path / f"net{ending}")
    assert not (tmp_path / f"net{ending}").exists()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("missing/net.onnx", "missing/net.onnx: folder .*missing does not exist"),
        ("file/net.pth", "file/net.pth: .*file is a file"),
        ("folder.onnx", "folder.onnx: is a folder"),
        ("file/hub", "file is a file"),
        ("folder.onnx/", "is there already"),
        ("n" * 300, "too long"),
    ],
)
def test_the_place_is_looked_at_before_the_work(file, words, tmp_path, monkeypatch):
    run = tiny_run(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr("alexnet.interchange.exporting.onnx_writer.write_onnx", None)  # not come to
    with pytest.raises(UsageError, match=words):
        export(run, f"{tmp_path}/{file}")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_hub_folder_below_folders_that_are_not_there(tmp_path):
    export(tiny_run(tmp_path), tmp_path / "a" / "b" / "hub")
    assert (tmp_path / "a/b/hub/model.safetensors").exists()


def test_a_store_of_other_images(few, dataset, tmp_path):
    with pytest.raises(UsageError, match=r"of 64 pixels; the run's have 16"):
        export(tiny_run(tmp_path), tmp_path / "net.onnx", images=dataset.path)
    run = tiny_run(tmp_path)
    run.data["path"] = dataset.path  # its own, of other images: drawn ones are taken
    assert export(run, tmp_path / "net.onnx").checked_on == "synthetic images"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset.json").write_text("{")
    run.data["path"] = str(tmp_path / "broken")
    assert export(run, tmp_path / "again.onnx").checked_on == "synthetic images"


def test_names_that_are_no_utf8_and_numbers_that_are_none(few, tmp_path):
    """What is written is JSON that strict readers take, in UTF-8."""
    run = tiny_run(tmp_path)
    run.classes[:] = run.words[:] = ["caf\udce9", "<b>|`"]
    run.errors["val"]["loss"] = float("nan")

    def strict(text: str) -> dict:
        return json.loads(text, parse_constant=lambda constant: pytest.fail(constant))

    export(run, tmp_path / "net.onnx")
    metadata = {each.key: each.value for each in onnx.load(str(tmp_path / "net.onnx")).metadata_props}
    assert strict(metadata["classes"]) == ["caf\\xe9", "<b>|`"]
    assert strict(metadata["alexnet"])["errors"]["val"]["loss"] is None
    export(run, tmp_path / "hub")
    assert strict((tmp_path / "hub/config.json").read_text("utf-8"))["classes"][0] == "caf\\xe9"
    assert "caf\\xe9" in (tmp_path / "hub/README.md").read_text("utf-8")
    for source in ("hub", "net.onnx"):
        import_weights(tmp_path / source, tmp_path / f"run of {source}")
        assert load(tmp_path / f"run of {source}").classes[0] == "caf\\xe9"
