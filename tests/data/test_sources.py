"""Every layout in which people have images: recognized, labeled right, and its classes' words along."""

import dataclasses
import json
import pickle
import shutil
import tarfile
import zipfile

import fsspec
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from alexnet import AlexNetError, Dataset, UsageError, evaluate, load, predict, prepare
from alexnet.data.sources import open_source
from alexnet.data.sources.cifar10 import unpickle
from alexnet.data.sources.mat import read_struct
from alexnet.data.sources.names import Names
from alexnet.data.sources.tree import TarTree, open_tree
from tests.data import archives
from tests.data.archives import TRUTH, WNIDS, WORDS, color, wnid_of


def names_and_colors(dataset: Dataset, split: str) -> list[tuple[str, int, int]]:
    """The name, label and color of each image of a split."""
    return [(dataset.name(row), int(dataset.labels[row]), color(dataset.image(row))) for row in dataset.rows(split)]


def check_labels(dataset: Dataset) -> None:
    """Every image's color is that of its label."""
    for row in range(sum(dataset.splits.values())):
        assert color(dataset.image(row)) == dataset.labels[row], dataset.name(row)


IMAGENETS = {
    "ilsvrc": (archives.ilsvrc_2012, {"train": 15, "val": 6}),
    "kaggle": (archives.kaggle, {"train": 12, "val": 6}),
    "tiny-imagenet": (archives.tiny_imagenet, {"train": 12, "val": 6}),
    "table": (archives.hub, {"train": 15, "val": 6}),
    "webdataset": (archives.webdataset, {"train": 12, "val": 6}),
}


@pytest.mark.parametrize("layout", IMAGENETS)
def test_imagenet_as_anyone_has_it(tmp_path, layout):
    """Where synset ids and the alphabet disagree, or lists are in no order, labels go by the WNID."""
    make, splits = IMAGENETS[layout]
    dataset = prepare(make(tmp_path / "source"), tmp_path / "store", size=64)
    assert dataset.description["layout"] == layout and dataset.splits == splits
    assert dataset.words == WORDS and dataset.classes == (WORDS if layout in ("table", "webdataset") else WNIDS)
    check_labels(dataset)
    order = [WNIDS.index(wnid_of(number)) for number in TRUTH]
    assert sorted(dataset.labels[dataset.rows("val")].tolist()) == sorted(order)


def test_alphabetical_order_of_synset_ids_would_fail(tmp_path):
    """The check above is sharp: taking the ids for places in the alphabet gives other labels."""
    by_id = [number - 1 for number in TRUTH]
    by_wnid = [WNIDS.index(wnid_of(number)) for number in TRUTH]
    assert all(a != b for a, b in zip(by_id, by_wnid))


def test_ilsvrc_2012_names_and_notes(alexnet, tmp_path):
    source = archives.ilsvrc_2012(tmp_path / "source")
    status, _, err = alexnet("prepare", source, tmp_path / "store", "--size", 64)
    assert status == 0 and "2 test images have no published labels: left out" in err and "layout ilsvrc" in err
    dataset = Dataset(tmp_path / "store")
    assert dataset.name(0) == "train/n01440764/n01440764_0.JPEG"
    val = {name: label for name, label, _ in names_and_colors(dataset, "val")}
    assert val["val/ILSVRC2012_val_00000001.JPEG"] == 2  # synset 1 is the kit fox, last of the WNIDs


def test_ilsvrc_2010_has_test_labels_and_its_patch(tmp_path):
    dataset = prepare(archives.ilsvrc_2010(tmp_path / "source"), tmp_path / "store", size=64)
    assert dataset.splits == {"train": 12, "val": 6, "test": 3} and not dataset.skipped()
    check_labels(dataset)
    assert f"patch/patch_images/train/{WNIDS[1]}_2.JPEG" in [name for name, _, _ in names_and_colors(dataset, "train")]


@pytest.mark.parametrize("outer", [False, True])
def test_larger_releases(tmp_path, outer):
    source = archives.release(tmp_path / "source")
    if outer:  # a tar of class tars
        (tmp_path / "all.tar").write_bytes(archives.tar({f.name: f.read_bytes() for f in source.glob("*.tar")}))
        source = tmp_path / "all.tar"
    dataset = prepare(source, tmp_path / "store", size=64)
    assert dataset.classes == WNIDS and dataset.words == WORDS  # known even where no list is beside them
    assert dataset.splits == {"train": 12, "val": 3} and dataset.name(0).startswith("n01440764/n01440764_")
    check_labels(dataset)


def test_an_unpacked_devkit_and_kaggles_zip(tmp_path):
    source = archives.ilsvrc_2012(tmp_path / "source")
    with tarfile.open(source / "ILSVRC2012_devkit_t12.tar.gz") as kit:
        kit.extractall(source, filter="data")
    (source / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    check_labels(prepare(source, tmp_path / "store", size=64))
    folder = archives.kaggle(tmp_path / "kaggle")
    with zipfile.ZipFile(tmp_path / "kaggle.zip", "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    other = prepare(tmp_path / "kaggle.zip", tmp_path / "zipped", size=64)
    assert other.fingerprint == prepare(folder, tmp_path / "unzipped", size=64).fingerprint


def test_torchvisions_folder_takes_words_from_the_devkit(tmp_path):
    """What torchvision's users have: train/WNID and val/WNID beside the archives that they came from."""
    folder = archives.kaggle(tmp_path / "kaggle")
    source = tmp_path / "source"
    shutil.copytree(folder / "ILSVRC" / "Data" / "CLS-LOC" / "train", source / "train")
    shutil.copytree(source / "train", source / "val")
    shutil.copy(archives.ilsvrc_2012(tmp_path / "2012") / "ILSVRC2012_devkit_t12.tar.gz", source)
    dataset = prepare(source, tmp_path / "store", size=64)
    assert dataset.description["layout"] == "folder" and dataset.classes == WNIDS and dataset.words == WORDS


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_tables_of_the_hub(tmp_path, form):
    dataset = prepare(archives.hub(tmp_path / "source", form), tmp_path / "store", size=64)
    check_labels(dataset)
    listed = open_source(tmp_path / "source").listing
    assert listed.notes == ["1 images without a label left out"]


def test_a_table_without_metadata_and_one_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(w, i) for w in WNIDS for i in range(4)]
    plain = pa.table({"img": [archives.jpeg(w, i) for w, i in rows], "cls": [w for w, _ in rows]})
    pq.write_table(plain, tmp_path / "all.parquet")
    dataset = prepare(tmp_path / "all.parquet", tmp_path / "store", size=64)
    assert dataset.classes == WNIDS and dataset.splits == {"train": 9, "val": 3}
    check_labels(dataset)
    pq.write_table(pa.table({"x": [1], "label": [1]}), tmp_path / "none.parquet")
    with pytest.raises(UsageError, match="no column of images among x, label"):
        open_source(tmp_path / "none.parquet")


def test_labels_of_other_types(tmp_path):
    """Truth values, bytes, and names that are listed twice or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [archives.jpeg(WNIDS[i % 3], i) for i in range(9)]
    told = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["x", "x", "y"]}}}}
    metadata = {"huggingface": json.dumps(told)}
    for labels, expected in (
        ([i % 2 == 0 for i in range(9)], ["False", "True"]),
        ([b"ab"[i % 2 : i % 2 + 1] for i in range(9)], ["a", "b"]),
        ([10 - i % 3 for i in range(9)], ["8", "9", "10"]),
    ):
        pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "t.parquet")
        assert open_source(tmp_path / "t.parquet").listing.classes == expected
    numbers = pa.table({"image": images, "label": [i % 3 for i in range(9)]}).replace_schema_metadata(metadata)
    pq.write_table(numbers, tmp_path / "t.parquet")
    assert open_source(tmp_path / "t.parquet").listing.classes == ["x (0)", "x (1)", "y"]
    texts = pa.table({"image": images, "label": ["x", "y", "z"] * 3}).replace_schema_metadata(metadata)
    pq.write_table(texts, tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="'x' is not among the classes that it lists"):
        open_source(tmp_path / "t.parquet")


def test_a_store_is_a_source_where_that_is_said(tmp_path, dataset):
    with pytest.raises(UsageError, match=r"is a dataset, not a folder.*--layout table"):
        prepare(dataset.path, tmp_path / "store", size=64)
    again = prepare(dataset.path, tmp_path / "store", size=64, layout="table")
    assert again.classes == dataset.classes and again.splits == dataset.splits


@pytest.mark.parametrize("form", ["python", "binary"])
def test_cifar10_is_kept_lossless(tmp_path, form):
    dataset = prepare(archives.cifar10(tmp_path / "source", form), tmp_path / "store", val_fraction=0)
    assert (dataset.size, dataset.format, dataset.splits) == (32, "raw", {"train": 50, "test": 10})
    assert dataset.classes[:3] == ["airplane", "automobile", "bird"]
    expected = sorted(
        (split, label, archives.cifar_pixels(number, label).tobytes())
        for batch in range(6)
        for number, label in archives.cifar_rows(batch)
        for split in ("test" if batch == 5 else "train",)
    )
    found = sorted(
        (split, int(dataset.labels[row]), dataset.image(row).tobytes())
        for split in dataset.splits
        for row in dataset.rows(split)
    )
    assert found == expected
    assert dataset.name(0).startswith("thing_s_" if form == "python" else "data_batch_")


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("evil", [Evil(), np.float64, eval, {b"data": Evil()}])
def test_a_pickle_that_wants_to_run_code_is_refused(alexnet, tmp_path, capsys, evil):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in archives.CIFAR_BATCHES:
        (folder / name).write_bytes(pickle.dumps(evil, protocol=2))
    status, out, err = alexnet("prepare", folder, tmp_path / "store")
    assert status == 1 and not out and "executed" not in err and not (tmp_path / "store").exists()
    assert "data_batch_1" in err and "neither array nor container" in err and err.count("\n") == 1


def test_bombs_in_a_pickle_are_refused():
    """A memo of four hundred million places in six bytes, an array of ten thousand million, a set, a bytearray."""
    big = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x05\x00\xe4\x0bT\x02\x85U\x01O\x87R."
    for data, said in (
        (b"]r\x0fr\x1a\x1a.", "numbers an object"),
        (big, "an array that begins with shape"),
        (b"\x8f.", "uses EMPTY_SET"),
        (b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "uses BYTEARRAY8"),
    ):
        with pytest.raises(pickle.UnpicklingError, match=said):
            unpickle(data)
    for protocol in range(6):
        told = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), b"labels": [1, 2.5, (None, True)], "x": "é"}
        found = unpickle(pickle.dumps(told, protocol=protocol if protocol < 5 else 4))
        assert (found["data"] == told["data"]).all() and found[b"labels"] == told[b"labels"]


def test_csv_lists(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    lines = ["path;label;split"]
    for i in range(12):
        (images / f"é {i}.jpg").write_bytes(archives.jpeg(WNIDS[i % 3], i))
        lines.append(f"images/é {i}.jpg;{[2, 10, 1][i % 3]};{'validation' if i > 8 else 'train'}")
    lines.append("images/gone.jpg;1;train")
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = prepare(tmp_path / "list.csv", tmp_path / "store", size=64)
    assert dataset.classes == ["1", "2", "10"]  # as numbers
    assert dataset.splits == {"train": 9, "val": 3}
    assert dataset.skipped()[0]["reason"].startswith("cannot be read: No such file")
    colors = {label: found for _, label, found in names_and_colors(dataset, "train")}
    assert colors == {0: 2, 1: 0, 2: 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "must name the columns path and label"),
        ("path,label\nx.jpg\n", "line 2: 1 value where the first line names 2 columns"),
        ("path,label\n,x\n", "line 2: no path"),
        ("path,label,split\nx.jpg,a,moon\n", "line 2: split 'moon'"),
        ("path,label\nx.jpg,a\n", "one class only"),
        ("path,label\n", "no training images"),
        ("path,label,split\nx,a,train\ny,b,train\nz,c,val\n", "class 'c' has no training images"),
    ],
)
def test_lists_that_cannot_be_meant(alexnet, tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    status, _, err = alexnet("prepare", tmp_path / "list.csv", tmp_path / "store")
    assert status == 2 and said in err and "list.csv" in err and err.count("\n") == 1


def damage_ilsvrc(folder):
    archives.ilsvrc_2012(folder)
    return folder / "ILSVRC2012_img_train.tar", folder / "ILSVRC2012_devkit_t12.tar.gz"


def drop_devkit(folder):
    damage_ilsvrc(folder)[1].unlink()


def short_truth(folder):
    kit = {"devkit/data/meta.mat": archives.meta(2012), "devkit/data/x_validation_ground_truth.txt": b"1\n2\n"}
    damage_ilsvrc(folder)[1].write_bytes(archives.tar(kit, "w:gz"))


def unknown_synset(folder):
    lines = archives.truth([1, 2, 3, 2, 1, 4])
    kit = {"devkit/data/meta.mat": archives.meta(2012), "devkit/data/x_validation_ground_truth.txt": lines}
    damage_ilsvrc(folder)[1].write_bytes(archives.tar(kit, "w:gz"))


def bad_meta(folder):
    damage_ilsvrc(folder)[1].write_bytes(archives.tar({"devkit/data/meta.mat": b"MATLAB" * 99}, "w:gz"))


def cut_train(folder):
    train = damage_ilsvrc(folder)[0]
    train.write_bytes(train.read_bytes()[:-20_000])


def empty_class(folder):
    archives.release(folder)
    (folder / "n03000684.tar").write_bytes(archives.tar({}))


def two_years(folder):
    archives.ilsvrc_2012(folder)
    shutil.copy(folder / "ILSVRC2012_img_val.tar", folder / "ILSVRC2010_images_val.tar")


def no_solution(folder):
    (archives.kaggle(folder) / "LOC_val_solution.csv").unlink()


def short_solution(folder):
    file = archives.kaggle(folder) / "LOC_val_solution.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))


def no_annotation(folder):
    file = archives.tiny_imagenet(folder) / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    file.write_text("\n".join(file.read_text().splitlines()[1:]))


def no_class(folder):
    archives.webdataset(folder)
    (folder / "some-train-000009.tar").write_bytes(archives.tar({"a.jpg": archives.jpeg(WNIDS[0], 0)}))


def torn_parquet(folder):
    file = archives.hub(folder) / "data" / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-50])


def tar_in_zip(folder):
    archives.release(folder)
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    shutil.rmtree(folder)
    folder.with_suffix(".zip").rename(folder)


@pytest.mark.parametrize(
    ("make", "status", "said"),
    [
        (drop_devkit, 2, "no devkit, which says what the labels are"),
        (short_truth, 1, "has 2 lines for 6 val images"),
        (unknown_synset, 1, "synset 4 (n00001740) has val images but no archive"),
        (bad_meta, 1, "meta.mat: not readable as a devkit's"),
        (cut_train, 1, "ILSVRC2012_img_train.tar"),
        (empty_class, 2, "n03000684.tar holds no images"),
        (two_years, 2, "archives of 2010 and 2012"),
        (no_solution, 2, "no LOC_val_solution.csv"),
        (short_solution, 1, "is not named in LOC_val_solution.csv"),
        (no_annotation, 1, "val_0.JPEG is not named in val/val_annotations.txt"),
        (no_class, 1, "has an image and no class"),
        (torn_parquet, 1, "train-00001-of-00002.parquet: damaged"),
        (tar_in_zip, 2, "is an archive within a zip archive"),
    ],
)
def test_archives_that_are_not_whole(alexnet, tmp_path, make, status, said):
    make(tmp_path / "source")
    found, out, err = alexnet("prepare", tmp_path / "source", tmp_path / "store")
    assert (found, out) == (status, "") and said in err and err.count("\n") == 1 and err.startswith("error: ")
    assert not (tmp_path / "store").exists()


def test_a_layout_can_be_named(alexnet, tmp_path, pictures):
    status, _, err = alexnet("prepare", pictures, tmp_path / "store", "--layout", "kaggle")
    assert status == 2 and "does not look so" in err and "LOC_val_solution.csv" in err
    tars = archives.ilsvrc_2012(tmp_path / "source") / "ILSVRC2012_img_train.tar"
    assert open_source(tars, "wnid-tars").listing.layout == "wnid-tars"


def test_words_come_along_to_predict(alexnet, tmp_path, small):
    dataset = prepare(archives.ilsvrc_2012(tmp_path / "source"), tmp_path / "store", size=64)
    assert alexnet("train", dataset.path, tmp_path / "run", *small)[0] == 0
    image = tmp_path / "a.jpg"
    image.write_bytes(archives.jpeg(WNIDS[2], 7))
    run = load(tmp_path / "run")
    (found,) = predict(run, [image])
    assert {name for name, _ in found.top} == set(WORDS) and set(found.classes) == set(WNIDS)
    assert [WORDS[WNIDS.index(name)] for name in found.classes] == [name for name, _ in found.top]
    status, out, _ = alexnet("predict", tmp_path / "run", image)
    assert status == 0 and "kit fox " in out and "Vulpes" not in out  # a line has the first synonym alone
    status, out, _ = alexnet("predict", tmp_path / "run", image, "--json")
    assert status == 0 and "kit fox, Vulpes macrotis" in out
    hub = prepare(archives.hub(tmp_path / "hub"), tmp_path / "hub-store", size=64)
    assert hub.classes != dataset.classes  # WNIDs there, words here: the same classes all the same
    assert evaluate([run], hub).errors.images == 6


def test_equal_words_are_told_apart(tmp_path):
    source = archives.release(tmp_path / "source")
    (source / "words.txt").write_text(
        "".join(f"{wnid}\t{word}\n" for wnid, word in zip(WNIDS, ["crane", "cock", "crane"]))
    )
    assert open_source(source).listing.words == ["crane (n01440764)", "cock", "crane (n02119789)"]


def test_a_folder_on_object_storage(tmp_path, pictures):
    fs = fsspec.filesystem("memory")
    fs.put(str(pictures), "/photos", recursive=True)
    assert open_source("memory://photos").listing.counts() == open_source(pictures).listing.counts()
    remote = prepare("memory://photos", tmp_path / "remote", size=64)
    assert remote.fingerprint == prepare(pictures, tmp_path / "local", size=64).fingerprint


@pytest.mark.slow
def test_a_hundred_thousand_files_in_one_folder(tmp_path):
    for name, count in (("many", 100_000), ("few", 3)):
        (tmp_path / "source" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "source" / name / f"{number}.jpg").touch()
    listing = open_source(tmp_path / "source").listing
    assert listing.counts() == {"train": [3, 100_000]} and "33333 times the images" in listing.describe("x")


def test_members_of_a_tar_as_tarfile_has_them(tmp_path):
    """Long names, later versions of a member, folders, links, closing blocks: against Python's own reader."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for number in range(50):
            member = tarfile.TarInfo(f"{'long' * 40}/{'é' * (number % 60)}{number % 40}.jpg")
            data = bytes([number]) * (number * 37)
            member.size = len(data)
            archive.addfile(member, archives.io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with tarfile.open(path) as archive:
        expected = {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}
    tree = open_tree(path)
    assert {name: tree.read(i) for i, name in enumerate(tree.names)} == expected
    inner = TarTree("x", [open_tree(write(tmp_path / "b.tar", {"in.tar": path.read_bytes()})).span(0)])
    assert {name: inner.read(i) for i, name in enumerate(inner.names)} == expected


def write(path, members):
    path.write_bytes(archives.tar(members))
    return path


def test_names_keep_any_bytes_and_sort_as_text():
    names = ["b", "a/é", "a", "\udcff\udcfe.jpg", "b", "猫", "a b"]
    found, order = Names(names).sorted_last()
    assert list(found) == sorted(set(names), key=lambda n: n.encode("utf-8", "surrogateescape"))
    assert order[list(found).index("b")] == 4 and [names[i] for i in order] == list(found)
    assert [Names(names)[i] for i in range(len(names))] == names


def test_listing_takes_little_memory_a_member(tmp_path):
    """What a member costs is settled by its arrays: 20 bytes and its name with 8."""
    members = {f"{i:06d}.jpg": b"" for i in range(2000)}
    tree = TarTree("x", [open_tree(write(tmp_path / "a.tar", {"in.tar": archives.tar(members)})).span(0)])
    arrays = tree.spans_of.nbytes + tree._offsets.nbytes + tree._sizes.nbytes + tree.names._array.nbytes
    assert arrays / 2000 < 40
    listing = dataclasses.asdict(open_source(write(tmp_path / "two.tar", {"a/1.jpg": b"", "b/1.jpg": b""})).listing)
    assert all(listing[name].itemsize <= 8 for name in ("members", "labels", "splits"))


def test_failures_name_the_member(tmp_path):
    tree = open_tree(write(tmp_path / "a.tar", {"a/1.jpg": b"x"}))
    with pytest.raises(UsageError, match="is an archive within"):
        open_tree(archives.cifar10(tmp_path, "binary")).span(0)
    assert tree.find("1.jpg") == 0 and tree.find("2.jpg") is None
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:512])
    with pytest.raises(AlexNetError, match=r"b\.tar"):
        open_tree(tmp_path / "b.tar")


@pytest.mark.parametrize("squeezed", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_meta_mat_as_scipy_reads_it(compressed, squeezed):
    """Our own reader against SciPy's, which writes the file: numbers of every type, texts, what is neither."""
    kinds = [("number", "O"), ("text", "O"), ("many", "O"), ("empty", "O")]
    types = (np.uint8, np.int16, np.float32, np.float64, np.int64)
    rows = np.zeros((len(types) if squeezed else (len(types), 1)), dtype=kinds)
    for i, (row, kind) in enumerate(zip(rows.reshape(-1), types)):
        row["number"], row["text"], row["many"], row["empty"] = kind(40 + i), "fox, é" * (i + 1), np.arange(9), ""
    buffer = archives.io.BytesIO()
    savemat(buffer, {"first": np.eye(3), "synsets": rows}, do_compression=compressed)
    expected = loadmat(archives.io.BytesIO(buffer.getvalue()), squeeze_me=True)["synsets"]
    found = read_struct(buffer.getvalue(), "synsets")
    assert [(row["number"], row["text"]) for row in found] == [(float(r["number"]), str(r["text"])) for r in expected]
    assert all(row["many"] is None for row in found)
    for missing in ("second", "first"):
        with pytest.raises(ValueError, match=r"no variable second|first is no struct"):
            read_struct(buffer.getvalue(), missing)
