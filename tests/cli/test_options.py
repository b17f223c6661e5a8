"""Options: their names of today, values with commas, what a wrong one is told; and the pages that explain them."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from alexnet import cli, train
from alexnet.cli.help import GROUPS, TURNED_OFF, about, options_of
from alexnet.cli.parse import default_of, parse
from alexnet.files.old_names import OPTIONS, VALUES
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES

WORDS = {"evaluate": ["a", "b"], "compare": ["a", "b"], "prepare": ["a", "b"], "predict": ["a", "b"], "show": ["a"],
         "import": ["a", "b"], "export": ["a", "b"], "train": ["a", "b"]}  # fmt: skip


def owner(option: str) -> str:
    """A command that has the option."""
    return next(
        name
        for name in cli.COMMANDS
        if any(option in known.names for known in options_of(cli.command_class(name), default_of(name, [])))
    )


@pytest.mark.parametrize("old", [old for old in OPTIONS if old != "--mirror"])
@pytest.mark.parametrize("form", ["{} 1", "{}=1"])
def test_an_option_of_before_is_refused_with_its_name_of_today(alexnet, old, form):
    command = owner(OPTIONS[old])
    status, out, err = alexnet(command, *WORDS[command], *form.format(old).split())
    assert (status, out, err) == (2, "", f"error: {old}: is now {OPTIONS[old]}\n")


@pytest.mark.parametrize(
    ("field", "old", "new"), [(field, *pair) for field, values in VALUES.items() for pair in values.items()]
)
def test_a_value_of_before_is_refused_with_its_name_of_today(alexnet, field, old, new):
    option = f"--{field.replace('_', '-')}"
    status, out, err = alexnet("train", "a", "b", option, old)
    assert (status, out, err) == (2, "", f"error: {option} {old}: is now {new}\n")


def test_a_flag_of_before(alexnet):
    status, out, err = alexnet("train", "a", "b", "--recipe", "cifar-quick", "--mirror")
    assert (status, out, err) == (2, "", "error: --mirror: is now --flip\n")


def test_an_option_of_before_is_a_word_like_others_after_two_dashes(alexnet):
    status, _, err = alexnet("predict", "--", "a", "--loaders")
    assert status == 2 and "is now" not in err


def train_with(*options: str) -> Recipe:
    command = parse("train", ["dataset", "run", *options])
    return command.settings  # pyright: ignore[reportFunctionMemberAccess]


def test_values_are_given_with_commas():
    recipe = train_with("--schedule", "multistep", "--milestones", "25,51,79", "--layer-lr", "conv1@67=1e-5,conv1@72=0")
    assert recipe.milestones == (25.0, 51.0, 79.0) and recipe.layer_lr == ("conv1@67=1e-5", "conv1@72=0")
    command = parse("train", ["--milestones", "3", "--schedule=multistep", "dataset", "run"])
    assert (command.dataset, command.run, command.settings.milestones) == ("dataset", "run", (3.0,))  # pyright: ignore
    measured = parse("evaluate", ["--ensemble-weights", "0.5,0.5", "--probe", "conv5,fc7", "a", "b", "c"])
    assert measured.ensemble_weights == (0.5, 0.5) and measured.probe == ("conv5", "fc7")  # pyright: ignore
    assert measured.paths == ("a", "b", "c")  # pyright: ignore[reportFunctionMemberAccess]


def test_values_with_blanks_between_are_values_where_no_argument_is_left_for_them(alexnet):
    for words in (
        ["r", "s", "f.npy", "--layer", "fc7", "conv5:before", "--workers", "1"],
        ["--layer", "fc7", "conv5:before", "r", "s", "f.npy"],
        ["r", "--layer", "fc7", "conv5:before", "--", "s", "f.npy"],
    ):
        command: Any = parse("features", words)
        assert (command.run, command.source, command.file) == ("r", "s", "f.npy")
        assert command.layer == ("fc7", "conv5:before")
    command = parse("train", ["a", "b", "--milestones", "25", "51", "79", "--layer-lr", "conv1@1=0", "conv2@1=0"])
    assert command.settings.milestones == (25.0, 51.0, 79.0) and command.settings.layer_lr[1] == "conv2@1=0"
    status, _, err = alexnet("train", "a", "b", "--epochs", "3", "c", "--milestones", "25")
    assert status == 2 and "c: more than it takes" in err and err.count("\n") == 1
    status, _, err = alexnet("evaluate", "a", "b", "--probe", "conv5", "fc7")  # of any number of arguments
    assert status == 2 and "fc7" in err and err.count("\n") == 1


def test_the_learning_rate_has_two_names():
    assert train_with("--lr", "0.5").learning_rate == train_with("--learning-rate", "0.5").learning_rate == 0.5
    assert train_with("--recipe", "cifar-quick").learning_rate == 0.001  # a recipe's, where neither is given


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian", "a", "b"], "perhaps you meant train;"),
        (["help", "evalute"], "perhaps you meant evaluate;"),
        (["train", "a", "b", "--epoch", "3"], "--epoch: no such option; perhaps you meant --epochs;"),
        (["predict", "a", "b", "--precison=int8"], "--precison: no such option; perhaps you meant --precision;"),
        (["train", "a", "b", "--epochs", "x"], "--epochs x: must be a whole number"),
        (["train", "a", "b", "--lr=x"], "--lr x: must be a number"),
        (["train", "a", "b", "--milestones", "3,x"], "--milestones 3,x: must be numbers, with commas"),
        (["train", "a", "b", "--keep", "x"], "--keep x: give one of log;"),
        (["evaluate", "a", "b", "--device"], "--device"),
        (["evaluate", "a", "b", "c", "--ensemble-weights", "1,2,3"], "3 given for 2 runs"),
        (["evaluate", "a", "b", "--ensemble-weights", "1", "--tune-ensemble-weights", "val"], "give one of them"),
    ],
)
def test_what_is_wrong_and_what_was_meant(alexnet, arguments, said):
    status, out, err = alexnet(*arguments)
    assert status == 2 and not out and said in err and err.count("\n") == 1 and "None" not in err


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_fits_and_says_defaults_in_words(alexnet, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", columns)
    out = alexnet(command, "--help")[1]
    longest = max(len(option.value) + max(map(len, option.names)) for option in options_of(cli.command_class(command)))
    assert all(len(line) <= max(int(columns), longest + 24) for line in out.splitlines())
    assert "None" not in out and "MISSING" not in out and "if not given" not in out
    for option in options_of(cli.command_class(command)):
        assert all(name in out for name in option.names)
        if option.default is None:
            assert "default: " in option.text, option.field


def test_help_by_its_other_names(alexnet):
    page = alexnet("train", "--help")[1]
    assert page == alexnet("help", "train")[1] == alexnet("train", "a", "b", "-h")[1]
    assert alexnet("help")[1] == alexnet("--help")[1] == alexnet("-h")[1] and alexnet("help")[0] == 0
    assert alexnet("-V")[:2] == alexnet("version")[:2] == alexnet("--version")[:2]


def test_help_shows_what_a_recipe_sets(alexnet):
    out = alexnet("help", "train", "--recipe", "cifar-quick")[1]
    assert "(default: 30)" in out and "--flip" in out and "--no-flip" not in out and "(default: cifar-quick)" in out


def test_recipes_options_are_grouped_and_flags_say_what_they_do():
    plain = {option.field for option in options_of(Recipe) if option.group == "options"}
    assert plain == {"net", "seed", "epochs"}
    known = {
        option.field for name in cli.COMMANDS for option in options_of(cli.command_class(name), default_of(name, []))
    }
    assert {field for fields in GROUPS.values() for field in fields} <= known
    on = {field.name for field in dataclasses.fields(Recipe) if field.default is True}
    assert on == set(TURNED_OFF)


def test_recipes_and_nets_are_listed(alexnet):
    status, out, _ = alexnet("recipes")
    assert status == 0 and all(any(line.startswith(name + " ") for line in out.splitlines()) for name in RECIPES)
    status, out, _ = alexnet("nets")
    assert status == 0 and "paper        AlexNet as the paper describes it" in out
    recipes, nets = json.loads(alexnet("recipes", "--json")[1]), json.loads(alexnet("nets", "--json")[1])
    assert recipes["source"]["milestones"] == [25, 51, 79] and nets["paper"] == "AlexNet as the paper describes it"


def test_help_is_quick():
    """It brings none of the large packages."""
    program = "import sys; from alexnet.cli import main; main(['--help']); main(['help', 'train']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "pyarrow", "matplotlib", "fsspec"} & set(out.splitlines()[-1].split())


def test_the_list_of_commands_imports_no_command():
    program = "import sys; from alexnet.cli import main; main(['--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    modules = set(out.splitlines()[-1].split())
    assert not {"tyro", "rich", "alexnet.cli.use", "alexnet.training"} & modules


def test_what_computes_nothing_imports_no_torch(dataset, small, tmp_path):
    """It takes seconds to import."""
    train(dataset.path, tmp_path / "run", Recipe(net=small[1], crop_size=48, batch_size=8, epochs=1))
    commands = [["info", dataset.path], ["info", str(tmp_path / "run")], ["summary"], ["nets"], ["recipes"]]
    program = f"from alexnet.cli import main; assert not any(map(main, {commands})); import sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "matplotlib"} & set(out.splitlines()[-1].split())


def test_a_training_begins_without_matplotlib():
    program = "import sys, alexnet.training.train; sys.exit('matplotlib' in sys.modules or 'triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_the_list_says_what_a_command_says_of_itself(command):
    assert cli.COMMANDS[command][1] == about(cli.command_class(command)).splitlines()[0]
