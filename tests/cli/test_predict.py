"""What ``predict`` says and writes: a count, the classes as the dataset has them, the first of synonyms."""

import csv
import json

import pytest

from alexnet import Recipe, train
from alexnet.runs import run as run_folder


@pytest.fixture(scope="module")
def run(dataset, net_file, tmp_path_factory) -> str:
    """A run whose classes have synonyms."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(dataset, folder, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1), show=False)
    description = run_folder.read_description(folder)
    description["words"] = [f"{name}, Color {name}" for name in description["classes"]]
    (folder / "run.json").write_text(json.dumps(description))
    return str(folder)


def test_a_csv_has_words_and_classes_and_a_count(alexnet, run, pictures, tmp_path):
    file = tmp_path / "p.csv"
    status, out, _ = alexnet("predict", run, pictures, "--csv", file, "--top", 2)
    rows = list(csv.DictReader(file.open()))
    assert status == 0 and out == f"{len(rows)} predictions in {file}\n"
    for row in rows:
        for rank in ("1", "2"):
            assert row["label" + rank] in ("blue", "green", "red")
            assert row["class" + rank] == f"{row['label' + rank]}, Color {row['label' + rank]}"


def test_lines_have_the_first_synonym(alexnet, run, pictures):
    status, out, _ = alexnet("predict", run, pictures, "--top", 3)
    assert status == 0 and "Color" not in out and "blue " in out


@pytest.mark.parametrize("command", [["predict", "RUN", "PICTURES", "--csv", "-"]])
def test_a_dash_is_no_file(alexnet, run, pictures, command):
    words = [{"RUN": run, "PICTURES": pictures}.get(word, word) for word in command]
    status, out, err = alexnet(*words)
    assert status == 2 and not out and "--csv -: " in err and err.count("\n") == 1
