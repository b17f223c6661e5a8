"""Public data sets by name: fetched with progress, going on where a transfer was cut, checked before they are kept."""

import dataclasses
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from alexnet import files
from alexnet.errors import Failure, WrongUse

TRIES = 5  # connections that bring something before it is given up
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Published:
    """A file as its makers publish it.

    Attributes:
        url: where.
        md5: the checksum that they or the libraries that fetch it publish.
        what: for people.
    """

    url: str
    md5: str
    what: str

    @property
    def file(self) -> str:
        """Its own name."""
        return self.url.rsplit("/", 1)[1]


FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas"
TORONTO = "https://www.cs.toronto.edu/~kriz"
# Checksums: of Imagenette as in torchvision's `Imagenette`, of CIFAR-10 on its own page, of Tiny ImageNet as the
# loaders that people use have it (its page has none).
PUBLISHED = {
    "imagenette": Published(
        f"{FASTAI}/imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612", "ten ImageNet classes, full size"
    ),
    "imagenette-320": Published(
        f"{FASTAI}/imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3", "the same, shorter side 320"
    ),
    "imagenette-160": Published(
        f"{FASTAI}/imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412", "the same, shorter side 160"
    ),
    "cifar10": Published(
        f"{TORONTO}/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "CIFAR-10, Python version"
    ),
    "cifar10-binary": Published(
        f"{TORONTO}/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "CIFAR-10, binary version"
    ),
    "tiny-imagenet": Published(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
        "200 classes of ImageNet at 64x64",
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
        WrongUse: no such name.
        Failure: no connection, or another checksum than the published one (then nothing is kept).
    """
    if name not in PUBLISHED:
        known = ", ".join(f"{each} ({published.what})" for each, published in PUBLISHED.items())
        raise WrongUse(f"{name}: unknown; give one of {known}")
    wanted = PUBLISHED[name]
    target = files.make_folder(folder) / wanted.file
    if target.exists():
        if _md5(target) == wanted.md5:
            return target
        raise WrongUse(f"{target}: is there, but is not {name} (its checksum differs); move it away")
    partial = target.with_name(f"{target.name}.part")  # kept when cut, so not among the leftovers
    with files.explained(target):
        _fetch(url or wanted.url, partial, progress)
        found = _md5(partial)
        if found != wanted.md5:
            partial.unlink()
            raise Failure(
                f"{url or wanted.url}: its checksum is {found}, published is {wanted.md5}; nothing was kept. "
                "Try again, or another --url"
            )
        os.replace(partial, target)
    return target


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


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
            raise Failure(f"{url}: the server says {error.code} {error.reason}; try again or another --url") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
        tries = 0 if partial.exists() and partial.stat().st_size > before else tries + 1
        if tries == TRIES:
            kept = f"; {partial.stat().st_size:,} bytes are kept, the same command goes on" if partial.exists() else ""
            raise Failure(f"{url}: cannot be fetched ({reason}){kept}")


def _append(url: str, partial: Path, start: int, progress: Callable[[int, int], None] | None) -> bool:
    """One connection. Returns whether the file is whole as far as the server says."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
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
