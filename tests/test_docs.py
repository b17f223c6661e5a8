"""The docs stay true: links, commands, options, files, tests and the table of recipes are held against the rest."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from benchmarks import imagenet, reports
from PIL import Image

from alexnet.cli.commands import COMMANDS, command_class
from alexnet.cli.help import Option, options_of
from alexnet.cli.parse import default_of
from alexnet.experiments.experiment import CIFAR_10
from alexnet.experiments.known import EXPERIMENTS
from alexnet.experiments.raw import read_rows
from alexnet.figures.style import save
from alexnet.nets.table_file import tables
from alexnet.training.recipes import RECIPES

TOP = Path(__file__).parent.parent
DOCS = TOP / "docs"
PAGES = [
    *(TOP / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted(DOCS.glob("*.md")),
]
READ = [page for page in PAGES if page.parent != TOP / "benchmarks"]  # from end to end
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MOST_WORDS = 35  # in a sentence: one idea each
WRITTEN = {  # files that the commands write or read, not raw figures
    *("dataset.json", "run.json", "recipe.json", "checkpoint.json", "metrics.jsonl", "timings.jsonl", "raw.jsonl"),
    *("config.json", "expected.json", "words.txt", "classnames.txt", "LOC_synset_mapping.txt", "constraints.txt"),
    *("val_annotations.txt", "prepare.json", "evaluations.jsonl", "openapi.json", "alexnet-index.json"),
}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("\n", text_of(page))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-") for title in titles}


def commands_of(page: Path) -> list[str]:
    """Every command in a page: lines of its blocks, and code within a line, that begin with ``alexnet``."""
    blocks = "\n".join(text for _, text in FENCE.findall(text_of(page))).replace("\\\n", " ")
    lines = [*blocks.splitlines(), *re.findall(r"`([^`\n]+)`", prose_of(page))]
    lines += re.findall(r"^ {4}(.*)$", prose_of(page), re.MULTILINE)
    started = (re.sub(r"^([A-Z_]+=\S+ |torchrun .* -m )+", "", line.split("  #")[0].strip()) for line in lines)
    return [line for line in started if line.startswith("alexnet ")]


def options_by_name(command: str) -> dict[str, Option]:
    options = options_of(command_class(command), default_of(command, []))
    return {name: option for option in options if not option.positional for name in option.names}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        linked = page if not file else page.parent / file
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_command_and_option_exists(page):
    for line in commands_of(page):
        words = shlex.split(line)
        if words[1] in ("help", *("--help", "--version"), "COMMAND"):
            assert all(word in COMMANDS or word == "COMMAND" for word in words[2:]), line
            continue
        assert words[1] in COMMANDS, line
        options = options_by_name(words[1])
        for i, word in enumerate(words[2:], start=2):
            name, _, value = word.partition("=")
            if not name.startswith("--") or name in ("--", "--help"):
                continue
            assert name in options, f"{page.name}: {line}"
            choices, value = options[name].choices, value or next(iter(words[i + 1 :]), "")
            assert not choices or set(value.split("|")) <= {*choices, value.upper()}, f"{page.name}: {line}"


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(TOP)))
def test_every_option_that_stands_alone_exists(page):
    known = {name for command in COMMANDS for name in options_by_name(command)} | {"--help", "--version"}
    for name in re.findall(r"`(--[a-z][a-z-]*)[^`\n]*`", prose_of(page)):
        assert name in known, f"{page.name}: {name}"


def test_every_command_net_and_recipe_is_in_the_readme():
    text = text_of(TOP / "README.md")
    table = text[text.index("## Which command do I want?") : text.index("## Tasks")]
    for name in COMMANDS:
        assert f"`{name}`" in table or name == "demo", f"README.md: add a row for alexnet {name}"
    for name in (*tables(), *RECIPES):
        assert f"`{name}`" in text, name


def test_every_page_is_in_the_index():
    linked = set(re.findall(r"\]\(([\w-]+\.md)[^)]*\)", text_of(DOCS / "README.md")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


def test_every_file_of_raw_figures_is_there_and_is_named():
    raw = {file.name for file in (DOCS / "raw").iterdir()}
    named = {name for page in PAGES for name in re.findall(r"([\w.-]+\.(?:jsonl?|log|txt))\b", text_of(page))}
    assert named - WRITTEN <= raw, named - WRITTEN - raw
    assert raw <= named, raw - named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_path_module_and_test_exists(page):
    tests = "\n".join(text_of(file) for file in (TOP / "tests").rglob("*.py"))
    for path in re.findall(r"`((?:src|tests|benchmarks|docs)/[\w/.*-]+)`", prose_of(page)):
        assert list(TOP.glob(path)), f"{page.name}: {path}"
    rooms = "|".join(room.name for room in (TOP / "src" / "alexnet").iterdir() if room.is_dir())
    for path in re.findall(rf"`((?:{rooms})/[\w/.*]*)`", prose_of(page)) if page.name == "CONTRIBUTING.md" else []:
        assert list((TOP / "src" / "alexnet").glob(path.rstrip("/"))), f"{page.name}: {path}"
    for module in re.findall(r"python -m ((?:benchmarks|tests)[\w.]*)", text_of(page)):
        path = TOP / module.replace(".", "/")
        assert path.with_suffix(".py").exists(), f"{page.name}: {module}"
    for test in set(re.findall(r"\b(test_\w+)\b(?!\.py|/)", prose_of(page))) - {
        "test_batch",
        "test_set",
    }:  # of data sets
        assert f"def {test}(" in tests, f"{page.name}: {test}"
    for file in re.findall(r"\b(test_\w+\.py)\b", prose_of(page)):
        assert list((TOP / "tests").rglob(file)), f"{page.name}: {file}"


def test_the_table_of_recipes_is_what_they_hold():
    tables = re.findall(r"^\| option \|(.*)\n\| ---.*\n((?:\|.*\n)+)", text_of(DOCS / "recipes.md"), re.MULTILINE)
    compared = {}
    for head, rows in tables:
        names = [name.strip(" `") for name in head.strip(" |").split("|")]
        for row in rows.splitlines():
            written, *cells = [cell.strip(" `") for cell in row.strip("|").split("|")]
            for name, cell in zip(names, cells, strict=True):
                recipe, field = RECIPES[name], options_by_name("train")[written].field
                value = getattr(recipe, field)
                compared.setdefault(name, set()).add(field)
                if value is None and name == "default" and field in ("net", "epochs", "batch_size"):
                    continue  # by the number of images, as the help says
                assert re.sub(r",\s+", ",", cell) == shown(value), (name, written)
    assert set(compared) == set(RECIPES)
    for name, recipe in RECIPES.items():
        changed = {field for field in vars(recipe) if getattr(recipe, field) != getattr(RECIPES["default"], field)}
        assert changed <= compared[name], (name, changed - compared[name])


def shown(value: object) -> str:
    """A recipe's value as the table has it."""
    if isinstance(value, bool):  # of a flag that turns off what is on
        return "-" if value else "yes"
    if value in (None, ()):
        return "-"
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_of_experiments_are_those_of_their_raw_figures(page):
    text = page.read_text(encoding="utf-8")
    assert reports.rebuilt(text) == text, f"python -m benchmarks.reports {page}"


PICTURES = [drawn for page in PAGES for drawn in reports.drawn(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("experiment", "raw"), PICTURES, ids=lambda text: text)
def test_pictures_of_experiments_are_those_of_their_raw_figures(tmp_path, experiment, raw):
    """But for a hair's breadth: what draws letters may differ by machine."""
    save(EXPERIMENTS[experiment].figure(read_rows(reports.RAW / raw)), tmp_path / "again.png")
    kept, again = (
        np.asarray(Image.open(path).convert("RGB")).astype(int)
        for path in (reports.FIGURES / reports.picture_of(raw), tmp_path / "again.png")
    )
    assert kept.shape == again.shape and (np.abs(kept - again).max(2) > 60).sum() <= 10, raw


def test_every_picture_of_an_experiment_is_of_raw_figures_that_are_here():
    assert {reports.picture_of(raw) for _, raw in PICTURES} == {path.name for path in reports.FIGURES.iterdir()}
    made = {experiment for experiment, _ in PICTURES}
    elsewhere = {"demo", "precision", "stalling"}  # the demo's are photos, the others' rows are of an older form
    assert made | elsewhere == set(EXPERIMENTS)


def test_a_table_that_drifts_is_noticed():
    text = (TOP / "docs" / "results.md").read_text(encoding="utf-8")
    assert "<!-- table: figure1" in text and reports.rebuilt(text.replace("12.4 (12.1", "12.5 (12.1")) == text


def test_what_imagenet_takes_is_told_of_every_experiment_that_is_made_on_it(tmp_path):
    on_cifar = {name for name, made in EXPERIMENTS.items() if made.needs == CIFAR_10}
    plans = imagenet.plans(tmp_path)
    assert set(plans) == {name for name, made in EXPERIMENTS.items() if "paper" in made.scales} - on_cifar - {"budget"}
    assert all(part.seen > 0 and 0.3 < part.work / part.seen < 3 for parts in plans.values() for part in parts)
    assert {part.number for part in plans["table2"]} == {5, 2}


def test_the_table_of_refused_files_is_what_was_said():
    said = json.loads(text_of(DOCS / "raw" / "hostile-weights.json"))
    rows = [f"| {name} | {row['exit']} | {row['said'].removeprefix('error: ')} |" for name, row in said.items()]
    assert re.findall(r"^\| .* \| [12] \| .* \|$", text_of(DOCS / "refused-weights.md"), re.MULTILINE) == rows


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(TOP)))
def test_a_sentence_has_one_idea(page):
    for sentence in sentences(prose_of(page)):
        count = sum(1 for word in sentence.split() if re.search(r"\w", word))
        assert count <= MOST_WORDS, f"{page.name}: {count} words: {sentence}"
        assert not re.search(r"\w - \w", sentence), f"{page.name}: a dash between two ideas: {sentence}"


def sentences(prose: str) -> list[str]:
    """The sentences of a page outside tables, headings and indented commands; code within a line counts as a word."""
    paragraphs = [[]]
    for line in prose.splitlines():
        item = re.match(r"\s*(?:[-*]|\d+\.)\s+(.*)", line)
        if not line.strip() or item or line.startswith(("|", "#", "!", "    ")):
            paragraphs.append([item[1]] if item else [])
        else:
            paragraphs[-1].append(line.strip())
    found = []
    for paragraph in paragraphs:
        text = re.sub(r"`[^`]*`", "X", " ".join(paragraph))
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
        found += re.split(r"(?<=[.!?:])\s+(?=[A-Z\"*(])", text)
    return [sentence for sentence in found if sentence]
