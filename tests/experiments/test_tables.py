"""Tables 1 and 2 and the sixth convolution: nets are shared, whole, and trained on what is said, and nothing else."""

import json

import numpy as np
import pytest

from alexnet import Dataset, Recipe, UsageError, evaluate, prepare
from alexnet.experiments import experiment, fall, nets, pretraining, runner, tables
from alexnet.experiments.statistics import unpacked
from tests.conftest import fill

LETTERS = ("a", "b", "c", "d", "e", "f", "g", "h")


@pytest.fixture
def photos(tmp_path):
    """Eight classes with eight training and four validation images each."""
    for split, count in (("train", 8), ("val", 4)):
        fill(tmp_path / "photos" / split, LETTERS, count)
    return tmp_path / "photos"


@pytest.fixture
def tiny(net_file, monkeypatch):
    """Every net is a small one, of two epochs."""

    def recipe_of(case, net, seed, images, stage="scratch"):
        return Recipe(net=net_file, batch_size=8, epochs=2, seed=seed)

    for module in (tables, fall):
        monkeypatch.setattr(module, "recipe_of", recipe_of)
    monkeypatch.setattr(nets, "fitted", lambda net, size, folder: net)  # it sees 48 of 64 pixels
    monkeypatch.setattr(experiment, "SIZE", 64)


def names(dataset: Dataset, split: str) -> set[str]:
    return {dataset.name(row) for row in dataset.rows(split).tolist()}


@pytest.mark.slow
def test_nets_are_trained_once_and_a_stopped_table_has_the_same_rows(photos, tiny, tmp_path, monkeypatch):
    options = {"data": photos, "seeds": [1], "scale": 0.5, "show": False}
    trained, calls = nets.train, []

    def counted(dataset, folder, *arguments, **more):
        calls.append((folder.parent.name, more["start_from"] and more["start_from"].parent.name))
        if len(calls) == stop:
            raise KeyboardInterrupt
        return trained(dataset, folder, *arguments, **more)

    monkeypatch.setattr(nets, "train", counted)
    stop = 0
    whole = runner.reproduce("table2", tmp_path / "whole", **options)
    plain = [(f"source-{seed}", None) for seed in range(5, 10)]
    starred = [step for seed in (5, 6) for step in ((f"release-{seed}", None), (f"conv6-{seed}", f"release-{seed}"))]
    assert calls == [*plain, *starred]
    calls, stop = [], 3
    options["conditions"] = ["1 net, ten views", "1 net*"]
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("table2", tmp_path / "stopped", **options)
    again = runner.reproduce("table2", tmp_path / "stopped", **options)
    assert [net for net, _ in calls] == ["source-5", "release-5", "conv6-5", "conv6-5"]
    assert again.rows == [whole.rows[1], whole.rows[3]]
    challenge, release = (Dataset(tmp_path / "whole" / name) for name in ("challenge", "release"))
    assert release.classes == list(LETTERS) and challenge.classes == list(LETTERS[:6])
    by_name = {row["condition"]: row for row in whole.rows}
    assert [(row["nets"], row["views"]) for row in whole.rows] == [(1, 1), (1, 10), (5, 10), (1, 10), (7, 10)]
    runs = tmp_path / "whole" / "runs"
    five = [evaluate(runs / f"source-{seed}" / "run", challenge, split="val", views=10) for seed in range(5, 10)]
    mean = np.mean([one.probabilities for one in five], 0)
    wrong = unpacked(by_name["5 nets"]["wrong"], 24)
    assert np.array_equal(mean.argmax(1) != five[0].labels, wrong)
    assert by_name["5 nets"]["top1_error"] == pytest.approx(wrong.mean())
    assert runner.draw("table2", tmp_path / "whole" / "raw.jsonl", tmp_path / "again.png") == whole.table


def test_a_damaged_net_is_trained_again(photos, tiny, tmp_path, capfd):
    options = {"data": photos, "seeds": [0], "scale": 0.5}
    first = runner.reproduce("table1", tmp_path / "e", conditions=["1 net, one view"], show=False, **options)
    run = tmp_path / "e" / "runs" / "source-0" / "run"
    weights = max(run.rglob("*.safetensors"), key=lambda file: file.stat().st_size)
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\1\2\3\4")
    assert weights.name in (nets.damage(run) or "")
    again = runner.reproduce("table1", tmp_path / "e", **options)
    assert "damaged" in capfd.readouterr().err
    assert nets.damage(run) is None and again.rows[0] == first.rows[0]
    weights = max(run.rglob("*.safetensors"), key=lambda file: file.stat().st_size)
    assert weights.read_bytes() == content
    (run / "run.json").write_text("{")
    assert nets.damage(run)


def test_held_out_images_of_the_challenge_are_trained_on_by_no_net(photos, tiny, tmp_path):
    made = runner.reproduce("fall", tmp_path / "e", data=photos, seeds=[3], scale=0.5, show=False)
    release, challenge = (Dataset(tmp_path / "e" / f"{name}-3") for name in ("release", "challenge"))
    assert release.classes == list(LETTERS) and challenge.classes == list(LETTERS[4:])
    assert len(names(challenge, "train")) == 4 * 2 and len(names(challenge, "val")) == 16
    few = names(challenge, "train")
    theirs = {name for name in names(release, "train") if name.split("/")[-2] in LETTERS[4:]}
    assert theirs == few and len(names(release, "train")) == 4 * 8 + len(few)
    assert not names(challenge, "val") & (names(release, "train") | few)
    assert [row["condition"] for row in made.rows] == list(fall.ARMS)
    assert [row.get("against") for row in made.rows] == [None, None, "conv6 from scratch"]
    assert "measured on 16 others that no net was trained on" in made.table[-1]


def test_other_seeds_have_other_few_photos(photos):
    source = pretraining.open_source(photos)
    chosen = [pretraining.few_of(source, 4, 2, seed) for seed in (0, 0, 1)]
    assert np.array_equal(chosen[0], chosen[1]) and not np.array_equal(chosen[0], chosen[2])
    assert [int(one.sum()) for one in chosen] == [4 * 6] * 3


def test_two_prepared_data_sets_are_taken_as_they_are(photos, tiny, tmp_path):
    for name, kept in (("release", LETTERS), ("challenge", LETTERS[2:])):
        for split in ("train", "val"):
            for letter in kept:
                (tmp_path / name / split / letter).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / split / letter).symlink_to(photos / split / letter)
        prepare(tmp_path / name, tmp_path / "both" / name, size=64)
    options = {"data": tmp_path / "both", "scale": 0.5, "seeds": [0], "show": False}
    made = runner.reproduce("fall", tmp_path / "e", conditions=["conv6 pretrained"], **options)
    (row,) = made.rows
    assert (row["classes"], row["images"], row["train"], row["release"]) == (6, 24, 48, 64)


def test_one_prepared_data_set_has_no_release(dataset, tiny, tmp_path):
    options = {"data": dataset.path, "scale": 0.5, "seeds": [0], "show": False}
    with pytest.raises(UsageError, match=r"is prepared, so no part of it can be taken.*release and challenge"):
        runner.reproduce("fall", tmp_path / "e", **options)
    with pytest.raises(UsageError, match="is prepared"):
        runner.reproduce("table2", tmp_path / "f", conditions=["1 net*"], **options)
    with pytest.raises(UsageError, match="condition '5': give one of 1 net, one view; 1 net, ten views"):
        runner.reproduce("table2", tmp_path / "f", conditions=["5"], **options)


def test_a_table_says_what_each_line_is_compared_with(tmp_path):
    def row(condition, wrong, against=None):
        return {
            "condition": condition, "seed": 0, "classes": 6, "images": 8, "split": "val", "train": 9, "size": 64,
            "epochs": 2, "nets": 1, "views": 1, "top1_error": wrong.count("1") / 8, "top5_error": 0.125, "loss": 1.0,
            "wrong": nets.packed(np.array([int(bit) for bit in wrong])), **({"against": against} if against else {}),
        }  # fmt: skip

    rows = [
        row("1 net, one view", "11110000"),
        row("1 net, ten views", "11100000", "1 net, one view"),
        row("5 nets", "11000000", "1 net, ten views"),
    ]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    lines = runner.draw("table2", tmp_path / "raw.jsonl", tmp_path / "t.png")
    assert "| 26.2 |" in lines[2] and "50.0% / 12.5%" in lines[3]
    assert "-12.50 points" in lines[4] and "(to 1 net, one view)" in lines[4] and "| 40.7 / 18.2 | - |" in lines[4]
    assert "-12.50 points" in lines[5] and "(to 1 net, ten views)" in lines[5] and "| 38.1 / 16.4 | 16.4 |" in lines[5]
    assert len({line.count("|") for line in lines[:6]}) == 1


def test_the_source_rates_of_fine_tuning():
    """Number 146's: .001, conv1 at a tenth of it, cut at 5 and stopped at 7; the last layer from .01; /10 at 22, 42."""
    own = pretraining.FINE_TUNED.settled(1000, "float32", 224, "conv6")
    rates = own.learning_rates(10)
    layers = ("conv1.weight", "conv4.weight", "fc8.weight")
    expected = {1: (1e-4, 1e-3, 1e-2), 6: (1e-5, 1e-3, 1e-2), 8: (0, 1e-3, 1e-2), 10: (0, 1e-3, 1e-3),
                30: (0, 1e-4, 1e-4), 50: (0, 1e-5, 1e-5)}  # fmt: skip
    for epoch, wanted in expected.items():
        found = rates.by_name(rates.lr(10 * epoch, []), epoch, layers)
        assert tuple(found.values()) == pytest.approx(wanted)
    assert (own.epochs, own.color_noise_until) == (54, 38)
