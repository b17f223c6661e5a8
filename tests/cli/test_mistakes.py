"""What is given in the place of something else: said as what it is, with what to do; for every command and argument."""

import os
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

import alexnet as api
from alexnet import cli
from alexnet.files.kinds import kind_of
from tests.conftest import SMALL_NET, fill, picture

# What stands for each argument on a command's help page, and which of the things below it takes.
TAKES = {
    "SOURCE": {"photos", "photos.tar", "list.csv"},
    "DATASET": {"dataset"},
    "PATH": {"dataset", "run"},
    "RUN": {"run"},
    "IMAGE": {"photos", "photos.tar", "cat.jpg"},
    "NET": {"net.toml", "run"},
    "INDEX": {"similar"},
}
ALSO = {
    ("features", "SOURCE"): {"dataset", "cat.jpg"},
    ("index", "SOURCE"): {"dataset", "cat.jpg"},
    ("info", "PATH"): {"similar"},
    ("verify", "PATH"): {"similar"},
}
MADE = {
    "prepare": "DATASET",
    "train": "RUN",
    "import": "RUN",
    "index": "INDEX",
}  # the argument that these commands write
NO_PATHS = {"download", "reproduce", "demo", "nets", "recipes", "bench", "doctor", "completion"}
THINGS = {  # of a folder: what it is said to be, and a word of what to do, where all but one of these are wrong
    "photos": ("a folder of 12 images", "alexnet prepare photos"),
    "photos.tar": ("an archive", "alexnet prepare photos.tar"),
    "cat.jpg": ("an image", "cat.jpg"),
    "dataset": ("a dataset", "dataset"),
    "run": ("a run", "run"),
    "seeds": ("a folder of 2 runs (seed-0 to seed-1)", "seeds/seed-0"),
    "run/checkpoints/last-00000002": ("a checkpoint of the run run", "give its run, run"),
    "run/checkpoints": ("the folder of the checkpoints of the run run", "give run"),
    "run/run.json": ("a file of the run run", "give run"),
    "dataset/dataset.json": ("a file of the dataset dataset", "give dataset"),
    "net.toml": ("a net's table", "--net"),
    "mine.toml": ("a recipe", "--recipe"),
    "weights.pth": ("a file of weights", "alexnet import weights.pth RUN"),
    "hub": ("an exported run", "alexnet import hub RUN"),
    "similar": ("an index of images", "alexnet search similar IMAGE"),
    "empty": ("empty", ""),
    "nope": ("no such", ""),
}


@pytest.fixture(scope="module")
def things(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    fill(folder / "photos", ("cat", "dog"), count=6)
    with tarfile.open(folder / "photos.tar", "w") as archive:
        archive.add(folder / "photos", "photos")
    picture(0, 0).save(folder / "cat.jpg")
    shutil.copytree(dataset.path, folder / "dataset")
    (folder / "net.toml").write_text(SMALL_NET)
    (folder / "mine.toml").write_text("epochs = 2\n")
    (folder / "note.txt").write_text("hello")
    (folder / "list.csv").write_text("path,label\n")
    torch.save({"conv1.weight": torch.zeros(1)}, folder / "weights.pth")
    (folder / "empty").mkdir()
    (folder / "similar").mkdir()
    (folder / "similar" / "alexnet-index.json").write_text("{}")
    recipe = api.Recipe(net=str(folder / "net.toml"), crop_size=48, batch_size=24, epochs=1)
    api.train(folder / "dataset", folder / "run", recipe, show=False)
    for seed in (0, 1):
        shutil.copytree(folder / "run", folder / "seeds" / f"seed-{seed}")
    (folder / "hub").mkdir()
    for name in ("config.json", "model.safetensors", "preparation.safetensors"):
        (folder / "hub" / name).write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def _there(things, monkeypatch):
    """Every test is where the things are, and leaves them as they were."""
    monkeypatch.chdir(things)
    before = sorted(path for path in things.rglob("*"))
    yield
    assert sorted(path for path in things.rglob("*")) == before


def line(result: tuple[int, str, str]) -> str:
    """The one line of a refusal."""
    status, out, err = result
    assert status == 2 and not out, (status, out, err)
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err and "[Errno" not in err, err
    return err


def arguments(alexnet, command: str) -> list[str]:
    """The arguments on a command's help page that must be given, one or more words each."""
    usage = " ".join(alexnet(command, "--help")[1].partition("\n\n")[0].split())
    return re.sub(r"\[[^]]*\]", "", usage.partition(command)[2]).split()


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_missing_and_superfluous_arguments_are_named(alexnet, command):
    names = arguments(alexnet, command)
    for count in range(len(names)):
        given = ["run", "dataset"][:count]
        said = line(alexnet(command, *given))
        if command == "evaluate":
            assert "one run or more, then the dataset" in said
        else:
            assert f"give {' and '.join(names[count:])} (" in said and shlex.join(given) in said
    usage = alexnet(command, "--help")[1].partition("\n\n")[0]
    if "..." not in usage:
        words = "abcd"[: max(3, len(names) + 1)]
        json = ["--json"] if "--json" in alexnet(command, "--help")[1] else []
        said = line(alexnet(command, *words, *json))
        assert (
            said.startswith(f"error: alexnet {command}: ") and "more than it takes" in said and f"{words[-1]}:" in said
        )


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_an_empty_argument_or_value_is_said(alexnet, command):
    names = arguments(alexnet, command)
    for place, name in enumerate(names):
        words = ["run"] * len(names)
        words[place] = ""
        said = line(alexnet(command, *words))
        assert name.rstrip(".") in said and "is empty" in said
    for option in re.findall(r"^  (--[a-z-]+)(?:, --[a-z-]+)* [A-Z{]", alexnet(command, "--help")[1], re.MULTILINE):
        assert f"{option}: its value is empty" in line(alexnet(command, *["run"] * len(names), option, ""))


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - NO_PATHS))
def test_a_thing_of_another_kind_is_said_to_be_one(alexnet, command, thing):
    """In each place of each command that reads it, the other places being right."""
    usage = [word.strip("[].") for word in " ".join(alexnet(command, "--help")[1].split("\n\n")[0].split()).split()]
    names = [name for name in usage if name in TAKES or name in ("FILE", "A")]
    right = {"SOURCE": "photos", "DATASET": "dataset", "PATH": "run", "RUN": "run", "IMAGE": "photos", "NET": "run"}
    right["INDEX"] = "similar"
    right |= {"FILE": "out.npy"} if command == "features" else {}
    for place, name in enumerate(names):
        if name not in TAKES or MADE.get(command) == name or thing in TAKES[name] | ALSO.get((command, name), set()):
            continue
        if command == "compare" and thing == "seeds":  # what it is for
            continue
        if command == "prepare" and thing == "nope":
            right = {**right, "DATASET": "new"}
        words = [right.get(other, "out.onnx") for other in names]
        words[place] = thing
        if MADE.get(command):
            words[-1] = "made"
        said = line(alexnet(command, *words))
        what, todo = THINGS[thing]
        if "swapped" in said:  # the other one fits here, too
            assert f"alexnet {command} " in said
            continue
        assert said.startswith(f"error: {thing}: ") or "NET" in name, said
        assert what in said or ("NET" in name and thing in said), said
        assert todo in said or name in ("IMAGE", "SOURCE", "NET", "INDEX"), said


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("train run dataset", "train dataset run"),
        ("train new dataset --epochs 3 --from run", "train dataset new --epochs 3 --from run"),
        ("evaluate dataset run --views 10", "evaluate run dataset --views 10"),
        ("evaluate run dataset seeds/seed-0", "evaluate run seeds/seed-0 dataset"),
        ("predict photos run", "predict run photos"),
        ("predict --top 3 cat.jpg run", "predict --top 3 run cat.jpg"),
        ("show photos run", "show run photos"),
        ("import new weights.pth", "import weights.pth new"),
        ("import run hub", "import hub run"),
        ("export out.onnx run", "export run out.onnx"),
        ("prepare dataset photos", "prepare photos dataset"),
        ("prepare new photos --size 64", "prepare photos new --size 64"),
        ("download new imagenette-160", "download imagenette-160 new"),
        ("reproduce new stalling --scale 0.1", "reproduce stalling new --scale 0.1"),
    ],
)
def test_swapped_arguments_are_told_with_the_command(alexnet, given, right):
    said = line(alexnet(*shlex.split(given)))
    assert "swapped: alexnet " in said and said.rstrip("\n").endswith(f": alexnet {right}")


def test_the_command_is_quoted_for_a_shell(alexnet, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(things / "run", "my run")
    shutil.copytree(things / "dataset", "it's")
    said = line(alexnet("evaluate", "it's", "my run"))
    command = said.rpartition("swapped: ")[2]
    assert shlex.split(command) == ["alexnet", "evaluate", "my run", "it's"]
    shutil.copytree(things / "photos", "my photos")
    command = line(alexnet("info", "my photos")).rpartition("first: ")[2]
    assert shlex.split(command)[:3] == ["alexnet", "prepare", "my photos"]
    assert alexnet(*shlex.split(command)[1:], "--size", 32)[0] == 0  # it does what is said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train photos made", "not a dataset; first: alexnet prepare photos "),
        ("predict photos cat.jpg", "alexnet prepare photos photos-dataset; then: alexnet train photos-dataset RUN"),
        ("train dataset made --from dataset", "dataset: is a dataset, not a run"),
        ("train dataset made --from weights.pth", "first: alexnet import weights.pth RUN"),
        ("train dataset made --recipe run", "give its recipe: --recipe run/recipe.json"),
        ("train dataset made --recipe net.toml", "net.toml"),
        ("train dataset made --net photos", "photos: is a folder of 12 images, not a net"),
        ("train dataset photos", "photos: is a folder of 12 images, not a folder for a new run; give another folder"),
        ("train dataset seeds", "seeds: is a folder of 2 runs (seed-0 to seed-1), not a folder for a new run"),
        ("train dataset run --seeds 0..1", "run: is a run, not a folder for new runs"),
        ("prepare photos run", "run: is a run, not a folder for a new dataset"),
        ("predict run dataset", "alexnet evaluate RUN dataset"),
        ("predict run run", "run: is a run, not images"),
        ("show run --dataset photos", "photos: is a folder of 12 images, not a dataset"),
        ("info nope", "neither a dataset nor a run there"),
        ("info runn", "perhaps you meant run;"),
        ("train datset made", "perhaps you meant dataset;"),
        ("train . made", "in it, not a dataset; give one that is in it: dataset"),
        ("predict . cat.jpg", "in it, not a run; give one that is in it: run"),
        ("demo photos", "photos: is a folder of 12 images, not a folder for the demo"),
        ("reproduce stalling photos", "not a folder for a new experiment"),
        ("bench --net run", "run: is a run, not a net; to see its net: alexnet summary run"),
        ("import photos made", "photos: is a folder of 12 images, not a file of weights; first: alexnet prepare"),
        ("evaluate run photos", "not a dataset; first: alexnet prepare photos photos-dataset"),
        ("download imagnette new", "perhaps you meant imagenette;"),
    ],
)  # fmt: skip
def test_what_it_is_and_what_to_do(alexnet, words, said):
    assert said in line(alexnet(*words.split()))


@pytest.mark.parametrize(
    "words", ["train nowhere made", "predict another-run nothere.jpg", "info nope", "compare mine yours"]
)
def test_no_name_is_offered_that_is_only_a_little_like_it(alexnet, things, tmp_path, monkeypatch, words):
    """Other things that lie in the folder."""
    picture(0, 0).save(tmp_path / "sheet.png")
    for name, thing in {"other-dataset": "dataset", "another-run": "run"}.items():
        (tmp_path / name).symlink_to(things / thing, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    said = line(alexnet(*words.split()))
    assert "perhaps" not in said and "no " in said


def test_the_net_of_a_run_is_shown(alexnet):
    status, out, _ = alexnet("summary", "run")
    assert status == 0 and "conv1" in out and "99" in out.split("fc4")[1].split("\n")[0]  # 3 classes of 32 inputs


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: api.Dataset("photos"), "photos: is a folder of 12 images, not a dataset; first: alexnet prepare"),
        (lambda: api.Dataset("run"), "run: is a run, not a dataset"),
        (lambda: api.Dataset(""), "a dataset: the name is empty"),
        (lambda: api.load("dataset"), "dataset: is a dataset, not a run"),
        (lambda: api.load(""), "a run: the name is empty"),
        (lambda: api.load("nope"), "nope: no run there"),
        (lambda: api.train("run", "dataset", show=False), "swapped: alexnet train dataset run"),
        (lambda: api.train("photos", "made", show=False), "photos: is a folder of 12 images, not a dataset"),
        (lambda: api.train(api.Dataset("dataset"), "photos", show=False), "not a folder for a new run"),
        (lambda: api.evaluate("dataset", "run"), "swapped: alexnet evaluate run dataset"),
        (lambda: api.evaluate(["run", "run"], "photos"), "photos: is a folder of 12 images, not a dataset"),
        (lambda: api.predict("photos", "run"), "swapped: alexnet predict run photos"),
        (lambda: api.predict("run", ["dataset"]), "dataset: is a dataset, not images"),
        (lambda: api.features("run", "run", "fc3"), "run: is a run, not images"),
        (lambda: api.prepare("dataset", "photos"), "swapped: alexnet prepare photos dataset"),
        (lambda: api.prepare("", "made"), "the name is empty"),
        (lambda: api.import_weights("run", "weights.pth"), "weights.pth"),
        (lambda: api.export("photos", "a.onnx"), "photos: is a folder of 12 images, not a run"),
    ],
)  # fmt: skip
def test_python_says_the_same(call, said):
    with pytest.raises(api.UsageError, match=re.escape(said)):
        call()


def test_looking_is_bounded_and_never_fails(tmp_path):
    many = tmp_path / "many"
    (many / "a").mkdir(parents=True)
    for number in range(2500):
        (many / "a" / f"{number}.jpg").touch()
    told = kind_of(many)
    assert told.name == "folder of images" and "999 among the 1,000 entries looked at" in told.words
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    strange = ("\0", "x" * 5000, "s3://bucket/x", "", " ", os.fsdecode(b"\xff\xfe"), "/dev/null", "/proc")
    for path in (*strange, tmp_path / "loop"):
        assert kind_of(path).words
    assert kind_of("/root/no/such").name == "nothing"
    assert kind_of(tmp_path).name in ("folder around", "folder of images")


@pytest.mark.parametrize("wrong", [None, b"run", 3, 2.5, {"run": 1}])
def test_in_python_what_is_no_path_is_said_so(wrong, dataset, tmp_path):
    """In words, from whatever takes a path."""
    calls = [
        lambda: api.load(wrong),
        lambda: api.Dataset(wrong),
        lambda: api.evaluate(wrong, dataset),
        lambda: api.compare(wrong),
        lambda: api.compare([wrong, wrong]),
        lambda: api.export(wrong, tmp_path / "x.onnx"),
        lambda: api.train(wrong, tmp_path / "run"),
        lambda: api.train(dataset, wrong),
        lambda: api.prepare(wrong, tmp_path / "d"),
        lambda: api.import_weights(wrong, tmp_path / "run"),
        lambda: next(iter(api.predict(wrong, tmp_path))),
    ]
    for call in calls:
        with pytest.raises(api.UsageError, match=r"give .* by its path"):
            call()
