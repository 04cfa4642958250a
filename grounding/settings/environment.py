"""Which environment variable each setting is read from, and what such variables may hold.

A setting named in `ECOSYSTEM` is read from the variable of that name, every other one from
`GROUNDING_` and its name in capitals. `NAME_FILE` may hold the path of a file with the value, as
Docker's secrets do; `NAME` goes first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from grounding.errors import SettingError, closest

if TYPE_CHECKING:
    from grounding.settings import Settings

PREFIX = "GROUNDING_"

ECOSYSTEM = frozenset(
    {
        "model",  # label-studio-ml's examples
        "openai_base_url",  # OpenAI's clients
        "openai_api_key",
        "redis_url",  # RQ and hosting platforms
        "port",  # hosting platforms and label-studio-ml
        "basic_auth_user",  # label-studio-ml
        "basic_auth_pass",
        "log_level",
        "label_studio_url",  # Label Studio's SDK and label-studio-ml
        "label_studio_host",
        "label_studio_api_key",
    }
)
"""Settings that go by the names which other programs of this field give them."""

FORMER = {
    "SERVER_PATIENCE": "server_retry_timeout",
    "BASIC_AUTH_PASSWORD": "basic_auth_pass",
    "BASIC_AUTH_USERNAME": "basic_auth_user",
    "REDIS_URI": "redis_url",
    "LABELS_PER_QUESTION": "labels_per_query",
}
"""Settings that had another name, or are often given one, by its variable."""

MISSPELT = 0.9
"""Similarity from which a variable without our prefix counts as a misspelt one of ours.

One wrong, missing or swapped letter in a name of ten. `LABEL_STUDIO_PORT`, which is Label Studio's
own, is 0.88 from `LABEL_STUDIO_HOST`.
"""


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field in ECOSYSTEM else PREFIX + field.upper()


def check_names(environment: Mapping[str, str], fields: Iterable[str]) -> None:
    """Raise `SettingError` for variables that are meant for us and that we do not read."""
    known = {variable(field): field for field in fields}
    wrong = [
        f"{name} is not read here{f'; the nearest name is {near}' if near else ''}"
        for name, value in environment.items()
        if value and (near := _nearest(name, known)) is not None
    ]
    if wrong:
        raise SettingError("; ".join(sorted(wrong)), hint="Rename the variable, or unset it")


def _nearest(name: str, known: Mapping[str, str]) -> str | None:
    """Return which known variable `name` was meant to be: "" for none of them, None if foreign.

    Names without the prefix are compared with those without it, too: MAX_PIXLES. One word alone,
    such as the HOST of a conda shell, is never taken for ours.
    """
    bare = name.removesuffix("_FILE")
    if bare in known:
        return None
    ours = bare.startswith(PREFIX)
    if not ours and "_" not in bare:
        return None
    tail = bare.removeprefix(PREFIX)
    if tail in FORMER:
        return variable(FORMER[tail])
    forms = {form: full for full in known for form in (full, known[full].upper()) if "_" in form}
    if not ours:
        swapped = (full for form, full in forms.items() if sorted(form) == sorted(bare))
        return next(swapped, None) or closest(bare, forms, MISSPELT)
    return closest(tail, {known[full].upper(): full for full in known}) or ""


def read_files(fields: Iterable[str]) -> dict[str, object]:
    """Return the settings whose NAME_FILE variable is set; an empty file counts as unset.

    Raises `SettingError` for a file that cannot be read.
    """
    found: dict[str, object] = {}
    for field in fields:
        path = os.environ.get(f"{variable(field)}_FILE")
        if path and not os.environ.get(variable(field)):
            found[field] = _read_file(f"{variable(field)}_FILE", Path(path))
    return {field: text for field, text in found.items() if text}


def _read_file(name: str, path: Path) -> str:
    try:
        return path.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise SettingError(
            f"{name}: {path} cannot be read: {reason}",
            hint="Name a file that this user may read, or unset the variable",
        ) from exc


def _split_address(text: str) -> SplitResult:
    """Return an address in parts; `ValueError` without the address, which may hold a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        raise ValueError("is no address that can be read") from None
    return parts


def check_web_address(text: str) -> None:
    """Raise `ValueError` unless `text` is http(s), a host, and at most a port and a path."""
    parts = _split_address(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("must name a host")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if "?" in text or "#" in text:
        raise ValueError("must end before any ? or #")


REDIS_FORM = (
    "must read like redis://:password@host:6379/0, rediss://… or unix://…, with # and / of the "
    "password as %23 and %2F"
)


JWT_START = "eyJ"
"""How every personal access token begins: with `{"` in base64."""


def check_redis_address(text: str) -> None:
    """Raise `ValueError` unless `text` is an address that the Redis client understands."""
    try:
        parts = _split_address(text)
    except ValueError:
        raise ValueError(REDIS_FORM) from None
    wanted = {"redis": parts.hostname, "rediss": parts.hostname, "unix": parts.path}
    if not wanted.get(parts.scheme):
        raise ValueError(REDIS_FORM)


def check_secret(value: SecretStr) -> SecretStr:
    """Return a secret that a header can carry; `ValueError` for any other."""
    text = value.get_secret_value()
    if any(c.isspace() for c in text):
        raise ValueError("must not hold spaces or line breaks")
    if not (text.isascii() and text.isprintable()):  # no header takes it, and a log might show it
        raise ValueError("must hold nothing but letters, digits and signs of ASCII")
    return value


def check_token(value: SecretStr) -> SecretStr:
    """Return a token of Label Studio; `ValueError` for what its page lists of one later.

    That lacks the signature, the last of three parts: the page shows a token whole only once.
    """
    text = value.get_secret_value()
    if text.startswith(JWT_START) and text.count(".") < 2:
        raise ValueError(
            "is not whole: Label Studio shows a personal access token whole only when it is made. "
            "Revoke it there, create a new one, and copy it from the dialog"
        )
    return value


def find_clash(settings: Settings) -> str:
    """Return which settings of a model behind HTTP do not go together, or nothing."""
    server = settings.server
    clashes = {
        "GROUNDING_ENGINE=openai needs OPENAI_BASE_URL and MODEL": not (
            settings.openai_base_url and settings.model
        ),
        "GROUNDING_DASHSCOPE_NATIVE needs GROUNDING_SERVER=dashscope": (
            settings.dashscope_native and server != "dashscope"
        ),
        "GROUNDING_SERVER_PRIORITY needs GROUNDING_SERVER=vllm or sglang": (
            settings.server_priority and server not in ("vllm", "sglang")
        ),
        "GROUNDING_REPETITION_PENALTY needs GROUNDING_SERVER=vllm, sglang, dashscope or llamacpp": (
            settings.repetition_penalty != 1 and server in ("ollama", "generic")
        ),
        "GROUNDING_ADAPTER needs GROUNDING_ENGINE=local; a server loads its adapters itself": bool(
            settings.adapter
        ),
    }
    return next((clash for clash, found in clashes.items() if found), "")


def to_text(value: object) -> str:
    """Return a setting as its variable holds it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    return "" if value is None else str(value)


def describe(where: tuple[int | str, ...], message: str) -> str:
    """Return a wrong value as one line: the variable, and what it takes.

    `where` begins with the variable; it is empty if the fault is of several together.
    """
    return "".join(f"{name}: " for name in where[:1]) + message.removeprefix("Value error, ")
