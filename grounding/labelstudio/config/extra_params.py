"""A backend's `extra_params`: what the attributes of all controls of a project are by default.

Label Studio's dialog sends them as a text, its API as an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from grounding.errors import ConfigError
from grounding.labelstudio.config.attributes import PREFIX, of_any, wrong
from grounding.labelstudio.config.xml import quoted

EXTRA_PARAMS = "extra_params"
MAX_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Params:
    """Texts by the name of an attribute, and the names that none of our attributes has."""

    values: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The used ones as JSON, always the same; empty where there are none."""
        return json.dumps(dict(self.values), sort_keys=True) if self.values else ""


def read_params(given: object) -> Params:
    """Return what `extra_params` say: null, an object, or a text that is empty or holds one.

    A name is that of an attribute, with or without its `model_`; what is blank or null is unset.
    Raises `ConfigError` that names the parameter and the cure.
    """
    values: dict[str, str] = {}
    unused: list[str] = []
    for written, value in _object(given).items():
        name = PREFIX + written.lower().removeprefix(PREFIX)
        text = _text(value)
        if not of_any(name):
            unused.append(quoted(written))
        elif name in values:
            raise _refused(f"has {quoted(written)} twice", "Keep one of the two")
        elif text is None:
            raise _refused(f"has no text or number in {quoted(written)}", "Write one value there")
        elif text.strip():
            values[name] = _checked(written, name, text)
    return Params(values, tuple(unused))


def _object(given: object) -> Mapping[str, object]:
    try:
        text = given if isinstance(given, str) else json.dumps(given)
        if len(text) > MAX_CHARS:
            raise _refused("is too long", f"Keep it below {MAX_CHARS} characters")
        found = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError, TypeError) as exc:
        raise _no_object() from exc
    if found is not None and not isinstance(found, dict):
        raise _no_object()
    return found or {}


def _text(value: object) -> str | None:
    """Return a value as an attribute would write it; None where none could."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value) if isinstance(value, str | int) else None


def _checked(written: str, name: str, text: str) -> str:
    """Return `text` where it is right for at least one kind of control."""
    attributes = of_any(name)
    if all(attribute.read(text) is None for attribute in attributes):
        wanted = ", or ".join(attribute.wanted for attribute in attributes)
        raise wrong(wanted, text, of=EXTRA_PARAMS, name=quoted(written))
    return text


def _no_object() -> ConfigError:
    return _refused("is no JSON object", 'Write it as {"score_threshold": 0.4}, or leave it empty')


def _refused(problem: str, hint: str) -> ConfigError:
    return ConfigError(f"{EXTRA_PARAMS} {problem}", code="extra_params_invalid", hint=hint)
