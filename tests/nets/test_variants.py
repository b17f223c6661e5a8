"""Variants in a text file: the five of docs/variants.md, what a base means, and mistakes that are named."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

from alexnet import Net, Recipe, UsageError, evaluate, load, train
from alexnet.nets.costs import costs
from alexnet.nets.table_file import load_table, parse_table, tables, to_toml
from tests.conftest import SMALL_NET, killed_at

DOCS = (Path(__file__).parents[2] / "docs" / "variants.md").read_text(encoding="utf-8")
VARIANTS = dict(re.findall(r"## ([^\n]+)\n\n```toml\n(.*?)```", DOCS, re.DOTALL))
CHANGES = {  # what each changes in the paper's 60,965,224 parameters (1,000 classes)
    "No towers": 256 * 5 * 5 * 48 + 384 * 9 * 192 + 256 * 9 * 192,
    "GELU for ReLU": 0,
    "Batch norm for response norm": 2 * 96 + 2 * 256,
    "A wider first layer": 96 * 364 + 256 * 25 * 48,
    "A sixth convolution": 256 * 9 * 256 + 256,
    "Smaller images": (257 + 513) * 512 + 513 * 1000 - (9217 + 4097) * 4096 - 4097 * 1000,  # 1x1 pixel before fc6
}


@pytest.mark.parametrize("variant", CHANGES)
def test_those_of_the_docs(variant, tmp_path, alexnet):
    assert set(CHANGES) == set(VARIANTS)
    file = tmp_path / "mine.toml"
    file.write_text(VARIANTS[variant])
    assert alexnet("summary", file)[0] == 0
    table = load_table(str(file))
    assert sum(row.parameters for row in costs(table)) == 60_965_224 + CHANGES[variant]
    net = Net(table, 5, init="he")
    net(torch.randn(2, *table.input)).square().mean().backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in net.tensors().values())
    file.unlink()  # the table is whole without it
    again = parse_table(table.text, "kept")
    assert (again.layers, again.towers, again.input) == (table.layers, table.towers, table.input)


@pytest.mark.parametrize("name", tables())
def test_tables_survive_being_written(name):
    table = load_table(name)
    again = parse_table(to_toml(tomllib.loads(table.text)), name)
    assert (again.layers, again.towers, again.title) == (table.layers, table.towers, table.title)
    old = parse_table(table.text.replace("[initialization]", "[initialization]"), name)  # as before it was renamed
    assert old.layers == table.layers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "moon"', "base = 'moon': unknown"),
        ('base = "mine.toml"', "base = 'mine.toml': unknown"),
        ('base = "paper"\nremove = ["norm9"]', "remove = 'norm9'"),
        ('base = "paper"\n[layers.conv7]\nkind = "batch_norm"', "layer conv7: is new: say after which layer"),
        ('base = "paper"\n[layers.conv7]\nafter = "conv9"\nkind = "batch_norm"', "after = 'conv9'"),
        ('base = "paper"\n[layers.conv1]\nfilter = 3', "layer conv1: filter is not a key"),
        ('base = "paper"\n[layers]\nconv1 = 3', "layer conv1: give its keys"),
        ('base = "paper"\ntower = 1', "tower is not a key here"),
        ('base = "paper"\ntowers = 0', "towers = 0"),
        ('base = "paper"\n[layers.conv1]\nactivation = "swish"', "activation = 'swish'"),
        ('base = "paper"\n[layers.conv1]\nweights = { normal = "x" }', "weights = {'normal': 'x'}"),
        ('base = "paper"\n[layers.conv1]\nbias = "x"', "bias = 'x'"),
        ('base = "paper"\n[layers.fc6]\ndropout_of = "all"', "dropout_of = 'all'"),
        ('base = "source"\n[layers.cnorm2]\nsize = 4', "layer cnorm2: size = 4: must be odd"),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match="mine") as error:
        load_table(str(tmp_path / "mine.toml"))
    assert said in str(error.value)


def test_batch_norms_moments_are_kept_and_resumed(dataset, tmp_path):
    """Killed and resumed it is bitwise one go, running moments included, and evaluates as it was measured."""
    file = tmp_path / "normed.toml"
    text = re.sub(r"\[layers.norm1\]\n.*?\n\n", '[layers.norm1]\nkind = "batch_norm"\n\n', SMALL_NET, flags=re.DOTALL)
    file.write_text(text)
    recipe = Recipe(net=str(file), batch_size=8, epochs=4)
    train(dataset, tmp_path / "run", recipe, show=False)
    run = load(tmp_path / "run")
    assert float(run.net.state()["norm1.running_mean"].abs().max()) > 0.01
    assert "norm1.running_mean" not in run.net.tensors()
    errors = evaluate([run], dataset).errors
    assert errors.top1_error == pytest.approx(run.errors["val"]["top1_error"], abs=1e-9)

    with killed_at(10):
        train(dataset, tmp_path / "other", recipe, show=False)
    train(dataset, tmp_path / "other", recipe, show=False)
    other = load(tmp_path / "other").net.state()
    assert all(torch.equal(value, other[name]) for name, value in run.net.state().items())
