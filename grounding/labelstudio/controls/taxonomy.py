"""`<Taxonomy>`: one or more paths of a tree that is written in the config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from grounding.labelstudio.config.conditions import is_shown
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.config.xml import Element, is_in_data
from grounding.labelstudio.controls.base import are_texts
from grounding.labelstudio.controls.fields import value_tag
from grounding.labelstudio.labels import CACHED_CONTROLS, match
from grounding.queries import PATH_SIGN, ValueKind, ValueType

_SIGNS = re.compile(r"\s*(?:>|→|»|::|\\|\|)\s*")
"""What models write between the names of a path instead."""


def is_tree(element: Element) -> bool:
    """Return whether a tree is written in the config, none of it taken from elsewhere."""
    choices = [e for e in element.walk() if e.kind == "choice"]
    given = any(is_in_data(e.get("value") or "") for e in choices)
    outside = element.get("value") or element.get("apiUrl") or element.get("sharedStore")
    return (
        is_shown(element) and bool(choices) and not (given or outside or element.says("labeling"))
    )


def read_paths(element: Element) -> tuple[Label, ...]:
    """Return the paths that may be chosen, the alias of a name where results carry that."""
    return tuple(_paths(element, (), (), element.says("leafsOnly")))


def _paths(
    element: Element, names: tuple[str, ...], path: tuple[str, ...], leaves_only: bool
) -> Iterator[Label]:
    inner = [e for e in element.children if e.kind == "choice"]
    if path and not (inner and leaves_only):
        yield Label(PATH_SIGN.join(names), path=path)
    for child in inner:
        value, alias = child.get("value"), child.get("alias")
        if value:
            yield from _paths(child, (*names, value), (*path, alias or value), leaves_only)


def read_path(control: Control, text: str) -> Label | None:
    """Return the path that `text` names: all of it, or by a last name that no other path has."""
    text = _SIGNS.sub(PATH_SIGN, text)
    if label := match(text, control.labels):
        return label
    named = match(text, _by_last_name(control.labels))
    return next((one for one in control.labels if named and one.value == named.alias), None)


@lru_cache(maxsize=CACHED_CONTROLS)
def _by_last_name(labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """Return a label for the last name of each path, with the path as its alias.

    They are one tuple, so that `match` makes its index of them once and not for each answer.
    """
    return tuple(Label(one.value.rpartition(PATH_SIGN)[2], alias=one.value) for one in labels)


def has_path(_: Element) -> ValueType:
    """Return the type of a taxonomy's value."""
    return ValueType(ValueKind.PATH)


def allows_several(element: Element) -> bool:
    """Return whether an annotator may choose several paths."""
    return element.get("maxUsages") != "1"


def are_paths(value: object) -> bool:
    """Say whether the page can read a value as paths."""
    return isinstance(value, list) and bool(value) and all(map(are_texts, value))


TAXONOMY = value_tag(
    "Taxonomy",
    read_path,
    lambda chosen: [list(label.path) for label in chosen],
    is_readable=are_paths,
    label_tag="choice",
    labels=read_paths,
    allows_several=allows_several,
    serves=is_tree,
    value_type=has_path,
)
