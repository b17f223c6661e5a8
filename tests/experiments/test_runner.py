"""An experiment goes on where it was stopped, is refused where it is another one, and its raw figures can be drawn."""

import contextlib
import dataclasses
import json
import signal
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import AlexNetError, Interrupted, Recipe, UsageError
from alexnet.experiments import experiment, figure1, fine_tuning, known, precision, raw, runner, stalling
from alexnet.experiments.raw import read_rows
from alexnet.nets.table import Learning
from alexnet.nets.table_file import load_table
from alexnet.progress import Display
from tests.conftest import fill

RAW = Path(__file__).parents[2] / "docs" / "raw" / "stalling-photos.jsonl"


@pytest.fixture
def conditions(net_file) -> list[str]:
    return [f"default net={net_file} crop_size=48 batch_size=8", f"paper net={net_file} crop_size=48 batch_size=8"]


def test_a_stopped_experiment_goes_on_to_the_same_figures(dataset, conditions, tmp_path, monkeypatch):
    whole = runner.reproduce(
        "stalling", tmp_path / "whole", data=dataset.path, conditions=conditions, seeds=[0, 1], scale=0.01
    )
    measure, calls = stalling.measure, []

    def stops(case: experiment.Case) -> list[experiment.Row]:
        calls.append((case.condition, case.seed))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(case)

    changed = dataclasses.replace(stalling.STALLING, measure=stops)
    monkeypatch.setattr(known, "EXPERIMENTS", {"stalling": changed})
    options = {"data": dataset.path, "conditions": conditions, "seeds": [0, 1], "scale": 0.01}
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("stalling", tmp_path / "stopped", **options)
    again = runner.reproduce("stalling", tmp_path / "stopped", **options)
    one, other = conditions
    assert calls == [(one, 0), (one, 1), (other, 0), (other, 0), (other, 1)]
    assert again.rows == whole.rows and again.table == whole.table
    assert (tmp_path / "stopped" / "raw.jsonl").read_bytes() == (tmp_path / "whole" / "raw.jsonl").read_bytes()
    assert np.asarray(Image.open(tmp_path / "stopped" / "figure.png")).std() > 5
    assert not (tmp_path / "stopped" / "work").exists()


def test_the_steps_are_those_of_the_trainer(dataset, net_file, tmp_path):
    from alexnet import train

    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1)
    train(dataset, tmp_path / "run", recipe, show=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    condition = f"default net={net_file} crop_size=48 batch_size=8 epochs=1"
    rows = runner.reproduce(
        "stalling", tmp_path / "e", data=dataset.path, conditions=[condition],
        scale=len(losses) / stalling.STEPS, show=False,
    ).rows  # fmt: skip
    assert [row["loss"] for row in rows if "loss" in row] == pytest.approx(losses, rel=1e-5)


def test_what_is_refused(dataset, conditions, tmp_path):
    with pytest.raises(UsageError, match="perhaps you meant stalling"):
        runner.reproduce("staling", tmp_path / "e")
    with pytest.raises(UsageError, match="--scale"):
        runner.reproduce("stalling", tmp_path / "e", scale=0)
    with pytest.raises(UsageError, match="a recipe has no speed"):
        runner.reproduce("stalling", tmp_path / "e", data=dataset.path, conditions=["paper speed=3"], scale=0.01)
    runner.reproduce("stalling", tmp_path / "e", data=dataset.path, conditions=conditions[:1], seeds=[0], scale=0.01)
    with pytest.raises(UsageError, match="begun otherwise"):
        runner.reproduce("stalling", tmp_path / "e", data=dataset.path, conditions=conditions, scale=0.02)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    with pytest.raises(UsageError, match="not a folder for a new experiment"):
        runner.reproduce("stalling", tmp_path / "full")


def test_the_docs_figures_are_drawn_again(tmp_path):
    lines = runner.draw("stalling", RAW, tmp_path / "stalling.png")
    assert "| `paper` | 0: 145; 1: 155; 2: 152 | 1.43% |" in lines
    assert np.asarray(Image.open(tmp_path / "stalling.png")).std() > 5


def test_biases_of_a_condition_are_those_of_every_layer(tmp_path):
    table = load_table(stalling.changed("paper bias=0.25", tmp_path).net or "")
    biases = [layer.init.bias for layer in table.layers.values() if isinstance(layer, Learning)]
    assert biases == [0.25] * 8


def test_precision_measures_each_run_in_each_precision(dataset, net_file, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "BASE", Recipe(net=net_file, crop_size=48, batch_size=8))
    made = runner.reproduce("precision", tmp_path / "e", data=dataset.path, seeds=[3], scale=0.1, show=False)
    assert [(row["condition"], row["measured_in"]) for row in made.rows] == [
        (trained, measured) for trained in ("float32", "bf16") for measured in precision.MEASURED
    ]
    assert all(row["images"] == dataset.splits["val"] for row in made.rows)
    assert [line.split(" | ")[:2] for line in made.table[2:8]] == [
        [f"| {row['condition']}", row["measured_in"]] for row in made.rows
    ]
    assert made.table[2].endswith(" |  |  |") and made.table[3].endswith("| on 12 images nothing can be told |")
    old = [{key: value for key, value in row.items() if key != "wrong"} for row in made.rows]
    assert precision.table(old)[3].endswith(" |  |  |")  # of a version before
    mixed = precision.table([*old[:3], *made.rows[3:]])
    assert [("(to bf16, float32)" in line) for line in mixed[2:8]] == [False] * 4 + [True] * 2
    assert made.table[-1].startswith("Measured on 12 images: the first error's 95% interval is ")
    last = (tmp_path / "e" / "table.md").read_text(encoding="utf-8").splitlines()[-1]
    note = json.loads((tmp_path / "e" / "experiment.json").read_text(encoding="utf-8"))
    assert last.startswith(
        f"`alexnet reproduce precision`, 0.1 of its size on {dataset.path}; begun {note['date']} by "
    )
    assert note["machine"] and note["device"] and "also" not in note


def test_fine_tuning_measures_few_photos_of_new_classes(net_file, tmp_path, monkeypatch):
    for split, count in (("train", 6), ("val", 2)):
        fill(tmp_path / "photos" / split, ("a", "b", "c", "d", "e"), count)
    monkeypatch.setattr(fine_tuning, "BASE", Recipe(net=net_file, crop_size=48, batch_size=8))
    monkeypatch.setattr(fine_tuning, "COUNTS", (2, 4))
    made = runner.reproduce(
        "fine-tuning", tmp_path / "e", data=tmp_path / "photos", conditions=["from scratch", "fine-tuned"], seeds=[0],
        scale=0.01, show=False,
    )  # fmt: skip
    assert [(row["condition"], row["count"]) for row in made.rows] == [
        (condition, count) for condition in ("from scratch", "fine-tuned") for count in (2, 4)
    ]
    assert [line.split(" | ")[:2] for line in made.table[-2:]] == [["| fine-tuned", "2"], ["| fine-tuned", "4"]]
    assert all(line.endswith(" | on 6 images nothing can be told |") for line in made.table[-2:])
    assert json.loads((tmp_path / "e" / "pretrained" / "run" / "run.json").read_text())["classes"] == ["a", "b"]
    assert json.loads((tmp_path / "e" / "few-4-0" / "dataset.json").read_text())["classes"] == ["c", "d", "e"]
    with pytest.raises(UsageError, match="condition 'tuned'"):
        runner.reproduce(
            "fine-tuning", tmp_path / "f", data=tmp_path / "photos", conditions=["tuned"], scale=0.01, show=False
        )


def test_fine_tuning_frees_its_folder_of_an_archive_that_is_no_use(tmp_path):
    fill(tmp_path / "good", ("a", "b", "c", "d", "e"), 2)
    for name, splits in (("bad", ("other",)), ("few", ("train", "val"))):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for split in splits:
                archive.add(tmp_path / "good", split)
    for name, words in (("bad", "give a folder or tar archive"), ("few", "train/c: has 2 photos; give 10 or more")):
        with pytest.raises(UsageError, match=words):
            runner.reproduce("fine-tuning", tmp_path / "e", data=tmp_path / f"{name}.tar", show=False)
        assert not (tmp_path / "e").exists()


def test_fine_tuning_goes_on_where_it_was_moved_with_its_lists(net_file, tmp_path, monkeypatch):
    for split in ("train", "val"):
        fill(tmp_path / "images" / split, ("a", "b", "c", "d", "e"), 2)
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(tmp_path / "images", "images")
    monkeypatch.setattr(fine_tuning, "BASE", Recipe(net=net_file, crop_size=48, batch_size=8))
    monkeypatch.setattr(fine_tuning, "COUNTS", (2,))
    options = {"data": tmp_path / "images.tar", "conditions": ["from scratch"], "scale": 0.01, "show": False}
    real = fine_tuning.prepare

    def stops(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning, "prepare", lambda *paths: real(*paths, progress=stops))
    with pytest.raises(Interrupted):
        runner.reproduce("fine-tuning", tmp_path / "e", seeds=[0], **options)
    assert (tmp_path / "e" / "few-2-0" / "prepare.json").exists()
    (tmp_path / "e").rename(tmp_path / "moved")
    monkeypatch.setattr(fine_tuning, "prepare", real)
    assert len(runner.reproduce("fine-tuning", tmp_path / "moved", seeds=[0], **options).rows) == 1


def test_fine_tuning_refuses_what_is_no_photos_in_a_line(tmp_path):
    (tmp_path / "file.tar").write_bytes(b"no archive")
    fill(tmp_path / "photos" / "train", ("a", "b", "c"), 1)
    for data, words in (("file.tar", "file.tar: give a folder or tar"), ("photos", "photos: give a folder or tar")):
        with pytest.raises(UsageError, match=words):
            runner.reproduce("fine-tuning", tmp_path / "e", data=tmp_path / data, show=False)
    fill(tmp_path / "photos" / "val", ("a", "b"), 1)
    with pytest.raises(UsageError, match="photos: val has no folder c; give a folder or tar"):
        runner.reproduce("fine-tuning", tmp_path / "e", data=tmp_path / "photos", show=False)


def test_figure1_goes_on_at_the_rate_where_it_was_stopped(dataset, tmp_path, monkeypatch):
    plain = dataclasses.replace(known.EXPERIMENTS["figure1"], needs=None, takes="photos")
    monkeypatch.setitem(known.EXPERIMENTS, "figure1", plain)
    monkeypatch.setattr(figure1, "BASE", dataclasses.replace(figure1.BASE, batch_size=8))
    monkeypatch.setattr(figure1, "MOST", 4)
    options = {"data": dataset.path, "conditions": ["relu", "tanh"], "seeds": [0], "scale": 0.3, "show": False}
    whole = runner.reproduce("figure1", tmp_path / "whole", **options)
    real, calls = figure1.training_errors, []

    def stops(dataset, recipe, device):
        calls.append(recipe.learning_rate)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(dataset, recipe, device)

    monkeypatch.setattr(figure1, "training_errors", stops)
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("figure1", tmp_path / "stopped", **options)
    again = runner.reproduce("figure1", tmp_path / "stopped", **options)
    assert again.rows == whole.rows and calls == [0.01, 0.02, 0.02, 0.01, 0.02]
    assert [(row["condition"], row["rate"]) for row in again.rows] == [
        (unit, rate) for unit in ("relu", "tanh") for rate in (0.01, 0.02)
    ]
    assert all(0 <= error <= 1 for row in again.rows for error in row["errors"])
    assert again.table[2].startswith("| ReLU |")


def test_epochs_to_an_error_lie_between_two_epochs():
    assert figure1.epochs_to([0.5, 0.35, 0.15]) == 2.5
    assert figure1.epochs_to([0.2]) == pytest.approx(0.9375)
    assert figure1.epochs_to([0.9, 0.3]) is None


def searched(best, rates, first=()):
    """The rates that a seed learns at, and its rows: the nearer a rate is to the best one, the fewer epochs."""
    rows = []
    while (rate := figure1.next_rate(rows, rates, first)) is not None:
        epochs = None if best is None else 10 + abs(np.log2(rate / best))
        rows.append({"seed": 0, "rate": rate, "epochs": epochs})
    return [row["rate"] for row in rows], rows


def test_figure1_searches_all_rates_once_and_then_around_the_best():
    rates = figure1.RATES
    all_of_them, first = searched(0.04, rates)
    assert tuple(all_of_them) == rates
    assert searched(0.04, rates, first)[0] == [0.01, 0.02, 0.04, 0.08]
    assert searched(0.16, rates, first)[0] == [0.01, 0.02, 0.04, 0.08, 0.16]  # further, where a neighbor is better
    assert searched(0.0025, rates, first)[0] == [0.01, 0.02, 0.005, 0.04, 0.0025, 0.08]
    assert searched(None, rates, searched(None, rates)[1])[0] == [0.01]
    assert sorted(searched(None, rates, first)[0]) == sorted(rates)  # another seed got there
    assert searched(0.16, rates[:2], searched(0.16, rates[:2])[1])[0] == [0.01, 0.02]


def test_figure1s_first_seed_is_another_one_that_learned_at_all_rates(tmp_path):
    of = [("tanh", 4, 0.01), ("tanh", 4, 0.02), ("relu", 3, 0.01), ("relu", 0, 0.01), ("relu", 0, 0.02)]
    rows = [{"condition": condition, "seed": seed, "rate": rate, "epochs": 1.0} for condition, seed, rate in of]
    first = experiment.Case("relu", 5, tmp_path, tmp_path, None, 1.0, "cpu", Display(False))
    assert figure1.rows_of_first_seed(first, (0.01, 0.02)) == []
    case = dataclasses.replace(first, rows=rows)
    assert [(row["seed"], row["rate"]) for row in figure1.rows_of_first_seed(case, (0.01, 0.02))] == [
        (0, 0.01),
        (0, 0.02),
    ]
    for other, rates in ((dataclasses.replace(case, seed=0), (0.01, 0.02)), (case, (0.01, 0.02, 0.04))):
        assert figure1.rows_of_first_seed(other, rates) == []
    partly = json.dumps({"condition": "relu", "seed": 1, "rate": 0.01, "epochs": 1.0, "case_rows": 4}) + "\n"
    (tmp_path / "raw.jsonl").write_text(partly, encoding="utf-8")  # some of its rows were removed
    left = dataclasses.replace(case, rows=raw.measured_rows(tmp_path))
    assert figure1.rows_of_first_seed(left, (0.01,)) == []


@pytest.mark.parametrize(
    "content",
    ["", "[{", "{}", "[1]", "[{}]", '[{"rate": 0.01, "epochs": "5", "errors": [0.2]}]',
     '[{"rate": [1], "epochs": null, "errors": [0.2]}]', '[{"rate": 0.01, "epochs": -3, "errors": [0.2]}]'],
)  # fmt: skip
def test_figure1_learns_again_what_was_damaged(tmp_path, content, capfd):
    (tmp_path / "rows.json").write_text(content)
    with contextlib.closing(Display(True)) as display:
        assert figure1.begun(tmp_path / "rows.json", display) == []
        assert figure1.begun(tmp_path / "none.json", display) == []
    assert "rows.json: " in (said := capfd.readouterr().err) and said.strip().endswith("; learned again")
    kept = {"rate": 0.01, "epochs": None, "errors": [0.5, 0.4]}
    (tmp_path / "rows.json").write_text(json.dumps([{**kept, "seed": 7, "condition": "tanh"}, {**kept, "rate": 0.013}]))
    assert figure1.begun(tmp_path / "rows.json", Display(False)) == [kept]


def test_what_a_kill_left_of_a_measured_case_is_not_taken_for_another(tmp_path, dataset, monkeypatch):
    calls = []

    def measure(case):
        calls.append(sorted(path.name for path in case.work.iterdir()))
        return [{"figure": 1}]

    plain = experiment.Experiment("", ("a", "b"), (0,), measure, stalling.figure, lambda rows: ["| |"], takes="photos")
    monkeypatch.setattr(known, "EXPERIMENTS", {"plain": plain})
    monkeypatch.setattr(runner, "_show", lambda *given: [])
    monkeypatch.setattr(runner.raw, "shown", lambda *given: None)
    options = {"data": dataset.path, "show": False}
    runner.reproduce("plain", tmp_path / "e", conditions=["a"], **options)
    left = runner._work(tmp_path / "e", "a", 0)
    left.mkdir(parents=True)
    (left / "rows.json").write_text("[]")
    runner.reproduce("plain", tmp_path / "e", conditions=["b"], **options)
    assert not left.exists() and calls == [[], []] and not (tmp_path / "e" / "work").exists()


def test_figure1_counts_each_unit_by_its_best_rate(tmp_path):
    rows = [
        {"condition": unit, "seed": seed, "rate": rate, "epochs": epochs, "errors": [0.5, 0.2]}
        for unit, seed, rate, epochs in [
            ("relu", 0, 0.01, 4.0), ("relu", 0, 0.02, 2.0), ("relu", 1, 0.01, 5.0), ("relu", 1, 0.02, 2.0),
            ("tanh", 0, 0.01, 20.0), ("tanh", 0, 0.02, 8.0), ("tanh", 1, 0.01, 10.0), ("tanh", 1, 0.02, None),
            ("sigmoid", 0, 0.01, None),
        ]
    ]  # fmt: skip
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = runner.draw("figure1", tmp_path / "raw.jsonl", tmp_path / "figure.png")
    assert "| tanh | 0.02, 0.01 | 9.0 (8.0 to 10.0) | 4.5 (1.1 to 18.5) | 15.0 (10.0 to 20.0) |" in lines[3]
    assert lines[5:] == [
        "", "- ReLU was learned by seeds 0, 1 at 0.01, 0.02.", "- tanh was learned by seeds 0, 1 at 0.01, 0.02.",
        "- sigmoid was learned by seed 0 at 0.01.",
    ]  # fmt: skip
    rows[4]["epochs"] = rows[5]["epochs"] = None
    assert "| tanh | 0.01 | 10.0 (10.0 to 10.0; 1 of 2 seeds) |" in figure1.table(rows)[3]
    assert lines[4] == "| sigmoid | none got there | over 60 |  | over 60 |  |"
    (tmp_path / "raw.jsonl").write_text(json.dumps(rows[-1]) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a legend of nothing
        runner.draw("figure1", tmp_path / "raw.jsonl", tmp_path / "figure.png")


def test_what_needs_images_says_so_and_scales_have_names(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"figure1: needs CIFAR-10; give them with --data"):
        runner.reproduce("figure1", tmp_path / "e")
    with pytest.raises(UsageError, match=r"--scale weeks: lrn has minutes, hours, paper, or a share"):
        runner.reproduce("lrn", tmp_path / "e", data=tmp_path, scale="weeks")
    assert not (tmp_path / "e").exists()


def test_a_mistake_leaves_the_folder_free_for_what_was_meant(dataset, tmp_path):
    options = {"scale": 0.1, "seeds": [0], "show": False}
    with pytest.raises(UsageError, match="no such file or folder"):
        runner.reproduce("figure1", tmp_path / "e", data=tmp_path / "nowhere", conditions=["relu"], **options)
    with pytest.raises(UsageError, match="condition 'swish': give one of relu, tanh"):
        runner.reproduce("figure1", tmp_path / "e", data=dataset.path, conditions=["swish"], **options)
    with pytest.raises(UsageError, match="is not CIFAR-10"):
        runner.reproduce("figure1", tmp_path / "e", data=dataset.path, conditions=["relu"], **options)
    with pytest.raises(UsageError, match="--conditions: names none"):
        runner.reproduce("figure1", tmp_path / "e", data=dataset.path, conditions=[], **options)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("line", ['{"condition": "relu", ', "[]", "{}", "\x00"])
def test_damaged_raw_figures_are_named_by_their_line(tmp_path, line):
    (tmp_path / "raw.jsonl").write_text('{"condition": "relu", "seed": 0}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(AlexNetError, match=r"raw.jsonl: line 2: .* remove it, and the others"):
        read_rows(tmp_path / "raw.jsonl")


def test_every_experiment_is_listed_with_a_line():
    lines = known.listing()
    assert {
        *("demo", "figure1", "figure3", "figure4", "cifar", "lrn", "ablations", "ablations-cifar", "budget"),
        "ablations-cifar-fast",
        *("invariance", "stalling", "fine-tuning", "precision", "rehearsal", "table1", "table2", "fall"),
    } <= set(lines)
    assert all(entry["description"] and "\n" not in entry["description"] for entry in lines.values())
    assert lines["figure1"]["needs"] == "CIFAR-10" and "six times" in lines["figure1"]["paper"]
    assert next(iter(lines["figure1"]["scales"])) == "minutes"


def test_every_scale_is_of_its_experiments_conditions_and_the_smallest_comes_first():
    for name in set(known.EXPERIMENTS) - {"demo"}:
        measured = known.EXPERIMENTS[name]
        assert list(measured.scales)[:2] == ["minutes", "hours"] and measured.paper, name
        assert 0 < (measured.scales["minutes"].minutes or 0) <= 30, name
        for scale in measured.scales.values():
            assert 0 < scale.share <= 1 and set(scale.conditions or ()) <= set(measured.conditions), name


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_and_it_says_that_the_same_command_goes_on(name, dataset, tmp_path, monkeypatch, capsys):
    from alexnet.cli import main

    if not hasattr(signal, name):
        pytest.skip("a signal of Unix")

    def stops(case):
        try:
            signal.raise_signal(getattr(signal, name))
        finally:
            signal.raise_signal(getattr(signal, name))  # a closed terminal sends two

    changed = dataclasses.replace(precision.PRECISION, measure=stops)
    monkeypatch.setattr(known, "EXPERIMENTS", {"precision": changed})
    numbers = [getattr(signal, other) for other in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, other)]
    before = [signal.getsignal(number) for number in numbers]
    assert main(["reproduce", "precision", str(tmp_path / "e"), "--data", dataset.path]) == 130
    assert "e: interrupted; the same command goes on from there" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("option", ["--data photos", "--conditions relu", "--seeds 0", "--scale hours", "--device cpu"])
def test_options_without_an_experiment_are_refused(option, capsys):
    from alexnet.cli import main

    assert main(["reproduce", *option.split()]) == 2
    assert f"{option.split()[0]}: of which experiment? Give its name" in capsys.readouterr().err
