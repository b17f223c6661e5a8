"""A run on disk: each of its files held against its form, changed ones seen, read whole while it is trained."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from alexnet import AlexNetError, Recipe, UsageError, cli, load, train
from alexnet.runs import checkpoint as checkpoints
from alexnet.runs.run import is_run, note_errors
from alexnet.runs.verify import verify
from tests.conftest import killed_at

STRANGE = [None, True, -1, 2**40, 1.5, "x", [], {}, [1, 2], [[1]], {"x": {}}, "\udce9"]

DESCRIBING = ["run.json", "recipe.json", "metrics.jsonl", "checkpoint.json", "preparation.safetensors"]
CONTENTS = ["[]", "{}", "3", "", "{", '{"format_version": 1}', "\0" * 50, "[" * 10**5, "NaN"]
JUNK = [b"\n", b"\0" * 300, b"\0\0\n", b"{\n", b"[]\n", b'{"step": "x"}\n', b"\xff\xfe\n", b'{"step": 3']


@pytest.fixture(scope="module")
def trained(dataset, net_file, tmp_path_factory) -> Path:
    """A run of two epochs."""
    place = tmp_path_factory.mktemp("trained") / "run"
    train(dataset, place, Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2), show=False)
    return place


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def last(run: Path) -> Path:
    place = checkpoints.find_checkpoint(run)
    assert place
    return place


def rewrite(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def keys(content: dict, at=()):
    for key, value in content.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from keys(value, (*at, key))


def commands(run: Path, dataset, *, status=(0, 1, 2)) -> None:
    """Every command that reads a run; each may only refuse in a line."""
    for name, *more in (["info"], ["verify"], ["predict", run / "curve.png"], ["evaluate", dataset.path]):
        assert cli.main([name, str(run), *map(str, more)]) in status, name


def refusal(run: Path) -> str | None:
    """What opening a run says, or None."""
    try:
        load(run)
    except (AlexNetError, UsageError) as error:
        return str(error)
    return None


def test_each_key_of_run_json_removed_or_of_another_type(dataset, trained, copy, capsys):
    """What no reader can mean is one line that names the file; a key that may be missing may be."""
    whole = json.loads((trained / "run.json").read_text())
    refused = 0
    for at in keys(whole):
        if at[0] == "seal":
            continue
        for value in [*STRANGE, "removed"]:
            content = json.loads(json.dumps(whole))
            part = content
            for key in at[:-1]:
                part = part[key]
            if value == "removed":
                del part[at[-1]]
            else:
                part[at[-1]] = value
            (copy / "run.json").write_text(json.dumps(content))
            said = refusal(copy)
            refused += said is not None
            assert said is None or str(copy) in said, (at, value, said)
    assert refused > 10 * 12
    capsys.readouterr()
    (copy / "run.json").write_text(json.dumps({**whole, "classes": 3}))
    commands(copy, dataset, status=(1, 2))
    assert capsys.readouterr().err.count("run.json: classes: 3: must be a list") >= 4


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["run.json", "recipe.json"])
def test_any_content_of_a_runs_json_is_refused_in_a_line(alexnet, dataset, net_file, copy, name, content):
    (copy / name).write_text(content)
    arguments = (
        ["info", copy] if name == "run.json" else ["train", dataset.path, copy, "--net", net_file, "--crop-size", 48]
    )
    status, _, err = alexnet(*arguments)
    assert status in (1, 2) and err.count("\n") == 1 and name in err


@pytest.mark.parametrize("name", DESCRIBING)
def test_verify_sees_any_change(alexnet, copy, name):
    assert alexnet("verify", copy)[0] == 0
    path = last(copy) / name if name == "checkpoint.json" else copy / name
    if name == "run.json":
        rewrite(path, lambda content: content["classes"].reverse())
    elif name == "recipe.json":
        rewrite(path, lambda content: content.update(rate=0.5))
    elif name == "checkpoint.json":
        rewrite(path, lambda content: content["state"].update(best=0.0))
    else:
        path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1)[:-1] + b" ")
    status, _, err = alexnet("verify", copy)
    assert status == 1 and name in err and err.count("\n") == 1


def test_errors_that_are_noted_keep_the_seal(copy):
    told = json.loads((copy / "run.json").read_text())["errors"]["val"]
    note_errors(copy, "test", told)
    assert {problem for _, problem in verify(copy)} == {None} and set(load(copy).errors) == {"val", "test"}


@pytest.mark.parametrize("key", ["validation", "best", "recent", "told_of_stall", "fp16_scale", "threads", "journal"])
@pytest.mark.parametrize("value", ["x", {}, -1, "removed"])
def test_a_training_state_of_another_form_is_named(dataset, trained, net_file, tmp_path, key, value):
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2)
    with killed_at(5):
        train(dataset, tmp_path / "run", recipe, show=False)

    def change(content):
        if value == "removed":
            del content["state"][key]
        else:
            content["state"][key] = value

    rewrite(last(tmp_path / "run") / "checkpoint.json", change)
    if (key, value) in (("journal", "removed"), ("fp16_scale", -1)):
        train(dataset, tmp_path / "run", recipe, show=False)
        return
    with pytest.raises(AlexNetError, match=rf"checkpoint\.json: state\.{key}"):
        train(dataset, tmp_path / "run", recipe, show=False)


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "beyond all sizes"])
def test_a_journal_that_cannot_be_read_is_not_taken_for_an_empty_one(dataset, net_file, tmp_path, monkeypatch, kind):
    """It is said, by whoever reads it, and nothing is written over it."""
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2)
    with killed_at(5):
        train(dataset, tmp_path / "run", recipe, show=False)
    journal = tmp_path / "run" / "metrics.jsonl"
    content = journal.read_bytes()
    if kind == "beyond all sizes":
        monkeypatch.setattr("alexnet.runs.journal.MOST_BYTES", len(content) - 1)
    else:
        journal.rename(tmp_path / "kept.jsonl")
        os.mkdir(journal) if kind == "a folder" else os.mkfifo(journal)
    with pytest.raises((AlexNetError, OSError), match=r"metrics\.jsonl"):
        train(dataset, tmp_path / "run", recipe, show=False)
    assert cli.main(["info", str(tmp_path / "run")]) == 1
    if kind == "beyond all sizes":
        assert journal.read_bytes() == content


@pytest.mark.parametrize("junk", JUNK)
def test_a_damaged_journal_stops_nothing(dataset, net_file, tmp_path, capsys, junk):
    """What can be read is kept, the training goes on as if nothing had been, and what was left out is said."""
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2)
    train(dataset, tmp_path / "whole", recipe, show=False)
    with killed_at(5):
        train(dataset, tmp_path / "run", recipe, show=False)
    journal = tmp_path / "run" / "metrics.jsonl"
    journal.write_bytes(junk + journal.read_bytes() if junk.endswith(b"\n") else journal.read_bytes() + junk)
    assert cli.main(["show", str(tmp_path / "run"), "--output", str(tmp_path / "pictures")]) == 0
    capsys.readouterr()
    train(dataset, tmp_path / "run", recipe)
    assert ("1 unreadable lines were left out" in capsys.readouterr().err) == junk.endswith(b"\n")
    assert journal.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_two_trainings_in_one_folder(dataset, net_file, tmp_path, capsys):
    """The second is told who is there; the first ends as if alone."""
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2)
    train(dataset, tmp_path / "alone", recipe, show=False)
    said = []

    def second(images, rows):
        if not said:
            with pytest.raises(AlexNetError, match="is writing there") as refused:
                train(dataset, tmp_path / "run", recipe, show=False)
            said.append(str(refused.value))
        return images

    train(dataset, tmp_path / "run", recipe, transform=second, show=False)
    assert len(said) == 1
    for name in ("metrics.jsonl", f"checkpoints/{last(tmp_path / 'alone').name}/weights.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert {problem for _, problem in verify(tmp_path / "run")} == {None}
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_is_read_whole_while_it_is_trained(dataset, net_file, tmp_path, monkeypatch):
    """A reader that finds a checkpoint which is replaced before it is opened reads the next one."""
    monkeypatch.setattr("alexnet.training.saving.Writer.due", lambda writer: writer.wait() is None)
    recipe = Recipe(net=net_file, crop_size=48, batch_size=4, epochs=8)
    ended, steps, problems = threading.Event(), set(), []

    def read():
        while not ended.is_set():
            try:
                if is_run(tmp_path / "run") and (tmp_path / "run" / "checkpoints").exists():
                    steps.add(load(tmp_path / "run").step)
            except AlexNetError as error:
                if "yet; train it on" not in str(error) or steps:
                    problems.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        train(dataset, tmp_path / "run", recipe, show=False)
    finally:
        ended.set()
        reader.join()
    assert not problems and len(steps) >= 3


@pytest.mark.parametrize("change", ["vanishes", "is damaged"])
def test_a_checkpoint_that_vanishes_is_looked_for_again(copy, monkeypatch, change):
    """By hand: the first look's checkpoint is replaced by a later one before it is read."""
    first, real, calls = last(copy), checkpoints.check_hashes, 0

    def check(place, names=None):
        nonlocal calls
        calls += 1
        if calls == 1 and change == "vanishes":
            shutil.copytree(first, first.with_name("last-00000099"))
            shutil.rmtree(first)
        elif calls == 1:
            (first / "weights.safetensors").write_bytes(b"x")
        return real(place, names)

    monkeypatch.setattr(checkpoints, "check_hashes", check)
    if change == "vanishes":
        assert load(copy).step == int(first.name.split("-")[1]) and calls == 2
    else:
        with pytest.raises(AlexNetError, match="damaged"):
            load(copy)
        assert calls == 1


@pytest.mark.parametrize("side", [16, 40, 600])
def test_a_crop_that_the_net_cannot_take_is_refused_when_a_run_is_opened(copy, side):
    """Its parts are each right, and do not go together."""
    rewrite(copy / "run.json", lambda content: content["preparation"].update(crop=side))
    with pytest.raises(AlexNetError, match="crop" if side > 64 else "do not go together"):
        load(copy)


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 63, 63), (1, 64, 64), (3, 64), (3, 64, 65)])
def test_a_mean_of_another_size_is_refused(copy, shape):
    from safetensors.torch import save_file

    from alexnet.files import sha256

    tensors = {"mean_image": torch.zeros(shape), "noise": torch.zeros(3, 3)}
    save_file(tensors, copy / "preparation.safetensors")
    digest = sha256(copy / "preparation.safetensors")
    rewrite(copy / "run.json", lambda content: content.update(preparation_sha256=digest))
    with pytest.raises(AlexNetError, match="mean_image"):
        load(copy)


def test_a_run_without_its_recipe_says_so(alexnet, dataset, net_file, copy):
    (copy / "recipe.json").unlink()
    status, _, err = alexnet("train", dataset.path, copy, "--net", net_file, "--crop-size", 48)
    assert status == 2 and "recipe.json is missing" in err


@pytest.fixture(scope="module")
def kept(dataset, net_file, tmp_path_factory) -> Path:
    """A run that keeps the checkpoints of steps 1, 2, 4, 8 for good, and has its last one at step 9."""
    place = tmp_path_factory.mktemp("kept") / "run"
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=3)
    train(dataset, place, recipe, show=False, keep="log")
    return place


@pytest.mark.parametrize("checkpoint", [4, "4", "step-4", "step-00000004", " STEP-4 "])
def test_a_checkpoint_is_chosen_by_its_step(kept, checkpoint):
    written = load_file(kept / "checkpoints" / "step-00000004" / "weights.safetensors")
    run = load(kept, checkpoint)
    assert run.step == 4
    assert all(torch.equal(written[name], tensor) for name, tensor in run.net.state().items())


def test_a_checkpoint_is_chosen_by_its_folders_name(kept):
    assert load(kept, "last-00000009").step == load(kept, 9).step == load(kept).step == 9
    best = next((kept / "checkpoints").glob("best-*"))
    assert load(kept, best.name).step == load(kept, "best").step == int(best.name[5:])


def test_every_command_that_reads_a_run_takes_a_step(alexnet, kept, pictures, dataset, tmp_path):
    picture = next(pictures.rglob("*.jpg"))
    for name, *more in (["predict", picture], ["evaluate", dataset.path], ["show", picture, "--output", tmp_path]):
        outputs = [
            alexnet(name, kept, *more, "--checkpoint", checkpoint, "--json")[:2] for checkpoint in ("4", "step-4")
        ]
        assert outputs[0] == outputs[1] and outputs[0][0] == 0, name
    assert alexnet("export", kept, tmp_path / "hub", "--checkpoint", 4)[0] == 0
    written = load_file(kept / "checkpoints" / "step-00000004" / "weights.safetensors")
    assert all(
        torch.equal(written[name], tensor) for name, tensor in load_file(tmp_path / "hub" / "model.safetensors").items()
    )


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("3", "has no checkpoint of step 3; it has those of step 1, 2, 4, "),
        ("best-4", "has no checkpoint of step 4 called best"),
        ("bset", "unknown; perhaps you meant best; give last, best, or a step"),
        ("all", "(all: alexnet evaluate takes it)"),
        ("-1", "unknown"),
        ("1.5", "unknown"),
        ("step-", "unknown"),
        ("²", "unknown"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_said(alexnet, kept, checkpoint, said):
    status, _, err = alexnet("predict", kept, kept / "curve.png", f"--checkpoint={checkpoint}")
    assert (status, err.count("\n")) == (2, 1) and said in err


def test_many_steps_are_abbreviated():
    assert checkpoints.steps_text(range(1, 2001)) == "1, 2, 3, 4, ..., 1,997, 1,998, 1,999, 2,000"
