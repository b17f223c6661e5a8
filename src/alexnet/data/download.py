"""Public data sets and published weights by name: going on where a transfer was cut, checked before they are kept."""

import dataclasses
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import mistakes

TRIES = 5  # connections that bring something before it is given up
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Published:
    """A file as its makers publish it.

    Attributes:
        url: where.
        checksum: that they or the libraries that fetch it publish: ``md5:...``, ``sha1:...``, or ``sha256:...``, of
            which torchvision publishes the first eight digits, in the file's name.
        what: for people.
        next: what to do with it.
    """

    url: str
    checksum: str
    what: str
    next: str = "alexnet prepare {} DATASET"

    @property
    def file(self) -> str:
        """Its own name."""
        return self.url.rsplit("/", 1)[1]


FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas"
TORONTO = "https://www.cs.toronto.edu/~kriz"
CAFFE = "http://dl.caffe.berkeleyvision.org"
ZOO = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"
IMPORT = "alexnet import {} RUN"
# Checksums: of Imagenette as in torchvision's `Imagenette`, of CIFAR-10 on its own page, of Tiny ImageNet as the
# loaders that people use have it (its page has none); of BVLC's nets in their readme files, of the ONNX zoo's in its
# manifest and its files' Git LFS pointers, of torchvision's in its name.
PUBLISHED = {
    "imagenette": Published(
        f"{FASTAI}/imagenette2.tgz", "md5:fe2fc210e6bb7c5664d602c3cd71e612", "ten ImageNet classes, full size"
    ),
    "imagenette-320": Published(
        f"{FASTAI}/imagenette2-320.tgz", "md5:3df6f0d01a2c9592104656642f5e78a3", "the same, shorter side 320"
    ),
    "imagenette-160": Published(
        f"{FASTAI}/imagenette2-160.tgz", "md5:e793b78cc4c9e9a4ccc0c1155377a412", "the same, shorter side 160"
    ),
    "cifar10": Published(
        f"{TORONTO}/cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a", "CIFAR-10, Python version"
    ),
    "cifar10-binary": Published(
        f"{TORONTO}/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", "CIFAR-10, binary version"
    ),
    "tiny-imagenet": Published(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "md5:90528d7ca1a48142e341f4ef8d21d0de",
        "200 classes of ImageNet at 64x64",
    ),
    "torchvision-weights": Published(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "sha256:7be5be79",
        "torchvision's IMAGENET1K_V1, 56.5% top-1",
        IMPORT,
    ),
    "caffe-weights": Published(
        f"{CAFFE}/bvlc_alexnet.caffemodel",
        "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377",
        "BVLC's AlexNet, 57.1% top-1",
        IMPORT,
    ),
    "caffenet-weights": Published(
        f"{CAFFE}/bvlc_reference_caffenet.caffemodel",
        "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        "BVLC's reference CaffeNet, 57.4% top-1",
        IMPORT,
    ),
    "onnx-alexnet-weights": Published(
        f"{ZOO}/alexnet/model/bvlcalexnet-12.onnx",
        "sha256:6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
        "the ONNX zoo's copy of BVLC's AlexNet",
        IMPORT,
    ),
    "onnx-caffenet-weights": Published(
        f"{ZOO}/caffenet/model/caffenet-12.onnx",
        "sha256:ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
        "the ONNX zoo's copy of CaffeNet",
        IMPORT,
    ),
}


def download(
    name: str,
    folder: str | os.PathLike,
    *,
    url: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetches a published file into a folder; one that is there and whole is not fetched again.

    A transfer that was cut goes on where it was, in this call or the next one.

    Args:
        name: a key of ``PUBLISHED``.
        folder: to put it in.
        url: another place to fetch the same file from.
        progress: called with megabytes done and in all.

    Returns:
        The file's path.

    Raises:
        UsageError: no such name, or what is no URL.
        AlexNetError: no connection, another checksum than the published one (then nothing is kept), or another
            process is fetching it there.
    """
    if name not in PUBLISHED:
        if os.fspath(folder) in PUBLISHED:
            raise mistakes.Swapped(
                f"{folder} is a name; the arguments are swapped", "download", [name, str(folder)], [str(folder), name]
            )
        known = ", ".join(f"{each} ({published.what})" for each, published in PUBLISHED.items())
        raise UsageError(f"{name}: unknown; {files.nearest(name, PUBLISHED)}give one of {known}")
    wanted = PUBLISHED[name]
    if url is not None:
        _check_url(url)
    target = files.make_folder(folder) / wanted.file
    with files.owned(target.parent, f"{files.LOCK}-{target.name}"):
        return _download(name, wanted, target, url or wanted.url, progress)


def _download(
    name: str, wanted: Published, target: Path, url: str, progress: Callable[[int, int], None] | None
) -> Path:
    if target.exists():
        if _matches(target, wanted):
            return target
        raise UsageError(f"{target}: is there, but is not {name} (its checksum differs); move it away")
    partial = target.with_name(f"{target.name}.part")  # kept when cut, so not among the leftovers
    with files.explained(target):
        _fetch(url, partial, progress)
        if not _matches(partial, wanted):
            kind, _, published = wanted.checksum.partition(":")
            found = _digest(partial, kind)
            partial.unlink()
            raise AlexNetError(
                f"{url}: its {kind} checksum is {found}, published is {published}; nothing was kept. "
                "Try again, or another --url"
            )
        os.replace(partial, target)
    return target


def _check_url(url: str) -> None:
    """Raises ``UsageError`` unless files can be fetched from it."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = (parts.scheme in ("http", "https", "ftp") and parts.hostname) or parts.scheme == "file"
        usable = usable and not re.search(r"[\x00-\x20\x7f]", url) and (parts.port or 1) > 0
    except ValueError:  # brackets that do not match, a port that is no number
        usable = False
    if not usable:
        raise UsageError(
            f"--url {url}: is no URL that files are fetched from; give one of https://, http:// or file://"
        )


def _matches(path: Path, wanted: Published) -> bool:
    """Whether a file's checksum is the published one, or begins with what is published of it."""
    kind, _, published = wanted.checksum.partition(":")
    return _digest(path, kind).startswith(published)


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _fetch(url: str, partial: Path, progress: Callable[[int, int], None] | None) -> None:
    """Appends what is missing of a file, over as many connections as it takes."""
    tries = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _append(url, partial, before, progress):
                return
            reason: object = "the connection was closed early"
        except urllib.error.HTTPError as error:
            raise AlexNetError(
                f"{url}: the server says {error.code} {error.reason}; try again or another --url"
            ) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
        tries = 0 if partial.exists() and partial.stat().st_size > before else tries + 1
        if tries == TRIES:
            kept = f"; {partial.stat().st_size:,} bytes are kept, the same command goes on" if partial.exists() else ""
            raise AlexNetError(f"{url}: cannot be fetched ({reason}){kept}")


def _append(url: str, partial: Path, start: int, progress: Callable[[int, int], None] | None) -> bool:
    """One connection. Returns whether the file is whole as far as the server says."""
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    except ValueError as error:
        raise UsageError(f"--url {url}: {error}; give one that begins with https://") from error
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return True
        raise
    with answer:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if start and not (answer.status == 206 and match and int(match[1]) == start):
            start = 0  # the server cannot begin in the middle
        length = answer.headers.get("Content-Length")
        total = int(match[2]) if match and start else (start + int(length) if length else 0)
        with open(partial, "r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            while data := answer.read(CHUNK):
                file.write(data)
                done += len(data)
                if progress and total:
                    progress(done >> 20, total >> 20)
    return done == total if total else True
