"""Reads a backend's `extra_params`: the project's defaults for the attributes of its controls.

Label Studio's dialog sends them as a text, its API as an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from grounding.errors import ConfigError
from grounding.labelstudio.config.attributes import PREFIX, TABLES, of_any, wrong
from grounding.labelstudio.config.silence import nearest
from grounding.labelstudio.config.xml import quote

EXTRA_PARAMS = "extra_params"
MAX_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Params:
    """The values by attribute name."""

    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The values as JSON with sorted keys; an empty text without any."""
        return json.dumps(dict(self.values), sort_keys=True) if self.values else ""


def read_params(extra_params: object) -> Params:
    """Return the parameters in `extra_params`: null, an object, or a text, empty or with one.

    A name is that of an attribute, with or without its `model_`. A blank or null value is unset.
    Raises `ConfigError`, which names the parameter and the cure, for a name that is no attribute
    too: what it is meant to set would silently stay as it is.
    """
    values: dict[str, str] = {}
    for written, value in _read_object(extra_params).items():
        name = PREFIX + written.lower().removeprefix(PREFIX)
        text = _to_text(value)
        if not of_any(name):
            raise _unknown(written, name)
        elif name in values:
            raise _error(f"has {quote(written)} twice", "Keep one of the two")
        elif text is None:
            raise _error(f"has no text or number in {quote(written)}", "Write one value there")
        elif text.strip():
            values[name] = _check(written, name, text)
    return Params(values)


def _read_object(extra_params: object) -> Mapping[str, object]:
    try:
        text = extra_params if isinstance(extra_params, str) else json.dumps(extra_params)
        if len(text) > MAX_CHARS:
            raise _error("is too long", f"Keep it below {MAX_CHARS} characters")
        found = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError, TypeError) as exc:
        raise _not_object() from exc
    if found is not None and not isinstance(found, dict):
        raise _not_object()
    return found or {}


def _to_text(value: object) -> str | None:
    """Return a value as text, as in an attribute; None if it is not a text or a number."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value) if isinstance(value, str | int) else None


def _check(written: str, name: str, text: str) -> str:
    """Return `text` if it is valid for at least one kind of control; else raise `ConfigError`."""
    attributes = of_any(name)
    if all(attribute.read(text) is None for attribute in attributes):
        wanted = ", or ".join(attribute.wanted for attribute in attributes)
        raise wrong(wanted, text, of=EXTRA_PARAMS, name=quote(written))
    return text


def _unknown(written: str, name: str) -> ConfigError:
    near = nearest(name, sorted({one for table in TABLES for one in table}))
    cure = f"Write {near.removeprefix(PREFIX)}, or remove it" if near else "Remove it"
    return _error(f"has {quote(written)}, which no control takes", cure)


def _not_object() -> ConfigError:
    return _error("is no JSON object", 'Write it as {"score_threshold": 0.4}, or leave it empty')


def _error(problem: str, hint: str) -> ConfigError:
    return ConfigError(f"{EXTRA_PARAMS} {problem}", code="extra_params_invalid", hint=hint)
