"""What is written over nothing of others: only what the same option wrote is written again."""

import csv
import dataclasses
import errno
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from alexnet import UsageError
from alexnet.interchange.exporting import export
from tests.test_hostile_descriptions import tiny_run


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (40, 30), (9, 99, 200)).save(tmp_path / "mine.png")
    Image.new("RGB", (40, 30), (9, 99, 200)).save(tmp_path / "really-jpeg", "JPEG")
    shutil.copy(tmp_path / "really-jpeg", tmp_path / "jpeg.png")
    return tmp_path


@pytest.mark.parametrize("name", ["mine.png", "jpeg.png", "really-jpeg"])
def test_a_photo_is_never_drawn_over(photo, dataset, alexnet, name):
    before = (photo / name).read_bytes()
    status, out, err = alexnet("info", dataset.path, "--picture", photo / name)
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and f"--picture {photo / name}: is " in err
    assert (photo / name).read_bytes() == before


def test_a_picture_of_ours_is_drawn_again(tmp_path, dataset, alexnet):
    for _ in range(2):
        assert alexnet("info", dataset.path, "--picture", tmp_path / "sheet.png")[0] == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.info["Software"] == "alexnet"


TABLES = [
    ("predict", "--csv"),
    ("evaluate", "--per-class"),
    ("evaluate", "--confusion"),
    ("evaluate", "--predictions"),
    ("evaluate", "--calibration"),
]


@pytest.mark.parametrize(("command", "option"), TABLES)
@pytest.mark.parametrize("name", ["mine.csv", "mine.txt", "mine"])
def test_a_table_of_others_stays_and_ours_is_written_again(
    command, option, name, alexnet, small_run, dataset, tmp_path
):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    file, source = tmp_path / name, tmp_path / "a.png" if command == "predict" else dataset.path
    for mine in ("subject,rt\n1,0.3\n", "image,label\na.png,cat\n", "# notes", "\n"):
        file.write_text(mine)
        status, out, err = alexnet(command, small_run, source, option, file)
        assert status == 2 and out == "" and err.count("\n") == 1, err
        assert f"{option} {file}: is there already, and is no file that {option} wrote; give another name, or" in err
        assert file.read_text() == mine
    file.write_text("")  # as `mktemp` leaves it
    for _ in range(2):
        assert alexnet(command, small_run, source, option, file)[0] == 0
        assert len(list(csv.reader(file.open()))) > 1


@pytest.mark.parametrize(("command", "option"), TABLES)
def test_a_table_is_not_written_over_a_picture_of_ours(command, option, alexnet, small_run, dataset, tmp_path):
    """Nor a picture over a table, where an option writes either."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    source = tmp_path / "a.png" if command == "predict" else dataset.path
    for name, head in (
        ("ours", b"\x89PNG\r\n\x1a\n....IHDR....Software\0alexnet"),
        ("ours.png", b"class,images,top1_"),
    ):
        (tmp_path / name).write_bytes(head)
        status, out, err = alexnet(command, small_run, source, option, tmp_path / name)
        assert (status, out) == (2, "") and err.count("\n") == 1 and "ours" in err, err
        assert (tmp_path / name).read_bytes() == head


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["predict", "RUN", "a.png", "--csv", "x.png"],
            "--csv x.png: is written as CSV; give a name",
        ),
        (
            ["info", "DATASET", "--picture", "x.csv"],
            "--picture x.csv: is written as PNG; give",
        ),
        (["evaluate", "RUN", "DATASET", "--confusion", "x.pdf"], "x.pdf: is written as a table or a picture"),
    ],
)
def test_an_ending_of_something_else(words, said, alexnet, small_run, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30)).save("a.png")
    words = [{"RUN": small_run, "DATASET": dataset.path}.get(word, word) for word in words]
    status, out, err = alexnet(*words)
    assert (status, out) == (2, "") and said in err and err.count("\n") == 1, err


def test_a_text_is_no_picture(alexnet, dataset, tmp_path):
    (tmp_path / "notes.png").write_text("mine")
    status, _, err = alexnet("info", dataset.path, "--picture", tmp_path / "notes.png")
    assert status == 2 and "notes.png: is there already" in err and (tmp_path / "notes.png").read_text() == "mine"


@pytest.mark.parametrize("ending", [".onnx", ".pth", ".pt", ".safetensors"])
def test_weights_of_others_stay_and_ours_are_exported_again(ending, tmp_path, monkeypatch):
    run, file = tiny_run(tmp_path), tmp_path / f"net{ending}"
    if ending != ".onnx":  # is for this net alone
        run.net.table = dataclasses.replace(run.net.table, name="torchvision")
        monkeypatch.setattr("alexnet.interchange.torch_file.torchvision_names", dict)
    file.write_bytes(b"somebody's weights")
    with pytest.raises(UsageError, match="is there already, and is no file that `alexnet export` wrote"):
        export(run, file)
    assert file.read_bytes() == b"somebody's weights"
    file.unlink()
    export(run, file)
    first = file.read_bytes()
    if ending in (".pth", ".pt"):
        weights = torch.load(file, weights_only=True)  # what says whose it is does not keep it from being read
        assert {*weights} == {*run.net.tensors()}
    if ending == ".safetensors":
        assert all(torch.equal(load_file(file)[name], value) for name, value in run.net.tensors().items())
    assert "replaced the file of this name" in export(run, file).notes and file.read_bytes() == first


def commands(run: Path, dataset: str, file: Path) -> list[list[object]]:
    """Commands that write a file of the name."""
    picture, table = file.with_suffix(".png"), file.with_suffix(".csv")
    return [
        ["predict", run, run.parent / "a.png", "--csv", table],
        ["evaluate", run, dataset, "--per-class", table],
        ["info", dataset, "--picture", picture],
        ["compare", run, run, "--output", picture],
        ["features", run, run.parent / "a.png", file.with_suffix(".h5"), "--layer", "fc3"],
        ["export", run, file.with_suffix(".onnx")],
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_file_that_may_not_be_written_is_a_failure(number, alexnet, small_run, dataset, tmp_path, monkeypatch):
    """Exit status 1 of each command, and 2 where the folder of a file is not there."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    status, out, err = alexnet(*commands(run, dataset.path, tmp_path / "no" / "x")[number])
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert f"folder {tmp_path / 'no'} does not exist; make it" in err and not (tmp_path / "no").exists()

    def denied(self: Path, *arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "touch", denied)
    status, out, err = alexnet(*commands(run, dataset.path, tmp_path / "x")[number])
    assert (status, out) == (1, "") and err.count("\n") == 1 and "cannot write there (read-only)" in err, err


@pytest.mark.parametrize("command", ["prepare", "show", "index", "export"])
def test_a_folder_is_made_with_those_above_it(command, alexnet, small_run, pictures, tmp_path):
    """Where a command writes a folder, none need be there."""
    folder = tmp_path / "a" / "b" / "c"
    source = pictures / "red"
    words = {
        "prepare": [pictures, folder, "--size", "64"],
        "show": [small_run, "--output", folder],
        "index": [small_run, source, folder, "--layer", "fc3"],
        "export": [small_run, folder],
    }[command]
    status, _, err = alexnet(command, *words)
    assert status == 0 and any(folder.iterdir()), err
