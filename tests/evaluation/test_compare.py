"""Runs beside each other: paired statistics against SciPy and by drawing; what `alexnet compare` says."""

import dataclasses
import json
import shutil
import statistics

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

import alexnet as package
from alexnet import Recipe, UsageError, compare, evaluate
from alexnet.evaluation.paired import Difference, mcnemar, newcombe
from alexnet.training.train import train_seeds


@pytest.fixture(scope="module")
def seeds(dataset, net_file, tmp_path_factory):
    """Three seeds of a small net, and one run of another learning rate beside them."""
    folder = tmp_path_factory.mktemp("compared")
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2, precision="float32")
    train_seeds(dataset, folder / "seeds", recipe, [0, 2, 10], show=False)
    package.train(dataset, folder / "slow", Recipe(**{**vars(recipe), "learning_rate": 0.0001}), show=False)
    return folder / "seeds"


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (5, 12), (12, 5), (7, 7), (300, 350), (20_000, 20_500)])
def test_mcnemar_is_the_binomial_test(one, other):
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("both", "first", "second"), [(0.2, 0.05, 0.1), (0.6, 0.02, 0.02), (0.05, 0.3, 0.1)])
def test_the_interval_holds_the_difference_nineteen_times_in_twenty(both, first, second):
    random = np.random.default_rng(0)
    drawn = random.multinomial(80, [both, first, second, 1 - both - first - second], 1500)
    held = [low <= first - second <= high for low, high in (newcombe(*counts) for counts in drawn.tolist())]
    assert 0.935 <= np.mean(held) <= 0.99


def test_the_interval_by_hand():
    """Of trials that share nothing it is symmetric; swapped nets swap its ends; equal nets differ by 0."""
    low, high = newcombe(0, 10, 10, 0)
    assert low == pytest.approx(-high)
    low, high = newcombe(30, 4, 9, 57)
    assert newcombe(30, 9, 4, 57) == pytest.approx((-high, -low)) and low < -0.05 < high
    # (4 - 9) / 100; Wilson's intervals of 34% and 39%: 0.2546 to 0.4370, 0.3002 to 0.4880;
    # the correlation (30 * 57 - 4 * 9 - 50) / sqrt(34 * 66 * 39 * 61) = 0.70284
    down, up = 0.34 - 0.25464, 0.48799 - 0.39
    assert low == pytest.approx(-0.05 - (down**2 - 2 * 0.70284 * down * up + up**2) ** 0.5, abs=2e-4)


def test_a_difference_counts_images():
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([0, 1, 1, 0, 0], bool)
    told = Difference.of(first, second)
    assert (told.only_first_wrong, told.only_second_wrong, told.images) == (2, 1, 5)
    assert told.difference == pytest.approx(second.mean() - first.mean()) and told.p_value == 1


def test_seeds_have_a_mean_and_a_standard_deviation(alexnet, seeds):
    status, out, _ = alexnet("compare", seeds, "--json")
    told = json.loads(out)
    assert status == 0 and [run["name"] for run in told["runs"]] == ["seed-0", "seed-2", "seed-10"]
    noted = [json.loads((seeds / f"seed-{n}" / "run.json").read_text())["errors"]["val"] for n in (0, 2, 10)]
    errors = [each["top1_error"] for each in noted]
    assert [run["top1_error"] for run in told["runs"]] == errors
    (group,) = told["seeds"]
    assert group["mean"] == pytest.approx(np.mean(errors)) and group["std"] == pytest.approx(np.std(errors, ddof=1))
    assert told["recipe_differences"] == {"seed": [0, 2, 10]}
    out = alexnet("compare", seeds)[1]
    spread = f"{statistics.mean(errors):.2%} ± {statistics.stdev(errors):.2%}"
    assert spread in out and "recipe differences" not in out


def test_runs_are_measured_on_the_same_images(alexnet, seeds, dataset, tmp_path):
    runs = [seeds / "seed-0", seeds.parent / "slow", seeds / "seed-2"]
    told = compare(runs, dataset, split="train", views=10)
    alone = [evaluate(run, dataset, split="train", views=10) for run in runs]
    assert [run.top1_error for run in told.runs] == [each.errors.top1_error for each in alone]
    assert told.runs[0].difference is None and told.seeds[0].runs == ["seed-0", "seed-2"]
    for run, each in zip(told.runs[1:], alone[1:]):
        assert run.difference
        assert run.difference.only_second_wrong == (~each.correct & alone[0].correct).sum()
        assert run.difference.only_first_wrong == (each.correct & ~alone[0].correct).sum()
    assert told.recipe_differences == {"seed": [0, 0, 2], "learning_rate": [0.01, 0.0001, 0.01]}
    picture = tmp_path / "curves.png"
    status, out, _ = alexnet("compare", *runs, "--dataset", dataset.path, "--output", picture)
    assert status == 0 and "learning-rate" in out and "against seed-0" in out and "McNemar" in out
    assert "\n\n" in out and "\n\n\n" not in out  # blocks are one line apart
    assert np.asarray(Image.open(picture)).std() > 5 and out.endswith(f"\nwritten: {picture}\n")


@pytest.mark.parametrize("damage", ["run.json", "weights.safetensors"])
def test_a_damaged_seed_is_named_and_the_others_are_compared(alexnet, seeds, dataset, tmp_path, damage):
    """One that was given by its own name is refused, and so is a folder with one sound run."""
    folder = shutil.copytree(seeds, tmp_path / "copied")
    (folder / "seed-3").mkdir()  # not a run at all
    for file in (folder / "seed-2").rglob(damage):
        file.write_bytes(b"damaged")
    arguments = [folder, "--dataset", dataset.path]
    status, out, err = alexnet("compare", *arguments, "--json")
    told, sound = json.loads(out), compare([folder / "seed-0", folder / "seed-10"], dataset)
    assert status == 1 and [run["top1_error"] for run in told["runs"]] == [run.top1_error for run in sound.runs]
    assert told["runs"][1] == json.loads(json.dumps(dataclasses.asdict(sound.runs[1])))
    assert told["recipe_differences"] == {"seed": [0, 10]} and told["seeds"][0]["runs"] == ["seed-0", "seed-10"]
    first, second, last = err.splitlines()
    assert {"seed-2" in first, "seed-2" in second} == {"seed-3" in first, "seed-3" in second} == {True, False}
    assert "2 runs could not be read" in last and "Traceback" not in err
    status, _, err = alexnet("compare", folder / "seed-2", folder / "seed-0", "--dataset", dataset.path)
    assert status == 1 and "seed-2" in err and err.count("\n") == 1
    shutil.rmtree(folder / "seed-10")
    status, out, err = alexnet("compare", *arguments)
    assert status in (1, 2) and not out and err.count("\n") == 1 and "seed-" in err


def test_an_imported_or_unfinished_run_is_compared_as_far_as_it_goes(alexnet, seeds, tmp_path):
    shutil.copytree(seeds / "seed-0", tmp_path / "bare")
    for name in ("recipe.json", "metrics.jsonl", "timings.jsonl"):
        (tmp_path / "bare" / name).unlink()
    description = json.loads((tmp_path / "bare" / "run.json").read_text())
    (tmp_path / "bare" / "run.json").write_text(json.dumps({**description, "errors": {}}))
    status, out, err = alexnet("compare", seeds / "seed-2", tmp_path / "bare")
    assert status == 0 and "not measured" in out and "None" not in out, err


def test_what_a_run_of_before_did_not_know_counts_as_it_was(seeds, tmp_path):
    """A field that came later is no difference to a run that has what trainings then did, and one to others."""
    kinds = {"old": None, "same": "momentum", "other": "muon"}
    for name, optimizer in kinds.items():
        shutil.copytree(seeds / "seed-0", tmp_path / name)
        note = tmp_path / name / "recipe.json"
        recipe = {key: value for key, value in json.loads(note.read_text()).items() if key != "optimizer"}
        note.write_text(json.dumps(recipe if optimizer is None else {**recipe, "optimizer": optimizer}))
    assert compare([tmp_path / "old", tmp_path / "same"]).recipe_differences == {}
    compared = compare([tmp_path / name for name in kinds])
    assert compared.recipe_differences == {"optimizer": ["momentum", "momentum", "muon"]}
    assert [seeds.runs for seeds in compared.seeds] == [["old", "same"]]


def test_what_cannot_be_compared_is_said(alexnet, seeds, dataset):
    for arguments, said in [
        ([], "two runs or more"),
        ([seeds / "seed-0"], "one run alone"),
        ([seeds / "seed-0", seeds / "seed-0"], "given twice"),
        ([seeds, seeds / "seed-2"], "given twice"),
        ([seeds / "seed-0", dataset.path], "small: is a dataset, not a run; to measure on it: --dataset"),
        ([seeds, "--output", "x.jpg"], "a name that ends in .png"),
    ]:
        status, _, err = alexnet("compare", *arguments)
        assert status == 2 and said in err and err.count("\n") == 1, err
    with pytest.raises(UsageError, match="--views 5"):
        compare(seeds, views=5)
