"""``alexnet features``: what is asked for is in the file, whatever happens on the way there."""

import json
import os
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from alexnet import UsageError, files, load
from alexnet.evaluation.activations import activations
from alexnet.ranks.group import Ranks
from alexnet.science import features as module
from alexnet.science.leftovers import leftovers, write_note
from tests.conftest import fill, picture

SUFFIXES = [".npy", ".h5", ".mat", ".parquet", ".arrow", ".safetensors", ".nc"]


def test_a_datasets_split(alexnet, small_run, dataset, tmp_path):
    status, out, err = alexnet("features", small_run, dataset.path, tmp_path / "x.npy", "--split", "train", "--quiet")
    assert (status, out) == (2, "") and "perhaps you meant fc" in err and err.count("\n") == 1
    given = ["--layer", "fc3,logits", "--split", "train", "--views", "10", "--pool", "max", "--quiet"]
    status, out, err = alexnet("features", small_run, dataset.path, tmp_path / "x.npy", *given)
    assert (status, err) == (0, "") and "fc3: 48 x 32 float32; with dropout's factor at test, 0.5\n" in out
    run = load(small_run, precision="float32")
    batches = list(activations(run, dataset, ["fc3", "fc4"], split="train", views=10))
    for layer in ("fc3", "fc4"):
        expected = np.concatenate([batch.layers[layer] for batch in batches])
        assert (np.load(tmp_path / f"x.{layer}.npy") == expected).all()
    assert "stored as 64x64, mean of 10 views of 48x48 (corners and center" in (tmp_path / "x.csv").read_text()
    description = json.loads((tmp_path / "x.json").read_text())
    views = [(view["top"], view["left"], view["flipped"]) for view in description["crop"]["views"]]
    corners = [(0, 0), (0, 16), (16, 0), (16, 16), (8, 8)]  # of 48 in 64 (paper 4.1)
    assert views == [(*corner, flipped) for flipped in (False, True) for corner in corners]
    assert description["net_classes"] == run.classes and description["layers"]["fc4"]["units"] == "net_classes"
    assert "units" not in description["layers"]["fc3"] and description["left_out"] == []
    status, out, _ = alexnet(
        "features", small_run, dataset.path, tmp_path / "y.npy", "--layer", "fc3", "--without-dropout-factor", "--json"
    )
    said = json.loads(out)
    assert (said["layers"], said["dropout_factors"], said["left_out"]) == ({"fc3": [32]}, {"fc3": 1}, []) and not status
    assert json.loads((tmp_path / "y.json").read_text())["layers"]["fc3"]["dropout_factor"] == 1


@pytest.mark.parametrize("ending", ["", ".tar.gz", ".zip"])
def test_any_source_that_prepare_reads(alexnet, small_run, tmp_path, ending):
    photos = fill(tmp_path / "photos", count=2)
    picture(0, 9).save(photos / "loose.png")  # in no class
    source = photos
    if ending == ".zip":
        source = tmp_path / "x.zip"
        subprocess.run(["zip", "-q", "-r", source, "."], cwd=photos, check=True)
    elif ending:
        source = tmp_path / "x.tar.gz"
        subprocess.run(["tar", "-cz", "--sort=name", "-f", source, "-C", photos, "."], check=True)
    assert alexnet("features", small_run, source, tmp_path / "y.npy", "--layer", "fc4")[0] == 0
    rows = [line.split(",") for line in (tmp_path / "y.csv").read_text().splitlines()[1:]]
    assert len(np.load(tmp_path / "y.npy")) == 7
    labels = {row[1].removeprefix(f"{source}/").removeprefix("./"): row[2] for row in rows}
    assert labels == {**{f"{c}/{i:03d}.jpg": c for c in ("blue", "green", "red") for i in (0, 1)}, "loose.png": ""}


def test_stimuli_as_they_are(alexnet, small_run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    given = ["features", small_run, tmp_path / "x.png", tmp_path / "y.npy", "--layer", "conv1:before", "--quiet"]
    assert alexnet(*given, "--stimuli", "exact")[0] == 0
    net, seen = load(small_run).net, load(small_run).preprocessing
    mean = seen.mean_image[:, 8:56, 8:56].numpy()  # the center 48 of 64 pixels
    image = (pixels.transpose(2, 0, 1) - mean) * np.float32(seen.scale)
    weight, bias = net.conv1.weight.detach().numpy(), net.conv1.bias.detach().numpy()
    unit = (weight[3] * image[:, 4:9, 6:11]).sum() + bias[3]  # row 2, column 3 at stride 2
    assert np.load(tmp_path / "y.npy")[0, 3, 2, 3] == pytest.approx(unit, rel=1e-4)
    assert "48x48, unchanged" in (tmp_path / "y.csv").read_text()
    picture(0, 0).save(tmp_path / "x.png")
    for place, options, done in (
        ("a", ["--fit", "pad", "--background", "white"], "80x64, whole, as 48x38 on #ffffff"),
        (
            "b",
            ["--degrees", "8", "--stimulus-degrees", "4"],
            "80x64, on a canvas of 160x128 (#808080), scaled to 48x48",
        ),
    ):
        given[3] = tmp_path / f"{place}.npy"
        assert alexnet(*given, *options)[0] == 0 and done in (tmp_path / f"{place}.csv").read_text()
    given[3] = tmp_path / "c.npy"
    status, _, err = alexnet(*given, "--stimuli", "exact")
    assert status == 2 and "x.png: is 80x64 pixels, but the net sees 48x48" in err and err.count("\n") == 1


def test_bad_input_is_a_line_and_leaves_nothing(alexnet, small_run, dataset, tmp_path, monkeypatch):
    picture(0, 0).save(tmp_path / "x.png")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"bad")
    (tmp_path / "list.csv").write_text("name\nx.png\n")
    (tmp_path / "empty.csv").write_text("path\n")
    (tmp_path / "there.npy").write_bytes(b"mine")
    x, y = tmp_path / "x.png", tmp_path / "y.npy"
    before = sorted(tmp_path.rglob("*"))
    for words, status, said in [
        (
            [small_run, x, y, "--layer", "conv3"],
            2,
            "'conv3': net small has no such layer; perhaps you meant conv",
        ),
        ([small_run, x, y, "--layer", ","], 2, "name one or more"),
        ([small_run, x, tmp_path / "y.npz"], 2, "y.npz: .npz is no format for activations; perhaps you meant .npy"),
        ([small_run, x, tmp_path / "y"], 2, "y: give a name that ends in one of .npy"),
        (
            [small_run, x, tmp_path / "there.npy", "--layer", "fc3"],
            2,
            "there.npy: already exists; give another name, or remove it",
        ),
        ([small_run, x, tmp_path / "no" / "y.npy", "--layer", "fc3"], 2, "no/y.npy: folder "),
        ([small_run, x, "s3://bucket/y.npy", "--layer", "fc3"], 2, "s3://bucket/y.npy: can be read from there but not"),
        ([small_run, tmp_path / "no.png", y, "--layer", "fc3"], 2, "no.png: no such file or folder"),
        ([small_run, tmp_path / "list.csv", y, "--layer", "fc3"], 2, "must name a column path (or file, "),
        ([small_run, tmp_path / "empty.csv", y, "--layer", "fc3"], 2, "lists no images"),
        ([small_run, small_run, y, "--layer", "fc3"], 2, "is a run"),
        ([x, small_run, y, "--layer", "fc3"], 2, "swapped"),
        ([small_run, x, y, "--layer", "fc3", "--split", "val"], 2, "has no splits; leave --split out"),
        ([small_run, x, y, "--layer", "fc3", "--degrees", "8"], 2, "--degrees and --stimulus-degrees: give both"),
        ([small_run, x, y, "--layer", "fc3", "--fit", "pad", "--stimuli", "exact"], 2, "give one of them"),
        ([small_run, x, y, "--layer", "fc3", "--fit", "pad", "--views", "10"], 2, "--views 10"),
        ([small_run, x, y, "--layer", "fc3", "--background", "grau"], 2, "--background grau"),
        (
            [small_run, dataset.path, y, "--layer", "fc3", "--fit", "pad"],
            2,
            "resized and cropped already; give the original",
        ),
        ([small_run, tmp_path / "bad", y, "--layer", "fc3"], 1, "y.npy: not written: the image could not be read"),
    ]:
        got, out, err = alexnet("features", *words, "--quiet")
        lines = [line for line in err.splitlines() if "not decodable" not in line]
        assert (got, out) == (status, "") and said in lines[-1] and len(lines) == 1, (words, err)
        assert sorted(tmp_path.rglob("*")) == before
    with monkeypatch.context() as patch:
        patch.setattr(module, "current", lambda: Ranks(0, 2))
        with pytest.raises(UsageError, match="runs in one process"):
            module.write_features(small_run, x, y, "fc3")
    monkeypatch.setattr(files, "free_bytes", lambda folder: 100)
    status, _, err = alexnet("features", small_run, x, tmp_path / "y.mat", "--layer", "conv1", "--quiet")
    assert status == 1 and "66 KiB for 1 image, but only 0 KiB are free on that disk; free some space" in err
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.delitem(sys.modules, "alexnet.science.formats.hdf5", raising=False)
    status, _, err = alexnet("features", small_run, x, tmp_path / "y.h5", "--layer", "fc3", "--quiet")
    assert status == 2 and ".h5 needs h5py: pip install 'alexnet[hdf5]'" in err and err.count("\n") == 1


def test_what_is_left_out_is_said_with_its_row(alexnet, small_run, tmp_path):
    for name in ("a.png", "c.png"):
        picture(0, 0).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"bad")
    status, out, err = alexnet("features", small_run, tmp_path, tmp_path / "x.npy", "--layer", "fc3", "--json")
    left_out = {"source_row": 1, "name": f"{tmp_path}/b.png", "problem": "not decodable: cannot identify image file"}
    assert (status, json.loads(out)["left_out"]) == (1, [left_out])
    assert err.splitlines()[-1].endswith("was left out; the other 2 are written")
    (tmp_path / "list.csv").write_text("path,split\na.png,val\n")
    status, _, err = alexnet("features", small_run, tmp_path / "list.csv", tmp_path / "y.npy", "--split", "val")
    assert status == 2 and "leave --split out" in err and err.count("\n") == 1


@pytest.mark.parametrize("url", ["nowhere://b/a.jpg", "https://127.0.0.1:9/a.jpg"])
def test_an_address_of_a_list_is_named_once_with_its_line(alexnet, small_run, tmp_path, monkeypatch, url):
    monkeypatch.setenv("ALEXNET_REMOTE_TIMEOUT", "1")
    picture(0, 0).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(f"path\na.png\n\n{url}\n")
    status, out, err = alexnet("features", small_run, tmp_path / "list.csv", tmp_path / "x.h5", "--layer", "fc3")
    assert status in (1, 2) and not out and err.splitlines()[-1].count(url) == 1, err
    assert f"error: {tmp_path}/list.csv: line 4: {url}: cannot be read" in err


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_full_midway(alexnet, small_run, dataset, tmp_path, suffix):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        status, out, err = alexnet(
            "features", small_run, dataset.path, tmp_path / f"x{suffix}", "--layer", "conv1", "--quiet"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, out) == (1, "") and err.count("\n") == 1 and f"x{suffix}: " in err, err
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_time_are_told_before(small_run, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEASURED_SECONDS", 0.0)
    monkeypatch.setattr("alexnet.evaluation.activations.batch_size", lambda *_: 5)
    for suffix in SUFFIXES:
        told = []
        written = module.write_features(
            small_run, dataset, tmp_path / f"x{suffix}", ["conv1", "conv2"], split="train", tell=told.append
        )
        assert len(told) == 2 and "conv1 (16x23x23), conv2 (16x11x11) of 48 images: 2 MiB" in told[0]
        assert written.bytes == pytest.approx(written.expected_bytes, rel=0.05), suffix
        assert written.expected_seconds > 0


KILLED = """
import os, shutil, signal, sys
from alexnet import load
from alexnet.evaluation import activations
from alexnet.science import formats
from alexnet.science.features import write_features
run, dataset, folder = load(sys.argv[1], precision="float32"), sys.argv[2], sys.argv[3]
activations.batch_size = lambda *_: 9

def write(path, moment):
    calls = 0
    def counted(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return call
    kind = formats.kind_of(path)
    kind.add, kind.finish, os.replace = counted(kind.add), counted(kind.finish), counted(os.replace)
    write_features(run, dataset, path, ["conv1", "fc3"], split="train")

if sys.argv[4:]:
    write(folder + "/x.npy", int(sys.argv[4]))
for suffix in formats.KINDS:  # imported before, not by each child
    formats.kind_of("x" + suffix)
write(folder + "/first.npy", 0)  # what is compiled once is compiled here
for suffix, moments in ((".npy", (1, 4, 8, 10, 0)), (".h5", (3, 7, 8, 0)), (".parquet", (5, 7, 8, 0))):
    place = folder + "/" + suffix[1:]
    os.mkdir(place)
    for moment in moments:
        child = os.fork()
        if not child:
            write(f"{place}/x{suffix}", moment)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        there = sorted(name for name in os.listdir(place) if name.startswith("x"))
        print(suffix, moment, os.WTERMSIG(status), *there, flush=True)
        for name in there if moment else ():
            shutil.copy(f"{place}/{name}", f"{place}/early-{name}")
"""


def test_killed_at_any_moment(small_run, dataset, tmp_path):
    """Nothing is there before it is whole, and the same command then gives the same bytes and removes what was left."""
    arguments = [sys.executable, "-c", KILLED, small_run, dataset.path, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # it forks
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, timeout=600, env=environment, check=True
    )
    for line in done.stdout.splitlines():
        suffix, moment, signalled, *there = line.split()
        assert signalled == ("0" if moment == "0" else str(int(signal.SIGKILL))), line
        assert bool(there) == (moment == "0" or (suffix, moment) == (".npy", "10")), line  # six batches, then the names
    assert done.stdout.count("\n") == 13 and not list(tmp_path.rglob(".*"))
    assert [path.name for path in tmp_path.glob("npy/x*")] and len(list(tmp_path.glob("npy/early-*"))) == 2
    for early in tmp_path.glob("npy/early-*"):  # what appears is whole
        assert early.read_bytes() == early.with_name(early.name.removeprefix("early-")).read_bytes()
    for name in ("conv1.npy", "fc3.npy", "csv"):
        assert (tmp_path / f"first.{name}").read_bytes() == (tmp_path / "npy" / f"x.{name}").read_bytes()


def everything(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize("moment", [8, 9, 10, 11])
def test_a_users_file_is_never_a_leftover(alexnet, small_run, dataset, tmp_path, moment):
    """Killed before the first of four files has its name, the second, the third, the last."""
    arguments = [sys.executable, "-c", KILLED, small_run, dataset.path, tmp_path, moment]
    killed = subprocess.run(list(map(str, arguments)), capture_output=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    order = ["x.fc3.npy", "x.conv1.npy", "x.csv", "x.json"]
    assert sorted(path.name for path in tmp_path.glob("x*")) == sorted(order[: moment - 8])
    again = ["features", small_run, dataset.path, tmp_path / "x.npy", "--layer", "conv1,fc3", "--split", "train"]
    for name in order:
        mine, finished = tmp_path / name, None
        if mine.exists():
            finished = tmp_path / "finished"
            mine.rename(finished)
        for content in (b"{}", b"row,name,label,done,source_row\n", np.lib.format.MAGIC_PREFIX + b"mine", None):
            if content is not None:
                mine.write_bytes(content)
            elif finished:
                mine.write_bytes(finished.read_bytes())  # the same bytes in a file of the user's
            else:
                mine.symlink_to("finished")
                (tmp_path / "finished").write_bytes(b"{}")
            before = everything(tmp_path)
            status, out, err = alexnet(*again)
            assert (status, out) == (2, "") and "already exists" in err and err.count("\n") == 1, err
            assert f"{name}: " in err or mine.is_symlink()
            assert everything(tmp_path) == before  # what was left half written, too: it may be what proves the rest
            mine.unlink()
        if finished:
            finished.rename(mine)
        else:
            (tmp_path / "finished").unlink()
    assert alexnet(*again)[0] == 0 and sorted(everything(tmp_path)) == sorted(order)
    before = everything(tmp_path)
    assert alexnet(*again)[0] == 2 and everything(tmp_path) == before


def test_a_note_of_what_is_finished_proves_nothing(tmp_path):
    """Killed when all have their names: what is there is a result."""
    with open(tmp_path / "half", "wb") as half, open(tmp_path / "x.npy", "wb") as array:
        note = write_note(tmp_path / "x.json", half, [(tmp_path / "x.npy", array)])
    note.rename(tmp_path / re.sub(r"-\d+-", "-999999999-", note.name))
    outputs = [tmp_path / "x.npy", tmp_path / "x.json"]
    assert leftovers(outputs).finished == outputs[:1]
    (tmp_path / "half").rename(tmp_path / "x.json")
    assert leftovers(outputs).finished == [] and len(leftovers(outputs).half) == 1
    os.truncate(leftovers(outputs).half[0], 9)
    assert leftovers(outputs).finished == []
