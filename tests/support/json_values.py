"""JSON values that a schema accepts or just does not, as Hypothesis draws them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError, validators

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# White space by one reader of regular expressions or another.
BLANKS = st.text(
    st.sampled_from(" \t\n\x1c\x1f\x85\xa0\u180e\u2003\u200b\u2028\u3000\ufeff"), max_size=3
)
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([-0.0, 0.5, 80.0, 1e300, 2**63, 10**30, -(10**30), 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    TEXT,
    BLANKS,
    st.sampled_from(["80", "1.5", "true", "yes", "null", "png", "#fff"]),
)
ANYTHING = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(TEXT, SCALARS, max_size=2),
    st.builds(lambda inner: [[inner], {"": [inner]}], SCALARS),
)


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    # jsonschema takes Python's `$`, which also matches before a last newline; ECMA 262's does not.
    ecma = re.sub(r"(?<!\\)\$", r"\\Z", pattern)
    if isinstance(instance, str) and not re.search(ecma, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """True if the value is valid by the schema."""
    return bool(Validator(schema).is_valid(value))


def near(schema: dict[str, Any], root: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Values that the schema mostly accepts, and others like them."""
    return _mostly(_fitting(schema, root or schema), ANYTHING)


def _mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of two, the usual nine times of ten; `one_of` would draw all branches of both alike."""
    return st.integers(0, 9).flatmap(lambda number: usual if number else other)


def _fitting(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _fitting(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    choices = "properties" not in schema and (schema.get("oneOf") or schema.get("anyOf"))
    if choices:
        return st.one_of([_fitting(choice, root) for choice in choices])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    return _OF_TYPE[schema["type"]](schema, root)


def _number(schema: dict[str, Any], _: Any) -> st.SearchStrategy[Any]:
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    borders = [schema[name] for name in names if name in schema] or [0, 300]
    beside = [border + step for border in borders for step in (0, 1, -1, 0.5, 1.0, -1.0)]
    least, most = min(borders), max(borders)
    inside = st.integers(int(least) + 1, int(most)) if most - least > 1 else st.just(most)
    fitting = st.one_of(inside, inside.map(float), st.floats(least, most), st.sampled_from(beside))
    return _mostly(fitting, NUMBERS)


def _string(schema: dict[str, Any], _: Any) -> st.SearchStrategy[Any]:
    borders = [schema[name] for name in ("minLength", "maxLength") if name in schema]
    sizes = [border + step for border in borders for step in (0, 1)] or [1]
    long = st.builds(str.__mul__, st.sampled_from(["a", "\N{CAT FACE}"]), st.sampled_from(sizes))
    plain = st.one_of(TEXT, BLANKS, long)
    if "pattern" not in schema:
        return plain
    like = st.from_regex(schema["pattern"], alphabet=st.characters(exclude_categories=["Cs"]))
    return _mostly(like, plain)


def _array(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    some = st.lists(near(schema["items"], root), max_size=4)
    most = schema.get("maxItems", 100)
    if most > 20:
        return some
    one = _fitting(schema["items"], root)
    return st.one_of(some, st.builds(lambda item, more: [item] * (most + more), one, st.booleans()))


def _object(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    members = {name: near(facts, root) for name, facts in schema.get("properties", {}).items()}
    required = {name: members.pop(name) for name in schema.get("required", ())}

    def some(names: set[str]) -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries(required | {name: members[name] for name in sorted(names)})

    # Few fields at a time: with all of them hardly any object is valid.
    few = st.sets(st.sampled_from(sorted(members)), max_size=3) if members else st.just(set())
    objects = few.flatmap(some)
    strange = st.builds(lambda whole, name, value: whole | {name: value}, objects, TEXT, SCALARS)
    return _mostly(objects, strange)


_OF_TYPE = {
    "null": lambda *_: st.none(),
    "boolean": lambda *_: st.booleans(),
    "integer": _number,
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}
