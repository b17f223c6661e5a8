"""A run is named by the code that made it."""

import shutil
import subprocess
from importlib.metadata import version

from alexnet.runs import code


def test_the_code_that_runs_is_named_by_its_commit(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        command = ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    module = tmp_path / "src" / "alexnet" / "runs" / "code.py"
    module.parent.mkdir(parents=True)
    module.write_text("first")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    monkeypatch.setattr(code, "__file__", str(module))
    named = code.code.__wrapped__
    assert named() == f"{version('alexnet')}, commit {commit[:12]}"
    module.write_text("second")
    assert named() == f"{version('alexnet')}, commit {commit[:12]} (changed)"
    shutil.rmtree(tmp_path / ".git")
    assert named() == version("alexnet")  # installed from a folder: pip knows no commit
