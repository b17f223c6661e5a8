"""A picture that is written over no other: only pictures of ours are drawn again."""

import shutil

import pytest
from PIL import Image


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
