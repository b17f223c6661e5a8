"""One tree: whatever an archive was written by, it lists and gives what the folder that it was made from does."""

import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet import UsageError, prepare
from alexnet.data.sources import open_source
from alexnet.data.sources.tree import open_tree
from alexnet.data.sources.tree.gather import tidy
from alexnet.data.sources.tree.rules import SYSTEM, hidden
from alexnet.errors import Interrupted
from tests.conftest import fill
from tests.data import archives


def contents(path: os.PathLike, root: str = "") -> dict[str, bytes]:
    """Name and bytes of every file of a tree below a folder of it."""
    tree = open_tree(path)
    members = [i for i, name in enumerate(tree.names) if name.startswith(root)]
    return {tree.names[i][len(root) :]: bytes(content) for i, content in tree.stream(members) if is_bytes(content)}


def is_bytes(content) -> bool:
    return isinstance(content, bytes)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


ODD_NAMES = ["plain", "with space", "12:30", "back\\slash", "new\nline", "é猫", "ß" * 40, "-dash", "~", "a.b", "x" * 90]


def album(folder: Path) -> Path:
    """A folder with all that a file system allows: odd names, links of every kind, holes, hidden files, datasets."""
    for index, name in enumerate(ODD_NAMES):
        write(folder / "pool" / f"{name}.jpg", bytes([index]) * (index * 300))
    write(folder / os.fsdecode(b"pool/\xff\xfe.jpg"), b"no UTF-8")
    write(folder / "deep" / "a" / "b" / "c.jpg", b"deep")
    os.link(folder / "pool" / "plain.jpg", folder / "pool" / "hard.jpg")
    (folder / "cat").mkdir()
    (folder / "cat" / "one.jpg").symlink_to("../pool/plain.jpg")
    (folder / "cat" / "two.jpg").symlink_to("one.jpg")
    (folder / "cat" / "under.jpg").symlink_to("../linked/12:30.jpg")
    (folder / "linked").symlink_to("pool")
    (folder / "again").symlink_to("./linked")
    (folder / "up").symlink_to("deep/a/..")
    (folder / "deep" / "a" / "round").symlink_to("../..")
    (folder / "loop").symlink_to("loop")
    (folder / "left").symlink_to("right")
    (folder / "right").symlink_to("left")
    (folder / "hidden.jpg").symlink_to(".pool/x.jpg")
    write(folder / ".pool" / "x.jpg", b"hidden, and linked to")
    for name in ("._one.jpg", "Thumbs.db", "desktop.ini", "@eaDir/one.jpg/SYNO.jpg", "lost+found/x.jpg"):
        write(folder / "cat" / name, b"system")
    write(folder / "store" / "dataset.json", b'{"format_version": 2, "classes": [], "shards": []}')
    write(folder / "store" / "x.jpg", b"own")
    write(folder / "runs" / "seed-0" / "run.json", b'{"net": {}, "classes": []}')
    write(folder / "runs" / "seed-0" / "curve.png", b"own")
    write(folder / "shown" / "curve.png", b"own")
    write(folder / "mine" / "dataset.json", b'{"labels": []}')
    write(folder / "mine" / "y.jpg", b"a user's")
    with open(folder / "pool" / "holes.bmp", "wb") as file:
        for start in (0, 1 << 17, 1 << 19):
            file.seek(start)
            file.write(b"there" * 900)
        file.truncate(1 << 20)
    os.mkfifo(folder / "pool" / "pipe.jpg")
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    return album(tmp_path_factory.mktemp("tree") / "album")


def expected(everything: Path) -> dict[str, bytes]:
    return contents(everything)


FORMATS = {
    "ustar": ["--format=ustar"],
    "gnu": ["--format=gnu"],
    "pax": ["--format=pax"],
    "gnu, sparse": ["--format=gnu", "-S"],
    "pax, sparse 0.0": ["--format=pax", "-S", "--sparse-version=0.0"],
    "pax, sparse 0.1": ["--format=pax", "-S", "--sparse-version=0.1"],
    "pax, sparse 1.0": ["--format=pax", "-S", "--sparse-version=1.0"],
    "hard links as files": ["--format=gnu", "--hard-dereference"],
}


@pytest.mark.parametrize("compression", ["", "z", "j", "J"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_tar_is_the_folder_that_it_was_made_of(everything, tmp_path, kind, compression):
    path = tmp_path / "album.tar"
    subprocess.run(["tar", *FORMATS[kind], f"-c{compression}f", path, "-C", everything.parent, "album"], check=True)
    tree = open_tree(path)
    assert contents(path, "album/") == expected(everything)
    said = str(tree.left_out)
    for reason in (
        "links that go round",
        "hidden or system files",
        "2 hidden or system folders",
        "pipe",
        "1 dataset of",
    ):
        assert reason in said or reason.replace("2", "3") in said, said
    assert open_tree(everything).folders == [name[6:] for name in tree.folders if name != "album"]


def test_a_tar_of_version_7_and_one_of_absolute_names(tmp_path):
    photos = fill(tmp_path / "photos: 2012", count=3)
    (photos / "red" / "link.jpg").symlink_to("../blue/000.jpg")
    (photos / "red" / "far.jpg").symlink_to(photos / "blue" / "001.jpg")
    os.link(photos / "blue" / "001.jpg", photos / "blue" / "hard.jpg")
    subprocess.run(["tar", "--format=v7", "-cf", tmp_path / "v7.tar", "-C", photos, "."], check=True)
    for name, options in {"abs.tar": ["-P"], "abs.tgz": ["-P", "-z"]}.items():
        subprocess.run(["tar", *options, "-cf", tmp_path / name, photos], check=True)
    whole = contents(photos)
    assert len(whole) == 12
    inside = {name: data for name, data in whole.items() if name != "red/far.jpg"}
    assert contents(tmp_path / "v7.tar") == inside
    assert "1 link that leaves the source (red/far.jpg)" in str(open_tree(tmp_path / "v7.tar").left_out)
    root = str(photos).lstrip("/") + "/"
    assert (
        contents(tmp_path / "abs.tar", root) == contents(tmp_path / "abs.tgz", root) == whole
    )  # its root is the system's
    listing = open_source(tmp_path / "abs.tar").listing
    assert listing.classes == ["blue", "green", "red"] and len(listing) == 12


@pytest.mark.parametrize("compressed", [False, True])
def test_the_last_version_of_a_member_counts_and_hard_links_keep_theirs(tmp_path, compressed):
    """As `tar` unpacks: appended files replace, a hard link made before stays what it was."""
    folder = tmp_path / "x"
    path = tmp_path / "x.tar"
    write(folder / "a" / "1.jpg", b"first")
    os.link(folder / "a" / "1.jpg", folder / "a" / "hard.jpg")
    (folder / "a" / "soft.jpg").symlink_to("1.jpg")
    subprocess.run(["tar", "-cf", path, "-C", tmp_path, "x"], check=True)
    (folder / "a" / "1.jpg").unlink()
    write(folder / "a" / "1.jpg", b"second, longer")
    (folder / "a" / "soft.jpg").unlink()
    write(folder / "a" / "soft.jpg", b"now a file")
    (folder / "a" / "2.jpg").symlink_to("hard.jpg")
    subprocess.run(["tar", "-rf", path, "-C", tmp_path, "x/a/1.jpg", "x/a/2.jpg", "x/a/soft.jpg"], check=True)
    if compressed:
        subprocess.run(["gzip", path], check=True)
        path = path.with_suffix(".tar.gz")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xf", path, "-C", out], check=True)
    assert contents(path) == contents(out)
    assert contents(path)["x/a/hard.jpg"] == b"first" and contents(path)["x/a/1.jpg"] == b"second, longer"


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 100
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(PATHS, st.binary(max_size=50), min_size=1, max_size=6))
def test_any_names_through_pythons_writers(tmp_path_factory, members):
    """PAX, GNU and zip names of any characters: what is not hidden comes back, under the same name."""
    members = {n: d for n, d in members.items() if not any(o != n and o.startswith(n + "/") for o in members)}
    visible = {name: data for name, data in members.items() if not hidden(name)}
    room = tmp_path_factory.mktemp("names")
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        for mode in ("w", "w:gz"):
            with tarfile.open(room / "x.tar", mode, format=form) as archive:
                for name, data in members.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, archives.io.BytesIO(data))
            assert contents(room / "x.tar") == visible
    with zipfile.ZipFile(room / "x.zip", "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            archive.writestr(info, data)
    assert contents(room / "x.zip") == visible


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_links_are_followed_as_the_system_does(tmp_path_factory, data):
    """Folders, files and links at random, relative targets of any kind: the tar against the folder."""
    room = tmp_path_factory.mktemp("links")
    folder = room.joinpath(*"0123456789abcdef", "f")  # so deep that no chain of links climbs out of the room
    places = ["a", "b", "a/c", "b/d", "a/c/e"]
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        if data.draw(st.booleans()):
            write(folder / place / "1.jpg", place.encode())
    parts = st.sampled_from(["..", ".", "a", "b", "c", "d", "e", "1.jpg", "l0", "l1", "l2", "l3"])
    for index in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(["", *places]))
        target = "/".join(data.draw(st.lists(parts, min_size=1, max_size=4)))
        (folder / place / f"l{index}").symlink_to(target)
    inside = {}
    tree = open_tree(folder)
    for name, content in zip(tree.names, (c for _, c in tree.stream(range(len(tree.names))))):
        real = os.path.realpath(folder / name)
        if isinstance(content, bytes) and real.startswith(f"{folder}/"):
            inside[name] = content
    subprocess.run(["tar", "-cf", room / "f.tar", "-C", folder, "."], check=True)
    listed = contents(room / "f.tar")
    # A link that leaves the source and comes back by its own name is one that leaves it.
    assert all(listed[name] == inside[name] for name in listed)
    assert set(inside) - set(listed) <= {name for name in inside if climbs_out(folder, name)}


def climbs_out(folder: Path, name: str) -> bool:
    """Whether any link on the way, or in the folder, has a target with ``..`` enough to leave the folder."""
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    return any(os.readlink(path).count("..") > len(path.relative_to(folder).parts) - 1 for path in links)


def test_links_that_multiply_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.data.sources.tree.links.MOST_NAMES", 2000)
    monkeypatch.setattr("alexnet.data.sources.tree.folder.MOST_NAMES", 2000)
    folder = tmp_path / "f"
    for i in range(7):
        write(folder / f"d{i}" / "x.jpg", b"x")
    for i in range(7):
        for j in range(7):
            if i != j:
                (folder / f"d{i}" / f"l{j}").symlink_to(f"../d{j}")
    subprocess.run(["tar", "-cf", tmp_path / "f.tar", "-C", folder, "."], check=True)
    for path in (folder, tmp_path / "f.tar"):
        with pytest.raises(UsageError, match="links make more than"):
            open_tree(path)


def test_zips_of_every_system(everything, tmp_path):
    """Info-ZIP's with symbolic links as links, Windows' with backslashes and drives, and names that lead outside."""
    subprocess.run(["zip", "-q", "-r", "-y", tmp_path / "unix.zip", "."], cwd=everything, check=False, input=b"")
    assert contents(tmp_path / "unix.zip") == expected(everything)
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for name in ("C:\\photos\\cat\\1.jpg", "photos\\dog\\2.jpg", "photos\\cow\\", "\\photos\\x.jpg", "..\\y.jpg"):
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = name, 0
            archive.writestr(info, name.encode())
    tree = open_tree(tmp_path / "windows.zip")
    assert list(tree.names) == ["photos/cat/1.jpg", "photos/dog/2.jpg", "photos/x.jpg"] and "photos/cow" in tree.folders
    assert "1 name that leads outside (../y.jpg)" in str(tree.left_out)
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a/1.jpg", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/1.jpg", b"second")
    assert contents(tmp_path / "twice.zip") == {"a/1.jpg": b"second"}
    raw = zipfile.ZipInfo("a/?.jpg".replace("?", "é"))
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        archive.writestr(raw, b"x")
    data = (tmp_path / "raw.zip").read_bytes()
    for system, expected_name in ((3, "a/é.jpg"), (0, "a/é.jpg")):
        patched = bytearray(data)
        for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = patched.index(signature)
            patched[start + at : start + at + 2] = b"\0\0"  # without the mark of UTF-8
        patched[patched.index(b"PK\x01\x02") + 5] = system
        (tmp_path / "raw.zip").write_bytes(patched)
        assert list(open_tree(tmp_path / "raw.zip").names) == [expected_name]


@pytest.mark.parametrize("kind", ["encrypted", "Deflate64"])
def test_zips_that_python_cannot_read_are_refused_before_the_first_image(alexnet, pictures, tmp_path, kind):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(pictures.rglob("*.jpg")):
            archive.write(file, file.relative_to(pictures))
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02")
    data[start + 8] |= kind == "encrypted"
    if kind == "Deflate64":
        data[start + 10] = 9
    path.write_bytes(data)
    status, _, err = alexnet("prepare", path, tmp_path / "store")
    assert status == 2 and kind in err and "unzip it elsewhere and give the folder" in err and err.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", [*SYSTEM, ".x", "._x", ".Trash-1000", ".ipynb_checkpoints", "FOUND.000", "THUMBS.DB"])
def test_system_names_are_left_out_everywhere(tmp_path, name):
    folder = tmp_path / "p"
    for place in (f"cat/{name}/1.jpg", f"dog/{name}", f"{name}/x/2.jpg", "cat/a.jpg", "dog/b.jpg", f"dog/x{name}y.jpg"):
        write(folder / place, b"x")
    subprocess.run(["tar", "-cf", tmp_path / "p.tar", "-C", folder, "."], check=True)
    subprocess.run(["zip", "-q", "-r", tmp_path / "p.zip", "."], cwd=folder, check=True)
    for path in (folder, tmp_path / "p.tar", tmp_path / "p.zip"):
        tree = open_tree(path)
        assert list(tree.names) == ["cat/a.jpg", "dog/b.jpg", f"dog/x{name}y.jpg"] and tree.folders == ["cat", "dog"]
        said = str(tree.left_out)
        assert "2 hidden or system folders" in said and "1 hidden or system file " in said and "\r" not in said


def test_the_products_own_folders_are_no_input(alexnet, tmp_path):
    """Stores, unfinished datasets, runs, seeds, pictures, wherever they lie, from the folder and its archives."""
    photos = fill(tmp_path / "photos", count=4)
    plain = open_source(photos).fingerprint()
    dataset = prepare(photos, photos / "store", size=16)
    prepare(photos, photos / "deep" / "er" / "store", size=16)
    (photos / "half" / "unfinished").mkdir(parents=True)
    shutil.copy(photos / "store" / "prepare.json", photos / "half")
    for run in ("run", "seeds/seed-0", "seeds/seed-1"):
        write(photos / run / "run.json", b'{"format_version": 2, "net": {}, "classes": []}')
        write(photos / run / "curve.png", b"x")
    write(photos / "begun" / "recipe.json", b'{"net": null, "epochs": 3, "store": ""}')
    write(photos / "shown" / "filters.png", b"x")
    subprocess.run(["tar", "-cf", tmp_path / "p.tar", "-C", tmp_path, "photos"], check=True)
    subprocess.run(["tar", "-czf", tmp_path / "p.tgz", "-C", tmp_path, "photos"], check=True)
    subprocess.run(["zip", "-q", "-r", tmp_path / "p.zip", "photos"], cwd=tmp_path, check=True)
    assert open_source(photos).fingerprint() == plain
    for path in (photos, tmp_path / "p.tar", tmp_path / "p.tgz", tmp_path / "p.zip"):
        source = open_source(path)
        assert source.listing.counts() == {"train": [4, 4, 4]} and source.listing.layout == "folder"
        said = source.listing.notes[-1]
        assert all(
            words in said for words in ("3 datasets of alexnet's", "4 runs of alexnet's", "1 folder of pictures")
        )
    status, _, err = alexnet("prepare", photos, photos / "store", "--size", 16)
    assert status == 0 and "the dataset that is being made (store)" in err
    for path, said in ((photos / "store", "is a dataset, not a folder"), (photos / "run", "is a run, not a folder")):
        status, _, err = alexnet("prepare", path, tmp_path / "other")
        assert status == 2 and said in err and err.count("\n") == 1
    assert dataset.splits == {"train": 9, "val": 3}


def test_an_interrupted_store_within_its_source_goes_on(tmp_path, monkeypatch):
    photos = fill(tmp_path / "photos", count=4)

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="1 of 4 shards are finished and kept"):
        prepare(photos, photos / "store", size=16, shard_rows=4, progress=stop)
    prepare(photos, photos / "store", size=16, shard_rows=4)
    monkeypatch.chdir(photos)
    assert prepare(".", "store", size=16, shard_rows=4).splits == {"train": 9, "val": 3}


def test_a_folder_with_links_to_itself_and_into_nothing(tmp_path):
    photos = fill(tmp_path / "photos", count=4)
    (photos / "red" / "loop").symlink_to("loop")
    (photos / "red" / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / "lost+found").mkdir()
    tree = open_tree(photos)
    assert "1 link that goes round (red/loop)" in str(tree.left_out) and "red/gone.jpg" in list(tree.names)
    assert prepare(photos, tmp_path / "store", size=16).skipped()[0]["name"] == "red/gone.jpg"


def test_folders_deeper_than_pythons_stack(tmp_path):
    path = tmp_path / "photos"
    for name in ("a", "b"):
        inner = path / name
        inner.mkdir(parents=True)
        descriptor = os.open(inner, os.O_RDONLY)
        for _ in range(1200):
            os.mkdir("d", dir_fd=descriptor)
            descriptor, before = os.open("d", os.O_RDONLY, dir_fd=descriptor), descriptor
            os.close(before)
        os.close(os.open("1.jpg", os.O_CREAT, dir_fd=descriptor))
        os.close(descriptor)
    try:
        assert len(open_tree(path).names) == 2
    finally:  # Python cannot remove it, and pytest would try
        subprocess.run(["rm", "-rf", str(path)], check=True)


@pytest.mark.parametrize(
    ("name", "tidied"),
    [
        ("./a/b", "a/b"),
        ("/a//b/", "a/b"),
        ("a/../b", "b"),
        ("../a", None),
        ("a/../../b", None),
        (".", ""),
        ("a:b", "a:b"),
    ],
)
def test_names_as_tar_unpacks_them(name, tidied):
    assert tidy(name) == tidied


def test_devices_in_archives_are_counted(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("a", tarfile.CHRTYPE), ("b", tarfile.FIFOTYPE), ("c", b"Z")):
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
    said = str(open_tree(tmp_path / "x.tar").left_out)
    assert "2 pipes, sockets or devices (a)" in said and "1 member of unknown kind (c)" in said
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("pipe.jpg")
        info.external_attr = (stat.S_IFIFO | 0o644) << 16
        archive.writestr(info, b"")
    assert "1 pipe, socket or device (pipe.jpg)" in str(open_tree(tmp_path / "x.zip").left_out)
