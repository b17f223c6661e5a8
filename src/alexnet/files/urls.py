"""Which paths are URLs, and how they go on. One with a secret in it is refused before anybody writes it down."""

import os
import re
from pathlib import Path

from alexnet.errors import UsageError, without_secrets

SECRET = re.compile(
    r"[?&;](x-amz-[\w-]*|x-goog-[\w-]*|sig(nature)?|awsaccesskeyid|\w*(token|key|secret|password))=", re.I
)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a URL for fsspec rather than a local path.

    Raises:
        UsageError: it is one with a password or a signature in it.
    """
    text = os.fsdecode(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::[^/]*)*://", text) is None:
        return False
    if SECRET.search(text) or re.match(r"[^/]*://[^/]*@", text):
        raise UsageError(
            f"{without_secrets(text)}: had a password, key or signature in it, which would end up in files and logs; "
            "give the URL without, and the credentials as the SDK takes them (for S3: AWS_PROFILE, ~/.aws/credentials, "
            "the machine's role)"
        )
    return True


def only_read(path: str | os.PathLike, instead: str = "s3://, gs:// or a local place") -> UsageError:
    """The error of a path where nothing can be written, with what to give instead."""
    return UsageError(f"{path}: can be read from there but not written; give {instead}")


def join(folder: str | os.PathLike, *names: str) -> str:
    """A path below ``folder``, local or remote."""
    if is_remote(folder):
        return "/".join([str(folder).rstrip("/"), *names])
    return str(Path(folder, *names))


def absolute(path: str | os.PathLike) -> str:
    """A path that holds wherever the process is; a URL as it is."""
    return str(path) if is_remote(path) else os.path.abspath(path)
