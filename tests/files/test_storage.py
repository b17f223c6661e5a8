"""Whatever is written appears whole or not at all, and what cannot be is said with the user's own path."""

import errno
import os
import threading
from pathlib import Path

import pytest

from alexnet import AlexNetError, UsageError, files
from alexnet.files import storage


def test_a_block_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "f").write_text("old")

    def rows():
        yield b"half"
        raise KeyError

    with pytest.raises(KeyError), files.atomic(tmp_path / "f") as file:
        file.writelines(rows())
    assert (tmp_path / "f").read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    contents = [bytes([65 + n]) * 200_000 for n in range(8)]
    threads = [threading.Thread(target=files.write_bytes, args=(tmp_path / "f", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() in contents and os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize(
    ("make", "path", "said"),
    [
        (None, "none/f.csv", "none/f.csv: folder {}/none does not exist"),
        ("folder", "folder", "is a folder"),
        ("folder", "folder/", "is a folder"),
        ("file", "file/f.csv", "file is a file"),
        (None, "x" * 300, "too long"),
        (None, "memory://x/f.csv", "not written"),
        (None, "a\0b", "null"),
    ],
)
def test_an_output_is_checked_before_the_work(tmp_path, monkeypatch, make, path, said):
    monkeypatch.chdir(tmp_path)
    if make == "folder":
        (tmp_path / make).mkdir()
    elif make == "file":
        (tmp_path / make).touch()
    whole = path if "://" in path or "\0" in path else f"{tmp_path}/{path}"
    with pytest.raises(UsageError) as refused:
        files.check_output(whole)
    assert said.format(tmp_path) in str(refused.value) and ".partial" not in str(refused.value)
    assert len(os.listdir(tmp_path)) == (make is not None)


def test_a_good_output_leaves_no_trace(tmp_path):
    (tmp_path / "f").write_text("old")
    files.check_output(tmp_path / "f")
    files.check_output(tmp_path / "new")
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ENOENT])
def test_no_refusal_names_a_hidden_file(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number), "/hidden/.f-x.partial")

    monkeypatch.setattr(storage.os, "fsync", refuse)
    with pytest.raises(AlexNetError) as refused:
        files.write_bytes(tmp_path / "f", b"x")
    assert str(refused.value).startswith(f"{tmp_path / 'f'}: ") and "partial" not in str(refused.value)


def test_what_the_living_write_stays_and_what_the_dead_left_goes(tmp_path):
    living, dead = storage.partial_of(tmp_path / "a"), storage.partial_of(tmp_path / "b")
    dead = dead.with_name(dead.name.replace(f"-{os.getpid()}-", "-999999999-"))
    old = tmp_path / ".c.partial"  # as an earlier version called them
    folder = tmp_path / f".d-{storage._host()}-999999999-0123456789ab.partial"
    folder.mkdir()
    (folder / "inside").touch()
    for path in (living, dead, old):
        path.touch()
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [living.name]


def test_of_another_machine_only_what_is_old_goes(tmp_path):
    new, old = (tmp_path / f".f-00000000-1-0123456789a{n}.partial" for n in "bc")
    for path in (new, old):
        path.touch()
    os.utime(old, (1, 1))
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [new.name]


@pytest.mark.parametrize("name", ["x" * 250, "猫" * 80, "a b\nc", "-", "é"])
def test_any_name_that_the_file_system_takes(tmp_path, name):
    files.write_bytes(tmp_path / name, b"x")
    with files.atomic_folder(tmp_path / (name + "2" if len(os.fsencode(name)) < 250 else "z")) as folder:
        (folder / "f").touch()
    assert (tmp_path / name).read_bytes() == b"x" and len(os.listdir(tmp_path)) == 2


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "f").write_text("old")
    with pytest.raises(AlexNetError, match="is there already"), files.atomic_folder(tmp_path / "run") as folder:
        (folder / "f").write_text("new")
    assert (tmp_path / "run" / "f").read_text() == "old" and os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("path", ["s3://b/x", "http://127.0.0.1:9/x.zip", "nope://x", "hf://foo", "memory://none"])
def test_a_url_that_cannot_be_read_is_said(path):
    """Without a package, a server or such a protocol; never a traceback."""
    said = ""
    try:
        assert not files.exists(path)
    except (AlexNetError, UsageError) as error:
        said = str(error)
    assert not said or said.startswith(f"{path}: ")


def test_json_of_another_form_names_file_and_key(tmp_path):
    path = Path(tmp_path, "f.json")
    path.write_text('{"a": [1, "x"]}')
    with pytest.raises(AlexNetError) as refused:
        files.read_json(path, dict[str, list[int]], "mend it")
    assert str(refused.value) == f"{path}: a[1]: x: must be a whole number; mend it"
