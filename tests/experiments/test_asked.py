"""What is asked of an experiment is checked before anything runs, and must be what its folder was begun with."""

import json
import re
import shutil

import pytest
import torch

from alexnet import AlexNetError, Recipe, UsageError, files, prepare
from alexnet.cli import main
from alexnet.experiments import asked, experiment, fine_tuning, known, plans, runner
from tests.conftest import fill

TINY = {"seeds": [0], "scale": 0.01, "show": False}


def test_a_condition_with_commas_is_one_however_it_is_split():
    tuning, table1 = known.EXPERIMENTS["fine-tuning"], known.EXPERIMENTS["table1"]
    assert asked.conditions_of(table1, ["1 net", " one view"]) == ["1 net, one view"]
    assert asked.conditions_of(table1, ["1 net", "one view", "1 net", "ten views"]) == list(table1.conditions)
    texts = ["fine-tuned", "fine-tuned", " --freeze conv5", "from scratch", " --epochs 100", "from scratch"]
    assert asked.conditions_of(tuning, texts) == [
        "fine-tuned", "fine-tuned, --freeze conv5", "from scratch, --epochs 100", "from scratch"
    ]  # fmt: skip
    assert asked.conditions_of(tuning, list(tuning.conditions)) == list(tuning.conditions)
    assert asked.conditions_of(table1, ["1 net, one view", "1 net, one view"]) == ["1 net, one view"]
    assert asked.conditions_of(tuning, ["fine-tuned; from scratch, --epochs 100"]) == [
        "fine-tuned", "from scratch, --epochs 100"
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(known.EXPERIMENTS))
def test_every_experiment_takes_its_own_conditions_and_refuses_another_before_it_begins(tmp_path, name):
    made = known.EXPERIMENTS[name]
    assert asked.conditions_of(made, ",".join(made.conditions).split(",")) == list(made.conditions)
    (tmp_path / "photos").mkdir()
    data = tmp_path / "photos" if made.needs or made.takes else None
    wanted = [made.conditions[0], "nonsense"]
    with pytest.raises(UsageError, match=r"^condition 'nonsense': "):
        runner.reproduce(name, tmp_path / "e", data=data, conditions=wanted, show=False)
    assert not (tmp_path / "e").exists()


def test_a_condition_that_is_nearly_one_is_named():
    with pytest.raises(UsageError, match="condition 'Default': perhaps you meant default; give one of default, fast"):
        asked.conditions_of(known.EXPERIMENTS["photos-fast"], ["Default"])
    with pytest.raises(UsageError, match=r"condition 'two nets': .*give one of 1 net, one view; 1 net, ten views$"):
        asked.conditions_of(known.EXPERIMENTS["table1"], ["two nets"])


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("one-gpu size=64 photos=0 epochs=1", "photos must be at least 1"),
        ("one-gpu size=64 photos=9 epochs=0", "epochs must be at least 1"),
        ("nonet size=64 photos=9 epochs=1", "condition 'nonet .*nonet"),
        ("paper size=64 photos=9 epochs=1 recipe=slow", "condition 'paper .*slow"),
    ],
)
def test_conditions_of_ones_own_are_checked_first(tmp_path, condition, words):
    with pytest.raises(UsageError, match=words):
        runner.reproduce("budget", tmp_path / "e", data=tmp_path, conditions=[condition], show=False)
    assert not (tmp_path / "e").exists()


def test_seeds_are_counted_once_and_leave_room_for_several_nets():
    assert asked.seeds_of([3, 0, 3]) == asked.seeds_of(seed for seed in (3, 0)) == [3, 0]
    with pytest.raises(UsageError, match="--seeds: names none"):
        asked.seeds_of([])
    for seed in (-1, asked.LAST_SEED + 1, 0.5, True):
        with pytest.raises(UsageError, match=f"--seeds {seed}"):
            asked.seeds_of([seed])
    assert 5 * asked.LAST_SEED + 4 <= 2**32 - 1


def test_what_draws_its_own_images_takes_no_others(tmp_path):
    for name in ("demo", "rehearsal"):
        with pytest.raises(UsageError, match=f"--data: {name} draws images of its own; leave it out"):
            runner.reproduce(name, tmp_path / "e", data=tmp_path, show=False)
    assert not (tmp_path / "e").exists()


@pytest.fixture
def photos(tmp_path):
    for split, count in (("train", 6), ("val", 4)):
        fill(tmp_path / "photos" / split, ("a", "b", "c", "d", "e"), count)
    return tmp_path / "photos"


@pytest.fixture
def tuning(net_file, monkeypatch):
    monkeypatch.setattr(fine_tuning, "BASE", Recipe(net=net_file, crop_size=48, batch_size=8))
    monkeypatch.setattr(fine_tuning, "COUNTS", (2, 4, 9))
    return {"conditions": ["from scratch"], **TINY}


def test_images_that_were_changed_in_between_are_noticed(tmp_path, net_file):
    fill(tmp_path / "photos", ("a", "b"), 10)
    prepare(tmp_path / "photos", tmp_path / "dataset", size=64)
    data, folder = tmp_path / "dataset", tmp_path / "e"
    options = {"conditions": [f"default net={net_file} crop_size=48 batch_size=8"], "scale": 0.005, "show": False}
    runner.reproduce("stalling", folder, data=data, seeds=[0], **options)
    shutil.move(data, tmp_path / "moved")
    runner.reproduce("stalling", folder, data=tmp_path / "moved", seeds=[0, 1], **options)  # the same images
    prepare(tmp_path / "photos", data, size=64, seed=9)
    before = (folder / "raw.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"dataset: holds other images than when .* was begun; give another folder"):
        runner.reproduce("stalling", folder, data=data, seeds=[0, 2], **options)
    assert (folder / "raw.jsonl").read_bytes() == before


def test_relative_and_absolute_paths_are_the_same_images(photos, tuning, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = runner.reproduce("fine-tuning", "relative", data="photos", **tuning)
    assert [row["count"] for row in made.rows] == [2, 4]
    again = runner.reproduce("fine-tuning", tmp_path / "relative", data=photos, **tuning)
    assert again.rows == made.rows
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="was begun otherwise"):
        runner.reproduce("fine-tuning", tmp_path / "relative", data="photos", **tuning)


def test_few_photos_are_as_many_as_are_told(photos, tuning, tmp_path, capfd):
    made = runner.reproduce("fine-tuning", tmp_path / "e", data=photos, **{**tuning, "show": True})
    assert "a class has fewer than 9 photos: measured with 2, 4 alone" in capfd.readouterr().err
    assert made.table[0] == "| photos per class | 2 | 4 |"
    lines = (tmp_path / "e" / "few-4-0.csv").read_text().splitlines()
    assert sum(line.endswith(",train") for line in lines) == 3 * 4
    for name in ("a", "b", "c", "d", "e"):
        for path in sorted((photos / "train" / name).iterdir())[1:]:
            path.unlink()
    with pytest.raises(UsageError, match="train/c: has 1 photo; give 2 or more of each class"):
        runner.reproduce("fine-tuning", tmp_path / "f", data=photos, **tuning)
    for split in ("train", "val"):
        shutil.rmtree(photos / split / "e")
    with pytest.raises(UsageError, match="has 4 classes; give 5 or more, of which 3 are new ones"):
        runner.reproduce("fine-tuning", tmp_path / "g", data=photos, **tuning)


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("photos-fast", "fast"), ("ablations", "whole"), ("budget", "paper size=64 photos=16 epochs=1"),
        ("precision", "float32"), ("table1", "1 net, one view"), ("table2", "5 nets"), ("figure4", "default"),
        ("invariance", "plain"),
    ],
)  # fmt: skip
def test_images_of_which_none_are_held_out_are_refused_before_anything_is_trained(tmp_path, name, condition):
    fill(tmp_path / "photos", ("a", "b"), 8)
    dataset = prepare(tmp_path / "photos", tmp_path / "dataset", size=64, val_fraction=0)
    with pytest.raises(UsageError, match=r"has no .*images; prepare it with some \(--val-fraction\)"):
        runner.reproduce(name, tmp_path / "e", data=dataset.path, conditions=[condition], **TINY)
    assert not (tmp_path / "e").exists()


def test_a_release_has_more_classes_than_the_challenge(tmp_path):
    fill(tmp_path / "photos", ("a", "b"), 10)
    for name, condition in (("table2", "1 net*"), ("fall", "conv6 pretrained")):
        with pytest.raises(UsageError, match=r"photos: has 2 classes; .* needs three or more"):
            runner.reproduce(name, tmp_path / "e", data=tmp_path / "photos", conditions=[condition], **TINY)
    assert not (tmp_path / "e").exists()


def test_images_too_small_for_a_net_are_named_as_such(tmp_path):
    fill(tmp_path / "photos", ("a", "b"), 10)
    dataset = prepare(tmp_path / "photos", tmp_path / "dataset", size=40)
    with pytest.raises(UsageError, match="--data: images of 40 pixels are too small for the net paper"):
        runner.reproduce("photos-fast", tmp_path / "e", data=dataset.path, conditions=["fast"], **TINY)


def test_a_mistake_that_is_found_late_keeps_what_was_prepared_and_what_is_not_ours(tmp_path):
    fill(tmp_path / "photos", ("a", "b"), 10)
    options = {"data": tmp_path / "photos", "show": False}
    for count, words in ((99, "give --conditions with no more, or other --data"), (1, "has 2 classes; give photos=2")):
        with pytest.raises(UsageError, match=words):
            runner.reproduce("budget", tmp_path / "e", conditions=[f"paper size=64 photos={count} epochs=1"], **options)
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["dataset-64", "experiment.json"]
    (tmp_path / "e" / "notes.txt").write_text("mine")
    made = runner.reproduce("budget", tmp_path / "e", conditions=["paper size=64 photos=8 epochs=1"], **options)
    assert len(made.rows) == 1 and (tmp_path / "e" / "notes.txt").read_text() == "mine"


def test_photos_in_place_of_cifar_leave_the_folder_free(tmp_path):
    fill(tmp_path / "photos", ("a", "b"), 10)
    with pytest.raises(UsageError, match="photos: is not CIFAR-10"):
        runner.reproduce("figure1", tmp_path / "e", data=tmp_path / "photos", conditions=["relu"], **TINY)
    assert not (tmp_path / "e").exists()


def test_another_owners_folder_is_left_alone(tmp_path, dataset):
    folder = tmp_path / "e"
    folder.mkdir()
    with files.owned(folder), pytest.raises(AlexNetError, match="e: "):
        runner.reproduce("precision", folder, data=dataset.path, show=False)
    asked.begin(folder, "precision", dataset.path, 0.1, {})
    with pytest.raises(UsageError, match="was begun otherwise"):
        runner.reproduce("precision", folder, data=dataset.path, scale=0.2, show=False)
    assert (folder / asked.NOTE).exists()


def test_a_device_that_is_not_there_leaves_nothing(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match="cuda"):
        runner.reproduce("photos-fast", tmp_path / "e", data=tmp_path, device="cuda", show=False)
    assert not (tmp_path / "e").exists()


def test_a_folder_whose_note_is_gone_or_damaged_says_so(tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "raw.jsonl").touch()
    with pytest.raises(UsageError, match=r"e: is the folder of an experiment whose experiment.json is gone"):
        runner.reproduce("demo", tmp_path / "e", show=False)
    (tmp_path / "e" / "experiment.json").write_text("{")
    with pytest.raises(AlexNetError, match=r"experiment.json.*; give another folder"):
        runner.reproduce("demo", tmp_path / "e", show=False)


def test_a_note_of_before_has_no_fingerprints_and_is_gone_on_with(tmp_path, dataset):
    (tmp_path / "e").mkdir()
    note = {"experiment": "precision", "data": dataset.path, "scale": 0.1}
    (tmp_path / "e" / asked.NOTE).write_text(json.dumps(note))
    asked.begin(tmp_path / "e", "precision", dataset.path, 0.1, {"": dataset})
    with pytest.raises(UsageError, match=r"scale: 0.1, now 0.2"):
        asked.begin(tmp_path / "e", "precision", dataset.path, 0.2, {"": dataset})
    assert json.loads((tmp_path / "e" / asked.NOTE).read_text()) == {**note, "stores": {"": dataset.fingerprint}}


def test_a_relative_place_of_before_is_the_same_place(tmp_path, dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / asked.NOTE).write_text(json.dumps({"experiment": "precision", "data": "photos", "scale": 0.1}))
    for place in ("photos", "./photos", str(tmp_path / "photos")):
        assert not asked.begin(tmp_path / "e", "precision", place, 0.1, {})


def test_a_release_and_a_challenge_are_known_by_both_fingerprints(tmp_path, dataset):
    for name in ("release", "challenge"):
        shutil.copytree(dataset.path, tmp_path / "both" / name)
    both = asked.datasets_of(str(tmp_path / "both"))
    assert {key: one.fingerprint for key, one in both.items()} == dict.fromkeys(both, dataset.fingerprint)
    assert set(both) == {"release", "challenge"} and asked.datasets_of(None) == {}
    shutil.copytree(dataset.path, tmp_path / "both", dirs_exist_ok=True)  # then they are no part of it
    assert set(asked.datasets_of(str(tmp_path / "both"))) == {""}


def test_conditions_of_a_form_may_have_commas_and_are_checked():
    stalling = known.EXPERIMENTS["stalling"]
    assert asked.conditions_of(stalling, ["paper milestones=[1", "2]", "default"]) == [
        "paper milestones=[1,2]", "default"
    ]  # fmt: skip
    for condition, words in (("paper bias=x", "bias x is no number"), ("paper net=nonsense", "nonsense"),
                             ("paper quick", "give a recipe's name, then changes")):  # fmt: skip
        with pytest.raises(UsageError, match=f"condition '{condition}': .*{words}"):
            asked.conditions_of(stalling, [condition])
    with pytest.raises(UsageError, match="--conditions: names none"):
        asked.conditions_of(stalling, ["", " "])


def test_held_out_images_are_those_that_nothing_is_trained_on(dataset):
    assert experiment.held_out_split(dataset) == "val"
    with pytest.raises(UsageError, match="has no test images"):
        experiment.held_out_split(dataset, ("test",))


def test_what_would_be_measured_is_said_and_nothing_is_written(tmp_path, dataset, capsys):
    common = ["reproduce", "photos-fast", str(tmp_path / "e"), "--data", str(dataset.path), "--dry-run"]
    assert main([*common, "--scale", "0.25", "--seeds", "0,3"]) == 0
    said = capsys.readouterr().out
    assert "photos-fast: 0.25 of its epochs, steps or drawn images, at least one epoch: 4 conditions, 2 seeds" in said
    assert "on 12 images 2 seeds see a difference of " in said and "  fast in ten views: seeds 0, 3\n" in said
    assert "time: not known\n" in said and not (tmp_path / "e").exists()
    assert main([*common, "--scale", "minutes", "--conditions", "fast", "default", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["minutes"] == known.EXPERIMENTS["photos-fast"].scales["minutes"].minutes
    assert said["size"] == "--scale minutes" and said["missing"] == [["fast", 0], ["default", 0]]
    assert said["datasets"] == {dataset.path: {"train": 48, "val": 12}} and said["sees"]
    assert main([*common, "--scale", "minutes"]) == 0
    said = capsys.readouterr().out
    assert known.EXPERIMENTS["photos-fast"].scales["minutes"].words in said
    minutes = known.EXPERIMENTS["photos-fast"].scales["minutes"].minutes
    assert f"time: all of this scale took at most {minutes} minutes, " in said


def test_a_plan_knows_what_is_measured(tmp_path, dataset, capsys):
    (tmp_path / "e").mkdir()
    asked.begin(tmp_path / "e", "photos-fast", dataset.path, 0.1, {"": dataset})
    both = ["default", "fast"]
    rows = [json.dumps({"condition": name, "seed": 1, "top1_error": 0.5, "images": 12}) for name in both]
    (tmp_path / "e" / "raw.jsonl").write_text(rows[1] + "\n", encoding="utf-8")
    wanted = plans.plan("photos-fast", tmp_path / "e", data=dataset.path, conditions=both, seeds=[0, 1], scale=0.1)
    assert plans.check(wanted, tmp_path / "e") == [("default", 0), ("default", 1), ("fast", 0)]
    common = ["reproduce", "photos-fast", str(tmp_path / "e"), "--data", str(dataset.path), "--scale", "0.1"]
    common += ["--conditions", *both, "--dry-run"]
    assert main([*common, "--seeds", "1"]) == 0
    assert "  default: seed 1\n  fast: seed 1 (measured)\n" in capsys.readouterr().out
    (tmp_path / "e" / "raw.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert main([*common, "--seeds", "1", "--device", "cuda"]) == 0  # nothing is left to do there
    assert "all is measured; table and figure would be drawn\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folder", "options", "words"),
    [
        ("file", {"data": "dataset"}, "file: is a file; give a folder"),
        ("file/below", {"data": "dataset"}, "file: is a file; give a folder"),
        ("s3://bucket/x", {"data": "dataset"}, "s3://bucket/x: .*a local folder"),
        ("a\0b", {"data": "dataset"}, "has a zero byte; give another name"),
        ("full", {"data": "dataset"}, "full: .*not a folder for a new experiment"),
        ("new", {"data": "nowhere"}, "--data .*nowhere: no such file or folder"),
        ("new", {"data": "dataset", "name": "cifar"}, "--data .*: is not CIFAR-10"),
        ("new", {"data": "dataset", "device": "nonsense"}, "--device nonsense"),
    ],
)
def test_a_dry_run_refuses_what_the_experiment_does(tmp_path, dataset, folder, options, words):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    images = dataset.path if options["data"] == "dataset" else tmp_path / options["data"]
    target = folder if "://" in folder else tmp_path / folder
    name, device = options.get("name", "precision"), options.get("device", "auto")
    before = sorted(tmp_path.rglob("*"))
    said = []
    for call in (
        lambda: plans.check(plans.plan(name, target, data=images), target, device=device),
        lambda: runner.reproduce(name, target, data=images, device=device, show=False),
    ):
        with pytest.raises(UsageError, match=words) as refused:
            call()
        said.append(str(refused.value))
        assert sorted(tmp_path.rglob("*")) == before
    assert said[0] == said[1].replace("mine.txt, ...", "mine.txt")  # there, its lock lies in the folder, too


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"also": 5}, "also: 5"), ({"also": None}, "also: "), ({"also": "xy"}, "also: "), ({"also": [5]}, "also[0]: 5"),
        ({"also": [{"cores": "two"}]}, "also[0].cores: "), ({"data": ...}, "data: is missing"),
        ({"scale": True}, "scale: "), ({"scale": 2}, "scale: 2"), ({"machine": None}, "machine: "),
        ({"stores": "x"}, "stores: "), ({"experiment": 1}, "experiment: 1"),
    ],
)  # fmt: skip
def test_a_damaged_note_is_named(tmp_path, dataset, capsys, change, words):
    (tmp_path / "e").mkdir()
    asked.begin(tmp_path / "e", "precision", dataset.path, 0.1, {"": dataset})
    path = tmp_path / "e" / asked.NOTE
    note = json.loads(path.read_text(encoding="utf-8")) | change
    path.write_text(json.dumps({key: value for key, value in note.items() if value is not ...}), encoding="utf-8")
    for options in (["--dry-run"], []):
        command = ["reproduce", "precision", str(tmp_path / "e"), "--data", str(dataset.path), "--scale", "0.1"]
        assert main([*command, *options]) == 1
        said = capsys.readouterr().err
        assert f"{path}: {words}" in said and "; give another folder" in said, said


def test_what_is_continued_on_another_machine_is_noted(tmp_path, dataset, monkeypatch):
    asked.begin(tmp_path, "precision", dataset.path, 0.1, {"": dataset})
    for number, (name, version) in enumerate((("one", "1"), ("other", "1"), ("one", "1"), ("one", "2"))):
        monkeypatch.setattr(asked.machine, "cpu_name", lambda name=name: name)
        monkeypatch.setattr(asked, "code", lambda version=version: version)
        asked.measured_by(tmp_path, torch.device("cpu"), is_first=not number)
    note = asked.read_note(tmp_path)
    assert note["machine"] == "one" and [(also["machine"], also["code"]) for also in note["also"]] == [
        ("other", "1"), ("one", "2")
    ]  # fmt: skip
    assert re.search("begun .* alexnet 1, .* on one, cores: .*; continued .* on other, ", asked.described(tmp_path))
    assert not asked.begin(tmp_path, "precision", dataset.path, 0.1, {"": dataset})  # and nothing of it is lost
    assert asked.read_note(tmp_path) == note


def test_folders_of_before_say_no_more_than_they_know(tmp_path, dataset):
    note = {"experiment": "precision", "data": dataset.path, "scale": 0.1}
    (tmp_path / asked.NOTE).write_text(json.dumps(note), encoding="utf-8")
    asked.measured_by(tmp_path, torch.device("cpu"), is_first=False)
    assert "; begun by what was not noted; continued " in asked.described(tmp_path)
    now = asked.read_note(tmp_path)["also"][0]
    (tmp_path / asked.NOTE).write_text(json.dumps(note | {key: now[key] for key in now if key != "device"}), "utf-8")
    before = (tmp_path / asked.NOTE).read_bytes()
    asked.measured_by(tmp_path, torch.device("cpu"), is_first=False)  # the same, as far as it is known
    assert (tmp_path / asked.NOTE).read_bytes() == before
