"""Values held against their annotations, and JSON that strict readers take."""

import json
import math
from typing import Annotated, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet import AlexNetError, UsageError
from alexnet.files import Form, Length, Misfit, Within, checked, parse_json, plain, read_json, seal, seal_holds, to_json
from alexnet.nets.table_file import load_table
from alexnet.training.recipes import named


class Inner(TypedDict):
    side: Annotated[int, Within(1, 10)]
    name: NotRequired[str | None]


class Outer(TypedDict):
    inner: Inner
    many: dict[str, list[Inner]]
    kind: Literal["a", "b"]


RIGHT = {"inner": {"side": 3}, "many": {"x": [{"side": 1, "name": "y"}]}, "kind": "a", "unknown": [1]}


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (True, int, "True: must be a whole number"),
        (1, bool, "1: must be true or false"),
        (1.5, int, "1.5: must be a whole number"),
        ("1", float, "1: must be a number"),
        (math.nan, float, "nan: must be a finite number"),
        (10**400, float, "inf: must be a finite number"),
        (None, str, "None: must be a text"),
        (3, str | None, "3: must be a text or nothing"),
        (11, Annotated[int, Within(1, 10)] | None, "11: must be between 1 and 10"),
        ("cosin", Literal["cosine", "steps"], "cosin: unknown; perhaps you meant cosine; give one of cosine, steps"),
        ("c", Literal["a", "b"] | None, "c: unknown; give one of a, b"),
        ([1, 2], tuple[float, float, float], "[1, 2]: must be 3 values"),
        ([1, "2"], list[int], "[1]: 2: must be a whole number"),
        ({"a": 1}, dict[str, str], "a: 1: must be a text"),
        ("xyz", Annotated[str, Length(0, 2)], "xyz: has 3 elements, must have from 0 to 2"),
        ("x", Annotated[str, Form("[0-9]+", "must be digits")], "x: must be digits"),
        ([], Outer, "[]: must be an object with keys"),
    ],
)
def test_what_is_refused_is_said(value, kind, said):
    with pytest.raises(Misfit) as refused:
        checked(value, kind)
    assert str(refused.value) == said


def test_what_is_right_comes_back_as_its_annotation_says():
    assert checked(RIGHT, Outer) == RIGHT
    assert checked([1, 2.5], tuple[float, ...]) == (1.0, 2.5)
    assert type(checked(3, float)) is float and type(checked(3, int | float)) is int
    assert checked(None, int | None) is None


def leaves(value, at=()):
    yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*at, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from leaves(each, (*at, place))


def changed(value, at, new):
    """A deep copy whose part at a place is another."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = changed(copy[at[0]], at[1:], new)
    return copy


@pytest.mark.parametrize("at", [at for at in leaves(RIGHT) if at[:1] != ("unknown",)])
def test_every_part_of_another_type_is_named(at):
    """A part that is replaced by something that fits nowhere is named by its place."""
    with pytest.raises(Misfit) as refused:
        checked(changed(RIGHT, at, object()), Outer)
    named = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).removeprefix(".")
    assert refused.value.at == named


VALUES = st.none() | st.booleans() | st.floats() | st.text()


@given(st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
@settings(max_examples=100, deadline=None)
def test_anything_becomes_json_that_strict_readers_take(value):
    def refuse(constant):
        raise AssertionError(constant)

    text = to_json(value)
    text.encode("utf-8")
    again = json.loads(text, parse_constant=refuse)
    assert to_json(again) == text and parse_json(text) == again


@pytest.mark.parametrize("text", [b"nan", b"[Inf]", b"{", b"\xff", b"[" * 100_000, b'{"a": 1}x', b""])
def test_no_json(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_a_seal_breaks_with_any_change():
    content = {"classes": ["a", "b"], "errors": {"val": {"loss": 0.1}}, "n": 3}
    sealed = json.loads(to_json(seal(content)))
    assert seal_holds(sealed) and seal_holds(content)  # the latter was never sealed
    assert seal_holds(dict(reversed(sealed.items())))  # the order of keys says nothing
    for at in leaves(content):
        if at:
            assert not seal_holds(changed(sealed, at, "other")), at
    assert not seal_holds({**sealed, "more": 1}) and seal_holds(seal(sealed))


@given(st.text(st.characters(codec=None)) | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_names_go_out_whatever_they_are(name):
    shown = plain(name)
    shown.encode("utf-8")
    assert plain(shown) == shown and (name == shown or "\\" in shown)


def test_a_byte_is_named():
    assert plain(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9" and plain("é猫") == "é猫"
    assert "猫\udce9ß".encode("cp1252", "alexnet.named_bytes") == b"\\u732b\\xe9\xdf"
    assert "\x1f600 \U0001f600".encode("ascii", "alexnet.named_bytes") == b"\x1f600 \\U0001f600"


def test_a_number_of_too_many_digits_is_said_in_words_for_people(tmp_path):
    for text in ("1" * 100_000, '{"a": [%s]}' % ("9" * 5_000)):
        with pytest.raises(ValueError, match=r"^a number has more than 4,300 digits$"):
            parse_json(text)
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(AlexNetError, match=r"x\.json: not readable as JSON \(a number has more"):
            read_json(tmp_path / "x.json")
        for read, name in ((load_table, "x.toml"), (named, "y.toml")):
            (tmp_path / name).write_text(f"a = {text.removeprefix('{').removesuffix('}').rpartition(': ')[2]}")
            with pytest.raises(UsageError, match=rf"{name}: not TOML: a number has more than 4,300 digits$"):
                read(str(tmp_path / name))
