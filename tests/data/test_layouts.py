"""What a source is: the shape of the tree decides; one stray file, or a folder's name alone, does not."""

import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet import UsageError
from alexnet.data.sources import open_source
from tests.conftest import fill
from tests.data import archives
from tests.data.archives import WNIDS


def touched(folder, *places: str, count: int = 3):
    for place in places:
        (folder / place).mkdir(parents=True)
        for number in range(count):
            (folder / place / f"{number}.jpg").touch()
    return folder


def crossed(tops, inner) -> list[str]:
    return [f"{top}/{name}" for top in tops for name in inner]


# Folders with images, what comes of them: classes and images of each split, and what the line says.
SHAPES = {
    "COCO's class train": (["bus", "train"], "bus train", {"train": 6}, "train is taken for"),
    "a class test": (["bus", "car", "test"], "bus car test", {"train": 9}, "test is taken for a class"),
    "a class val of folders": (
        ["bus", "car", "val", "train/a"], "bus car train val", {"train": 12}, "taken for a class",
    ),
    "splits": (crossed(["train", "val"], "ab"), "a b", {"train": 6, "val": 6}, ""),
    "Training, Validation": (crossed(["Training", "Validation"], "ab"), "a b", {"train": 6, "val": 6}, ""),
    "an unlabeled test": ([*crossed(["train"], "ab"), "test"], "a b", {"train": 6}, "left out: test"),
    "Kaggle's training_set": (
        [*crossed(["training_set", "test_set"], ["cat", "dog"]), "single_prediction"],
        "cat dog", {"train": 6, "test": 6}, "test_set as test, training_set as train",
    ),
    "Kaggle's seg_train": (
        [*crossed(["seg_train/seg_train", "seg_test/seg_test"], "ab"), "seg_pred/seg_pred"],
        "a b", {"train": 6, "test": 6}, "--splits none takes them for classes",
    ),
    "train2017": (crossed(["train2017", "val2017"], "ab"), "a b", {"train": 6, "val": 6}, "val2017 as val"),
    "dev": (crossed(["train", "dev"], "ab"), "a b", {"train": 6, "val": 6}, "dev as val"),
    "beside the splits": (
        crossed(["train", "val", "extra"], "ab"), "a b", {"train": 6, "val": 6}, "left out: extra",
    ),
    "splits within classes": (
        crossed(["cat", "dog"], ["train", "val"]), "cat dog", {"train": 6, "val": 6}, "class has splits of its own",
    ),
    "parts within classes": (
        crossed(["cat", "cow", "dog"], ["left", "right"]), "cat cow dog", {"train": 18}, "every class has the folders",
    ),
    "folders that wrap": (crossed(["a/b/train", "a/b/val"], "xy"), "x y", {"train": 6, "val": 6}, ""),
    "Tiny ImageNet's images": (crossed(["n1", "n2", "n3"], ["images"]), "n1 n2 n3", {"train": 9}, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_splits_and_classes_by_the_shape(tmp_path, kind, form):
    places, classes, counts, said = SHAPES[kind]
    path = touched(tmp_path / "x", *places)
    if form == "tar":
        subprocess.run(["tar", "-cf", tmp_path / "x.tar", "-C", tmp_path, "x"], check=True)
        path = tmp_path / "x.tar"
    if form == "zip":
        subprocess.run(["zip", "-q", "-r", "../x.zip", "."], cwd=path, check=True)
        path = tmp_path / "x.zip"
    listing = open_source(path).listing
    assert listing.classes == classes.split()
    assert {split: sum(count) for split, count in listing.counts().items()} == counts
    notes = "\n".join(listing.notes)
    assert said in notes if said else not notes


REFUSED = {
    "flat splits": (["train", "test"], "no folders of classes"),
    "PlantVillage's versions": (
        crossed(["color", "grayscale", "segmented"], "abc"), "color, grayscale and segmented hold",
    ),
    "Office's domains": (crossed(["amazon/images", "webcam/images"], "abc"), "amazon and webcam hold"),
    "val alone": (crossed(["val"], "ab"), "has val but no train folder"),
    "two trains": (crossed(["train_1", "train_2", "test_1"], "ab"), "train_1 and train_2 both read as the split train"),
    "split names, other folders": (
        [*crossed(["training_set"], ["cats", "dogs"]), *crossed(["test_set"], ["cat", "dog"])], "called like splits",
    ),
    "MVTec": (crossed(["bottle/train", "bottle/test", "cable/train", "cable/test"], "xy"), "hold test and train each"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_may_be_splits_or_classes_is_refused_naming_both(alexnet, tmp_path, kind):
    places, said = REFUSED[kind]
    status, _, err = alexnet("prepare", touched(tmp_path / "x", *places), tmp_path / "store")
    assert status == 2 and said in err and err.count("\n") == 1 and not (tmp_path / "store").exists()


def test_splits_none_takes_every_folder_for_a_class(tmp_path):
    for index, (places, expected) in enumerate(
        (
            (crossed(["color", "grayscale"], "abc"), ["color", "grayscale"]),
            (crossed(["train", "test"], "ab"), ["test", "train"]),
            (["train", "test"], ["test", "train"]),
            (crossed(["cat", "dog"], ["train", "val"]), ["cat", "dog"]),
        )
    ):
        listing = open_source(touched(tmp_path / str(index), *places), splits="none").listing
        assert listing.classes == expected and list(listing.counts()) == ["train"]
    with pytest.raises(UsageError, match=r"--splits none: .* is of layout kaggle"):
        open_source(archives.kaggle(tmp_path / "kaggle"), splits="none")


def test_a_stray_table_beside_photos(alexnet, tmp_path):
    photos = fill(tmp_path / "photos", count=4)
    pq.write_table(pa.table({"name": ["a"], "label": [1]}), photos / "metadata.parquet")
    listing = open_source(photos).listing
    assert listing.layout == "folder" and any("--layout table" in note for note in listing.notes)
    (photos / "red" / "damaged.arrow").write_bytes(b"no arrow")
    assert open_source(photos).listing.layout == "folder"
    shutil.copytree(archives.hub(tmp_path / "hub") / "data", photos / "data")
    status, _, err = alexnet("prepare", photos, tmp_path / "store")
    assert status == 2 and "--layout table or --layout folder" in err and "blue" in err and err.count("\n") == 1
    assert open_source(photos, "folder").listing.classes == ["blue", "green", "red"]
    (tmp_path / "hub" / "assets").mkdir()
    shutil.copy(photos / "red" / "001.jpg", tmp_path / "hub" / "assets")  # a readme's picture
    assert open_source(tmp_path / "hub").listing.layout == "table"


@pytest.mark.parametrize("make", [archives.release, archives.ilsvrc_2012, archives.webdataset])
def test_archives_beside_photos_are_refused_naming_both(tmp_path, make):
    source = make(tmp_path / "source")
    touched(source, "cat", "dog")
    with pytest.raises(UsageError, match=r"holds folders of images, too \(cat, dog\); say which is meant: --layout"):
        open_source(source)
    assert open_source(source, "folder").listing.classes == ["cat", "dog"]


def test_a_stray_class_file_does_not_make_a_tar_a_webdataset(tmp_path):
    photos = fill(tmp_path / "photos", count=4)
    (photos / "red" / "notes.cls").write_text("latex")
    subprocess.run(["tar", "-cf", tmp_path / "x.tar", "-C", photos, "."], check=True)
    assert open_source(tmp_path / "x.tar").listing.layout == "folder"


def test_what_is_missing_of_webdataset_is_said(alexnet, tmp_path):
    shard = {"a.jpg": archives.jpeg(WNIDS[0], 1), "a.json": b'{"label": 1}', "b.jpg": archives.jpeg(WNIDS[1], 1)}
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "x-000.tar").write_bytes(archives.tar(shard))
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "x-000.tar.gz").write_bytes(archives.tar(shard, "w:gz"))
    for path, said in (
        (tmp_path / "shards", "x-000.tar: a.jpg has no a.cls beside it"),
        (tmp_path / "shards" / "x-000.tar", "a.jpg has no a.cls beside it"),
        (tmp_path / "packed", "x-000.tar.gz is an archive within it: unpack it first"),
    ):
        status, _, err = alexnet("prepare", path, tmp_path / "store")
        assert status == 2 and said in err and err.count("\n") == 1


def doubles(folder):
    """What an exFAT disk or macOS leaves: a hidden file for every one, of other content."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    return folder


LAYOUTS = {
    "ilsvrc": archives.ilsvrc_2012,
    "kaggle": archives.kaggle,
    "tiny-imagenet": archives.tiny_imagenet,
    "table": archives.hub,
    "webdataset": archives.webdataset,
    "wnid-tars": archives.release,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_doubles_change_no_layout(tmp_path, layout):
    source = LAYOUTS[layout](tmp_path / "source")
    if layout in ("kaggle", "tiny-imagenet"):
        plain = open_source(source)
        listing = open_source(doubles(source)).listing
        assert open_source(source).fingerprint() == plain.fingerprint()
    else:
        for path in list(source.rglob("*.tar")):  # doubles within the archives, too
            with archives.tarfile.open(path) as archive:
                members = {m.name: archive.extractfile(m).read() for m in archive}
            path.write_bytes(archives.tar({**{f"._{name}": b"Mac" for name in members}, **members}))
        plain = open_source(LAYOUTS[layout](tmp_path / "plain"))
        listing = open_source(doubles(source)).listing
        assert open_source(source).fingerprint() == plain.fingerprint()
    assert listing.layout == layout and "hidden or system files" in listing.notes[-1]


def test_a_folder_emptied_by_the_rules_is_no_class(tmp_path):
    photos = fill(tmp_path / "photos", count=4)
    (photos / "zebra" / ".git").mkdir(parents=True)
    assert open_source(photos).listing.classes == ["blue", "green", "red"]
    (photos / "lion").mkdir()
    with pytest.raises(UsageError, match="class folder 'lion' has no images"):
        open_source(photos)
