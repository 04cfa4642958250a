"""Reads a labelling config's XML into elements, safely: no DOCTYPE, no entities, no network.

Label Studio's page accepts tag and attribute names in any case, so names are compared in lower
case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from grounding.errors import ConfigError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_ELEMENTS = 5000
"""Five times the number of labels that are served."""

VARIABLE = re.compile(r"\$([^\s,/{}$]+)")
"""`$image`, `$a.b` or `$a[0]`: one variable, and nothing around it."""

_REFERENCE = re.compile(r"\$[\w\[\].{}]+")
"""What the page replaces by the task's data in the values of labels and choices."""

FORMER_NAMES = {"model_labels_per_question": "model_labels_per_query"}
"""Attributes of ours that had another name: the configs of projects keep it, so it works too."""


def current_name(attribute: str) -> str:
    """Return an attribute's name in lower case, of today where it had another one."""
    name = attribute.lower()
    return FORMER_NAMES.get(name, name)


@dataclass(frozen=True, slots=True)
class Element:
    """One XML element: its tag as written, its attribute names in lower case."""

    tag: str
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The tag in lower case."""
        return self.tag.lower()

    def get(self, attribute: str) -> str | None:
        """Return the attribute's value, or None if it is missing or blank."""
        value = self.attributes.get(attribute.lower(), "")
        return value if value.strip() else None

    def says(self, attribute: str, word: str = "true") -> bool:
        """Say whether the attribute is this word, in any case."""
        return (self.get(attribute) or "").lower() == word

    def walk(self) -> Iterator[Element]:
        """Yield this element and all its descendants, in document order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __str__(self) -> str:
        """Return the start tag with its name: printable ASCII of at most 60 characters."""
        name = self.get("name")
        return quote(f'<{self.tag} name="{name}">' if name else f"<{self.tag}>", 60)


def read(xml: str) -> Element:
    """Return the root element of `xml`; its encoding declaration is ignored.

    Raises `ConfigError` if it is not well-formed, has a DOCTYPE, or exceeds 256 KiB, 5,000
    elements or a depth of 64.
    """
    content = _encoded(xml)
    reader = _Reader()
    try:
        reader.parser.Parse(content, True)
    except expat.ExpatError as exc:
        problem = expat.ErrorString(exc.code)
        raise ConfigError(
            f"not XML: {problem} at line {exc.lineno}, column {exc.offset + 1}"
        ) from exc
    return reader.document.children[0]


def size_error(cause: str) -> ConfigError:
    """Return the error for a config that exceeds a limit."""
    return ConfigError(
        cause, code="label_config_too_large", hint="Split the project, or shorten it"
    )


def refused(element: Element, problem: str, *, code: str, hint: str) -> ConfigError:
    """Return the error for an element that cannot be served."""
    return ConfigError(f"{element} {problem}", code=code, hint=hint)


def is_in_data(value: str) -> bool:
    """Say whether the page takes a label's `value`, or a part of it, from the task's data."""
    return bool(VARIABLE.fullmatch(value) or _REFERENCE.search(value))


def quote(text: str, limit: int = 40) -> str:
    """Return `text` as one line of printable ASCII of at most `limit` characters."""
    line = text.encode("unicode_escape").decode("ascii")
    return line if len(line) <= limit else line[: limit - 3] + "..."


class _Reader:
    """Collects the elements that expat reports, and raises at the first one that is refused."""

    def __init__(self) -> None:
        self.document = Element("", {})
        self._open = [self.document]
        self._count = 0
        self.parser = expat.ParserCreate("utf-8")  # overrides what the text declares
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def _doctype(self, *_: object) -> None:
        raise ConfigError("the labelling config has a DOCTYPE", hint="Remove the DOCTYPE")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) > MAX_DEPTH:
            raise size_error(f"the labelling config is deeper than {MAX_DEPTH} elements")
        if self._count > MAX_ELEMENTS:
            raise size_error(f"the labelling config has more than {MAX_ELEMENTS} elements")
        element = Element(tag, {current_name(n): value for n, value in attributes.items()})
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()


def _encoded(xml: str) -> bytes:
    if len(xml) > MAX_BYTES:
        raise size_error(f"the labelling config is larger than {MAX_BYTES // 1024} KiB")
    try:
        content = xml.encode()
    except UnicodeEncodeError as exc:
        raise ConfigError(f"not XML: half a character at position {exc.start + 1}") from exc
    if len(content) > MAX_BYTES:
        raise size_error(f"the labelling config is larger than {MAX_BYTES // 1024} KiB")
    return content
