"""Refuses what a config's author means for the model and nothing here would answer.

A misspelt attribute, or a project in which no control is served, would otherwise show as
predictions that are wrong or never come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from grounding.errors import ConfigError
from grounding.labelstudio.config.attributes import PREFIX, nearest
from grounding.labelstudio.config.xml import Element, quote

MAX_NAME_CHARS = 25


def check_attributes(elements: Iterable[Element], known: Mapping[str, Set[str]]) -> None:
    """Raise `ConfigError` for a `model_…` attribute that its tag does not take.

    `known` has the attributes by tag, as the tag is written in the documentation.
    """
    own = {tag.lower(): names for tag, names in known.items()}
    for element in elements:
        for name in element.attributes:
            if name.startswith(PREFIX) and name not in own.get(element.kind, ()):
                raise _unknown(element, name, known)


def check_served(elements: Iterable[Element]) -> None:
    """Raise `ConfigError` if people label anything here: no control of the config is served."""
    controls = [e for e in elements if e.get("toName")]
    if controls:
        others = f" and {len(controls) - 1} more" if len(controls) > 1 else ""
        raise ConfigError(
            f"nothing is served here: not {controls[0]}{others}",
            code="nothing_served",
            hint="Add RectangleLabels, KeyPointLabels or Choices to an <Image>",
        )


def _unknown(element: Element, name: str, known: Mapping[str, Set[str]]) -> ConfigError:
    shown = quote(name, MAX_NAME_CHARS)
    cure = _right_place(name, known) or _right_name(element, name, known)
    return ConfigError(
        f"{element} has {shown}, which it does not take",
        code="attribute_unknown",
        hint=f"{cure}, or remove it" if cure else "Remove it",
    )


def _right_place(name: str, known: Mapping[str, Set[str]]) -> str:
    homes = [tag for tag, names in known.items() if name in names]
    return f"Move it to {' or '.join(homes)}" if homes else ""


def _right_name(element: Element, name: str, known: Mapping[str, Set[str]]) -> str:
    here = {one for tag, names in known.items() if tag.lower() == element.kind for one in names}
    near = nearest(name, sorted(here))
    return f"Write {near}" if near else ""
