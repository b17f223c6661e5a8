"""A recipe checks itself from its own annotations, from Python as from a file."""

import dataclasses
import json
import types
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet import Dataset, Recipe, UsageError
from alexnet.training import recipes
from alexnet.training.recipe import annotations, difference, from_json, option
from alexnet.training.recipes import RECIPES, named
from tests.conftest import picture

FIELDS = [field.name for field in dataclasses.fields(Recipe)]
# Nothing of this list is right for any field but where its type says so.
STRANGE = [
    "",
    "He",
    "cosin",
    "constant ",
    1.5,
    -1,
    10**9,
    True,
    None,
    float("nan"),
    float("inf"),
    [],
    {},
    ("x",),
    b"he",
]


def fits(value: object, kind: object) -> bool:
    """Whether a value is of an annotation's type: written anew, so that the validator is not asked about itself."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        limit = inner[1]
        return fits(value, inner[0]) and limit.low <= value <= limit.high  # pyright: ignore
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is typing.Literal:
        return isinstance(value, str) and value in inner
    if origin is tuple:
        return isinstance(value, list | tuple) and all(fits(each, inner[0]) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if kind is types.NoneType else isinstance(value, kind)  # pyright: ignore


@pytest.mark.parametrize("name", FIELDS)
def test_any_wrong_value_of_any_field_is_refused_by_its_name(name):
    refused = 0
    for value in STRANGE:
        if fits(value, annotations()[name]):
            continue
        refused += 1
        with pytest.raises(UsageError) as error:
            Recipe(**{name: value})
        assert str(error.value).startswith(f"{option(name)} "), (value, str(error.value))
    assert refused >= 5


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@settings(deadline=None)
@given(st.sampled_from(FIELDS), ANYTHING)
def test_what_is_taken_is_right(name, value):
    """Whatever passes is of its field's type, and the recipe can be written and read again."""
    try:
        recipe = Recipe(**{name: value})
    except UsageError:
        return
    assert fits(getattr(recipe, name), annotations()[name])
    assert from_json(json.loads(json.dumps(dataclasses.asdict(recipe))), "again") == recipe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule": "cosin"}, "perhaps you meant cosine"),
        ({"init": "He"}, "perhaps you meant he"),
        ({"input_scale": "standardised"}, "perhaps you meant standardized"),
        ({"shuffle": "shuffled"}, "give one of epoch, once, windows"),
        ({"precision": "bfloat16"}, "give one of auto, float32, float64, bf16, fp16"),
        ({"batch_size": 8, "grad_accumulation": 9}, "--grad-accumulation 9: must be at most the batch size, 8"),
        ({"crop_position": "centre"}, "perhaps you meant center"),
        (
            {"crop_position": "center", "freeze": "conv2"},
            "--crop-position center: frozen layers see the ten views of each image; give --crop-position random",
        ),
        (
            {"crop_scale": 0.5, "freeze": "conv2"},
            "--crop-scale 0.5: frozen layers see the ten views of each image; give --crop-scale 1, or leave",
        ),
        (
            {"crop_margin": 4, "freeze": "conv2"},
            "--crop-margin 4: frozen layers see the ten views of each image; give --crop-margin 0,",
        ),
        ({"crop_position": "center", "crop_scale": 0.5}, "--crop-scale 0.5: goes with random crops"),
        (
            {"crop_margin": 4, "crop_scale": 0.5},
            "--crop-margin 4: goes with random crops that are not resized; leave out",
        ),
        ({"crop_margin": 4, "crop_position": "center"}, "leave out --crop-position center"),
        ({"crop_margin": -1}, "--crop-margin -1: must be between 0 and 4,096"),
        ({"epochs": 1, "warmup_epochs": 2}, "--warmup-epochs 2: must be at most the epochs, 1"),
    ],
)
def test_words_that_are_nearly_right(change, said):
    with pytest.raises(UsageError) as error:
        Recipe(**change)
    assert said in str(error.value)


def test_accumulating_is_held_against_the_settled_batch():
    assert Recipe(grad_accumulation=64).settled(5000, "float32", 224, "paper").batch_size == 64
    with pytest.raises(UsageError, match="--grad-accumulation 64: must be at most the batch size, 32"):
        Recipe(grad_accumulation=64).settled(100, "float32", 224, "paper")


def whole() -> dict:
    recipe = RECIPES["source"].settled(1000, "float32", 224, "source")
    return json.loads(json.dumps({**dataclasses.asdict(recipe), "table": "", "store": "", "start_from": None}))


@pytest.mark.parametrize("key", ["net", "seed", "epochs", "batch_size", "learning_rate"])
def test_a_recipe_file_without_a_key_is_none(tmp_path, key):
    content = whole()
    del content[key]
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=key):
        named(str(tmp_path / "recipe.json"))


@pytest.mark.parametrize("key", FIELDS)
def test_a_recipe_file_with_a_wrong_value_names_file_and_key(tmp_path, key):
    (tmp_path / "recipe.json").write_text(json.dumps({**whole(), key: {"x": 1}}))
    with pytest.raises(UsageError) as error:
        named(str(tmp_path / "recipe.json"))
    assert "recipe.json" in str(error.value) and option(key) in str(error.value)


def test_an_unknown_key_is_named_with_the_nearest(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({**whole(), "label_smothing": 0.1}))
    with pytest.raises(UsageError, match="label_smothing: unknown; perhaps you meant label_smoothing"):
        named(str(tmp_path / "recipe.json"))


def test_nets_are_compared_by_their_tables_and_runs_by_their_weights():
    """A project that was moved can be resumed."""
    old = {**whole(), "table": "T", "start_from": "/a/run", "start_from_weights": "1", "pretrained_lr_factor": 0.1}
    assert difference(old, {**old, "net": "/elsewhere/mine.toml", "start_from": "/b/run"}) == []
    assert difference(old, {**old, "table": "U", "net": "other"}) == ["--net source -> other", "table T -> U"]
    assert difference(old, {**old, "start_from": "/b/run", "start_from_weights": "2"}) == ["--from /a/run -> /b/run"]
    assert difference({**old, "start_from_weights": None}, old) == []  # of an earlier version: by the path


@pytest.mark.parametrize(
    ("size", "recipe"),
    [(256, "default"), (224, "default"), (64, None), (40, "cifar-quick"), (32, "cifar-quick"), (24, "cifar-13")],
)
def test_a_recipe_that_fits_small_images(size, recipe):
    assert recipes.fitting(size) == recipe


@pytest.mark.parametrize(("size", "advice"), [(32, "RUN --recipe cifar-quick"), (64, "--size 256")])
def test_small_images_are_told_what_fits_them(alexnet, tmp_path, size, advice):
    for color, name in enumerate(("blue", "red")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            picture(color, number, size, size).save(tmp_path / "photos" / name / f"{number}.png")
    status, _, err = alexnet("prepare", tmp_path / "photos", tmp_path / "d")
    assert status == 0 and f"stored at {size} pixels" in err and advice in err.splitlines()[-1]
    assert Dataset(str(tmp_path / "d")).size == size
    status, _, err = alexnet("train", tmp_path / "d", tmp_path / "run")
    assert status == 2 and f"{size}x{size} pixels, net paper sees 224x224" in err and advice in err
    assert not (tmp_path / "run").exists()
