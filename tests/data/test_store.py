"""The dataset for others: `datasets` and polars open its shards; datasets of the first format are read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alexnet import AlexNetError, Dataset, prepare
from alexnet.data import codec as images
from alexnet.files import sha256
from tests.data import archives
from tests.data.archives import WORDS


@pytest.fixture(scope="module", params=["jpeg", "raw"])
def worded(request, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("worded")
    return prepare(archives.ilsvrc_2012(folder / "source"), folder / "store", size=64, format=request.param)


def test_datasets_opens_a_shard(worded):
    import datasets

    found = datasets.Dataset.from_file(f"{worded.path}/train-00000.arrow")
    assert found.features["label"].names == WORDS and len(found) == 15
    for row in (0, 7, 14):
        assert (np.asarray(found[row]["image"]) == worded.image(row)).all()
        assert found[row]["label"] == worded.labels[row] and found[row]["class"] == WORDS[worded.labels[row]]


def test_polars_opens_a_shard(worded):
    import io

    import polars

    found = polars.read_ipc_stream(f"{worded.path}/train-00000.arrow")
    assert found["class"].to_list() == [WORDS[label] for label in worded.labels[:15]]
    picture = Image.open(io.BytesIO(found["image"][3]["bytes"]))
    assert (np.asarray(picture) == worded.image(3)).all() and found["image"][3]["path"] == worded.name(3)


def test_format_1_is_still_read(dataset, tmp_path):
    """A shard of the first format: bytes, int32 label, name; its description without what came later."""
    old = tmp_path / "old"
    shutil.copytree(dataset.path, old)
    description = json.loads((old / "dataset.json").read_text())
    schema = pa.schema([("image", pa.binary()), ("label", pa.int32()), ("name", pa.string())])
    first = 0
    for entry in description["shards"]:
        rows = range(first, first + entry["rows"])
        first += entry["rows"]
        columns = [
            pa.array([bytes(dataset.encoded(row)) for row in rows], pa.binary()),
            pa.array([int(dataset.labels[row]) for row in rows], pa.int32()),
            pa.array([dataset.name(row) for row in rows]),
        ]
        with pa.OSFile(str(old / entry["file"]), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(pa.table(columns, schema=schema), 256)
        entry["sha256"] = sha256(old / entry["file"])
    description["format_version"] = 1
    for key in ("words", "resize", "labels_sha256", "seal"):
        del description[key]
    (old / "dataset.json").write_text(json.dumps(description))
    found = Dataset(old)
    assert found.resize == "shorter-side" and found.words == found.classes == dataset.classes
    assert [found.name(row) for row in range(60)] == [dataset.name(row) for row in range(60)]
    assert all((found.image(row) == dataset.image(row)).all() for row in range(60))
    assert (found.labels == dataset.labels).all() and {problem for _, problem in found.verify()} == {None}


def test_verify_decodes_what_hashes_pass(dataset, tmp_path):
    """A shard whose hash is right and whose image is none: written so, not damaged later."""
    copy = tmp_path / "store"
    shutil.copytree(dataset.path, copy)
    data = bytearray((copy / "val-00000.arrow").read_bytes())
    start = data.index(bytes(dataset.encoded(50)))
    data[start : start + 40] = bytes(40)
    (copy / "val-00000.arrow").write_bytes(data)
    description = json.loads((copy / "dataset.json").read_text())
    description["shards"][1]["sha256"] = sha256(copy / "val-00000.arrow")
    (copy / "dataset.json").write_text(json.dumps(description))
    seen = []
    found = dict(Dataset(copy).verify(lambda done, total: seen.append((done, total))))
    assert found["train-00000.arrow"] is None and "row 2 is damaged" in found["val-00000.arrow"]
    assert seen[-1] == (60, 60)


def test_info_tells_all_and_draws(alexnet, worded, tmp_path):
    status, out, _ = alexnet("info", worded.path, "--picture", tmp_path / "sheet.png")
    assert status == 0 and "tench, Tinca tinca" in out and f"64x64 pixels, {worded.format}" in out
    told = json.loads(alexnet("info", worded.path, "--json")[1])
    assert told["counts"] == {"train": [5, 5, 5], "val": [2, 2, 2]} and told["words"] == WORDS
    assert told["bytes"] > 15 * 64 * 64 / 4 and told["resize"] == "shorter-side" and told["duplicates"] is None
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 180 + 7 * (88 + 3) + 3  # a name's room, then the seven images of a class
    tiles = sheet[:, 190:260].reshape(len(sheet), -1, 3).mean(1)  # across the first image of each class
    rows = tiles[tiles.min(1) < 200]
    assert rows[40].argmax() == 0 and len(rows) >= 3 * 80  # sorted by class: the first is a red one


def test_many_classes_are_shown_in_short(alexnet, tmp_path):
    source = tmp_path / "source"
    for number in range(30):
        (source / f"class {number:02d}").mkdir(parents=True)
        for i in range(2):
            (source / f"class {number:02d}" / f"{i}.jpg").write_bytes(archives.jpeg("n01440764", i))
    prepare(source, tmp_path / "store", size=64, val_fraction=0)
    out = alexnet("info", tmp_path / "store")[1]
    assert "... 6 more" in out and "class 00  " in out and "class 29  " in out and "class 15  " not in out


def test_damaged_columns_are_an_error_and_no_crash(dataset, tmp_path):
    """Offsets beyond the data must not be followed."""
    copy = tmp_path / "store"
    shutil.copytree(dataset.path, copy)
    whole = (copy / "train-00000.arrow").read_bytes()
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, 3000, 4):  # messages, offsets, labels
            data[place] = int(rng.integers(0, 256))
        (copy / "train-00000.arrow").write_bytes(data)
        try:
            found = Dataset(copy)
            for row in found.rows("train"):
                found.image(int(row))
            assert len(found.labels) == 60
        except (AlexNetError, images.BadImage):
            failed += 1
    assert failed > 30


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", "abc"),
        ("classes", [1, 2, 3]),
        ("words", ["one"]),
        ("size", "64"),
        ("size", True),
        ("format", "gif"),
        ("resize", "er-side"),
        ("resize", []),
        ("skipped", None),
        ("duplicates", "3"),
        ("statistics", []),
        ("statistics_sha256", 5),
        ("shards", [{"file": "train-00000.arrow", "split": "train", "rows": {}, "sha256": ""}]),
        ("shards", [{"file": "../train-00000.arrow", "split": "train", "rows": 48, "sha256": ""}]),
        ("shards", [{"file": "/etc/passwd", "split": "train", "rows": 48, "sha256": ""}]),
        ("shards", [{"file": "moon-00000.arrow", "split": "moon", "rows": 48, "sha256": ""}]),
        ("shards", [{"file": "train-00000.arrow", "split": [], "rows": 48, "sha256": ""}]),
    ],
)
def test_a_description_that_is_not_as_it_was_written(dataset, tmp_path, key, value):
    told = json.loads((Path(dataset.path) / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**told, key: value}))
    with pytest.raises(AlexNetError, match=rf"dataset\.json: {key}"):
        Dataset(tmp_path)
