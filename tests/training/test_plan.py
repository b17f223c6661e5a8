"""What is said before the first step and at the end is true; a dry run leaves nothing and tells the same."""

import dataclasses
import json
import re
import shutil

import pytest
import torch

from alexnet import AlexNetError, Recipe, UsageError, train
from alexnet.data.prepare import prepare, survey
from alexnet.training import dry_run as rehearsal
from alexnet.training import plan as planning
from alexnet.training.options import Options
from alexnet.training.recipes import RECIPES, differences, nearest
from alexnet.training.setup import set_up

OPTIONS = ("--crop-size", "48", "--batch-size", "16", "--seed", "7")


def files_of(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_disk_that_is_said_is_the_disk_that_is_taken(dataset, net_file, tmp_path):
    recipe = Recipe(net=str(net_file), epochs=4, batch_size=16)
    setup = set_up(dataset, tmp_path / "run", recipe, torch.device("cpu"))
    for name, options in {"plain": {}, "every": {"keep_every": 2}, "log": {"keep": "log"}}.items():
        train(dataset, tmp_path / name, recipe, threads=1, show=False, **options)
        taken = sum(path.stat().st_size for path in (tmp_path / name / "checkpoints").rglob("*.safetensors"))
        need = planning.disk_need(setup, Options(**options))
        headers = 2048 * len(list((tmp_path / name / "checkpoints").rglob("*.safetensors")))
        if name == "log":
            assert taken <= need.kept + headers
        else:
            assert need.kept <= taken <= need.kept + headers
        assert need.peak > need.kept


def test_a_full_disk_is_said_before_the_first_step(dataset, net_file, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(AlexNetError, match=r"its checkpoints need .* of disk, 10 KiB are free"):
        train(dataset, tmp_path / "run", Recipe(net=str(net_file), epochs=1), show=False)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_finished_run_needs_no_room(dataset, net_file, tmp_path, monkeypatch, capsys):
    recipe = Recipe(net=str(net_file), epochs=1)
    train(dataset, tmp_path / "run", recipe, show=False)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    train(dataset, tmp_path / "run", recipe)
    assert "finished already" in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_known_again(name):
    recipe = RECIPES[name]
    settled = recipe.settled(5000, "float32", recipe.crop_size or 224, "paper")
    assert nearest(settled, 5000, False) == (name, {})
    changed = dataclasses.replace(settled, seed=9, flip=not settled.flip)
    found, changes = nearest(changed, 5000, False)
    assert found == name and changes == {"seed": 9, "flip": not settled.flip}
    assert differences(changes) in ("--seed 9 --no-flip", "--seed 9 --flip")


def test_the_fewer_epochs_of_muon_are_no_change_of_their_own():
    settled = Recipe(optimizer="muon").settled(5000, "float32", 224, "paper")
    assert nearest(settled, 5000, False) == ("default", {"optimizer": "muon"})


def test_train_says_what_it_will_do_and_what_came_of_it(alexnet, dataset, net_file, tmp_path):
    run = tmp_path / "run"
    command = ("train", dataset.path, run, "--net", net_file, "--epochs", 2, *OPTIONS, "--threads", 1)
    status, out, err = alexnet(*command)
    assert status == 0
    parameters = sum(
        line["parameters"] for line in json.loads(alexnet("summary", net_file, "--json", "--classes", 3)[1])["layers"]
    )
    assert f"{parameters:,} parameters" in err and "--seed 7" in err and "learning rate 0.01 (cosine)" in err
    assert re.search(r"starting at step 0 of \d+", err) and "kernels" in err and "free" in err
    assert "last (epoch 2): validation error" in out and "best (epoch" in out
    assert f"next: alexnet evaluate {run} {dataset.path}" in out
    status, out, err = alexnet(*command, "--quiet")
    assert status == 0 and err == "" and "finished" not in out
    status, out, _ = alexnet(*command, "--json")
    ended = json.loads(out)
    validation = [
        line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if line["split"] == "val"
    ]
    best = min(validation, key=lambda line: line["top1_error"])
    assert (ended["best_epoch"], ended["best_error"]) == (best["epoch"], best["top1_error"])


def test_a_dry_run_writes_nothing_and_says_the_same(alexnet, dataset, net_file, tmp_path):
    run = tmp_path / "run"
    command = ("train", dataset.path, run, "--net", net_file, "--epochs", 2, *OPTIONS, "--threads", 1)
    status, dry, _ = alexnet(*command, "--dry-run")
    assert status == 0 and not run.exists() and "nothing was written" in dry and "measured" in dry
    status, _, err = alexnet(*command)
    said = [line for line in dry.splitlines() if line.split()[0] in ("net", "recipe", "data", "training", "machine")]
    assert status == 0 and len(said) == 5 and all(line in err for line in said)
    before = files_of(run)
    assert alexnet(*command, "--dry-run")[0] == 0 and files_of(run) == before
    several = ("train", dataset.path, tmp_path / "seeds", "--net", net_file, "--seeds", "0..2", "--dry-run")
    status, out, _ = alexnet(*several, "--json")
    assert status == 0 and json.loads(out)["runs"] == 3 and not (tmp_path / "seeds").exists()
    status, _, err = alexnet(*several, "--seed", 3)
    assert status == 2 and "--seed 3 and --seeds 0..2: give one of them" in err
    status, _, err = alexnet(*command[:-1], 1, "--dry-run", "--epochs", 3)
    assert status == 2 and "epochs 2 -> 3" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").touch()
    status, _, err = alexnet("train", dataset.path, tmp_path / "other", "--net", net_file, "--dry-run")
    assert status == 2 and "(letter), not a folder for a new" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--keep-every", 0), "--keep-every 0"), (("--workers", 0), "--workers 0"), (("--log", "wand"), "--log wand")],
)
def test_a_dry_run_refuses_what_the_training_does(alexnet, dataset, net_file, tmp_path, options, said):
    command = ("train", dataset.path, tmp_path / "run", "--net", net_file, *options)
    refused = [alexnet(*command, *more) for more in ((), ("--dry-run",))]
    assert refused[0] == refused[1] and refused[0][0] == 2 and said in refused[0][2]
    swapped = ("train", tmp_path / "run", dataset.path, "--net", net_file)
    assert alexnet(*swapped, "--dry-run")[0] == alexnet(*swapped)[0] == 2
    train(dataset, tmp_path / "run", Recipe(net=str(net_file), epochs=1), show=False)
    status, _, err = alexnet(*swapped, "--dry-run")
    assert status == 2 and "the arguments are swapped" in err


def test_a_dry_run_changes_nothing_of_the_training(dataset, net_file, tmp_path):
    recipe = Recipe(net=str(net_file), epochs=1, batch_size=16)
    train(dataset, tmp_path / "one", recipe, threads=1, show=False)
    measured = rehearsal.dry_run(dataset, tmp_path / "two", recipe, threads=1)
    train(dataset, tmp_path / "two", recipe, threads=1, show=False)
    assert (tmp_path / "one/metrics.jsonl").read_bytes() == (tmp_path / "two/metrics.jsonl").read_bytes()
    assert measured.seconds == measured.seconds_per_step * measured.steps > 0


def test_a_survey_says_what_prepare_makes(pictures, tmp_path):
    seen = survey(pictures, tmp_path / "dataset", size=48)
    assert not (tmp_path / "dataset").exists() and not seen.begun and not seen.bad
    made = prepare(pictures, tmp_path / "dataset", size=48)
    taken = sum(path.stat().st_size for path in (tmp_path / "dataset").glob("*.arrow"))
    assert seen.sampled == len(seen.listing) and 0.5 * taken < seen.bytes <= taken
    assert seen.listing.classes == made.classes and seen.describe()["counts"]["train"]
    assert survey(pictures, tmp_path / "dataset", size=48).begun
    with pytest.raises(UsageError, match="begun with other"):
        survey(pictures, tmp_path / "dataset", size=64)


def test_prepare_dry_run(alexnet, pictures, tmp_path):
    status, out, _ = alexnet("prepare", pictures, tmp_path / "d", "--dry-run")
    assert status == 0 and "nothing was written" in out and "left out" not in out and not (tmp_path / "d").exists()
    assert "\\n" not in out
    status, out, _ = alexnet("prepare", pictures, tmp_path / "d", "--dry-run", "--json")
    assert status == 0 and json.loads(out)["size"] and json.loads(out)["bytes"] > 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").touch()
    status, _, err = alexnet("prepare", pictures, tmp_path / "other", "--dry-run")
    assert status == 2 and "(letter), not a folder for a new" in err
