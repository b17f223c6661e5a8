"""Errors, intervals, shares and predictions, against cases worked by hand and brute force."""

import csv
import json
import os
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet import Recipe, evaluate, features, load, predict, train
from alexnet.evaluation.ensemble import best_weights
from alexnet.evaluation.errors import top_k_errors, wilson
from tests.conftest import fill, picture


@pytest.fixture(scope="module")
def runs(dataset, net_file, tmp_path_factory):
    """Two trained small nets."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=12, precision="float32")
    for seed in (0, 1):
        train(dataset, folder / str(seed), Recipe(**{**vars(recipe), "seed": seed}), show=False)
    return [folder / "0", folder / "1"]


def test_wilson_interval():
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263 and 0/20
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_top_k_errors_count_ties_by_chance():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]])
    labels = torch.tensor([0, 0, 2, 1])
    assert top_k_errors(scores, labels, 1).tolist() == pytest.approx([0, 1 / 2, 2 / 3, 1])
    assert top_k_errors(scores, labels, 2).tolist() == pytest.approx([0, 0, 1 / 3, 1])
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=(50, 12)), random.integers(0, 12, 50)
    expected = [label not in np.argsort(-row)[:5] for row, label in zip(scores, labels)]
    assert top_k_errors(torch.from_numpy(scores), torch.from_numpy(labels), 5).tolist() == [float(e) for e in expected]


def test_errors_are_those_of_the_images_one_by_one(runs, dataset):
    run = load(runs[0])
    found = evaluate([run], dataset)
    wrong, total = 0, 0.0
    with torch.no_grad():
        for row in dataset.rows("val"):
            image = torch.from_numpy(dataset.image(row).copy()).permute(2, 0, 1)[None, :, 8:56, 8:56]
            shares = run.net(run.preprocessing.apply(image, torch.float32)).softmax(1)[0]
            wrong += int(shares.argmax()) != dataset.labels[row]
            total -= float(shares[dataset.labels[row]].log())
    assert found.errors.top1_error == pytest.approx(wrong / 12, abs=0.09)  # bf16 may turn one
    assert found.errors.loss == pytest.approx(total / 12, rel=0.05)
    assert found.confusion.sum() == 12 and (found.confusion.sum(1) == 4).all()
    assert found.errors.top1_error == pytest.approx(1 - np.trace(found.confusion) / 12)
    np.testing.assert_allclose(found.class_errors, 1 - np.diag(found.confusion) / 4)


def test_ten_views_are_averaged(runs, dataset):
    run = load(runs[0], precision="float32")
    images = torch.from_numpy(np.stack([dataset.image(row) for row in range(3)])).permute(0, 3, 1, 2)
    expected = torch.zeros(3, 3)
    with torch.no_grad():
        for top, left in [(0, 0), (0, 16), (16, 0), (16, 16), (8, 8)]:
            view = images[:, :, top : top + 48, left : left + 48]
            for each in (view, view.flip(3)):
                expected += run.net(run.preprocessing.apply(each, torch.float32)).softmax(1) / 10
    torch.testing.assert_close(run.probabilities(images, 10), expected, atol=1e-6, rtol=1e-5)


def test_several_runs_are_averaged(runs, dataset):
    opened = [load(path) for path in runs]
    alone = [evaluate([run], dataset).probabilities for run in opened]
    both = evaluate(opened, dataset)
    np.testing.assert_allclose(both.probabilities, (alone[0] + alone[1]) / 2, atol=1e-6)
    weighted = evaluate(opened, dataset, ensemble_weights=[3, 1])
    np.testing.assert_allclose(weighted.probabilities, 0.75 * alone[0] + 0.25 * alone[1], atol=1e-6)


def test_tuned_weights_find_the_better_net():
    labels = torch.randint(0, 10, (200,))
    good = torch.nn.functional.one_hot(labels, 10).float()
    bad = torch.rand(200, 10) * 1.5
    shares = best_weights([bad, good], labels)
    mixed = shares[0] * bad + shares[1] * good
    assert float(top_k_errors(bad, labels, 5).mean()) > 0.4
    assert shares[1] >= shares[0] and float(top_k_errors(mixed, labels, 5).mean()) == 0


def test_evaluate_command(alexnet, runs, dataset, tmp_path):
    status, out, _ = alexnet("evaluate", *runs, dataset.path, "--views", 10, "--tune-ensemble-weights", "val", "--json")
    told = json.loads(out)
    assert status == 0 and told["views"] == 10 and told["ensemble_weights_tuned_on"] == "val"
    assert len(told["ensemble_weights"]) == 2 and told["top5_error"] is told["top5_interval"] is None  # of 3 classes
    low, high = told["top1_interval"]
    assert 0 <= low <= told["top1_error"] <= high <= 1
    files = ["--per-class", tmp_path / "classes.csv", "--confusion", tmp_path / "confusion.csv"]
    status, out, _ = alexnet("evaluate", runs[0], dataset.path, *files)
    assert status == 0 and "95% interval" in out and "12 val images" in out
    rows = list(csv.DictReader((tmp_path / "classes.csv").open()))
    assert [row["class"] for row in rows] == dataset.classes and all(row["images"] == "4" for row in rows)
    table = list(csv.reader((tmp_path / "confusion.csv").open()))
    assert table[0][1:] == dataset.classes and sum(int(n) for row in table[1:] for n in row[1:]) == 12


def test_predict_agrees_with_evaluate_and_names_bad_files(alexnet, runs, dataset, pictures, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    for row in dataset.rows("val"):
        Image.open(pictures / dataset.name(row)).save(folder / f"{row:03d}.png")
    (folder / "bad.jpg").write_bytes(b"not at all")
    found = {p.name: p for p in predict(load(runs[0]), [folder])}
    assert len(found) == 13 and "not decodable" in (found[str(folder / "bad.jpg")].problem or "")
    best = evaluate([load(runs[0])], dataset).probabilities.argmax(1)
    same = [
        found[str(folder / f"{row:03d}.png")].top[0][0] == dataset.classes[i]
        for row, i in zip(dataset.rows("val"), best)
    ]
    assert sum(same) >= 11  # the dataset's JPEG may turn a close one

    status, out, err = alexnet("predict", runs[0], folder, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 1 and len(lines) == 13 and "bad.jpg: not decodable" in err
    assert all(sum(share for _, share in line["top"]) == pytest.approx(1, abs=1e-3) for line in lines if line["top"])
    status, out, _ = alexnet("predict", runs[0], folder / "048.png", "--min-confidence", 1, "--top", 2)
    assert status == 0 and out.count("\n") == 1 and "unsure: " in out
    status, out, _ = alexnet("predict", runs[0], folder, "--csv", tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert status == 1 and len(rows) == 13 and {row["class1"] for row in rows} <= {*dataset.classes, ""}


def test_predict_wrong_use(alexnet, runs, tmp_path):
    for arguments, said in [
        ([tmp_path / "none.jpg"], "none.jpg: no such file or folder"),
        ([tmp_path], "holds no images"),
        ([], "give IMAGE..."),
        ([tmp_path, "--min-confidence", 2], "--min-confidence 2.0"),
    ]:
        status, _, err = alexnet("predict", runs[0], *arguments)
        assert status == 2 and said in err and err.count("\n") == 1


def test_features_by_layer(runs, tmp_path):
    picture(0, 0).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"bad")
    names, found = features(load(runs[0]), [tmp_path], ["conv1", "fc3"])
    assert names == [str(tmp_path / "a.png")]
    assert found["conv1"].shape == (1, 16, 23, 23) and found["fc3"].shape == (1, 32)


def test_a_run_of_other_classes_is_refused(alexnet, runs, tmp_path):
    source = fill(tmp_path / "source", ("cat", "dog"), count=3)
    assert alexnet("prepare", source, tmp_path / "store")[0] == 0
    status, _, err = alexnet("evaluate", runs[0], tmp_path / "store")
    assert status == 2 and "classes" in err and "cat" in err and err.count("\n") == 1


def test_show_draws_three_pictures(alexnet, runs, pictures, tmp_path):
    status, out, _ = alexnet("show", runs[0], "--output", tmp_path)
    assert status == 0
    assert [line.rsplit("/")[-1] for line in out.splitlines()] == ["curve.png", "filters.png", "predictions.png"]
    for line in out.splitlines():
        assert np.asarray(Image.open(line)).std() > 5  # something is drawn on it
    named = alexnet("show", runs[0], pictures / "red", "--output", tmp_path, "--json")
    assert named[0] == 0 and len(json.loads(named[1])) == 3
    for count, said in (("4", "note: the first 4 of 20 images are drawn; --count draws more\n"), ("20", "")):
        status, out, err = alexnet("show", runs[0], pictures / "red", "--output", tmp_path, "--count", count, "--quiet")
        assert status == 0 and err == said and out.count("\n") == 3
    status, _, err = alexnet("show", runs[0], pictures, "--only-errors", "--output", tmp_path)
    assert status == 2 and "--only-errors" in err


@pytest.mark.parametrize("ending", ["", ".tar", ".tar.gz", ".zip"])
def test_predict_lists_by_the_rules_of_all_sources(alexnet, runs, tmp_path, ending):
    """Folders and archives, with links, hidden and system files, our own folders, pipes: the same images from each."""
    photos = fill(tmp_path / "photos", count=3)
    (photos / "yellow").symlink_to("red")
    (photos / "red" / "loop").symlink_to("loop")
    for place in (".ipynb_checkpoints/000.jpg", ".Trash-1000/x.jpg", "red/@eaDir/x.jpg", "red/._000.jpg"):
        (photos / place).parent.mkdir(exist_ok=True)
        (photos / place).write_bytes(b"system")
    (photos / "store").mkdir()
    (photos / "store" / "dataset.json").write_text('{"format_version": 2, "classes": [], "shards": []}')
    (photos / "store" / "sheet.png").write_bytes(b"own")
    (photos / "run").mkdir()
    (photos / "run" / "curve.png").write_bytes(b"own")
    path = photos if not ending else tmp_path / f"x{ending}"
    if ending == ".zip":
        subprocess.run(["zip", "-q", "-r", "-y", path, "."], cwd=photos, check=True)
    elif ending:
        subprocess.run(["tar", "-cz" if ending == ".tar.gz" else "-c", "-f", path, "-C", photos, "."], check=True)
    notes = []
    plain = {p.name: p.top for p in predict(load(runs[0]), photos, note=notes.append)}
    predictions = list(predict(load(runs[0]), str(path)))
    names = [p.name for p in predictions]
    expected = [f"{color}/{i:03d}.jpg" for color in ("blue", "green", "red", "yellow") for i in range(3)]
    assert sorted(names) == [os.path.join(path, name) for name in expected]
    for prediction in predictions:
        top = dict(plain[str(photos / prediction.name[len(str(path)) + 1 :])])
        assert all(abs(top[name] - share) < 1e-5 for name, share in prediction.top)
    assert "1 dataset of alexnet's (store)" in notes[0] and "4 hidden or system folders" in notes[0]
    status, out, err = alexnet("predict", runs[0], path)
    assert status == 0 and len(out.splitlines()) == 12 and "left out: " in err


def test_one_path_of_any_kind_is_one(runs, tmp_path):
    photos = fill(tmp_path / "photos", count=1)
    names = [str(photos / color / "000.jpg") for color in ("blue", "green", "red")]
    for path in (str(photos), photos, os.fsencode(photos), [photos], (str(photos),)):
        assert [p.name for p in predict(load(runs[0]), path)] == names
    found, layers = features(load(runs[0]), str(photos), ["fc3"])
    assert found == names and len(layers["fc3"]) == 3
    odd = photos / "red" / "picture.xyz"
    os.rename(names[2], odd)
    assert [p.name for p in predict(load(runs[0]), odd)] == [str(odd)]  # whatever it is called


def test_what_predict_cannot_read_has_its_reason(alexnet, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.data.sources.tree.base.LARGEST", 100_000)
    photos = fill(tmp_path / "photos", ("red",), count=2)
    os.mkfifo(tmp_path / "pipe.jpg")
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(6 << 30)
    given = [tmp_path / "pipe.jpg", tmp_path / "huge.jpg", "/dev/zero", photos]
    problems = [p.problem for p in predict(load(runs[0]), given)]
    assert problems[3:] == [None, None] and "6,442,450,944 bytes, which is no image" in problems[1]
    assert all("a pipe, socket or device" in problem for problem in (problems[0], problems[2]))
    for path, said in ((runs[0], "is a run, not images"), (tmp_path / "empty", "holds no images")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "empty" / ".x.jpg").touch()
        status, _, err = alexnet("predict", runs[0], path)
        assert status == 2 and said in err and err.count("\n") == 1
