"""Which code a run was made by: version and commit."""

import contextlib
import functools
import importlib.metadata
import json
import subprocess
from pathlib import Path


def version() -> str | None:
    """Of alexnet, if it is installed."""
    try:
        return importlib.metadata.version("alexnet")
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def code() -> str:
    """Which code runs: version and, as far as it can be known, commit: ``0.1.0, commit 2f74af03cd16 (changed)``.

    The commit is that of the checkout that the package lies in, or the one that pip installed it from.
    """
    name, root = version() or "not installed", Path(__file__).resolve().parents[3]
    if (root / ".git").exists():
        head, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", "src")
        if head:
            return f"{name}, commit {head[:12]}{' (changed)' if changes else ''}"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        read = importlib.metadata.distribution("alexnet").read_text
        source = json.loads(read("direct_url.json") or "{}")
        return f"{name}, commit {source['vcs_info']['commit_id'][:12]}"
    return name


def _git(root: Path, *words: str) -> str | None:
    """What git says of a checkout; None where it is missing or fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=True)
        return done.stdout.strip()
    return None
