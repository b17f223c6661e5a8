"""Names of classes, images, datasets and runs, any that a file system allows, on each way out."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet import Recipe, cli, files, prepare, train
from alexnet.data.sources.listing import Listing
from alexnet.errors import UsageError
from alexnet.figures import style
from alexnet.figures.curve import curve
from alexnet.figures.predictions import predictions
from alexnet.progress import Display, Screen
from tests.conftest import picture

CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ODD = [
    "\x1b[2J", "$^$ costs $_{", "cat [draft]", "[bold]", ":cat:", "猫🐈", "line\nbreak", "a\rb", "\u202egpj", "e\u0301",
    "עברית", "%s {0} \\frac{", "-dash", " ends in space ", "\x9b31m", "'\"`,;=+@", "NULL", os.fsdecode(b"caf\xe9\xff"),
]  # fmt: skip


def fits(name: str) -> bool:
    return len(os.fsencode(name)) <= 100 and "/" not in name and "\0" not in name


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30)
raw = st.binary(min_size=1, max_size=40).filter(lambda b: b"/" not in b and b"\0" not in b).map(os.fsdecode)
names = st.one_of(st.sampled_from(ODD), texts, raw).filter(fits)


def command(*arguments: str, encoding: str = "utf-8") -> tuple[int, str, str]:
    """A command in this process, its streams of an encoding and as strict as Python makes them."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", write_through=True) for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        status = cli.main(list(arguments))
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)  # pyright: ignore
    return status, out, err


@pytest.fixture(scope="module")
def trained(dataset, net_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "run"
    train(dataset, folder, Recipe(net=net_file, crop_size=48, batch_size=16, epochs=1), show=False)
    return folder


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    buffer = io.BytesIO()
    picture(0, 0, 64, 64).save(buffer, "JPEG")
    return buffer.getvalue()


def renamed_run(trained: Path, folder: Path, classes: list[str]) -> None:
    """The run with two classes of other names, as if it had been trained on them."""
    shutil.copytree(trained, folder)
    description = {**json.loads((folder / "run.json").read_bytes()), "classes": classes, "words": None}
    description.pop("seal", None)
    files.write_json(folder / "run.json", files.seal(description))


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(names, min_size=5, max_size=5), st.sampled_from(["utf-8", "cp1252", "ascii"]))
@example(ODD[:5], "ascii")
@example(ODD[5:10], "cp1252")
@example(ODD[10:15], "utf-8")
@example([os.fsdecode(b"\xff"), "猫", "$r$ [r]", os.fsdecode(b"\xe9"), os.fsdecode(b"\xff\xfe")], "utf-8")
def test_any_name_goes_through_every_command(trained, jpeg, some, encoding):
    third, first, second, store_name, run_name = (f"k{name}" for name in some)
    classes = sorted({files.plain(first), files.plain(second), files.plain(third)})
    assume(len(classes) == 3)
    with tempfile.TemporaryDirectory() as room, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for name in (first, second, third):
            os.makedirs(f"{room}/source/{name}")
            for image in range(2):
                Path(f"{room}/source/{name}/{image}{some[0]}.jpg").write_bytes(jpeg)
        dataset, run, source = f"{room}/{store_name}", f"{room}/r{run_name}", f"{room}/source"
        said = [command("prepare", source, dataset, "--size", "64", encoding=encoding)]
        expected = json.loads(command("info", dataset, "--json")[1])["classes"]
        assert sorted(expected) == classes
        renamed_run(trained, Path(run), expected)
        said += [command(name, path, encoding=encoding) for name in ("info", "verify") for path in (dataset, run)]
        said.append(command("evaluate", run, dataset, encoding=encoding))
        said.append(command("evaluate", run, dataset, "--json", encoding=encoding))
        assert list(json.loads(said[-1][1])["class_errors"]) == expected
        said.append(command("predict", run, source, encoding=encoding))
        assert said[-1][1].count("\n") == 6
        said.append(command("predict", run, source, "--json", encoding=encoding))
        predicted = [json.loads(line) for line in said[-1][1].splitlines()]
        assert all(sorted(line["classes"]) == classes for line in predicted)
        said.append(command("predict", run, source, "--csv", f"{room}/out.csv", encoding=encoding))
        with open(f"{room}/out.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["image"] for row in rows] == [line["name"] for line in predicted]
        assert {row["class1"] for row in rows} <= {*classes}
        said.append(command("show", run, "--dataset", dataset, encoding=encoding))
        assert said[-1][1].count("\n") == 3
        for status, out, err in said:
            assert status == 0, err
            assert not CONTROLS.search(out + err)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(names.map(lambda name: name * 8))
def test_any_name_of_a_run_is_drawn_above_its_curve(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = curve([{"split": "val", "epoch": 1, "top1_error": 0.5}], name)
        figure.canvas.draw()
    title = figure.axes[0].get_title(loc="left")
    assert len(title) <= style.TITLE and not CONTROLS.search(title) and "\n" not in title


def test_a_picture_says_letters_that_no_font_has_by_code_points(monkeypatch):
    monkeypatch.setattr(style, "_font_of", lambda letter: style.FONT if ord(letter) < 0x250 else None)
    assert style.legible("café 猫\n🐈", 40) == "café \\u732b\\n\\U0001f408"
    assert style.legible("猫" * 20, 20) == "\\u732b" + "…" + "\\u732b"  # no code point is cut in the middle
    monkeypatch.setattr(style, "_font_of", lambda letter: "Noto Sans CJK JP" if letter == "猫" else style.FONT)
    assert style.lettering("a猫", 40)["family"] == [style.FONT, "Noto Sans CJK JP"]


def test_two_names_of_the_same_look_are_two_words_on_the_sheet():
    pictures = [np.full((8, 8, 3), 255, np.uint8)] * 2
    drawn = [
        np.asarray(predictions(pictures, np.eye(2, dtype=np.float32), [name, "b"], [0, 1])) for name in ("$x$", "x")
    ]
    assert drawn[0].shape == drawn[1].shape and (drawn[0] != drawn[1]).any()  # $ is a letter, not mathematics


def test_training_ends_in_a_folder_of_any_name(dataset, net_file, tmp_path):
    for name in ("$^$run [/x]", "\x1b[2J猫\n_", os.fsdecode(b"caf\xe9"), "x" * 250):
        status, out, err = command(
            "train",
            dataset.path,
            str(tmp_path / name),
            "--net",
            net_file,
            "--crop-size",
            "48",
            "--batch-size",
            "16",
            "--epochs",
            "1",
        )
        assert status == 0, err
        assert (tmp_path / name / "curve.png").exists() and not CONTROLS.search(out + err)


def test_a_class_of_bytes_is_called_the_same_everywhere(tmp_path, jpeg):
    for name in (b"caf\xe9", b"tea"):
        folder = os.path.join(os.fsencode(tmp_path / "source"), name)
        os.makedirs(folder)
        for image in (b"1.jpg", b"2\xfc.jpg"):
            Path(os.fsdecode(os.path.join(folder, image))).write_bytes(jpeg)
    dataset = prepare(tmp_path / "source", tmp_path / "store", size=32)
    assert dataset.classes == ["caf\\xe9", "tea"]
    assert {dataset.name(row) for row in range(4)} >= {"caf\\xe9/1.jpg", "tea/2\\xfc.jpg"}
    prepare(tmp_path / "source", tmp_path / "store", size=32)  # given again, it is the same dataset
    with pytest.raises(UsageError, match="two classes are called"):
        Listing("folder", ["caf\\xe9", os.fsdecode(b"caf\xe9")], np.zeros(0), np.zeros(0), np.zeros(0))


def test_names_in_progress_lines_are_text():
    file = io.StringIO()
    display = Display(unit="images", console=Screen(file=file, force_terminal=True, width=400))
    display.start(3, 0)
    display.update(1, [(1, "reading [red]a[/x] :cat:\x1b[2J"), (0, "[/note]")])
    display.line("from [/x] :cat: \x1b]0;title\x07")
    display.close()
    shown = file.getvalue()
    assert "[red]a[/x] :cat:\\x1b[2J" in shown and "[/note]" in shown and "from [/x] :cat: \\x1b]0;title\\x07" in shown
    assert "\x1b[2J" not in shown and "\x1b]0" not in shown


@given(st.text(st.characters()), st.sampled_from(["utf-8", "cp1252", "ascii", "gbk"]))
def test_json_is_read_back_whatever_the_encoding(text, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    shown = files.json_shown(files.to_json({text: [text, float("nan")]}), stream)
    assert json.loads(shown.encode(encoding).decode(encoding), parse_constant=pytest.fail) == {
        files.plain(text): [files.plain(text), None]
    }
    assert not CONTROLS.search(shown)


@given(st.one_of(texts, raw))
def test_a_line_stays_one_line_and_says_where_it_was(text):
    shown = files.shown(text)
    assert len(shown.splitlines()) <= 1 and not CONTROLS.search(shown)
    shown.encode("utf-8")
    assert files.real(files.plain(text)) == text or "\\x" in text
    assert files.real(files.kept(text)) == text


def test_picture_of_a_store_with_odd_names(tmp_path, jpeg):
    for name in ("[draft]", "[final]"):
        (tmp_path / "s" / name).mkdir(parents=True)
        for image in "ab":
            (tmp_path / "s" / name / f"{image}.jpg").write_bytes(jpeg)
    assert command("prepare", str(tmp_path / "s"), str(tmp_path / "store"), "--size", "32")[0] == 0
    status, out, _ = command("info", str(tmp_path / "store"), "--picture", str(tmp_path / "p.png"))
    assert status == 0 and "\n[draft] " in out and "\n[final] " in out
    assert Image.open(tmp_path / "p.png").format == "PNG"
