"""Folders and archives to datasets: exact, the same whatever the workers or interruptions, clear about bad input."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alexnet import AlexNetError, Dataset, UsageError, prepare
from alexnet.data.sources import open_source
from alexnet.errors import Unfinished
from tests.conftest import fill, picture
from tests.data import archives
from tests.data.archives import encoded


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def pack(source: Path, path: Path) -> Path:
    """The folder as an archive of the kind that the path's ending says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(source.rglob("*")):
                archive.write(file, file.relative_to(source))
    else:
        with tarfile.open(path, "w:" + {".tar": "", ".gz": "gz", ".xz": "xz"}[path.suffix]) as archive:
            for file in sorted(source.rglob("*")):
                archive.add(file, file.relative_to(source).as_posix(), recursive=False)
    return path


def test_statistics_are_exact_over_the_stored_pixels(dataset):
    pixels = np.stack([dataset.image(row) for row in dataset.rows("train")]).astype(np.float64)
    found = dataset.statistics
    np.testing.assert_allclose(found.mean_image, pixels.mean(0).transpose(2, 0, 1), rtol=1e-6)
    flat = pixels.reshape(-1, 3)
    np.testing.assert_allclose(found.mean, flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, flat.std(0), rtol=1e-9)
    vectors, values = found.eigenvectors, found.eigenvalues
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, np.cov(flat.T, bias=True), rtol=1e-9, atol=1e-9)


def test_split_is_stratified_and_repeatable(pictures, dataset, tmp_path):
    assert dataset.splits == {"train": 48, "val": 12}
    assert np.bincount(dataset.labels[dataset.rows("val")]).tolist() == [4, 4, 4]
    other = prepare(pictures, tmp_path / "other", size=64, val_fraction=0.5, seed=1)
    assert other.splits == {"train": 30, "val": 30}
    names = [dataset.name(row) for row in range(60)]
    assert len(set(names)) == 60 and names[0].split("/")[0] == "blue"


def test_shards_are_arrow_streams(dataset):
    with pa.memory_map(f"{dataset.path}/train-00000.arrow") as file:
        table = pa.ipc.open_stream(file).read_all()
    assert table.schema.names == ["image", "label", "class"] and len(table) == 48


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_change_no_byte(pictures, dataset, tmp_path, workers):
    prepare(pictures, tmp_path / "store", size=64, format=dataset.format, workers=workers)
    assert contents(tmp_path / "store") == contents(Path(dataset.path))


@pytest.mark.parametrize("ending", [".tar", ".zip", ".tar.gz", ".tar.xz"])
def test_archives_give_the_folders_store(pictures, dataset, tmp_path, ending):
    archive = pack(pictures, tmp_path / f"pictures{ending}")
    prepare(archive, tmp_path / "store", size=64, format=dataset.format)
    assert contents(tmp_path / "store") == contents(Path(dataset.path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "store"]  # nothing unpacked


def test_splits_as_the_folder_has_them(tmp_path):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        fill(tmp_path / "source" / split, count=count)
    dataset = prepare(tmp_path / "source", tmp_path / "store", size=64)
    assert dataset.splits == {"train": 18, "val": 9, "test": 6}


def test_bad_images_are_left_out_and_named(tmp_path):
    source = fill(tmp_path / "source", count=5)
    (source / "red" / "000.jpg").write_bytes(b"")
    (source / "red" / "002.jpg").write_bytes((source / "red" / "002.jpg").read_bytes()[:700])
    (source / "red" / "notes.txt").write_text("no image")
    dataset = prepare(source, tmp_path / "store", size=64)
    skipped = {row["name"]: row["reason"] for row in dataset.skipped()}
    assert set(skipped) == {"red/000.jpg", "red/002.jpg"}
    assert skipped["red/000.jpg"] == "empty file" and "truncated" in skipped["red/002.jpg"]
    assert sum(dataset.splits.values()) == 13


def test_names_with_spaces_and_unicode_and_nesting(tmp_path):
    for name in ("große Hunde", "猫", "a b"):
        (tmp_path / "source" / name / "deeper").mkdir(parents=True)
        for number in range(3):
            picture(0, number).save(tmp_path / "source" / name / "deeper" / f"x {number}.PNG")
    (tmp_path / "source" / "猫" / "loop").symlink_to(tmp_path / "source")
    dataset = prepare(tmp_path / "source", tmp_path / "store", size=64)
    assert dataset.classes == ["a b", "große Hunde", "猫"] and sum(dataset.splits.values()) == 9


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "no such file or folder"),
        (lambda folder: folder.mkdir(), "holds no images"),
        (lambda folder: fill(folder, ("only",)), "one class only"),
        (lambda folder: (fill(folder) / "zebra").mkdir(), "class folder 'zebra' has no images"),
        (lambda folder: fill(folder / "train") and fill(folder / "val", ("blue", "cat")), "'cat' has no training"),
        (lambda folder: fill(folder / "val"), "no train folder"),
        (lambda folder: folder.write_text("some text"), "neither a folder nor a"),
    ],
)
def test_sources_that_cannot_be_meant(alexnet, tmp_path, make, said):
    make(tmp_path / "source")
    status, out, err = alexnet("prepare", tmp_path / "source", tmp_path / "store")
    assert status == 2 and not out and not (tmp_path / "store").exists()
    assert err.startswith("error: ") and said in err and str(tmp_path / "source") in err and err.count("\n") == 1


def test_a_class_of_bad_images_only_is_an_error(alexnet, tmp_path):
    source = fill(tmp_path / "source", count=3)
    for file in (source / "green").iterdir():
        picture(0, 0, 5, 5).save(file)
    status, _, err = alexnet("prepare", source, tmp_path / "store", "--max-bad-fraction", 0.5)
    assert status == 1 and "class 'green' has no usable training image" in err and "5x5 pixels" in err
    assert not (tmp_path / "store" / "dataset.json").exists()


def test_a_cut_off_archive_is_an_error(alexnet, pictures, tmp_path):
    archive = pack(pictures, tmp_path / "pictures.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-9000])
    status, _, err = alexnet("prepare", archive, tmp_path / "store")
    assert status == 1 and "pictures.tar.gz: damaged or not complete" in err


def test_a_damaged_member_of_a_zip_is_left_out(pictures, tmp_path):
    archive = pack(pictures, tmp_path / "pictures.zip")
    with zipfile.ZipFile(archive) as file:
        start = file.getinfo("red/003.jpg").header_offset + 300
    data = bytearray(archive.read_bytes())
    data[start] ^= 255
    archive.write_bytes(data)
    (skipped,) = prepare(archive, tmp_path / "store", size=64).skipped()
    assert skipped["name"] == "red/003.jpg" and "damaged in the archive" in skipped["reason"]


def test_linked_folders_are_read(pictures, dataset, tmp_path):
    (tmp_path / "source").mkdir()
    for name in dataset.classes:
        (tmp_path / "source" / name).symlink_to(pictures / name)
    store = prepare(tmp_path / "source", tmp_path / "store", size=64, format=dataset.format)
    assert store.fingerprint == dataset.fingerprint


def test_archive_names_that_lead_outside_are_left_alone(pictures, tmp_path):
    archive = pack(pictures, tmp_path / "pictures.tar")
    with tarfile.open(archive, "a") as file:
        for name in ("../evil/x.jpg", "/red/absolute.jpg"):
            data = (pictures / "red" / "000.jpg").read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("red/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    dataset = prepare(archive, tmp_path / "store", size=64)
    assert sum(dataset.splits.values()) == 61 and not (tmp_path.parent / "evil").exists()
    assert "red/absolute.jpg" in [dataset.name(row) for row in range(61)]  # as tar itself would unpack it
    said = str(open_source(archive).tree.left_out)
    assert "1 name that leads outside (../evil/x.jpg)" in said and "1 link to nothing (red/link.jpg)" in said


def test_a_folder_with_something_else_is_refused(pictures, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not a folder for a new dataset"):
        prepare(pictures, tmp_path / "store", size=64)
    prepare(pictures, tmp_path / "other", size=64)
    with pytest.raises(UsageError, match="begun with other images or options"):
        prepare(pictures, tmp_path / "other", size=32)


KILLED = """
import sys
from alexnet import prepare
prepare(sys.argv[1], sys.argv[2], size=64, shard_rows=7)
"""


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(pictures, tmp_path):
    whole = tmp_path / "whole"
    prepare(pictures, whole, size=64, shard_rows=7)
    target = tmp_path / "killed"
    kills = 0
    for wait in (0.0, 0.01, 0.02, 0.03, 0.05):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(pictures), str(target)])
        while process.poll() is None and not (target / "unfinished").exists():
            time.sleep(0.001)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        if not (target / "dataset.json").exists():
            with pytest.raises((AlexNetError, UsageError), match="alexnet prepare"):
                Dataset(target)
    assert kills
    finished = {path.name: path.stat().st_mtime_ns for path in target.glob("*.arrow")}
    noted = {path.name.removesuffix(".json") + ".arrow" for path in target.glob("unfinished/*.json")}
    prepare(pictures, target, size=64, shard_rows=7)
    assert contents(target) == contents(whole)
    for name in noted:  # no finished shard was made again
        assert (target / name).stat().st_mtime_ns == finished[name]


def test_damage_is_found(alexnet, dataset, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(dataset.path, copy)
    assert alexnet("verify", copy)[0] == 0
    shard = copy / "val-00000.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    status, _, err = alexnet("verify", copy)
    assert status == 1 and "val-00000.arrow" in err and "SHA-256 differs" in err
    (copy / "statistics.safetensors").write_bytes(b"x")
    with pytest.raises(AlexNetError, match=r"statistics\.safetensors"):
        _ = Dataset(copy).statistics
    shard.write_bytes(data[:1000])
    with pytest.raises(AlexNetError, match="val-00000"):
        Dataset(copy).image(59)


def test_a_store_of_a_newer_format_is_refused(alexnet, dataset, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(dataset.path, copy)
    text = (copy / "dataset.json").read_text()
    (copy / "dataset.json").write_text(text.replace('"format_version": 2', '"format_version": 99'))
    status, _, err = alexnet("train", copy, tmp_path / "run")
    assert status == 2 and "format 99" in err and "upgrade" in err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("errno", "said"), [(28, "no space left"), (30, "cannot write there")])
def test_full_and_read_only_disks(alexnet, pictures, tmp_path, monkeypatch, errno, said):
    def refuse(handle):
        raise OSError(errno, os.strerror(errno))

    with monkeypatch.context() as patch:
        patch.setattr("alexnet.files.storage.os.fsync", refuse)
        status, _, err = alexnet("prepare", pictures, tmp_path / "store")
    lines = [line for line in err.strip().split("\n") if not line.startswith("looking through")]  # said where it lasts
    assert status == 1 and said in err and len(lines) <= 5
    assert [path.name for path in (tmp_path / "store").glob("**/*") if path.is_file()] == []
    assert alexnet("prepare", pictures, tmp_path / "store")[0] == 0  # and then it goes on


@pytest.mark.parametrize("source", ["folder", "tar.gz"])
def test_parts_make_bitwise_the_store_that_one_makes(pictures, tmp_path, source):
    given = pictures if source == "folder" else pack(pictures, tmp_path / "pictures.tar.gz")
    whole = prepare(given, tmp_path / "whole", size=64, shard_rows=7)
    for k in (3, 1, 4):
        with pytest.raises(Unfinished, match=f"part {k} of 4 is done"):
            prepare(given, tmp_path / "parts", size=64, shard_rows=7, part=(k, 4))
        with pytest.raises((AlexNetError, UsageError), match="not finished"):
            Dataset(tmp_path / "parts")
    last = prepare(given, tmp_path / "parts", size=64, shard_rows=7, part=(2, 4))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole") and last.splits == whole.splits
    assert prepare(given, tmp_path / "parts", size=64, shard_rows=7, part=(3, 4)).fingerprint == whole.fingerprint


def test_parts_at_once_and_by_torchruns_ranks(pictures, dataset, tmp_path):
    """More processes than shards, all started together: one dataset, nothing left over."""
    for attempt in range(2):
        target = tmp_path / f"store-{attempt}"
        command = [sys.executable, "-m", "alexnet", "prepare", str(pictures), str(target), "--size", "64"]
        command += ["--format", dataset.format]
        running = [
            subprocess.Popen(command, env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "4"}, stderr=subprocess.PIPE)
            for rank in range(4)
        ]
        said = [process.communicate()[1].decode() for process in running]
        assert [process.returncode for process in running] == [0] * 4, said
        assert contents(target) == contents(Path(dataset.path))
        assert any("60" in each or "48 train" in each for each in said)


@pytest.mark.parametrize("given", ["0/4", "5/4", "x", "1/0", "3"])
def test_parts_that_cannot_be_meant(alexnet, pictures, tmp_path, given):
    status, _, err = alexnet("prepare", pictures, tmp_path / "store", "--part", given)
    assert status == 2 and f"--part {given}" in err and not (tmp_path / "store").exists()


def test_more_bad_images_than_allowed_stop_it(alexnet, tmp_path):
    source = fill(tmp_path / "source", count=10)
    for number in range(8):
        (source / "red" / f"{number:03d}.jpg").write_bytes(b"no image")
    status, _, err = alexnet("prepare", source, tmp_path / "store")
    assert status == 1 and "7 images are bad, more than --max-bad-fraction allows (the last: red/00" in err
    assert not (tmp_path / "store" / "dataset.json").exists()
    status, _, err = alexnet("prepare", source, tmp_path / "store", "--max-bad-fraction", 0.3)  # and then it goes on
    assert status == 0 and "8 bad images left out" in err and "skipped red/000.jpg: not decodable" in err
    told = alexnet("info", tmp_path / "store")[1]
    assert "8 bad images (not decodable 8), see skipped.csv" in told
    with open(tmp_path / "store" / "skipped.csv", encoding="utf-8") as file:
        assert file.readline() == "name,split,class,reason\n"


def test_names_that_are_no_text_and_the_same_names_in_two_classes(tmp_path):
    source = fill(tmp_path / "source", count=4)  # 000.jpg is in each class
    os.rename(source / "red" / "000.jpg", os.fsencode(source / "red") + b"/\xff\xfe.jpg")
    dataset = prepare(source, tmp_path / "store", size=64)
    names = [dataset.name(row) for row in range(12)]
    assert len(set(names)) == 12 and "red/\\xff\\xfe.jpg" in names and "blue/001.jpg" in names


def test_files_called_images_that_are_others(tmp_path):
    """A PNG and a GIF named .JPEG are read for what they are; a pipe and a text are not read at all."""
    source = fill(tmp_path / "source", count=6)
    picture(0, 1).save(source / "red" / "x.JPEG", "PNG")
    picture(0, 2).quantize(16).save(source / "red" / "y.JPEG", "GIF")
    (source / "red" / "z.JPEG").write_text("<html>404</html>")
    os.mkfifo(source / "red" / "pipe.jpg")
    dataset = prepare(source, tmp_path / "store", size=64)
    assert sum(dataset.splits.values()) == 20
    assert [(row["name"], row["reason"][:13]) for row in dataset.skipped()] == [("red/z.JPEG", "not decodable")]


def test_a_huge_member_is_left_out_unread(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.data.sources.tree.base.LARGEST", 50_000)
    source = tmp_path / "source"
    shutil.copytree(pictures, source)
    (source / "red" / "bomb.jpg").write_bytes(bytes(50_001))
    for given in (source, *(pack(source, tmp_path / f"x{ending}") for ending in (".tar", ".zip", ".tar.gz"))):
        (skipped,) = prepare(given, tmp_path / f"store-{given.suffix}", size=64).skipped()
        assert (
            skipped["name"] == "red/bomb.jpg" and skipped["reason"] == "cannot be read: 50,001 bytes, which is no image"
        )


def test_balance_and_advice(alexnet, tmp_path):
    source = fill(tmp_path / "source", ("cat", "dog"), count=3)
    for number in range(60):
        picture(1, number).save(source / "dog" / f"more {number}.jpg")
    _, _, err = alexnet("prepare", source, tmp_path / "store", "--size", 64)
    assert "from 2 (cat) to 50 (dog) training images per class" in err
    assert "advice: 52 training images are few" in err and "advice: dog has 25 times the images of cat" in err
    assert "advice:" not in prepare_said(alexnet, fill(tmp_path / "many", count=500), tmp_path / "other")


def prepare_said(alexnet, source: Path, dataset: Path) -> str:
    return alexnet("prepare", source, dataset, "--size", 16)[2]


def test_resize_and_size_are_recorded_and_a_run_elsewhere_warns(alexnet, pictures, dataset, small, tmp_path):
    warped = prepare(pictures, tmp_path / "warped", size=64, resize="warp")
    assert warped.resize == "warp" and not (warped.image(0) == dataset.image(0)).all()
    run = tmp_path / "run"
    assert alexnet("train", warped.path, run, *small)[0] == 0
    assert "warning" not in alexnet("evaluate", run, warped.path)[2]
    status, _, err = alexnet("evaluate", run, dataset.path)
    assert status == 0 and "resize: warp in training, shorter-side in" in err and "--size 64 --resize warp" in err
    larger = prepare(pictures, tmp_path / "larger", size=72, resize="warp")
    assert "size: 64 in training, 72 in" in alexnet("evaluate", run, larger.path)[2]
    with pytest.raises(UsageError, match="begun with other"):
        prepare(pictures, tmp_path / "warped", size=64)
    for options, said in (
        (["--size", "4"], "--size 4"),
        (["--resize", "crop"], "--resize"),
        (["--max-bad-fraction", "2"], "--max-bad-fraction 2"),
    ):
        status, _, err = alexnet("prepare", pictures, tmp_path / "none", *options)
        assert status == 2 and said in err
    one = predict_one(alexnet, run, pictures / "red" / "000.jpg")
    stored = next(row for row in range(60) if warped.name(row) == "red/000.jpg")
    (tmp_path / "same.png").write_bytes(encoded(Image.fromarray(warped.image(stored))))
    other = predict_one(alexnet, run, tmp_path / "same.png")
    assert abs(one - other) < 0.05  # predict warps, as the run's images were; the JPEG's loss is all that differs


def predict_one(alexnet, run: Path, image: Path) -> float:
    told = json.loads(alexnet("predict", run, image, "--json", "--precision", "float32")[1])
    return dict(zip(told["classes"], (share for _, share in told["top"])))["red"]


def test_killed_while_reading_a_tar_of_tars(tmp_path):
    source = archives.ilsvrc_2012(tmp_path / "source", count=20)
    whole = prepare(source, tmp_path / "whole", size=64, shard_rows=7)
    target = tmp_path / "killed"
    for wait in (0.0, 0.02, 0.04):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(source), str(target)])
        while process.poll() is None and not (target / "unfinished").exists():
            time.sleep(0.001)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert prepare(source, target, size=64, shard_rows=7).fingerprint == whole.fingerprint
    assert contents(target) == contents(tmp_path / "whole")


SMALL_SIZES = {
    "32x32": ([(32, 32)] * 3, 32),
    "48x32": ([(48, 32)] * 3, 32),
    "128x128": ([(128, 128)] * 3, 128),
    "224x224": ([(224, 224)] * 3, 256),  # enlarged by less than two: as the paper has it
    "256x256": ([(256, 256)] * 3, 256),
    "one differs": ([(32, 32), (32, 32), (33, 32)], 256),
}


@pytest.mark.parametrize("kind", SMALL_SIZES)
@pytest.mark.parametrize("form", ["folder", ".tar", ".zip", ".tar.gz", "csv", "table"])
def test_small_images_of_one_size_are_stored_as_they_are(alexnet, tmp_path, kind, form):
    sizes, expected = SMALL_SIZES[kind]
    photos, rows = tmp_path / "photos", []
    for label in ("cat", "dog"):
        (photos / label).mkdir(parents=True)
        for number, (width, height) in enumerate(sizes):
            picture(0, number, width, height).save(photos / label / f"{number}.png")
            rows.append((f"photos/{label}/{number}.png", label))
    (photos / "cat" / "bad.png").write_bytes(b"no image")
    source = photos
    if form == "csv":
        source = tmp_path / "list.csv"
        source.write_text("\n".join(["path,label", *(",".join(row) for row in rows)]))
    elif form == "table":
        import pyarrow.parquet as pq

        source = tmp_path / "t.parquet"
        images = [(tmp_path / name).read_bytes() for name, _ in rows]
        pq.write_table(pa.table({"image": images, "label": [label for _, label in rows]}), source)
    elif form != "folder":
        source = pack(photos, tmp_path / f"photos{form}")
    status, _, err = alexnet("prepare", source, tmp_path / "store")
    dataset = Dataset(tmp_path / "store")
    assert status == 0 and dataset.size == expected
    assert (f"stored at {expected} pixels (--size 256 enlarges them)" in err) == (expected < 256)
    assert dataset.format == ("raw" if expected <= 64 else "jpeg")
    if kind == "32x32":
        drawn = [np.asarray(picture(0, number, 32, 32)) for number in range(3)]
        stored = [dataset.image(row) for row in range(len(dataset.labels))]
        assert len(stored) == 6 and all(any(np.array_equal(image, file) for file in drawn) for image in stored)
        assert alexnet("prepare", source, tmp_path / "larger", "--size", 256)[0] == 0
        assert (Dataset(tmp_path / "larger").size, Dataset(tmp_path / "larger").format) == (256, "jpeg")
    if form == "folder" and kind == "32x32":
        assert "once fixed, they go into a new dataset" in err


@pytest.mark.parametrize("begun", ["jpeg", "raw"])
def test_a_dataset_goes_on_in_the_format_that_it_was_begun_with(alexnet, tmp_path, begun):
    source = fill(tmp_path / "photos", count=4)
    prepare(source, tmp_path / "store", size=64, format=begun)
    before = contents(tmp_path / "store")
    for gone in ([], ["dataset.json"], ["dataset.json", "train-00000.arrow"]):  # finished, and stopped on the way
        for name in gone:
            (tmp_path / "store" / name).unlink()
        status, _, err = alexnet("prepare", source, tmp_path / "store")  # what earlier versions took for granted: jpeg
        assert status == 0 and contents(tmp_path / "store") == before, err
    other = {"jpeg": "raw", "raw": "jpeg"}[begun]
    status, _, err = alexnet("prepare", source, tmp_path / "store", "--format", other)
    assert status == 2 and f"--format {begun} then, {other} now" in err


def test_looking_at_sizes_stops_at_the_first_that_differs(tmp_path, monkeypatch):
    from alexnet.data.sizes import with_own_size

    source = open_source(fill(tmp_path / "photos", count=4))  # 80x64 each
    reads = []
    monkeypatch.setattr(type(source.tree), "read", lambda tree, member: reads.append(member) or archives.encoded(
        picture(0, 1, 30 + len(reads), 40)))  # fmt: skip
    assert with_own_size(source).listing.size == 256 and len(reads) == 2
    monkeypatch.setattr("alexnet.data.sizes.MOST", 5)
    reads.clear()
    monkeypatch.setattr(type(source.tree), "read", lambda tree, member: reads.append(member) or archives.encoded(
        picture(0, 1, 30, 40)))  # fmt: skip
    assert with_own_size(source).listing.size == 30 and len(reads) == 5


def test_what_is_set_apart_is_said_truly(alexnet, tmp_path):
    one = fill(tmp_path / "one", count=1)
    _, _, err = alexnet("prepare", one, tmp_path / "store")
    assert "none held out: no class has two training images" in err and "20%" not in err
    _, _, err = alexnet("prepare", fill(tmp_path / "two", count=2), tmp_path / "other")
    assert "20% of each class's training images held out" in err


@pytest.mark.parametrize(
    ("note", "status", "words"),
    [
        ({"format_version": 2, "size": 7}, 1, "prepare.json: size: 7: must be between 8 and 4,096; remove the folder"),
        ({"format_version": 2, "size": 64, "format": "png"}, 1, "prepare.json: format: png: "),
        ({"scripts": {}}, 2, "not a folder for a new dataset; give another folder"),
    ],
)
def test_a_note_that_is_none_is_said_to_be_none(alexnet, tmp_path, note, status, words):
    source = fill(tmp_path / "photos", count=4)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "prepare.json").write_text(json.dumps(note), encoding="utf-8")
    said = alexnet("prepare", source, tmp_path / "store")
    assert said[0] == status and words in said[2]
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["prepare.json"]
