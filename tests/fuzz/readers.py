"""What the fuzzer throws at: every reader of bytes that others wrote. Each takes bytes and may only refuse in words.

``python -m tests.fuzz.run`` (Linux; ``pip install atheris``) searches for inputs that crash, hang or escape; its seeds
are ``tests/fuzz/corpus``, which ``tests/test_fuzz.py`` replays with mutations of its own in every ``make test``.
"""

import atexit
import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import torch

from alexnet import AlexNetError, Dataset, Net, UsageError, load
from alexnet.data import codec as images
from alexnet.data.preprocessing import Preprocessing
from alexnet.data.sources import open_source
from alexnet.data.sources.cifar10 import _read_pickle
from alexnet.data.sources.pictures import batches, find_pictures
from alexnet.data.sources.text import csv_rows, decode, label_of, named
from alexnet.data.sources.words import read_meta
from alexnet.figures.curve import curve
from alexnet.files import owned
from alexnet.interchange.class_names import read_classes
from alexnet.interchange.exporting import export
from alexnet.interchange.importing import import_weights
from alexnet.interchange.onnx_writer import write_onnx
from alexnet.nets.table_file import load_table
from alexnet.nets.weights import outline
from alexnet.runs.checkpoint import find_checkpoint
from alexnet.runs.journal import read_journal, read_metrics
from alexnet.runs.run import Run
from alexnet.runs.verify import verify
from alexnet.training.describe import describe_run
from alexnet.training.recipes import named as named_recipe
from alexnet.training.state import read
from tests.weights_files import blob, caffemodel, zoo_onnx

SAID = (AlexNetError, UsageError)
BEFORE = Path(__file__).parents[1] / "before"


def image(data: bytes) -> None:
    """An image file."""
    with contextlib.suppress(images.BadImage):
        assert images.decode_square(data, 32).shape == (32, 32, 3)


def pickled(data: bytes) -> None:
    """A batch of CIFAR-10's Python version."""
    with contextlib.suppress(*SAID):
        pixels, labels, _ = _read_pickle(data, "batch")
        assert pixels.shape == (len(labels), 3072)


def meta(data: bytes) -> None:
    """A devkit's meta.mat."""
    with contextlib.suppress(*SAID):
        read_meta(data, "meta.mat")


def _source(data: bytes, ending: str) -> None:
    """A source of one file: listed, then all of it read. Nothing may appear outside the room that it is in."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "inside", f"source{ending}")
        path.parent.mkdir()
        path.write_bytes(data)
        with contextlib.suppress(*SAID):
            source = open_source(path)
            if source.sequential:
                list(source.stream(source.listing.members.argsort()))
            else:
                for row in range(min(200, len(source.listing))):
                    with contextlib.suppress(OSError):
                        source.read(row)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
        assert os.listdir(room) == ["inside"]


def _pictures(data: bytes, ending: str) -> None:
    """An archive as `predict` takes it: listed, then all of it read."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, f"pictures{ending}")
        path.write_bytes(data)
        with contextlib.suppress(*SAID):
            for batch in batches(find_pictures(path), 32):
                for _, read in batch:
                    with contextlib.suppress(OSError):
                        read()
        assert os.listdir(room) == [path.name]


def linked(data: bytes) -> None:
    """A tar of links, sparse files and appended versions, as `predict` takes it."""
    _pictures(data, ".tar")


def zipped_links(data: bytes) -> None:
    """A zip of links, Windows' names and duplicates, as `predict` takes it."""
    _pictures(data, ".zip")


def text(data: bytes) -> None:
    """A list in any encoding: decoded, and its rows and labels taken."""
    with contextlib.suppress(*SAID):
        labels = []
        for number, row in csv_rows(decode(data, "list"), ",", "list"):
            labels += [label for cell in row if (label := label_of(cell, f"line {number}")) is not None]
        assert set(named(labels)[0]) == set(labels)


def tar(data: bytes) -> None:
    """A tar."""
    _source(data, ".tar")


def zipped(data: bytes) -> None:
    """A zip."""
    _source(data, ".zip")


def compressed(data: bytes) -> None:
    """A compressed tar."""
    _source(data, ".tar.gz")


def listed(data: bytes) -> None:
    """A CSV; only its names are read, for it may name any file of the user's."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "list.csv")
        path.write_bytes(data)
        with contextlib.suppress(*SAID):
            open_source(path)


def parquet(data: bytes) -> None:
    """A Parquet file."""
    _source(data, ".parquet")


def arrow(data: bytes) -> None:
    """An Arrow file as a source."""
    _source(data, ".arrow")


def dataset(data: bytes) -> None:
    """A dataset whose only shard is the data, and whose description says what a right one would."""
    description = {
        "format_version": 2,
        "classes": ["a", "b"],
        "words": None,
        "format": "jpeg",
        "size": 16,
        "resize": "shorter-side",
        "resized": "",
        "decoder": "",
        "layout": "folder",
        "skipped": 0,
        "shards": [{"file": "train-00000.arrow", "split": "train", "rows": 4, "sha256": ""}],
        "statistics_sha256": "",
        "statistics": {"mean": [], "deviation": []},
    }
    with tempfile.TemporaryDirectory() as room:
        Path(room, "train-00000.arrow").write_bytes(data)
        Path(room, "dataset.json").write_text(json.dumps(description))
        with contextlib.suppress(*SAID):
            opened = Dataset(room)
            for row in range(4):
                opened.image(row)
                opened.name(row)
            assert opened.labels.shape == (4,)


def description(data: bytes) -> None:
    """A dataset's dataset.json."""
    with tempfile.TemporaryDirectory() as room:
        Path(room, "dataset.json").write_bytes(data)
        with contextlib.suppress(*SAID):
            opened = Dataset(room)
            opened.splits  # noqa: B018
            opened.statistics  # noqa: B018
            opened.describe()


TINY = """
input = [3, 9, 9]

[layers.conv1]
kind = "convolution"
filters = 2
size = 3
stride = 2
activation = "relu"

[layers.fc2]
kind = "fully_connected"
units = "classes"
"""


def _weights(data: bytes, ending: str, mean: bytes | None = None) -> None:
    """A file of weights for a tiny net, imported: a whole run comes of it, or nothing."""
    with tempfile.TemporaryDirectory() as room:
        for name, content in (("net.toml", TINY), ("classes.txt", "a\nb\n")):
            Path(room, name).write_text(content)
        Path(room, f"weights{ending}").write_bytes(data)
        given = Path(room, "mean.binaryproto")
        given.write_bytes(mean or b"")
        before = set(os.listdir(room))
        try:
            import_weights(
                Path(room, f"weights{ending}"), Path(room, "run"), str(Path(room, "net.toml")), preprocessing="caffe",
                mean=given if mean is not None else None, classes=Path(room, "classes.txt"),
            )  # fmt: skip
            assert load(Path(room, "run")).net.tensors()["fc2.weight"].shape == (2, 32)
        except SAID:
            assert set(os.listdir(room)) == before


def torch_weights(data: bytes) -> None:
    """A state dict, of either kind of torch's files."""
    _weights(data, ".pth")


def safetensors_weights(data: bytes) -> None:
    """A safetensors file."""
    _weights(data, ".safetensors")


def caffe_weights(data: bytes) -> None:
    """A caffemodel."""
    _weights(data, ".caffemodel")


def onnx_weights(data: bytes) -> None:
    """An ONNX file."""
    _weights(data, ".onnx")


def caffe_mean(data: bytes) -> None:
    """A mean image."""
    _weights(caffemodel(_tiny(), False), ".caffemodel", data)


def hub(data: bytes) -> None:
    """A hub folder's config.json."""
    _hub("config.json", data)


def hub_preparation(data: bytes) -> None:
    """A hub folder's preparation.safetensors."""
    _hub("preparation.safetensors", data)


def _hub(member: str, data: bytes) -> None:
    """A folder as the exporter writes it, but for a member, imported: a run that loads comes of it, or nothing."""
    with tempfile.TemporaryDirectory() as room:
        shutil.copytree(_exported(), Path(room, "hub"))
        Path(room, "hub", member).write_bytes(data)
        try:
            import_weights(Path(room, "hub"), Path(room, "run"))
            assert load(Path(room, "run")).net.tensors()["fc2.weight"].shape == (2, 32)
        except SAID:
            assert os.listdir(room) == ["hub"]


@functools.cache
def _exported() -> str:
    """A whole hub folder of the tiny net."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    preprocessing = Preprocessing(16, 9, 1.0, torch.full((3, 16, 16), 100.0), torch.zeros(3, 3))
    data = {"path": None, "store": None, "images": {"train": 4}}
    export(Run(folder, _tiny(), ["a", "b"], ["a", "b"], preprocessing, data, {}, 0), Path(folder, "hub"))
    return str(Path(folder, "hub"))


@functools.cache
def _imported() -> str:
    """A run of the same."""
    import_weights(_exported(), Path(_exported()).with_name("run"))
    return str(Path(_exported()).with_name("run"))


def onnx_metadata(data: bytes) -> None:
    """What our exporter writes into an ONNX file, changed."""
    run = (torch.full((3, 16, 16), 100.0), torch.ones(3))
    _weights(write_onnx(_tiny(), 9, {"alexnet": data.decode("utf-8", "replace")}, run), ".onnx")


def classes(data: bytes) -> None:
    """A list of classes."""
    with tempfile.TemporaryDirectory() as room:
        Path(room, "classes.txt").write_bytes(data)
        with contextlib.suppress(*SAID):
            names, words = read_classes(Path(room, "classes.txt"))
            assert len(set(names)) == len(names) == len(words or names)


def described(data: bytes) -> None:
    """A run's run.json."""
    with tempfile.TemporaryDirectory() as room:
        shutil.copytree(_imported(), Path(room, "run"))
        Path(room, "run", "run.json").write_bytes(data)
        with contextlib.suppress(*SAID):
            load(Path(room, "run"))
            describe_run(Path(room, "run"))


def journal(data: bytes) -> None:
    """A run's metrics.jsonl: whatever is in it, what can be read is kept, and a curve is drawn of it."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "metrics.jsonl")
        path.write_bytes(data)
        lines, unreadable = read_journal(path)
        kept = b"".join(line for line, _ in lines)
        assert len(kept) <= len(data) and unreadable <= data.count(b"\n") + data.count(b"\r")
        path.write_bytes(kept)
        assert read_journal(path) == (lines, 0)
        curve(read_metrics(room))


def recipe(data: bytes) -> None:
    """A recipe.json, as ``--recipe`` takes it."""
    with tempfile.TemporaryDirectory() as room:
        Path(room, "recipe.json").write_bytes(data)
        with contextlib.suppress(*SAID):
            named_recipe(str(Path(room, "recipe.json")))


def checkpoint(data: bytes) -> None:
    """A checkpoint.json of a training that is resumed."""
    place = f"checkpoints/{find_checkpoint(BEFORE / 'killed').name}"  # pyright: ignore[reportOptionalMemberAccess]
    with tempfile.TemporaryDirectory() as room:
        shutil.copytree(BEFORE / "killed", Path(room, "run"))
        Path(room, "run", place, "checkpoint.json").write_bytes(data)
        with contextlib.suppress(*SAID):
            read(Path(room, "run"))
        with contextlib.suppress(*SAID):
            list(verify(Path(room, "run")))


def lock(data: bytes) -> None:
    """A lock file: it names a process, or nobody."""
    with tempfile.TemporaryDirectory() as room:
        Path(room, ".lock").write_bytes(data)
        with contextlib.suppress(*SAID), owned(room):
            pass


def table(data: bytes) -> None:
    """A net's .toml table."""
    with tempfile.TemporaryDirectory() as room:
        Path(room, "net.toml").write_bytes(data)
        with contextlib.suppress(*SAID):
            outline(load_table(str(Path(room, "net.toml"))), 3)


def _tiny() -> Net:
    with tempfile.TemporaryDirectory() as room:
        Path(room, "net.toml").write_text(TINY)
        return Net(str(Path(room, "net.toml")), 2, init="he")


READERS: dict[str, Callable[[bytes], None]] = {
    reader.__name__: reader
    for reader in (
        *(linked, zipped_links, text),
        *(image, pickled, meta, tar, zipped, compressed, listed, parquet, arrow, dataset, description),
        *(torch_weights, safetensors_weights, caffe_weights, onnx_weights, caffe_mean),
        *(hub, hub_preparation, onnx_metadata, classes, described),
        *(journal, recipe, checkpoint, lock, table),
    )
}

CORPUS = Path(__file__).parent / "corpus"


def small_files() -> dict[str, list[bytes]]:
    """The seeds of the readers of a run's small files: those of an earlier version's runs."""
    place = find_checkpoint(BEFORE / "killed")
    assert place
    return {
        "journal": [(BEFORE / name / "metrics.jsonl").read_bytes() for name in ("run", "killed")],
        "recipe": [(BEFORE / "run" / "recipe.json").read_bytes()],
        "checkpoint": [(place / "checkpoint.json").read_bytes()],
        "lock": [b'{"host": "elsewhere", "process": 17, "since": 1795000000.5}'],
        "table": [TINY.encode(), b'base = "cifar-11"\nremove = ["norm1"]\n[layers.conv2]\nactivation = "tanh"\n'],
    }


def linked_seeds(members: dict[str, bytes]) -> list[bytes]:
    """Tars with links of every kind, in each format, and one with a sparse member as GNU tar writes it."""
    import io
    import tarfile

    links = [
        ("c", "a", tarfile.SYMTYPE), ("d", "c/../b", tarfile.SYMTYPE), ("a/l.jpg", "../b/1.jpg", tarfile.SYMTYPE),
             ("a/h.jpg", "b/0.jpg", tarfile.LNKTYPE), ("a/r", "..", tarfile.SYMTYPE), ("o", "../../x", tarfile.SYMTYPE),
    ]  # fmt: skip
    seeds = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name, data in [*members.items(), *members.items()]:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                if form == tarfile.PAX_FORMAT:
                    member.pax_headers = {
                        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": name,
                        "GNU.sparse.size": str(2 * len(data)), "GNU.sparse.numblocks": "1",
                        "GNU.sparse.map": f"{len(data)},{len(data)}",
                    }  # fmt: skip
                archive.addfile(member, io.BytesIO(data))
            for name, target, kind in links:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, target
                archive.addfile(member)
        seeds.append(buffer.getvalue())
    return seeds


def zipped_links_seeds() -> list[bytes]:
    """A zip with symbolic links, backslashes, drives and the mark of UTF-8 or none."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, system, mode, content in (
            ("a/1.jpg", 3, 0o100644, b"x"), ("b", 3, 0o120777, b"a"), ("c.jpg", 3, 0o120777, b"b/1.jpg"),
            ("C:\\d\\2.jpg", 0, 0, b"y"), ("é/3.jpg", 3, 0o100644, b"z"), ("r", 3, 0o120777, b"r"),
        ):  # fmt: skip
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system, info.external_attr = name, system, mode << 16
            archive.writestr(info, content)
    return [buffer.getvalue()]


def weights_seeds() -> dict[str, list[bytes]]:
    """The seeds of the readers of weights."""
    import io

    import safetensors.torch

    net = _tiny()
    state = {name: tensor.detach().contiguous() for name, tensor in net.tensors().items()}
    files = []
    for kind in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=kind)
        files.append(buffer.getvalue())
    return {
        "torch_weights": files,
        "safetensors_weights": [safetensors.torch.save(state)],
        "caffe_weights": [caffemodel(net, old) for old in (False, True)],
        "onnx_weights": [zoo_onnx(net, 9).SerializeToString()],
        "caffe_mean": [blob(torch.ones(1, 3, 9, 9), old) for old in (True, False)],
        "hub": [Path(_exported(), "config.json").read_bytes()],
        "hub_preparation": [Path(_exported(), "preparation.safetensors").read_bytes()],
        "onnx_metadata": [_onnx_text()],
        "classes": ["n01440764 tench\nn01443537 goldfish\n".encode(name) for name in ("utf-8-sig", "utf-16")]
        + [b"cat\r\ndog, tame\r\n"],
        "described": [Path(_imported(), "run.json").read_bytes()],
    }


def _onnx_text() -> bytes:
    config = json.loads(Path(_exported(), "config.json").read_text())
    return json.dumps({**config, "noise": [0.0] * 9}).encode()


def make_corpus() -> None:
    """Writes the seeds, a small whole input for each reader; what fuzzing ``found`` stays beside them."""
    import io
    import pickle

    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image

    from alexnet import prepare
    from tests.data import archives

    def small(color: int, form: str = "JPEG", **options) -> bytes:
        return archives.encoded(Image.new("RGB", (16, 16), (color, 80, 160)), form, **options)

    members = {f"{name}/{i}.jpg": small(20 * i) for name in ("a", "b") for i in range(2)}
    classes = {"n00000001.tar": archives.tar({"1.JPEG": small(1)}), "n00000002.tar": archives.tar({"1.JPEG": small(2)})}
    shards = {"a.jpg": small(1), "a.cls": b"0", "b.jpg": small(2), "b.cls": b"1"}
    outside = {"../../evil/a.jpg": small(1), "/evil/b.jpg": small(2), **members}
    table = pa.table({"image": [{"bytes": small(i), "path": f"{i}.jpg"} for i in range(4)], "label": [0, 1, 0, 1]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    zipfile = io.BytesIO()
    import zipfile as zips

    with zips.ZipFile(zipfile, "w", zips.ZIP_DEFLATED) as archive:
        for name, data in outside.items():
            archive.writestr(name, data)
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 4], b"filenames": [b"a.png", b"b.png"]}
    with tempfile.TemporaryDirectory() as room:
        Path(room, "source.tar").write_bytes(archives.tar(members))
        made = prepare(Path(room, "source.tar"), Path(room, "store"), size=16, val_fraction=0)
        shard = Path(made.path, "train-00000.arrow").read_bytes()
        told = Path(made.path, "dataset.json").read_bytes()
    seeds: dict[str, list[bytes]] = {
        "linked": linked_seeds(members),
        "zipped_links": zipped_links_seeds(),
        "text": [
            *(
                "path,label\na é.jpg,1.0\nb.jpg,cat\n".encode(code)
                for code in ("utf-8-sig", "utf-16", "utf-32", "cp1252")
            ),
            b'path,label\n"a.jpg,cat\nb.jpg,\x00',
        ],
        "image": [
            *(small(9), small(9, quality=80, progressive=True), small(9, "PNG"), small(9, "GIF"), small(9, "BMP")),
            *(small(9, "WEBP"), small(9, "TIFF"), small(9, "PPM"), small(9, "AVIF")),
            archives.encoded(Image.new("CMYK", (16, 16)), "JPEG"),
            archives.encoded(Image.new("LA", (16, 16)), "PNG"),
            archives.encoded(Image.new("I;16", (16, 16)), "PNG"),
        ],
        "pickled": [pickle.dumps(batch, protocol=p) for p in (2, 4)]
        + [b"cposix\nsystem\n(S'true'\ntR.", b"\x8f\x72\x8f\x72\x1a\x1a"],
        "meta": [archives.meta(2010), archives.meta(2012)],
        "tar": [archives.tar(members), archives.tar(classes), archives.tar(shards), archives.tar(outside)],
        "zipped": [zipfile.getvalue()],
        "compressed": [archives.tar(members, f"w:{kind}") for kind in ("gz", "bz2", "xz")],
        "listed": [b"path,label,split\na.jpg,x,train\nb.jpg,y,train\nc.jpg,x,val\n", b"file;class\na;1\nb;2\n"],
        "parquet": [buffer.getvalue()],
        "arrow": [stream.getvalue()],
        "store": [shard],
        "description": [told],
        **weights_seeds(),
        **small_files(),
    }
    for name, contents in seeds.items():
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(contents):
            (CORPUS / name / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    make_corpus()
