"""Several processes under torchrun train what one trains, and resume as one does: bitwise, or on the same curve.

One launch a number of ranks, whose jobs are trained within one process group (benchmarks/equivalence.py).
"""

import json
import time

import pytest
import torch
from benchmarks import equivalence, forks
from benchmarks.equivalence import Job, checkpoints, folder

from alexnet import files, native

MAIN = ("data", "towers", "hybrid", "sharded")
QUICK = equivalence.SHORT
AT_TWO = ("data", "towers")
MUON = ("data", "hybrid", "sharded")
WRONG = Job(folder("float32", "data", 3), "float32", other=(0, "recipe", {"learning_rate": 0.00501}))  # 0.2% more
STEPS = 10  # of the short cases
CUT = 5  # steps saved before a training is lost
LOST = ("towers",)  # the others take minutes, too: slow
RESUMED_AS = {"data": "towers", "towers": "hybrid", "hybrid": "sharded", "sharded": "data"}  # by two ranks


ALSO_LOST = (
    ("plain", "data"),
    ("plain", "hybrid"),
    ("plain", "sharded"),
    ("plain", "hybrid-turns"),
    ("plain", "hybrid-mixed"),
    ("float32", "data"),
    ("bf16", "data"),
    ("fp16", "data"),
)
ALSO_RESUMED = ("data", "hybrid", "sharded")


def cut(layout: str, name: str = "") -> str:
    """The folder of a training of four ranks that was lost, or of a copy."""
    return folder("cut", f"{layout} {name}", 4)


def refused() -> list[Job]:
    """What ranks must not differ in, each in one rank."""
    others = {
        "recipe": (1, "recipe", {"learning_rate": 0.004}),
        "dataset": (1, "case", "seven classes"),
        "net": (1, "case", "source in chunks of 32"),
        "threads": (1, "threads", 2),
        "first": (0, "recipe", {"batch_size": 6}),
    }
    return [Job(f"other-{name}", "short", "data", other=other) for name, other in others.items()]


@pytest.fixture(scope="module")
def root(tmp_path_factory, worker_id):
    """Where everything was trained, once for all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "equivalence"
    said = root / "said.json"
    try:
        root.mkdir()
    except FileExistsError:
        while not said.exists():  # another process makes it, or has failed
            time.sleep(0.2)
    else:
        answers = None
        try:
            answers = trained(root)
        finally:
            files.write_json(said, answers)
    answers = json.loads(said.read_text())
    assert answers is not None, "the trainings failed in another of pytest's processes"
    return root, answers


def trained(root):
    """What four ranks answered, once everything is trained."""
    equivalence.make(root)
    for case in QUICK:
        equivalence.train(root, Job(folder(case), case))
    four = [*equivalence.matrix(QUICK[:1], 4, MAIN), *equivalence.matrix(QUICK[1:], 4, ["towers"])]
    for layout in LOST:
        four += [Job(cut(layout), "short", layout, lose=CUT), Job(cut(layout, "four"), "short", layout, of=cut(layout))]
    four += [Job("asked", "short", "towers", ask=(2, CUT)), Job("asked-on", "short", "towers", of="asked"), *refused()]
    said = equivalence.launch(root, 4, four)
    two = [*equivalence.matrix(QUICK[:1], 2, AT_TWO), *equivalence.matrix(["short muon"], 2, MUON)]
    two += [Job(cut(layout, "two"), "short", RESUMED_AS[layout], of=cut(layout)) for layout in LOST]
    equivalence.launch(root, 2, two)
    for layout in LOST:
        equivalence.train(root, Job(cut(layout, "one"), "short", of=cut(layout)))
    return said


def same_files(one, other) -> None:
    """Bitwise the same at the end: metrics, weights, velocities."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    ends = [checkpoints(run)[-1][1] for run in (one, other)]
    for name in ("weights.safetensors", "state.safetensors"):
        assert (ends[0] / name).read_bytes() == (ends[1] / name).read_bytes()


@pytest.mark.parametrize(("layout", "ranks"), [*((layout, 4) for layout in MAIN), *((layout, 2) for layout in AT_TWO)])
def test_several_train_what_one_trains(root, layout, ranks, record_property):
    place, _ = root
    line = equivalence.figures(place, "short", layout, ranks)
    record_property("figures", line)
    assert line["right"], line


@pytest.mark.parametrize("layout", MUON)
def test_updates_of_whole_convolutions_are_those_of_one_process(root, layout):
    line = equivalence.figures(root[0], "short muon", layout, 2)
    assert line["right"], line


def test_norms_across_towers_are_those_of_one_process(root):
    line = equivalence.figures(root[0], "short caffe", "towers", 4)
    assert line["right"], line


@pytest.mark.parametrize("layout", LOST)
def test_lost_and_resumed_by_four_is_bitwise_the_same(root, layout):
    place, said = root
    assert all((answers[cut(layout)], answers[cut(layout, "four")]) == ("Lost: ", "") for answers in said)
    same_files(place / folder("short", layout, 4), place / cut(layout, "four"))


@pytest.mark.parametrize("count", ["one", "two"])
@pytest.mark.parametrize("layout", LOST)
def test_resumed_otherwise_it_goes_on_on_the_same_curve(root, layout, count):
    place, _ = root
    apart = equivalence.distances(place / folder("short"), place / cut(layout, count))
    assert max(apart.values()) <= 1e-12, apart


def test_one_rank_is_asked_to_end_and_all_save_at_the_same_step(root):
    place, said = root
    words = [answers["asked"] for answers in said]
    assert all(f"stopped at step {CUT + 1} of {STEPS} and saved" in word for word in words), words
    assert checkpoints(place / "asked")[-1][0] == CUT + 1
    same_files(place / folder("short", "towers", 4), place / "asked-on")


@pytest.mark.parametrize(("job", "words"), [
    ("recipe", "rank 1 has another recipe (--lr) than rank 0 (0.004, not 0.005); give every rank the same options"),
    ("dataset", "rank 1 has another dataset than rank 0"),
    ("net", "rank 1 has another net than rank 0 (source "),
    ("threads", "rank 1 has another number of threads than rank 0 (2, not 1); give --threads"),
    ("first", "rank 1 has another recipe (--batch-size) than rank 0 (7, not 6)"),
])  # fmt: skip
def test_ranks_that_differ_are_refused_by_all_of_them(root, job, words):
    place, said = root
    assert all(words in answers[f"other-{job}"] for answers in said), said
    assert not (place / f"other-{job}").exists()


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """The whole matrix."""
    root = tmp_path_factory.mktemp("matrix")
    equivalence.make(root)
    equivalence.launch(root, 1, [*equivalence.by_one(equivalence.MATRIX), WRONG])
    for ranks in (2, 4):
        equivalence.launch(root, ranks, equivalence.matrix(equivalence.MATRIX, ranks))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("case", equivalence.MATRIX)
def test_every_case_by_every_layout(everything, case, ranks):
    lines = [equivalence.figures(everything, case, layout, ranks) for layout in equivalence.layouts_of(case)]
    assert all(line["right"] for line in lines), lines


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """Trainings of four ranks: undisturbed, and lost and resumed."""
    root = tmp_path_factory.mktemp("lost")
    equivalence.make(root)
    jobs = []
    for case, layout in ALSO_LOST:
        name = f"{case} {layout}"
        jobs += [Job(folder(case, layout, 4), case, layout), Job(cut(name), case, layout, lose=CUT)]
        jobs += [Job(cut(name, "four"), case, layout, of=cut(name))]
    said = equivalence.launch(root, 4, jobs)
    equivalence.train(root, Job(folder("plain"), "plain"))
    two = []
    for layout in ALSO_RESUMED:
        of = cut(f"plain {layout}")
        two.append(Job(cut(layout, "two"), "plain", RESUMED_AS[layout], of=of))
        equivalence.train(root, Job(cut(layout, "one"), "plain", of=of))
    equivalence.launch(root, 2, two)
    return root, said


@pytest.mark.slow
@pytest.mark.parametrize("count", ["one", "two"])
@pytest.mark.parametrize("layout", ALSO_RESUMED)
def test_these_resumed_otherwise_go_on_on_the_same_curve(lost, layout, count):
    place, _ = lost
    apart = equivalence.distances(place / folder("plain"), place / cut(layout, count))
    assert max(apart.values()) <= 1e-12, apart


@pytest.mark.slow
@pytest.mark.parametrize(("case", "layout"), ALSO_LOST)
def test_lost_and_resumed_otherwise_is_bitwise_the_same(lost, case, layout):
    root, said = lost
    name = f"{case} {layout}"
    assert all((answers[cut(name)], answers[cut(name, "four")]) == ("Lost: ", "") for answers in said)
    same_files(root / folder(case, layout, 4), root / cut(name, "four"))


@pytest.mark.slow
def test_a_learning_rate_two_thousandths_too_large_is_not_taken_for_rounding(everything):
    assert not equivalence.figures(everything, "float32", "data", 3)["right"]


@pytest.mark.slow
@pytest.mark.skipif(not native.available(torch.device("cpu"), torch.float32), reason="maxima are the compiled path's")
@pytest.mark.parametrize("name", ["two ranks", "2 parts"])
def test_in_float32_trainings_part_where_rounding_decides_and_nowhere_else(everything, name):
    """With those decisions forced, and nothing else, one process trains what the other training does."""
    trainings = [forks.run(everything, f"{name}-{of}", 3, forks.VARIANTS[of]) for of in ("one process", name)]
    line = forks.compared(everything, 3, name, *trainings)
    assert line["apart with these decisions forced"] <= equivalence.BOUNDS["float32"], line
    assert len(line["parting"]) <= 3, line
    for parting in line["parting"]:
        assert parting["apart before it"] <= equivalence.BOUNDS["float32"], line
        assert all(decision["roundings from the decision"] < 8 for decision in parting["decisions"]), line
