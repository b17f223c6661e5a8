"""Text from outside: every encoding is read right or refused with its line, every label is one of a few forms."""

import codecs
import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet import AlexNetError, UsageError, prepare
from alexnet.data.sources import open_source
from alexnet.data.sources.text import csv_rows, decode, label_of, lines_of, named
from tests.data import archives
from tests.data.archives import WNIDS

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")), st.sampled_from(ENCODINGS))
def test_text_comes_back_from_every_encoding_that_says_itself(text, encoding):
    assert decode(text.encode(encoding), "x") == text


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "cp1251", "shift-jis", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_refused_with_their_line(alexnet, tmp_path, encoding):
    word = {"gbk": "猫狗", "cp1251": "кот", "shift-jis": "猫犬", "cp1252": "Bär"}.get(encoding, "bear")
    (tmp_path / "list.csv").write_bytes(f"path,label\na.jpg,plain\nb.jpg,{word}\n".encode(encoding))
    status, _, err = alexnet("prepare", tmp_path / "list.csv", tmp_path / "store")
    line = "line 1" if encoding.startswith("utf-16") else "line 3"
    assert status == 2 and f"list.csv: {line}" in err and "save it as UTF-8" in err and err.count("\n") == 1


@pytest.mark.parametrize("name", ["LOC_val_solution.csv", "LOC_synset_mapping.txt"])
def test_every_list_within_a_tree_is_read_so(tmp_path, name):
    folder = archives.kaggle(tmp_path / "kaggle")
    content = (folder / name).read_text()
    (folder / name).write_bytes(codecs.BOM_UTF16_LE + content.encode("utf-16-le"))
    assert open_source(folder).listing.counts() == {"train": [4, 4, 4], "val": [2, 2, 2]}
    (folder / name).write_bytes(content.encode() + b"n01 B\xe4r\n")
    with pytest.raises(UsageError, match=rf"{name}: line \d+: byte .*save it as UTF-8"):
        open_source(folder)


CELLS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_rows_that_pythons_writer_writes_come_back(rows, delimiter):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    assert [row for _, row in csv_rows(buffer.getvalue(), delimiter, "x")] == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('path,label\n"a.jpg,cat\n' + "b.jpg,cat\n" * 20_000, "line 2: a quote is opened and not closed"),
        ('path,label\na.jpg,"cat\nb.jpg,cat\nc.jpg,dog\n', "line 2: a quote is opened and not closed"),
        ('path,label\na.jpg,"cat\nin two lines"\n', "line 2: a quote is opened and not closed"),
        ('path,label\na.jpg,"cat"s\n', "line 2: ',' expected after '\"'"),
        (f"path,label\na.jpg,cat\nb.jpg,{'x' * 140_000}\n", "line 3: field larger than field limit"),
        ("path,label\na.jpg,c\x07t\n", "line 2: label 'c\\x07t' holds '\\x07'"),
        ("path,label\na.jpg,c\u2028t\n", "line 2: label"),
        ("path,label\na.jpg,c\ufffdt\n", "line 2: label"),
        ("path,label\na.jpg,c\0t\n", "line 2: holds a NUL character"),
        ("path,label,label\na.jpg,c,d\n", "names the column label twice"),
        ("path,label\n,x\n", "line 2: no path"),
    ],
)
def test_lists_that_cannot_be_meant_name_the_line(alexnet, tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    status, _, err = alexnet("prepare", tmp_path / "list.csv", tmp_path / "store")
    assert status == 2 and said in err and "list.csv" in err and err.count("\n") == 1


def test_kaggles_solution_is_read_by_the_same_rules(tmp_path):
    folder = archives.kaggle(tmp_path / "kaggle")
    lines = (folder / "LOC_val_solution.csv").read_text().splitlines()
    lines[2] = lines[2].replace(",", ',"', 1)
    (folder / "LOC_val_solution.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"LOC_val_solution\.csv: line 3: a quote is opened"):
        open_source(folder)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_of_every_system(ending):
    assert lines_of(ending.join(["a", "b\u2028c\x85d", "", "e", ""])) == ["a", "b\u2028c\x85d", "", "e"]


LABELS = {
    "whole number": (3, "3"),
    "negative number": (-1, "-1"),
    "truth value": (True, "True"),
    "whole float": (1.0, "1"),
    "text": (" a b ", "a b"),
    "bytes": ("é".encode(), "é"),
    "None": (None, None),
    "NaN": (float("nan"), None),
    "empty": ("  ", None),
    "fraction": (0.5, "label 0.5 of type float"),
    "infinite": (float("inf"), "label inf"),
    "bytes of no text": (b"\xff", "is no UTF-8"),
    "list": ([1], "of type list"),
    "dict": ({"id": 1}, "of type dict"),
    "line break": ("a\nb", "holds"),
    "surrogate": ("\ud800", "holds"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_label_is_one_of_a_few_forms(kind):
    value, expected = LABELS[kind]
    refused = isinstance(expected, str) and (" " in expected.replace("a b", "") or expected == "holds")
    if refused:
        with pytest.raises(UsageError, match="row 7.*" + expected):
            label_of(value, "row 7")
    else:
        assert label_of(value, "row 7") == expected


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "2", "1"], ["1", "2", "10"]),
        (["1.0", "2.0", "nan"], ["1", "2"]),
        (["1.0", "1.1"], ["1.0", "1.1"]),
        (["2", "\u0661", "10"], ["10", "2", "\u0661"]),  # an Arabic one
        (["\u00b2", "1"], ["1", "\u00b2"]),
        (["nan", "rice"], ["nan", "rice"]),
        (["9" * 5000, "1"], ["1", "9" * 5000]),
        (["-1", "1"], ["-1", "1"]),
    ],
)
def test_numbers_are_sorted_as_numbers_and_names_as_text(labels, classes):
    assert named(labels)[1] == classes


def table(path, labels, **columns):
    images = [archives.jpeg(WNIDS[i % 3], i) for i in range(len(labels))]
    pq.write_table(pa.table({**columns, "image": images, "label": labels}), path)
    return path


def test_labels_of_tables(tmp_path):
    listing = open_source(table(tmp_path / "t.parquet", [1.0, 10.0, 2.0, None, float("nan"), 1.0])).listing
    assert listing.classes == ["1", "2", "10"] and listing.notes == ["2 images without a label left out"]
    assert open_source(table(tmp_path / "t.parquet", ["10", "9", "8"])).listing.classes == ["8", "9", "10"]
    for labels, said in (([0.5, 1.0], r"t\.parquet/0/0: label 0\.5"), ([[1], [2]], "of type list")):
        with pytest.raises(UsageError, match=said):
            open_source(table(tmp_path / "t.parquet", labels))


def test_a_column_called_image_beats_a_mask_and_unlabeled_shards_are_left_out(tmp_path):
    masks = [b"mask"] * 6
    source = open_source(table(tmp_path / "t.parquet", [0, 1] * 3, mask=masks))
    assert next(iter(source.stream(source.listing.members[:1])))[1][:2] == b"\xff\xd8"
    folder = archives.hub(tmp_path / "hub")
    pq.write_table(pa.table({"image": [archives.jpeg(WNIDS[0], 1)]}), folder / "data" / "a-test.parquet")
    listing = open_source(folder).listing
    assert "data/a-test.parquet: has no column label: left out" in listing.notes
    assert listing.counts()["train"] == [5, 5, 5]
    same = pa.Table.from_arrays([pa.array([b"x"]), pa.array([b"x"]), pa.array([1])], ["image", "image", "label"])
    pq.write_table(same, tmp_path / "twice.parquet")
    with pytest.raises((UsageError, AlexNetError), match="image"):
        open_source(tmp_path / "twice.parquet")
    for name in ("a", "b"):
        (tmp_path / "same" / name).mkdir(parents=True)
        table(tmp_path / "same" / name / "train-0.parquet", [0, 1])
    source = open_source(tmp_path / "same")
    assert len({source.name(row) for row in range(4)}) == 4


def test_labels_of_webdataset(tmp_path):
    def shard(labels: list[bytes]):
        members = {}
        for i, label in enumerate(labels):
            members[f"{i}.jpg"], members[f"{i}.cls"] = archives.jpeg(WNIDS[i % 3], i), label
        (tmp_path / "x.tar").write_bytes(archives.tar(members))
        return open_source(tmp_path / "x.tar").listing

    assert shard([b"10", b"9\n", b"8"]).classes == ["8", "9", "10"]
    listing = shard([b"a", "é".encode(), b"", b"a"])
    assert listing.classes == ["a", "é"] and listing.notes == ["1 images without a label left out"]
    for labels in ([b"B\xe4r", b"a"], [b"a\nb", b"a"]):
        with pytest.raises(UsageError, match=r"x\.tar: 0\.cls"):
            shard(labels)


def test_csv_labels(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(archives.jpeg(WNIDS[0], i))
    (tmp_path / "list.csv").write_text("path,label\n0.jpg,1.0\n1.jpg,10.0\n2.jpg,2.0\n3.jpg,\n")
    listing = open_source(tmp_path / "list.csv").listing
    assert listing.classes == ["1", "2", "10"] and listing.notes[0] == "1 images without a label left out"


def test_csv_rows_are_read_by_the_folders_limits(tmp_path, monkeypatch):
    """A pipe never waits, a huge file is never read: each is named with its reason."""
    import os

    monkeypatch.setattr("alexnet.data.sources.tree.base.LARGEST", 50_000)
    for i in range(12):
        (tmp_path / f"{i}.jpg").write_bytes(archives.jpeg(WNIDS[i % 2], i))
    os.mkfifo(tmp_path / "pipe.jpg")
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(6 << 30)
    rows = [f"{i}.jpg,{'ab'[i % 2]}" for i in range(12)] + ["pipe.jpg,a", "huge.jpg,b", "/dev/zero,a", ".,b"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    dataset = prepare(tmp_path / "list.csv", tmp_path / "store", size=16, val_fraction=0, max_bad=0.5)
    reasons = {row["name"]: row["reason"] for row in dataset.skipped()}
    assert set(reasons) == {"pipe.jpg", "huge.jpg", "/dev/zero", "."}
    assert "6,442,450,944 bytes, which is no image" in reasons["huge.jpg"]
    assert "a pipe, socket or device" in reasons["pipe.jpg"] and "a pipe, socket or device" in reasons["/dev/zero"]


def test_the_metadatas_names_are_names(tmp_path):
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    for names, said in ((["a\nb", "c"], "holds"), ([1, 2], "names no classes")):
        info = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}})
        rows = pa.table([[b"x", b"y"], [0, 1]], schema=schema.with_metadata({"huggingface": info}))
        pq.write_table(rows, tmp_path / "t.parquet")
        with pytest.raises((UsageError, AlexNetError), match=said):
            open_source(tmp_path / "t.parquet")
