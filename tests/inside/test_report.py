"""The report on one page fetches nothing and breaks on no name; the worst images are those of evaluate."""

import html.parser
import json
import re

import numpy as np
import pytest
from PIL import Image

from alexnet import Recipe, evaluate, load, prepare, train
from alexnet.figures.report import page
from alexnet.runs.facts import read_facts
from tests.conftest import fill
from tests.figures.drawn import ODD

FETCHING = ("src", "href", "srcset", "data", "poster", "action", "background", "formaction", "xlink:href")


class Elements(html.parser.HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.fetched, self.open, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in FETCHING]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # whatever is opened is closed

    def handle_data(self, data):
        self.words.append(data)


def check(text: str) -> Elements:
    """The page is whole, and nothing on it is fetched."""
    elements = Elements(text)
    assert not elements.open
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(elements.tags)
    assert elements.fetched and all(re.match(r"data:image/(png|jpeg);base64,", target) for target in elements.fetched)
    assert "default-src 'none'" in text and not re.search(r"url\(|@import|https?:", text)
    assert len(text.encode()) <= 5 << 20
    return elements


def test_the_report_holds_all_it_shows(alexnet, run, run_folder, dataset, tmp_path):
    status, out, err = alexnet("show", run_folder, "--format", "html", "--output", tmp_path, "--json", "--quiet")
    assert (status, err) == (0, "")
    described, errors = json.loads(out), evaluate([run], dataset).errors
    assert described["pictures"] == [str(tmp_path / "report.html")]
    assert described["errors"]["top1_error"] == errors.top1_error
    elements = check((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(elements.words)
    for part in ("Training", "Errors", "Classes", "Filters", "The net", "Recipe", "conv2", f"{errors.top1_error:.2%}"):
        assert part in text
    assert "learning_rate" in text and f"{3 * 25 * 16 + 16:,}" in text  # conv1's parameters


def test_a_report_of_odd_names(net_file, tmp_path):
    names = ("<b>a&b", "é <i>", 'quo"te')
    dataset = prepare(fill(tmp_path / "photos", names, count=5), tmp_path / "store", size=64)
    train(dataset, tmp_path / "run", Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1), show=False)
    run = load(tmp_path / "run")
    run.run.words[:] = ODD[:3]
    check(page(run, read_facts(run.path), None, "<b>gone</b>"))


def test_a_report_without_the_dataset_says_so(alexnet, run_folder, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr("alexnet.figures.dataset.files.exists", lambda path: False)
    status, out, err = alexnet("show", run_folder, "--format", "html", "--output", tmp_path, "--quiet")
    assert (status, out) == (0, f"{tmp_path / 'report.html'}\n")
    assert err.startswith("note: no errors, confusion and mistakes:") and "give --dataset" in err
    assert "Not measured" in " ".join(check((tmp_path / "report.html").read_text(encoding="utf-8")).words)


def test_the_worst_images_give_their_true_class_least(alexnet, run, run_folder, dataset, tmp_path):
    measured = evaluate([run], dataset)
    order = np.argsort(measured.own, kind="stable")
    status, out, _ = alexnet("show", run_folder, "--worst", "5", "--output", tmp_path, "--json", "--quiet")
    described = json.loads(out)
    assert status == 0 and np.asarray(Image.open(tmp_path / "worst.png")).std() > 5
    assert [image["image"] for image in described["images"]] == [dataset.name(int(measured.rows[i])) for i in order[:5]]
    assert described["images"][0]["true_class_probability"] == pytest.approx(
        float(measured.own[order[0]]), abs=2e-3
    )  # bf16
    status, out, _ = alexnet("show", run_folder, "--worst", "9", "--class", "red", "--output", tmp_path, "--json")
    of_red = json.loads(out)["images"]
    assert status == 0 and len(of_red) == 4 and {image["true_class"] for image in of_red} == {"red"}
    status, out, _ = alexnet("show", run_folder, "--worst", "2", "--output", tmp_path)
    assert out.splitlines()[-1] == str(tmp_path / "worst.png") and (tmp_path / "worst-red.png").exists()
    right = [image["true_class"] == image["prediction"] for image in described["images"][:2]]
    assert (out.count(": right, "), out.count(", true: ")) == (sum(right), 2 - sum(right))


@pytest.mark.usefixtures("few_steps")
def test_a_class_alone_is_its_unit(alexnet, run_folder, tmp_path):
    status, out, _ = alexnet("show", run_folder, "--class", "red", "--output", tmp_path, "--json", "--quiet")
    described = json.loads(out)
    assert status == 0 and described["unit"] == "fc4:2" and described["strongest"][0]["class"] == "red"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--worst", "0"], "--worst 0: must be between 1 and 200"),
        (["--worst", "3", "--format", "html"], "--worst and --format html: give one of them"),
        (["--worst", "3", "--class", "gren"], "--class gren"),
        (["--format", "pdf"], "--format pdf: give one of png, html"),
        (["--class", "red", "--only-errors"], "--class and --only-errors: give one of them"),
        (["--worst", "2", "--split", "tst"], "--split tst"),
    ],
)
def test_what_excludes_each_other_is_a_line(alexnet, run_folder, tmp_path, words, said):
    status, out, err = alexnet("show", run_folder, *words, "--output", tmp_path, "--quiet")
    assert (status, out, err.count("\n")) == (2, "", 1) and said in err
    assert not list(tmp_path.iterdir())
