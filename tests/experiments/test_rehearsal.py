"""The rehearsal's archives are ImageNet's in all but size, and what it says of them is so."""

import io
import tarfile
import time
import types

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from alexnet import AlexNetError, UsageError
from alexnet.data import synthetic as drawn
from alexnet.experiments import archives, experiment, nets, rehearsal, runner
from alexnet.progress import Display
from alexnet.training.recipes import RECIPES

OPTIONS = {"scale": 0.017, "show": False}


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}


def devkit(folder, name: str) -> tuple[dict[int, tuple[str, str]], dict[str, bytes]]:
    """WNID and words of each id, as SciPy reads them, and the devkit's files by their last names."""
    kit = {path.split("/")[-1]: data for path, data in members((folder / name).read_bytes()).items()}
    synsets = loadmat(io.BytesIO(kit["meta.mat"]), squeeze_me=True)["synsets"]
    return {int(row[0]): (str(row[1]), str(row[2])) for row in synsets}, kit


def seen_as(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).resize((256, 256))).astype(int)


def test_seconds_of_a_stage_are_kept_and_damaged_ones_are_named_with_what_to_do(tmp_path):
    case = experiment.Case("ILSVRC-2012", 0, tmp_path, tmp_path, None, 1.0, "cpu", Display(False))
    assert rehearsal.stages_of(case) == {}
    assert rehearsal.timed(case, "prepared", lambda: 7) == 7
    for _ in range(2):  # stopped, and gone on with

        def stops():
            time.sleep(0.05)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rehearsal.timed(case, "prepared", stops)
    rehearsal.timed(case, "archives written", lambda: None)
    assert list(rehearsal.stages_of(case)) == ["prepared", "archives written"]
    assert rehearsal.stages_of(case)["prepared"] >= 0.1
    for content in ("[", "[]", '{"prepared": "soon"}'):
        (tmp_path / "stages.json").write_text(content)
        with pytest.raises(AlexNetError, match=r"stages.json: .*remove it: stages that are done"):
            rehearsal.timed(case, "trained", lambda: None)


@pytest.mark.parametrize(
    ("year", "kit", "val"),
    [
        (2010, "ILSVRC2010_devkit-1.0.tar.gz", "ILSVRC2010_images_val.tar"),
        (2012, "ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_val.tar"),
    ],
)
def test_the_ground_truth_says_what_is_drawn(tmp_path, year, kit, val):
    archives.write(year, tmp_path / "a", 32)
    synsets, texts = devkit(tmp_path / "a", kit)
    assert sorted(words for _, words in synsets.values()) == sorted([*drawn.CLASSES, "entity"])
    ids = [wnid for _, (wnid, _) in sorted(synsets.items())][:8]
    assert sorted(ids) != ids  # else nothing would tell ids from places
    truth = texts[f"ILSVRC{year}_validation_ground_truth.txt"].split()
    images = sorted(members((tmp_path / "a" / val).read_bytes()).items())
    start = (0 if year == 2010 else archives.APART) + 32
    assert len(images) == len(truth) == 8
    for number, ((_, content), line) in list(enumerate(zip(images, truth)))[::3]:
        label = drawn.CLASSES.index(synsets[int(line)][1])
        pixels = drawn.draw(start + number, label).astype(int)
        other = drawn.draw(start + number, (label + 2) % 8).astype(int)
        near, far = (np.abs(seen_as(content) - one).mean() for one in (pixels, other))
        assert near < far and near < 6
    assert synsets[9] == ("n00001740", "entity") and "9" not in truth


def test_each_kind_of_mistake_is_counted():
    items = [item for item in archives.contents(2012, 16) if item.split != "test"]
    classes = sorted(archives.wnid(label) for label in range(8))
    words = {archives.wnid(label): name for label, name in enumerate(drawn.CLASSES)}

    def counts(rows, order=classes, skipped=()):
        """What is said of a data set of (split, name, class) rows."""
        made = types.SimpleNamespace(
            classes=order, words=[words[name] for name in order], splits={split: 1 for split, *_ in rows},
            rows=lambda split: np.array([n for n, row in enumerate(rows) if row[0] == split]),
            name=lambda row: f"{rows[row][0]}/{rows[row][1]}",
            labels=[order.index(row[2]) for row in rows], skipped=lambda: [{"name": f"train/{n}"} for n in skipped],
        )  # fmt: skip
        return [wrong for wrong, _ in rehearsal.compared(made, items, ("train", "val")).values()]

    rows = [(item.split, item.name, archives.wnid(item.label)) for item in items]
    assert counts(rows) == [0, 0, 0, 0]
    assert counts(rows[1:], skipped=[rows[0][1]]) == [0, 0, 0, 0]
    assert counts(rows, classes[::-1]) == [8, 0, 0, 0]
    assert counts([("val", *rows[0][1:]), *rows[1:]]) == [0, 1, 0, 0]
    assert counts([(*rows[0][:2], rows[1][2]), (*rows[1][:2], rows[0][2]), *rows[2:]]) == [0, 0, 2, 0]
    assert counts(rows[2:]) == [0, 0, 0, 2]
    assert counts([*rows, rows[0]]) == [0, 0, 0, 1]
    assert counts([*rows, ("val", "stranger.JPEG", classes[0])]) == [0, 1, 1, 1]


@pytest.mark.parametrize("name", ["source", "source-2010"])
def test_a_compressed_schedule_has_the_rates_of_the_whole_one(name):
    """At the same share of the training, each parameter learns at the same rate, and the color noise ends there."""
    whole, short = RECIPES[name], nets.scaled(RECIPES[name], 0.1, 1000)
    names = ("conv1.weight", "conv1.bias", "fc8.weight", "fc8.bias")
    rates = [recipe.settled(1000, "float32", 224, "source").learning_rates(1000) for recipe in (whole, short)]
    assert short.epochs == 9
    seen = set()
    for share in (np.arange(97) + 0.5) / 97:  # none of them within a step of a milestone
        by_name = []
        for recipe, rate in zip((whole, short), rates):
            epoch = share * recipe.epochs
            by_name.append(rate.by_name(rate.lr(int(1000 * epoch), []), epoch, names))
        assert by_name[0] == pytest.approx(by_name[1])
        seen.add(tuple(by_name[0].values()))
    assert len(seen) == 6  # three milestones, and conv1 cut twice
    assert short.color_noise_until == round(whole.color_noise_until * 9 / whole.epochs)


def test_a_stopped_rehearsal_ends_with_the_same_rows(narrow, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "SIZE", 64)
    monkeypatch.setattr(drawn, "draw", lambda index, label: np.full((256, 256, 3), 20 * label + 9, np.uint8))
    conditions = {name: (*of[:3], min(2, of[3])) for name, of in rehearsal.CONDITIONS.items()}
    monkeypatch.setattr(rehearsal, "CONDITIONS", conditions)
    whole = runner.reproduce("rehearsal", tmp_path / "whole", **OPTIONS)
    trained, calls = nets.train, []

    def stops(*arguments, **options):
        calls.append(arguments[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return trained(*arguments, **options)

    monkeypatch.setattr(nets, "train", stops)
    options = {**OPTIONS, "conditions": ["ILSVRC-2012"]}
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("rehearsal", tmp_path / "stopped", **options)
    (again,) = runner.reproduce("rehearsal", tmp_path / "stopped", **options).rows
    assert len(calls) == 3  # what was trained whole was not trained again
    first, second = whole.rows
    assert {**again, "stages": set(again["stages"])} == {**second, "stages": set(second["stages"])}
    assert first["images"] == {"train": 32, "val": 8, "test": 8} and first["skipped"] == first["left_out"] == 0
    assert second["images"] == {"train": 31, "val": 8} and (second["skipped"], second["left_out"]) == (1, 8)
    assert all(wrong == 0 and of for row in whole.rows for wrong, of in row["checks"].values())
    assert [list(row["results"]) for row in whole.rows] == [
        ["1 net, one view", "1 net, ten views"],
        ["1 net, one view", "1 net, ten views", "2 nets, ten views"],
    ]
    assert "left out | 1 damaged, 8 without published labels |" in "\n".join(whole.table)


def test_what_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--data: rehearsal draws images of its own; leave it out"):
        runner.reproduce("rehearsal", tmp_path / "e", data=tmp_path, **OPTIONS)
    with pytest.raises(UsageError, match="condition '2010': give one of ILSVRC-2010, ILSVRC-2012"):
        runner.reproduce("rehearsal", tmp_path / "e", conditions=["2010"], **OPTIONS)
