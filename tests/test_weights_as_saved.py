"""Weights as people save them: under any key, behind any prefix, in any float, with whatever else is in the file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from alexnet import UsageError, load
from alexnet.interchange.importing import Imported, import_weights, read
from tests.hostile_weights import state

State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    (folder / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    return folder


@pytest.fixture(scope="module")
def whole(room) -> State:
    return state(room)  # which writes the net's table, too


def imported(content: Any, room: Path, target: Path, name: str = "a.pth") -> Imported:
    save_file(content, room / name) if name.endswith("safetensors") else torch.save(content, room / name)
    return import_weights(room / name, target, str(room / "small.toml"), preprocessing="caffe",
                          classes=room / "classes.txt")  # fmt: skip


def same(run: Path, expected: State) -> bool:
    tensors = load(run).net.tensors()
    return set(tensors) == set(expected) and all(torch.equal(tensors[name], value) for name, value in expected.items())


def behind(prefix: str, tensors: State) -> State:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def more(tensors: State) -> State:
    return {name: tensor + 1 for name, tensor in tensors.items()}


def optimizer(tensors: State) -> dict:
    """What torch's SGD saves: momenta of the shapes of the weights."""
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in tensors.values()]
    made = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    made.step()
    return made.state_dict()


PARTS = st.sampled_from(
    ["module", "_orig_mod", "model", "net", "alexnet", "state_dict", "a", "encoder_q", "0", "Модель"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prefix=st.lists(PARTS, max_size=6), keys=st.lists(PARTS, max_size=3), zipped=st.booleans())
def test_any_prefix_under_any_key(prefix, keys, zipped, room, whole):
    content: object = behind("".join(f"{part}." for part in prefix), whole)
    for key in reversed(keys):
        content = {key: content, "epoch": 3}
    torch.save(content, room / "prefixed.pth", _use_new_zipfile_serialization=zipped)
    part = read(room / "prefixed.pth")[0]
    assert set(part.tensors) == set(whole) and all(torch.equal(part.tensors[name], whole[name]) for name in whole)


def lightning(tensors: State) -> dict:
    return {
        "epoch": 1, "global_step": 3, "pytorch-lightning_version": "2.4.0", "state_dict": behind("model.", tensors),
        "loops": {"fit_loop": {"state_dict": {}}}, "optimizer_states": [optimizer(tensors)], "lr_schedulers": [],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "best_model_path": "x"}},
        "hyper_parameters": {"lr": 0.1, "milestones": (1, 2)},
    }  # fmt: skip


LAYERS = ("conv1", "fc2", "fc3")
CHECKPOINTS = {
    "PyTorch's tutorial": lambda w: {"epoch": 3, "model_state_dict": w, "optimizer_state_dict": optimizer(w)},
    "Lightning": lightning,
    "Lightning with a criterion": lambda w: {
        "state_dict": {**behind("model.", w), "criterion.weight": torch.ones(5), "acc.total": torch.tensor(1)}
    },
    "an average beside": lambda w: {"model": w, "ema": more(w)},
    "an average beside, before": lambda w: {"ema_state_dict": more(w), "net": w},
    "an average beside, in one dict": lambda w: {**behind("model.", w), **behind("ema.", more(w))},
    "an average below": lambda w: {**w, **behind("ema.module.", more(w)), "ema.decay": torch.tensor(0.9)},
    "an average alone": lambda w: {"n_averaged": torch.tensor(3), **behind("module.", w)},
    "an average's own file": lambda w: {"ema_state_dict": {**w, "num_updates": torch.tensor(7)}, "decay": 0.99},
    "saved twice": lambda w: {"model": w, "state_dict": w},
    "a momentum beside": lambda w: {"weights": w, "momentum": more(w)},
    "layer by layer": lambda w: {
        "params": {layer: {kind: w[f"{layer}.{kind}"] for kind in ("weight", "bias")} for layer in LAYERS}
    },
    "deep in lists": lambda w: {"a": [1, {"b": (w, 2)}]},
    "parameters": lambda w: {name: torch.nn.Parameter(value) for name, value in w.items()},
    "turned in memory": lambda w: {name: v.t().contiguous().t() if v.dim() == 2 else v for name, v in w.items()},
    "one storage": lambda w: one_storage(w),
    "a port's names": lambda w: renamed(w, ["f.0", "f.4", "c.1"]),
    "a Sequential": lambda w: renamed(w, ["0", "3", "10"]),
    "a list": lambda w: list(w.values()),
    "underlines": lambda w: {name.replace(".", "_").replace("conv1", "c_1"): value for name, value in w.items()},
    "biases first": lambda w: {f"{layer}.{kind}": w[f"{layer}.{kind}"] for layer in LAYERS
                               for kind in ("bias", "weight")},
    "biases first, a port's": lambda w: {f"x{i}.{kind[0]}": w[f"{layer}.{kind}"]
                                         for i, layer in enumerate(LAYERS) for kind in ("bias", "weight")},
}  # fmt: skip


def renamed(tensors: State, layers: list[str]) -> State:
    """The same in order, with other names of the layers."""
    return {f"{layers[i // 2]}.{name.split('.')[1]}": value for i, (name, value) in enumerate(tensors.items())}


def one_storage(tensors: State) -> State:
    """All as parts of one vector, as some optimizers flatten them."""
    flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
    parts = flat.split([tensor.numel() for tensor in tensors.values()])
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(tensors.items(), parts)}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_weights_in_a_checkpoint(name, room, whole, tmp_path):
    made = imported(CHECKPOINTS[name](whole), room, tmp_path / "run")
    assert same(tmp_path / "run", whole)
    averages = [note for note in made.notes if "not of" in note or "averages" in note]
    assert bool(averages) == (name.startswith("an average") and name != "an average alone"), made.notes
    assert any("matched by order and shape" in note for note in made.notes) == (
        name in ("a port's names", "a Sequential", "a list", "underlines", "biases first, a port's")
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float(dtype, room, whole, tmp_path):
    imported({name: value.to(dtype) for name, value in whole.items()}, room, tmp_path / "run")
    assert same(tmp_path / "run", {name: value.to(dtype).float() for name, value in whole.items()})


def test_safetensors_whose_names_are_sorted_otherwise(room, whole, tmp_path):
    """Their order is the alphabet's: matched where each layer's shapes are its own."""
    content = renamed(whole, ["net.b", "net.c", "net.a"])
    made = imported(content, room, tmp_path / "run", "a.safetensors")
    assert same(tmp_path / "run", whole) and "fc3.weight is a.weight" in made.notes[0]


def test_what_is_not_certain_is_not_matched(room, whole, tmp_path):
    swapped = {"fc3.weight": whole["conv1.weight"], "fc3.bias": whole["conv1.bias"],
               **renamed({name: value for name, value in whole.items() if "conv" not in name}, ["b", "c"])}  # fmt: skip
    with pytest.raises(UsageError, match=r"lacks conv1\.weight"):
        imported(swapped, room, tmp_path / "run")
    with pytest.raises(UsageError, match="lacks"):
        imported(renamed({**whole, "x.weight": torch.ones(2, 2)}, ["a", "b", "c", "d"]), room, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [640, 896, 1152, 0x4D42, 0x9C78, 0x8B1F])
def test_safetensors_whose_length_looks_like_another_format(length, room, whole, tmp_path):
    """The first two bytes are those of a pickle, a picture, zlib, gzip."""
    save_file(whole, room / "b.safetensors")
    content = (room / "b.safetensors").read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip(b" ")
    assert len(header) <= length
    padded = length.to_bytes(8, "little") + header.ljust(length) + content[8 + int.from_bytes(content[:8], "little") :]
    (room / "b.safetensors").write_bytes(padded)
    (part,) = read(room / "b.safetensors")
    assert set(part.tensors) == set(whole)


FOLDERS = {
    "run.json": "is a run, not a file of weights",
    "dataset.json": "is a dataset, not a file of weights",
    "saved_model.pb": "a SavedModel",
    "data.pkl": "an unpacked torch file",
    "pytorch_model.bin": "give the file of weights in it: pytorch_model.bin",
    "model.safetensors": "give the file of weights in it: model.safetensors",
    "notes.txt": "has no config.json",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_are_something_else(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text("{}")
    with pytest.raises(UsageError, match=FOLDERS[name]):
        import_weights(tmp_path / "folder", tmp_path / "run")


def test_a_cache_of_the_hub(tmp_path):
    for part in ("blobs", "refs", "snapshots/0123abc"):
        (tmp_path / "models--a--b" / part).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"give the folder of a version in it: .*0123abc"):
        import_weights(tmp_path / "models--a--b", tmp_path / "run")


def test_the_target_is_looked_at_before_the_file(room, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    for target, words in (("file", "is there already"), ("full", "is there already"), ("file/run", "is a file"),
                          ("n" * 300, "too long"), ("https://host/run", "not written; give s3")):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            import_weights(tmp_path / "missing.pth", tmp_path / target if ":" not in target else target)
    with pytest.raises(UsageError, match="no such file"):
        import_weights(tmp_path / "missing.pth", tmp_path / "run")


def test_a_target_that_came_meanwhile_is_not_overwritten(room, whole, tmp_path, monkeypatch):
    from alexnet.interchange import importing

    begin = importing.begin

    def slow(folder, described, preprocessing):
        begin(folder, described, preprocessing)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "theirs").write_text("")

    monkeypatch.setattr(importing, "begin", slow)
    with pytest.raises(Exception, match="run: is there already"):
        imported(whole, room, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["theirs"]


def test_a_target_in_folders_that_are_not_there(room, whole, tmp_path):
    (tmp_path / "empty").mkdir()
    for target in ("a/b/run", "empty"):
        imported(whole, room, tmp_path / target)
        assert same(tmp_path / target, whole)
