"""What is written: checked before the work, said whatever becomes of it, strict JSON, and memory by what is asked."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet import Dataset, Recipe, evaluate, features, files, load, predict, prepare, train
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.errors import Judged, summary
from alexnet.evaluation.predict import first_pictures
from alexnet.evaluation.probe import probe
from alexnet.evaluation.result import Evaluation
from alexnet.figures.predictions import predictions
from tests.conftest import fill, picture


def strict(text: str) -> object:
    """JSON as readers other than Python's take it."""
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "run"
    train(dataset, folder, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=6), show=False)
    return folder


@pytest.fixture
def no_work(monkeypatch):
    """Computing anything is an error: a refusal comes before."""

    def work(*arguments: object, **options: object) -> None:
        raise AssertionError("the work was begun")

    for name in ("probabilities", "activations"):
        monkeypatch.setattr(Classifier, name, work)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["evaluate", "RUN", "DATASET", "--per-class", "nodir/a.csv"],
            "--per-class nodir/a.csv: folder nodir does not",
        ),
        (["evaluate", "RUN", "DATASET", "--confusion", "folder"], "--confusion folder: is a folder"),
        (["evaluate", "RUN", "DATASET", "--confusion", "new/"], "--confusion new/: is a folder"),
        (["evaluate", "RUN", "DATASET", "--per-class", "file/a.csv"], "file is a file"),
        (["evaluate", "RUN", "DATASET", "--per-class", "x" * 300], "the name is too long"),
        (["evaluate", "RUN", "DATASET", "--per-class", "pipe"], "is a device or a pipe"),
        (["evaluate", "RUN", "DATASET", "--per-class", "s3://bucket/a.csv"], "not written"),
        (["evaluate", "RUN", "DATASET", "--per-class", "a.csv", "--confusion", "folder/../a.csv"], "both name"),
        (["evaluate", "RUN", "DATASET", "--per-class", "DATASET/dataset.json"], "lies in a dataset, DATASET; give"),
        (["evaluate", "RUN", "DATASET", "--per-class", "DATASET/skipped.csv"], "lies in a dataset, DATASET; give"),
        (["evaluate", "RUN", "DATASET", "--per-class", "RUN/metrics.jsonl"], "is there already"),
        (["evaluate", "RUN", "DATASET", "--per-class", "net.toml"], "is there already"),
        (["predict", "RUN", "a.png", "--csv", "RUN/checkpoints/last/a.csv"], "lies among a run's checkpoints"),
        (["predict", "RUN", "a.png", "--csv", "index/a.csv"], "lies in an index of images"),
        (["features", "RUN", "a.png", "RUN/checkpoints/x.npy", "--layer", "fc3"], "x.npy: lies among a run's"),
        (["features", "RUN", "a.png", "DATASET/x.npy", "--layer", "fc3"], "lies in a dataset, DATASET; give"),
        (["features", "RUN", "a.png", "index/x.h5", "--layer", "fc3"], "index/x.h5: lies in an index of images"),
        (["export", "RUN", "index/x.pth"], "index/x.pth: lies in an index of images"),
        (["predict", "RUN", "a.png", "--csv", "loop.csv"], "--csv loop.csv: is a link that leads to itself"),
        (["features", "RUN", "a.png", "loop.npy", "--layer", "fc3"], "loop.npy: is a link that leads to itself"),
        (
            ["predict", "RUN", "a.png", "--csv", "lost.csv"],
            "lost.csv (a link to {}/nodir/a.csv): folder {}/nodir",
        ),
        (["show", "RUN", "--output", "linked"], "linked/curve.png (a link to {}/nodir/a.png): folder {}/nodir"),
        (["predict", "RUN", "a.png", "--csv", "nodir/a.csv"], "--csv nodir/a.csv: folder nodir"),
        (["predict", "RUN", "a.png", "--csv", "a.png"], "is there already"),
        (["predict", "RUN", "list.csv", "--csv", "link.csv"], "is there already"),
        (["predict", "RUN", "a.png", "--csv", "a.csv", "--json"], "--csv and --json"),
        (["info", "DATASET", "--picture", "a.jpg"], "ends in .png"),
        (["info", "DATASET", "--picture", "nodir/a.png"], "--picture nodir/a.png: folder nodir"),
        (["show", "RUN", "--output", "DATASET"], "holds a dataset"),
        (["show", "RUN", "--output", "other"], "holds another run"),
        (["show", "RUN", "--output", "file"], "is a file"),
        (["show", "RUN", "curve.png", "a.png", "--output", "."], "is one of the images"),
        (["show", "RUN", "--count", "1000000"], "--count 1000000: must be between 1 and 3,000"),
        (["show", "RUN", "--split", "test"], "has no split 'test'"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    alexnet, run, dataset, tmp_path, monkeypatch, no_work, command, said
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "other")
    Path("folder").mkdir()
    Path("file").touch()
    os.mkfifo("pipe")
    Path("net.toml").write_text("title = 'mine'")
    Path("list.csv").write_text("path,label\n")
    for target, link in (("list.csv", "link.csv"), ("loop.csv", "loop.csv"), ("loop.npy", "loop.npy")):
        os.symlink(target, link)
    os.symlink("nodir/a.csv", "lost.csv")
    for folder in ("index", "linked"):
        Path(folder).mkdir()
    Path("index/alexnet-index.json").write_text("{}")
    os.symlink("../nodir/a.png", "linked/curve.png")
    for name in ("a.png", "curve.png"):
        picture(0, 0).save(name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = [str(run) if word == "RUN" else dataset.path if word == "DATASET" else word for word in command]
    words = [word.replace("DATASET/", f"{dataset.path}/").replace("RUN/", f"{run}/") for word in words]
    status, out, err = alexnet(*words)
    assert status == 2 and not out and err.count("\n") == 1 and ".partial" not in err
    assert said.replace("DATASET", dataset.path).replace("{}", str(tmp_path)) in err, err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_link_stays_and_what_it_leads_to_is_written(alexnet, run, dataset, tmp_path, monkeypatch):
    """Links to files that are there, and to names in a folder that is."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    picture(0, 0).save("a.png")
    for command in (
        ["predict", run, "a.png", "--csv", "x.csv"],
        ["evaluate", run, dataset.path, "--per-class", "x.csv"],
        ["evaluate", run, dataset.path, "--confusion", "x.csv"],
        ["info", dataset.path, "--picture", "x.png"],
        ["features", run, "a.png", "x.h5", "--layer", "fc3"],
    ):
        name = next(word for word in command if str(word).startswith("x."))
        os.symlink(f"elsewhere/{name}", name)
        for _ in range(1 if "features" in command else 2):  # which writes over nothing
            status, _, err = alexnet(*command)
            assert status == 0 and Path(name).is_symlink() and os.listdir(folder) == [name], err
            assert (folder / name).stat().st_size
        Path(name).unlink()
        (folder / name).unlink()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("command", [["predict", "--csv", "x.csv"], ["features", "x.h5"], ["export", "x.pth"]])
def test_a_folder_that_takes_no_files(alexnet, run, tmp_path, command):
    picture(0, 0).save(tmp_path / "a.png")
    images = [] if command[0] == "export" else [tmp_path / "a.png"]
    layer = ["--layer", "fc3"] if command[0] == "features" else []
    status, out, err = alexnet(command[0], run, *images, *command[1:-1], f"/proc/self/{command[-1]}", *layer)
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert f"/proc/self/{command[-1]}: cannot write there (not permitted); give a folder" in err


def test_figures_are_said_before_files_are_written(alexnet, run, dataset, tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise AlexNetError("no space left")

    monkeypatch.setattr(Evaluation, "write_confusion", full)
    status, out, err = alexnet("evaluate", run, dataset.path, "--confusion", tmp_path / "a.csv")
    assert status == 1 and "top-1" in out and "no space left" in err
    monkeypatch.setattr("alexnet.figures.place.save_image", full)
    status, out, err = alexnet("show", run, "--output", tmp_path)
    assert status == 1 and [Path(line).name for line in out.splitlines()] == ["curve.png", "filters.png"]
    monkeypatch.setattr("alexnet.figures.style.save_image", full)
    status, out, err = alexnet("info", dataset.path, "--picture", tmp_path / "p.png", "--json")
    assert status == 1 and strict(out)


def test_the_same_file_is_written_again(alexnet, run, dataset, tmp_path):
    for _ in range(2):
        assert alexnet("evaluate", run, dataset.path, "--per-class", tmp_path / "a.csv")[0] == 0
        assert alexnet("predict", run, tmp_path / "a.csv", "--csv", tmp_path / "b.csv")[0] == 1  # no image
        assert alexnet("show", run, "--output", tmp_path)[0] == 0


@pytest.fixture
def lopsided(tmp_path) -> Dataset:
    """A class of one photo: none of it is measured."""
    source = fill(tmp_path / "lopsided", ("blue", "green"), count=6)
    (source / "one").mkdir()
    picture(0, 9).save(source / "one" / "1.jpg")
    return prepare(source, tmp_path / "lopsided dataset", size=64)


def test_json_is_strict(alexnet, lopsided, net_file, tmp_path):
    run = tmp_path / "run"
    train(lopsided, run, Recipe(net=net_file, crop_size=48, batch_size=4, epochs=1), show=False)
    files_ = ["--per-class", tmp_path / "a.csv"]
    status, out, _ = alexnet("evaluate", run, lopsided.path, "--json", *files_)
    said = strict(out)
    assert status == 0 and isinstance(said, dict)
    assert said["class_errors"]["one"] is None and said["class_errors"]["blue"] is not None
    rows = {row["class"]: row for row in csv.DictReader((tmp_path / "a.csv").open())}
    assert {key: rows["one"][key] for key in ("class", "images", "top1_error")} == {
        "class": "one", "images": "0", "top1_error": "",
    }  # fmt: skip
    note = run / "run.json"
    description = json.loads(note.read_bytes())
    description["errors"]["val"]["loss"] = None
    files.write_json(note, files.seal({key: value for key, value in description.items() if key != "seal"}))
    assert strict(alexnet("info", run, "--json")[1])["errors"]["val"]["loss"] is None  # pyright: ignore
    assert strict(note.read_text()) and all(map(strict, (run / "metrics.jsonl").read_text().splitlines()))


def test_errors_do_not_depend_on_how_images_are_batched():
    scores = torch.rand(300, 40, generator=torch.Generator().manual_seed(0)).softmax(1)
    labels = torch.arange(300) % 40
    whole = summary(scores, labels, 1)
    parts = [Judged.of(scores[i : i + 7], labels[i : i + 7]) for i in range(0, 300, 7)]
    assert Judged.joined(parts).errors(1) == whole
    assert whole.loss == pytest.approx(float(torch.nn.functional.nll_loss(scores.log(), labels)))


def test_the_confusion_table_is_made_where_it_is_asked_for(run, dataset, tmp_path):
    found = evaluate(run, dataset.path)  # a path for a path
    table = np.zeros((3, 3), int)
    for right, predicted in zip(found.labels, found.probabilities.argmax(1)):
        table[right, predicted] += 1
    np.testing.assert_array_equal(found.confusion, table)
    found.write_confusion(tmp_path / "c.csv", dataset.classes)
    rows = list(csv.reader((tmp_path / "c.csv").open()))
    assert rows == [["true class", *dataset.classes], *[[n, *map(str, r)] for n, r in zip(dataset.classes, table)]]
    with pytest.raises(UsageError, match="keep_probabilities=True"):
        _ = evaluate([run], dataset, keep_probabilities=False).probabilities


MANY_CLASSES = """
import re, sys
from alexnet import Net, Dataset, evaluate
from alexnet.data.preprocessing import Preprocessing
from alexnet.runs.run import Run

def peak():  # not getrusage's, which begins with what the process that started this one had
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

dataset = Dataset(sys.argv[1])
dataset.classes = dataset.words = [f"class {n}" for n in range(22_000)]
preprocessing = Preprocessing.of(dataset, 32, "standardized", 0.0)
run = Run("run", Net("cifar-quick", 22_000).eval(), dataset.classes, dataset.words, preprocessing, {}, {}, 0)
before = peak()
found = evaluate([run], dataset)
found.write_class_errors(sys.argv[2], dataset.classes)
print(found.errors.images, len(found.class_errors), before, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says it")
def test_22000_classes_are_measured_in_little_memory(dataset, tmp_path):
    program = [sys.executable, "-c", MANY_CLASSES, dataset.path, str(tmp_path / "a.csv")]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    images, classes, before, peak = map(int, done.stdout.split())  # KiB
    assert (images, classes) == (12, 22_000)
    assert peak < 1 << 20 and peak - before < 200 << 10  # the table alone would be 3.6 GiB


def test_one_path_or_several_a_run_or_its_folder(run, dataset, pictures):
    opened, folder = load(run), str(pictures / "red")
    names = [prediction.name for prediction in predict(run, folder)]
    assert names == [prediction.name for prediction in predict(opened, [folder])] and len(names) == 20
    assert names == [prediction.name for prediction in predict(str(run), pictures / "red")]
    assert features(run, folder, "fc3")[1]["fc3"].shape == (20, 32)
    assert first_pictures(opened, folder, 2)[0] == names[:2]
    assert evaluate(opened, dataset).errors == evaluate([str(run)], Path(dataset.path)).errors
    assert probe(run, dataset.path, "fc3")[0].layer == "fc3"
    with pytest.raises(UsageError, match="no such file"):
        predict(run, "nowhere")  # at once, not when the first is asked for


def test_what_could_not_be_read_is_counted_truly(alexnet, run, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not at all")
    status, _, err = alexnet("predict", run, tmp_path / "bad.jpg")
    assert status == 1 and "the image could not be read" in err and "the others" not in err
    (tmp_path / "worse.jpg").write_bytes(b"")
    assert "not one of 2 images could be read" in alexnet("predict", run, tmp_path)[2]
    picture(0, 0).save(tmp_path / "a.png")
    status, out, err = alexnet("predict", run, tmp_path)
    assert status == 1 and out.count("\n") == 1 and "2 of 3 images could not be read" in err


def test_a_probe_of_too_few_images_says_so(run, tmp_path, alexnet):
    for count in (2, 3):
        dataset = prepare(fill(tmp_path / f"p{count}", ("a", "b"), count), tmp_path / f"s{count}", size=64)
        status, _, err = alexnet("evaluate", run, dataset.path, "--probe", "fc3")
        assert status == 2 and "are too few" in err and err.count("\n") == 1, err


def test_show_says_what_it_leaves_out_and_why(alexnet, run, dataset, net_file, tmp_path):
    alone = prepare(fill(tmp_path / "p", count=3), tmp_path / "alone", size=64, val_fraction=0)
    train(alone, tmp_path / "run", Recipe(net=net_file, crop_size=48, batch_size=4, epochs=1), show=False)
    status, out, err = alexnet("show", tmp_path / "run")
    assert status == 0 and [Path(line).name for line in out.splitlines()] == ["curve.png", "filters.png"]
    assert "no predictions.png" in err and "no split 'val'; give --split, one of train" in err
    assert alexnet("show", tmp_path / "run", "--split", "train")[1].count("\n") == 3
    status, _, err = alexnet("show", tmp_path / "run", "--checkpoint", "best")
    assert status == 1 and "no validation images were measured" in err
    os.rename(alone.path, tmp_path / "elsewhere")
    status, out, err = alexnet("show", tmp_path / "run", "--json")
    assert status == 0 and len(json.loads(out)) == 2 and "is not there any more; give --dataset" in err
    assert alexnet("show", tmp_path / "run", "--dataset", tmp_path / "elsewhere", "--split", "train")[0] == 0


def test_show_of_a_net_whose_first_layer_has_no_weights(alexnet, dataset, tmp_path):
    net = tmp_path / "net.toml"
    net.write_text(
        'title = "pooled"\ninput = [3, 64, 64]\n[layers.pool1]\nkind = "max_pool"\nsize = 3\nstride = 2\n'
        '[layers.fc2]\nkind = "fully_connected"\nunits = "classes"\n'
    )
    train(dataset, tmp_path / "run", Recipe(net=str(net), batch_size=16, epochs=1), show=False)
    status, out, err = alexnet("show", tmp_path / "run")
    assert status == 0 and out.count("\n") == 2 and "no filters.png" in err and "pool1" in err


def test_a_sheet_of_many_pictures(tmp_path):
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(7), 700).astype(np.float32)
    pictures = [np.full((64, 64, 3), i % 256, np.uint8) for i in range(700)]
    sheet = np.asarray(predictions(pictures, shares, list("abcdefg"), random.integers(0, 7, 700), columns=32))
    rows, columns = math.ceil(700 / 32), 32
    height, width = sheet.shape[0] // rows, sheet.shape[1] // columns
    assert 0.6 < sheet.shape[0] / sheet.shape[1] < 1.7
    for i in (0, 123, 699):  # each picture is in its tile, a bar of each color below
        tile = sheet[i // columns * height :][:height, i % columns * width :][:, :width]
        assert (tile == i % 256).all(2).sum() >= 140 * 140 and (tile == (0xB8, 0xC4, 0xCF)).all(2).any()
