"""An index from beginning to end: what it finds, how it follows its source, what it refuses, what damage it sees."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import AlexNetError, Recipe, UsageError, files, load, train
from alexnet.errors import Interrupted
from alexnet.search import make
from alexnet.search.answers import answers
from alexnet.search.index import Index, verify
from alexnet.search.make import make_index
from alexnet.search.manifest import MANIFEST, read_manifest, write_part
from tests.conftest import picture
from tests.search.conftest import plain_activations


def nearest(paths: list[Path], rows: np.ndarray, own: int, count: int) -> tuple[list[str], np.ndarray]:
    """By the definition of Euclidean distance."""
    distances = np.sqrt(((rows - rows[own]) ** 2).sum(1))
    order = np.argsort(distances, kind="stable")[:count]
    return [str(paths[i]) for i in order], distances[order]


def same(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


@pytest.mark.parametrize("layer", ["fc3", "pool1"])
def test_the_nearest_are_those_of_the_definition(run, pictures, tmp_path, layer):
    made = make_index(run, pictures, tmp_path / "index", layer=layer)
    assert (made.images, made.computed, made.kind, made.recall) == (60, 60, "exact", 1.0)
    paths = same(pictures)
    rows = plain_activations(run, layer, paths)
    found = answers(tmp_path / "index", paths[::7], count=12, flip=False).answers
    for own, answer in zip(range(0, 60, 7), found):
        names, distances = nearest(paths, rows, own, 12)
        assert np.allclose([n.distance for n in answer.neighbors], distances, rtol=2e-3, atol=2e-3)
        assert answer.neighbors[0].image == names[0] == str(paths[own]) and answer.neighbors[0].distance == 0
        assert answer.neighbors[0].label == paths[own].parent.name


def test_many_images_are_searched_approximately_and_the_recall_is_said(run, pictures, tmp_path, many):
    made = make_index(run, pictures, tmp_path / "index")
    assert made.kind == "approximate" and made.recall_images == 60
    paths = same(pictures)
    rows, index = plain_activations(run, "fc3", paths), Index(tmp_path / "index")
    hits = 0
    for own in range(60):
        names, _ = nearest(paths, rows, own, 11)
        found = [n.image for n in index.search(rows[own].astype(np.float16), 11)]
        hits += len(set(names[1:]) & set(found) - {names[0]})
    assert hits / 600 > 0.9 and abs(hits / 600 - made.recall) < 0.05
    everything = index.search(rows[3].astype(np.float16), 60, exhaustive=True)
    assert len({n.image for n in everything}) == 60 and everything[0].image == str(paths[3])


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_an_index_follows_its_source(run, photos_of_mine, tmp_path, kind, monkeypatch, request):
    if kind == "approximate":
        request.getfixturevalue("many")
    photos, index = photos_of_mine, tmp_path / "index"
    assert make_index(run, photos, index).kind == kind
    computed = []
    original = make.computed_pieces
    monkeypatch.setattr(make, "computed_pieces", lambda *given: computed.extend(given[6]) or original(*given))
    again = make_index(run, photos, index)
    assert (again.kept, again.computed) == (60, 0) and not computed
    (photos / "red" / "003.jpg").rename(photos / "blue" / "renamed.jpg")  # moved
    (photos / "red" / "004.jpg").unlink()  # gone
    os.utime(photos / "red" / "005.jpg", (1, 1))  # touched, the same
    picture(0, 77).save(photos / "red" / "006.jpg")  # another content
    picture(1, 78).save(photos / "green" / "new.jpg")  # new
    changed = make_index(run, photos, index)
    assert (changed.images, changed.computed, changed.moved, changed.removed) == (60, 2, 1, 2)
    paths = same(photos)
    rows, opened = plain_activations(run, "fc3", paths), Index(index)
    for own in range(0, 60, 3):
        names, distances = nearest(paths, rows, own, 5)
        found = opened.search(rows[own].astype(np.float16), 5)
        assert found[0].image == names[0] and found[0].relative < 1e-3
        if kind == "exact":
            assert np.allclose([n.distance for n in found], distances, rtol=2e-3, atol=2e-3)
    assert not any(verify(index).values())
    gone = make_index(run, photos / "blue", index, remove=True)
    assert (gone.images, gone.removed) == (39, 21)
    found = Index(index).search(rows[0].astype(np.float16), 39, exhaustive=True)
    assert {Path(n.image).parent.name for n in found} == {"green", "red"}


def test_half_removed_an_index_has_the_vectors_of_the_others_alone(run, photos_of_mine, tmp_path, many):
    make_index(run, photos_of_mine, tmp_path / "index")
    for name in ("blue", "green"):
        make_index(run, photos_of_mine / name, tmp_path / "index", remove=True)
    index = Index(tmp_path / "index")
    assert len(index) == 20 and index.content["rows"] == 20 and index.content["recall"] == 1
    with pytest.raises(UsageError, match="holds every image"):
        make_index(run, photos_of_mine, tmp_path / "index", remove=True)


def test_a_growing_index_becomes_approximate(run, photos_of_mine, tmp_path, many):
    first, second = photos_of_mine / "blue", photos_of_mine / "green"
    assert make_index(run, first, tmp_path / "index").kind == "exact"
    assert make_index(run, second, tmp_path / "index").kind == "exact"
    made = make_index(run, photos_of_mine / "red", tmp_path / "index")
    assert (made.kind, made.images, made.computed) == ("approximate", 60, 20)
    with pytest.raises(UsageError, match="lies around"):
        make_index(run, photos_of_mine, tmp_path / "index")


def test_what_was_computed_is_not_computed_again(run, pictures, tmp_path, many, monkeypatch):
    """Stopped after each piece in turn: the index is that of a command that was never stopped."""
    make_index(run, pictures, tmp_path / "whole")
    original, read = make.computed_pieces, []

    def stopped(*given):
        read.append(len(given[6]))
        for piece in original(*given):
            yield piece
            raise KeyboardInterrupt

    monkeypatch.setattr(make, "computed_pieces", stopped)
    for _ in range(2):
        with pytest.raises(Interrupted):
            make_index(run, pictures, tmp_path / "index")
        assert not (tmp_path / "index" / MANIFEST).exists()
    monkeypatch.setattr(make, "computed_pieces", original)
    lines = []
    make_index(run, pictures, tmp_path / "index", note=lines.append)
    assert read[0] == 60 > read[1] and "were computed by an earlier command" in lines[0]
    for name in ("vectors-1.f16", "scan-1.faiss", "names-1.arrow"):
        assert (tmp_path / "index" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "index").glob(".work*"))


def test_archives_and_datasets_are_sources(run, pictures, dataset, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "photos"), "gztar", pictures)
    make_index(run, archive, tmp_path / "index")
    make_index(run, dataset.path, tmp_path / "index")
    assert make_index(run, archive, tmp_path / "index").computed == 0
    found = answers(tmp_path / "index", pictures / "red" / "003.jpg", count=2)
    assert [n.label for n in found.answers[0].neighbors] == ["red", "red"]
    stored = next(name for name in map(dataset.name, range(60)) if "red/003" in name)
    assert {n.image for n in found.answers[0].neighbors} == {f"{archive}/red/003.jpg", f"{dataset.path}/{stored}"}


@pytest.fixture(scope="module")
def made(run, pictures, tmp_path_factory) -> Path:
    """An index to be read, or copied, only."""
    folder = tmp_path_factory.mktemp("made") / "index"
    make_index(run, pictures, folder)
    return folder


@pytest.fixture(scope="module")
def made_approximate(run, pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alexnet.search.commit.MOST_EXACT", 40)
        make_index(run, pictures, folder)
    return folder


def used(folder: Path, rows: np.ndarray) -> None:
    """Opens an index and searches for every image."""
    index = Index(folder)
    for row in rows:
        index.search(row, 60, exhaustive=True)


@pytest.mark.parametrize("kind", ["made", "made_approximate"])
def test_every_flipped_bit_and_every_lost_byte_is_seen(run, pictures, tmp_path, kind, request, record_property):
    """A bit at 40 places of each file, and its end cut off; opening or searching says which file, and never crashes."""
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "index"))
    rows = plain_activations(run, "fc3", same(pictures)[:4]).astype(np.float16)
    used(folder, rows)
    flips = 0
    for path in sorted(folder.iterdir()):
        if path.name.startswith("stamps"):
            continue  # read when the index is changed; `verify` reads it, see below
        whole = path.read_bytes()
        draw = np.random.default_rng(len(whole))
        places = {*(0, len(whole) - 1), *draw.integers(0, len(whole), 40).tolist()}
        for damaged in [_flipped(whole, place, int(draw.integers(8))) for place in places] + [whole[:-1], b""]:
            path.write_bytes(damaged)
            with pytest.raises(AlexNetError, match=path.name):
                used(folder, rows)
            flips += 1
        path.write_bytes(whole)
    record_property("flips", flips)
    used(folder, rows)


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("kind", ["made", "made_approximate"])
def test_other_content_with_a_right_checksum_is_said_too(run, pictures, tmp_path, kind, request):
    """As another program could write it: every file in turn is noise, or another file of the index, and sealed so."""
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "index"))
    rows = plain_activations(run, "fc3", same(pictures)[:1]).astype(np.float16)
    whole, content = (folder / MANIFEST).read_bytes(), read_manifest(folder)
    for name in ("sums", "projection", "scan", "names"):
        path = folder / content["parts"][name]["file"]
        before = path.read_bytes()
        noise = np.random.default_rng(len(before)).bytes(len(before) // 8 * 8)
        another = (folder / content["parts"]["stamps"]["file"]).read_bytes()
        for other in (noise, before[: len(before) // 16 * 8], another):
            part = write_part(folder, path.name, other)
            files.write_json(folder / MANIFEST, files.seal({**content, "parts": {**content["parts"], name: part}}))
            with pytest.raises(AlexNetError):
                used(folder, rows)
        path.write_bytes(before)
    (folder / MANIFEST).write_bytes(whole)
    used(folder, rows)


def test_verify_reads_every_file(made, tmp_path, alexnet):
    folder = Path(shutil.copytree(made, tmp_path / "index"))
    assert alexnet("verify", folder)[0] == 0
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(_flipped(whole, len(whole) // 2, 3))
        status, _, err = alexnet("verify", folder)
        assert status == 1 and path.name in err, err
        path.unlink()
        if path.name != MANIFEST:
            status, _, err = alexnet("verify", folder)
            assert status == 1 and f"{path.name}: missing" in err, err
        path.write_bytes(whole)


def test_another_runs_index_is_refused_before_faiss_sees_a_byte(
    made, dataset, net_file, pictures, tmp_path, monkeypatch
):

    other = tmp_path / "other"
    train(dataset, other, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, seed=3), show=False)
    monkeypatch.setattr("alexnet.search.index.read_whole", lambda *given: pytest.fail("the index was read"))
    with pytest.raises(UsageError, match=r"other weights.*fc3 of the run .*run .*not fc3 of .*other"):
        answers(made, pictures / "red" / "000.jpg", run=other)
    for options, words in (({}, "other weights"), ({"layer": "pool2"}, "other weights and layer fc3")):
        with pytest.raises(UsageError, match=words):
            make_index(other, pictures, made, **options)


def test_a_run_that_was_moved_is_given_anew(run, pictures, tmp_path, alexnet):
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    make_index(moved, pictures, tmp_path / "index")
    moved.rename(tmp_path / "elsewhere")
    image = pictures / "red" / "000.jpg"
    status, _, err = alexnet("search", tmp_path / "index", image)
    assert status == 2 and "give --run, where it is now" in err
    assert alexnet("search", tmp_path / "index", image, "--run", tmp_path / "elsewhere")[0] == 0


KILLED = """
import os, sys, threading
from alexnet import files
from alexnet.search.make import make_index
left = int(sys.argv[4])
for name in ("replace", "fsync"):
    def counted(*given, original=getattr(os, name)):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return original(*given)
    setattr(os, name, counted)
make_index(sys.argv[1], sys.argv[2], sys.argv[3])
"""


@pytest.mark.slow
def test_killed_anywhere_the_old_or_the_new_index_is_whole(run, photos_of_mine, tmp_path):
    """Killed before the first file that is put in its place, the second, ...: 20 times and more."""
    make_index(run, photos_of_mine, tmp_path / "old")
    old = Index(tmp_path / "old").names.names.to_pylist()
    for number in range(5):
        picture(2, 90 + number).save(photos_of_mine / "blue" / f"new{number}.jpg")
    (photos_of_mine / "red" / "000.jpg").unlink()
    new = sorted([name for name in old if name != "red/000.jpg"] + [f"blue/new{number}.jpg" for number in range(5)])
    seen = set()
    for left in range(40):
        folder = Path(shutil.copytree(tmp_path / "old", tmp_path / f"index-{left}"))
        command = [sys.executable, "-c", KILLED, run, photos_of_mine, folder, str(left)]
        status = subprocess.run(command, capture_output=True).returncode
        names = sorted(Index(folder).names.names.to_pylist())
        assert names in (sorted(old), new) and not any(verify(folder).values())
        seen.add((status, names == new))
        make_index(run, photos_of_mine, folder)
        assert sorted(Index(folder).names.names.to_pylist()) == new and not any(verify(folder).values())
        if status == 0:
            break
    assert left >= 10 and seen >= {(9, False), (0, True)}


def test_a_mirrored_picture_is_found_by_its_mirror_image(run, tmp_path):
    """Of pictures whose halves differ, a mirrored one is its own original once more mirrored: distance 0."""
    (tmp_path / "photos").mkdir()
    for number in range(12):
        halves = [np.asarray(picture(number % 3, number)), np.asarray(picture((number + 1) % 3, number + 20))]
        Image.fromarray(np.hstack(halves)[:, 48:112]).save(tmp_path / "photos" / f"{number:02d}.png")
    with Image.open(tmp_path / "photos" / "03.png") as photo:
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    make_index(run, tmp_path / "photos", tmp_path / "index")
    plain, both = (answers(tmp_path / "index", tmp_path / "mirrored.png", flip=m).answers[0] for m in (False, True))
    assert plain.neighbors[0].distance > 0 and both.neighbors[0].image.endswith("03.png")
    assert both.neighbors[0].relative < 1e-3 and len({n.image for n in both.neighbors}) == 10


def test_an_unreadable_image_is_named_and_the_others_are_found(made, run, photos_of_mine, tmp_path, alexnet):
    bad = photos_of_mine / "red" / "bad.jpg"
    bad.write_bytes(b"no picture")
    status, out, err = alexnet("index", run, photos_of_mine, tmp_path / "index")
    assert status == 1 and "bad.jpg" in err and "60 images" in out
    status, out, err = alexnet("search", made, bad, photos_of_mine / "red" / "001.jpg", "--count", 3)
    assert status == 1 and f"{bad}: " in err and "1 of 2 images could not be read" in err and "red/001.jpg" in out


def test_commands(run, pictures, tmp_path, alexnet):
    index, sheet = tmp_path / "index", tmp_path / "sheet.png"
    status, out, _ = alexnet("index", run, pictures, index, "--json")
    assert status == 0 and json.loads(out)["computed"] == 60
    image = pictures / "green" / "004.jpg"
    status, out, _ = alexnet("search", index, image, pictures / "red", "--count", 4, "--json", "--picture", sheet)
    found = json.loads(out)
    assert status == 0 and len(found) == 21 and found[0]["neighbors"][0]["image"] == str(image)
    with Image.open(sheet) as drawn:
        assert drawn.height > 20 * 132
    status, out, _ = alexnet("search", index, image, "--count", 2)
    assert status == 0 and "0 is the same picture" in out and "exact search" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "INDEX"], "give images or folders"),
        (["search", "INDEX", "nothing.jpg"], "nothing.jpg: no such file"),
        (["search", "nothing", "IMAGE"], "no index there"),
        (["search", "RUN", "IMAGE"], "is a run, not an index of images; make one first: alexnet index"),
        (["search", "IMAGE", "INDEX"], "the arguments are swapped: alexnet search"),
        (["search", "INDEX", "IMAGE", "--count", "0"], "--count 0: must be between 1 and 1,000"),
        (["search", "INDEX", "IMAGE", "--picture", "x.jpg"], "give a name that ends in .png"),
        (["index", "RUN", "PHOTOS", "PHOTOS"], "is a folder of 60 images, not a folder for a new index"),
        (["index", "PHOTOS", "RUN", "new"], "the arguments are swapped"),
        (["index", "RUN", "PHOTOS", "new", "--layer", "fc9"], "layer 'fc9'"),
        (["index", "RUN", "PHOTOS", "new", "--remove"], "no index there"),
        (["index", "RUN", "elsewhere", "INDEX", "--remove"], "has no image of it"),
        (["index", "RUN", "PHOTOS", "INDEX", "--layer", "pool2"], "was made with layer fc3"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(made, run, pictures, tmp_path, alexnet, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    names = {"INDEX": made, "RUN": run, "PHOTOS": pictures, "IMAGE": pictures / "red" / "000.jpg"}
    status, _, err = alexnet(*(names.get(word, word) for word in words))
    assert status == 2 and said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_faiss_the_command_to_install_it_is_said(run, pictures, tmp_path, alexnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    status, _, err = alexnet("index", run, pictures, tmp_path / "index")
    assert status == 2 and "pip install 'alexnet[search]'" in err and not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_index_as_it_was(made, run, photos_of_mine, tmp_path, alexnet, monkeypatch):
    folder = Path(shutil.copytree(made, tmp_path / "index"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    make_index(run, photos_of_mine / "red", tmp_path / "other")
    monkeypatch.setattr("alexnet.files.storage.shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    status, _, err = alexnet("index", run, photos_of_mine, folder)
    assert status == 1 and "are free; free some space" in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert load(run).name == "run"


def test_what_was_taken_out_stays_out_until_its_own_path_is_given_again(run, photos_of_mine, tmp_path, alexnet):
    photos, index = photos_of_mine, tmp_path / "index"
    make_index(run, photos, index)
    make_index(run, photos / "blue", index, remove=True)
    make_index(run, photos / "red" / "003.jpg", index, remove=True)
    status, out, err = alexnet("index", run, photos, index)
    assert (status, out.splitlines()[0].partition(",")[0]) == (0, f"{index}: 39 images (39 unchanged)")
    assert f"21 images were removed with --remove and stay out: {photos / 'blue'} and 1 more;" in err
    status, _, err = alexnet("index", run, photos / "blue" / "000.jpg", index)
    assert status == 2 and f"was taken out of the index with {photos / 'blue'}; give that path" in err
    for inside in ("green", "red"):  # around a path that was taken out is not that path
        status, _, err = alexnet("index", run, photos / inside, index)
        assert status == 2 and f"lies in {photos}, whose images the index has; give that one again" in err
    back = make_index(run, photos / "blue", index)  # the rest of what was taken out stays out
    assert (back.images, back.computed, back.removed) == (59, 20, 0)
    assert make_index(run, photos / "red" / "003.jpg", index).images == 60
    assert not any(verify(index).values())


def test_sources_that_were_taken_out_whole_or_folder_by_folder_stay_out(run, photos_of_mine, tmp_path):
    photos, index = photos_of_mine, tmp_path / "index"
    blue, others = photos / "blue", tmp_path / "others"
    shutil.copytree(photos, others)
    make_index(run, blue, index)
    make_index(run, others, index)
    with pytest.raises(UsageError, match=r"lies around .*--remove"):
        make_index(run, photos, index)
    for name in ("blue", "green", "red"):
        make_index(run, others / name, index, remove=True)
    assert make_index(run, others, index).images == 20  # one by one all of it was taken out
    assert make_index(run, others / "red", index).images == 40
    make_index(run, blue, index, remove=True)
    assert make_index(run, photos, index).images == 60  # around it: without what was taken out
    assert make_index(run, blue, index).images == 80
    names = Index(index).names
    assert {names.source(i) for i in range(len(names))} == {str(photos), str(others)}


def test_what_was_taken_out_of_an_archive_is_taken_in_again(run, photos_of_mine, tmp_path, alexnet):
    archive, index = Path(shutil.make_archive(str(tmp_path / "a"), "zip", photos_of_mine)), tmp_path / "index"
    make_index(run, archive, index)
    assert make_index(run, archive / "blue", index, remove=True).images == 40
    assert make_index(run, archive, index).images == 40
    status, out, _ = alexnet("index", run, archive / "blue", index)
    assert status == 0 and "60 images (20 computed, 40 unchanged)" in out


@pytest.mark.skipif(os.sep != "/", reason="a backslash is no letter of a name there")
def test_names_with_backslashes_and_links_are_what_they_are(run, photos_of_mine, tmp_path):
    index, plain = tmp_path / "index", tmp_path / "t" / "a"
    slashed, escaped = Path(f"{plain}\\"), tmp_path / "t" / "lit\\xff"
    for folder, name in ((plain, "blue"), (slashed, "green"), (escaped, "red")):
        shutil.copytree(photos_of_mine / name, folder)
        make_index(run, folder, index)
    assert make_index(run, escaped, index).computed == 0
    assert make_index(run, slashed, index, remove=True).images == 40
    names = Index(index).names
    assert {names.source(i) for i in range(len(names))} == {str(plain), str(escaped)}
    assert make_index(run, escaped, index, remove=True).images == 20
    (tmp_path / "link").symlink_to(plain)
    assert (again := make_index(run, tmp_path / "link", index)).computed == 0 and again.images == 20
    (tmp_path / "above").symlink_to(tmp_path / "t")
    with pytest.raises(UsageError, match="lies around"):
        make_index(run, tmp_path / "above", index)
    assert make_index(run, slashed, index).images == 40
    make_index(run, tmp_path / "above" / "a" / "000.jpg", index, remove=True)
    assert make_index(run, plain, index).images == 39


def test_files_of_others_in_an_index_stay_there(run, photos_of_mine, tmp_path):
    index = tmp_path / "index"
    make_index(run, photos_of_mine, index)
    mine = [index / name for name in ("names-2024.csv", "scan-99.safetensors", "names-0.arrow", "notes.txt")]
    for path in mine:
        path.write_text("mine")
    (index / "names-2.arrow").write_text("of a change that was cut off")
    make_index(run, photos_of_mine / "blue", index, remove=True)
    make_index(run, photos_of_mine, index)
    assert all(path.read_text() == "mine" for path in mine)
    assert len(list(index.glob("names-*.arrow"))) == 2


def test_files_of_another_length_are_said_by_every_command(made, pictures, run, tmp_path, alexnet):
    for name in ("vectors", "names", "scan", "stamps"):
        index = Path(shutil.copytree(made, tmp_path / name))
        (path,) = index.glob(f"{name}-*")
        content = path.read_bytes()
        path.write_bytes(content[:100])
        for words in (["info", index], ["index", run, pictures, index], ["index", run, pictures, index, "--remove"]):
            status, _, err = alexnet(*words)
            assert status == 1 and path.name in err and "make the index again" in err and err.count("\n") == 1
        path.unlink()
        status, _, err = alexnet("index", run, pictures, index)
        assert status == 1 and f"{path}: missing; make the index again" in err


def test_an_index_keeps_its_layer_and_says_what_goes_on_when_it_is_stopped(
    run, photos_of_mine, tmp_path, alexnet, monkeypatch
):
    index = tmp_path / "index"
    make_index(run, photos_of_mine, index, layer="pool2")
    picture(1, 78).save(photos_of_mine / "green" / "new.jpg")
    assert make_index(run, photos_of_mine, index).computed == 1
    assert Index(index).content["bound"]["layer"] == "pool2"
    status, _, err = alexnet("index", run, photos_of_mine, index, "--layer", "fc3")
    assert status == 2 and f"alexnet index {run} SOURCE NEW --layer fc3" in err

    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "computed_pieces", stopped)
    picture(1, 79).save(photos_of_mine / "green" / "newer.jpg")
    status, _, err = alexnet("index", run, photos_of_mine, index)
    assert status == 130 and "the index is as it was" in err and "the same command goes on" in err
    assert len(Index(index)) == 61


def test_an_index_is_described(run, photos_of_mine, tmp_path, alexnet):
    index = tmp_path / "index"
    make_index(run, photos_of_mine, index)
    make_index(run, photos_of_mine / "blue", index, remove=True)
    status, out, _ = alexnet("info", index)
    assert status == 0 and f"40, of {photos_of_mine} (40 images)" in out and f"{photos_of_mine / 'blue'}" in out
    assert "fc3" in out and "exact" in out and out.splitlines()[-1].split() == ["red", "20"]
    status, out, _ = alexnet("info", index, "--json")
    described = json.loads(out)
    assert described["labels"] == {"green": 20, "red": 20} and described["left_out"] == [str(photos_of_mine / "blue")]
    assert described["bytes"] == sum(path.stat().st_size for path in index.iterdir() if not path.name.startswith("."))
    status, _, err = alexnet("info", index, "--picture", tmp_path / "a.png")
    assert status == 2 and "is an index; `alexnet search" in err
