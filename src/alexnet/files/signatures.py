"""What a file or folder is that was taken for weights and is none, by its first bytes and its structure."""

import dataclasses
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import kinds

if TYPE_CHECKING:  # what a file is, is seen without torch
    from torch import Tensor

HEAD = 4096  # bytes that are looked at
MOST_NAMES = 1 << 16  # members of a zip
MOST_DIRECTORY = 1 << 20  # bytes of the list of them
TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number with which torch's older files begin
SAFETENSORS = "a state dict or safetensors"
ELSEWHERE = f"ask its maker for {SAFETENSORS}"
CONVERT = f"load it in the program that it is of, and save {SAFETENSORS}"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A file that is no weights.

    Attributes:
        words: what it is.
        remedy: what to do.
        fetched: it came by a download that went wrong; else another file was meant.
    """

    words: str
    remedy: str
    fetched: bool = False


FETCHED = (  # first bytes, what it is, what to do
    (
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "fetch the file itself with `git lfs pull`, or from the repository's page",
    ),
)
KNOWN = (
    (b"\x89HDF\r\n\x1a\n", "HDF5 (Keras's .h5, or MATLAB 7.3)", CONVERT),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file", CONVERT),
    (b"MATLAB 7.3 MAT-file", "a MATLAB file (HDF5)", CONVERT),
    (b"\x93NUMPY", "NumPy's array (.npy)", f"put the arrays under their layers' names into {SAFETENSORS}"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it, and give the file in it"),
    (b"BZh", "compressed by bzip2", "unpack it, and give the file in it"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it, and give the file in it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, and give the file in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and give the file in it"),
    (b"Rar!", "a RAR archive", "unpack it, and give the file in it"),
    (b"\x78\x9c", "compressed by zlib (joblib's, say)", CONVERT),
    (b"GGUF", "GGUF (llama.cpp's weights)", ELSEWHERE),
    ((b"lmgg", b"tjgg", b"ggml"), "GGML (llama.cpp's weights)", ELSEWHERE),
    (b"\x04\x00\x00\x00\x01\x00\x00\x00", "a file of Lua's Torch7 (.t7)", CONVERT),
    (b"\x12\x01\x00\x00\x00\x00\x00\x00", "MXNet's parameters", CONVERT),
    ((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF"), "a picture or a sound",
     "give a file of weights; photos are for `alexnet predict`"),
    (b"%PDF", "a PDF", "give a file of weights"),
    ((b"\x7fELF", b"MZ"), "a program", "give a file of weights"),
    (b"SQLite format 3", "an SQLite database", "give a file of weights"),
    (b"PAR1", "a Parquet file", "give a file of weights; images are for `alexnet prepare`"),
    (b"ARROW1", "an Arrow file", "give a file of weights; images are for `alexnet prepare`"),
)  # fmt: skip
ENDINGS = {  # of formats that begin in no way of their own
    ".pb": ("a graph of TensorFlow", CONVERT),
    ".tflite": ("TensorFlow Lite", CONVERT),
    ".msgpack": ("Flax's weights", CONVERT),
    ".mlmodel": ("Core ML", CONVERT),
    ".meta": ("a part of TensorFlow's checkpoint", CONVERT),
    ".index": ("a part of TensorFlow's checkpoint", CONVERT),
    ".prototxt": ("the text of a Caffe net, without weights", "give its .caffemodel"),
    ".toml": ("text: a net's table, it seems", "give the file of weights, and the table with --net"),
}
MEMBERS = (  # of a zip: what a member's name is like, what it is, what to do
    (
        r"(^|/)(constants\.pkl|code/.*)",
        "TorchScript (torch.jit.save), a program",
        "save its state_dict() with torch.save in a program that you trust it with",
    ),
    (
        r"(^|/)(archive_format|serialized_exported_program\.json|models/[^/]*\.json)",
        "a program of torch.export (.pt2)",
        "save its state_dict with torch.save in a program that you trust it with",
    ),
    (r"(^|/)model\.weights\.h5", "a Keras model (.keras)", CONVERT),
    (r"(^|/)saved_model\.pb", "a zipped SavedModel of TensorFlow", CONVERT),
    (r"(^|/)Manifest\.json", "a zipped package of Core ML", CONVERT),
)


def refuse(path: str | os.PathLike, wanted: str = "a file of weights", but: Sequence[str] = ()) -> None:
    """Does nothing where a file may be weights, or is not known.

    Args:
        path: a file that is there.
        wanted: what it should be.
        but: words of signatures that are allowed.

    Raises:
        AlexNetError: it came by a download that went wrong.
        UsageError: it is another kind of file.
    """
    signature = recognize(path)
    if signature is None or signature.words in but:
        return
    kind = AlexNetError if signature.fetched else UsageError
    raise kind(f"{path}: is {signature.words}, not {wanted}; {signature.remedy}")


def is_utf8(path: str | os.PathLike) -> bool:
    """Whether libraries that want names in UTF-8 take such a path."""
    return files.plain(os.fspath(path)) == os.fspath(path)


def read_tensors(path: str | os.PathLike) -> "dict[str, Tensor]":
    """A safetensors file's tensors, whatever the file is called. Raises what the library does where it is damaged."""
    from safetensors.torch import load, load_file

    return load_file(os.fspath(path)) if is_utf8(path) else load(files.read_bytes(path))


def recognize(path: str | os.PathLike) -> Signature | None:
    """What a file is, if it is none of those that hold weights for us; None where it may be."""
    if os.path.exists(path) and not os.path.isfile(path):
        return Signature("no regular file", "give a file of weights")
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        return Signature(EMPTY, "fetch it again", fetched=True)
    if is_safetensors(head):
        return None
    if not head.strip(b"\0"):
        return Signature("zeros from its first byte on", "a download was begun and not filled; fetch it again", True)
    for signatures, fetched in ((FETCHED, True), (KNOWN, False)):
        for start, words, remedy in signatures:
            if head.startswith(start):
                return Signature(words, remedy, fetched)
    if head[:2] == b"PK":
        return _zip(path)
    if head[4:8] == b"TFL3":
        return Signature(*ENDINGS[".tflite"])
    if head[257:262] == b"ustar":
        return Signature("a tar archive", "unpack it, and give the file in it")
    if len(head) > 1 and head[:1] == b"\x80" and 2 <= head[1] <= 5 and TORCH_MAGIC not in head[:64]:
        return Signature(
            "a pickle that torch.save did not write (of NumPy, say)",
            f"a pickle can run any program, so nothing of it was executed; ask its maker for {SAFETENSORS}",
        )
    return _text(head) or _by_ending(path)


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is safetensors: eight bytes of length, then JSON."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


def is_torch(head: bytes) -> bool:
    """Whether a file that begins so may be torch's: a zip, or pickles of which the first is a number of its own."""
    if is_safetensors(head):  # whose length may be 0x480, say
        return False
    return head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and TORCH_MAGIC in head[:64])


def _by_ending(path: str | os.PathLike) -> Signature | None:
    name = Path(path).name.lower()
    if re.search(r"\.data-\d+-of-\d+$", name):
        return Signature(*ENDINGS[".index"])
    known = ENDINGS.get(Path(name).suffix)
    return Signature(*known) if known else None


MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
JSON, TEXT, EMPTY = "JSON", "text", "empty"


def _text(head: bytes) -> Signature | None:
    """A page of the web, a server's answer, JSON, any other text."""
    encoding = next((name for mark, name in MARKS if head.startswith(mark)), "utf-8")
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely cut within a letter
            return None
        text = head[: error.start].decode(encoding)
    text = text.lstrip("\ufeff \t\r\n")
    if not text or not all(letter.isprintable() or letter in "\t\r\n\f\x1b" for letter in text):
        return None
    start = text[:1000].lower()
    again = "open its address in a browser: it may ask for a login, or be the address of a page beside the file's"
    if start.startswith(("<!doctype html", "<html", "<head", "<body", "<!--")):
        return Signature("a web page (HTML)", again, fetched=True)
    if start.startswith(("<?xml", "<error")):
        code = re.search(r"<code>(\w+)</code>", text, re.IGNORECASE)
        answer = f"a server's answer ({code[1]})" if code else "XML"
        return Signature(answer, again, fetched=True)
    if start.startswith(("{", "[")):
        if '"weight_map"' in text:
            return Signature(
                "the index of weights in several files",
                "give one file of all weights: load them where they are from, and save them again",
            )
        return Signature(JSON, "give the file of weights beside it; a server's answer in JSON may say what went wrong")
    return Signature(TEXT, f"give a file of weights; it begins: {text[:40].splitlines()[0].strip()!r}")


def _zip(path: str | os.PathLike) -> Signature | None:
    """A zip; None where it is torch's, or cannot be read."""
    if _directory_bytes(path) > MOST_DIRECTORY:
        return Signature("a zip archive of very many files", "unpack it, and give the file of weights in it")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:MOST_NAMES]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, LookupError):
        return None
    for pattern, words, remedy in MEMBERS:
        if any(re.search(pattern, name) for name in names):
            return Signature(words, remedy)
    if names and all(name.endswith(".npy") for name in names):
        return Signature("NumPy's arrays (.npz)", f"put the arrays under their layers' names into {SAFETENSORS}")
    if any(re.search(r"(^|/)data\.pkl$", name) for name in names):
        return None
    shown = ", ".join(ascii(name)[1:-1] for name in names[:3]) or "nothing"
    return Signature(f"a zip archive of {shown}", "unpack it, and give the file of weights in it")


def _directory_bytes(path: str | os.PathLike) -> int:
    """The bytes of a zip's list of members, as its last lines say; 0 where they say nothing."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - (1 << 16) - 128))
        tail = file.read()
    long, short = tail.rfind(b"PK\x06\x06"), tail.rfind(b"PK\x05\x06")
    sizes = [int.from_bytes(tail[long + 40 : long + 48], "little")] if long >= 0 else []
    plain = int.from_bytes(tail[short + 12 : short + 16], "little") if short >= 0 else 0
    return max([*sizes, 0 if plain == 0xFFFFFFFF and sizes else plain])


def refuse_folder(path: str | os.PathLike) -> None:
    """Says of a folder that is no exported one what it is. Raises ``UsageError`` where it is known."""
    folder = Path(path)
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    files = [name for name in sorted(names) if Path(name).suffix.lower() in kinds.WEIGHTS_ENDINGS]
    words = None
    if "run.json" in names:
        words = "a run already; `alexnet predict` takes it as it is"
    elif "dataset.json" in names:
        words = "a dataset of images; `alexnet train` makes a run from it"
    elif "saved_model.pb" in names:
        words = f"a SavedModel of TensorFlow; {CONVERT}"
    elif {"blobs", "snapshots"} <= names:
        inner = sorted((folder / "snapshots").glob("*"))
        words = "a cache of the Hugging Face hub; give the folder of a version in it" + (
            f": {inner[0]}" if inner else ""
        )
    elif "data.pkl" in names:
        words = "an unpacked torch file; give the file as it was before it was unpacked"
    elif "Manifest.json" in names:
        words = f"a package of Core ML; {CONVERT}"
    elif files and not {"config.json", "preparation.safetensors"} <= names:
        words = f"a folder that alexnet did not export; give the file of weights in it: {', '.join(files[:5])}"
    if words:
        raise UsageError(f"{path}: is {words}")
