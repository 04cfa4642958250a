"""Reads the value of a single field from an answer that names none: a choice, a number, a text.

(B)                              the letter of a choice, as in an exam
The answer is B.                 the same in a sentence, also in \\boxed{B}
It is a race car, no bus.        the name of a choice in a sentence, that is not denied
8.75                             the bare value
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from grounding.notation.denials import is_denied
from grounding.notation.numbers import parse_number
from grounding.queries import Field, ValueKind
from grounding.qwen.forms import Filled, find_lettered, spell
from grounding.qwen.reading.fields import Role, classify_key, fold
from grounding.qwen.reading.values import Group


def read_bare(field: Field, groups: Sequence[Group], content: str) -> list[Filled]:
    """Return the values of an answer that names no field, as to a question about one field."""
    if field.type.kind in (ValueKind.CHOICE, ValueKind.PATH):
        return _read_listed(field, groups) or _read_chosen(field, content)
    inner = _FENCE.sub(lambda mark: " " * len(mark[0]), content)
    text = inner.strip(" \t\r\n\"'`*“”")
    spelt = spell(field, text)
    if not _is_typed(field, spelt) and (said := _SAID.fullmatch(text)):
        text = said["value"] if _is_typed(field, spell(field, said["value"])) else text
        spelt = spell(field, text)
    if not text or not spelt or (groups and field.type.kind is ValueKind.TEXT and text[0] in "[{"):
        return []
    start = content.rfind(text)
    return [Filled(spelt, (start, start + len(text)))] if start >= 0 else []


_SAID = re.compile(
    r"(?:the|this|it|its|i|my)\b[^:;\n]{0,80}?\b(?:is|was|would be|(?:rate|give) (?:it|this))\b"
    r"[:*_`\" ]*(?:(?:on|at|a)\s)?(?P<value>[^\n]{1,60}?)[*_`\"]*\.?[*_`\"]*",
    re.IGNORECASE,
)
"""A sentence that ends with its value."""


def _is_typed(field: Field, spelt: str) -> bool:
    """Say whether a value is one of its type, and not left as it was written."""
    if field.type.kind is ValueKind.NUMBER:
        return parse_number(spelt) is not None
    return field.type.kind is not ValueKind.DATE or bool(_MOMENT.fullmatch(spelt))


_MOMENT = re.compile(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d")
_FENCE = re.compile(r"```[ ]*+(?:[A-Za-z][\w+-]*+)?|~~~")


def _read_listed(field: Field, groups: Sequence[Group]) -> list[Filled]:
    """Return the choices in ["rain", "fog"] and in [{"label": "rain"}]."""
    known = {fold(choice) for choice in field.choices}
    waiting, found = deque(groups), []
    while waiting:
        group = waiting.popleft()
        for key, value in group.entries if group.closed else group.entries[:-1]:
            if isinstance(value, Group):
                waiting.append(value)
            elif (key is None or _names_a_choice(key.text)) and fold(value.text) in known:
                found.append(Filled(value.text.strip(), (value.start, value.end)))
    return found


def _names_a_choice(key: str) -> bool:
    meaning = classify_key(key)
    return meaning.role in (Role.LABEL, Role.WRAPPER) or meaning.folded in {"choice", "option"}


_ANNOUNCED = re.compile(
    r"(?i:\b(?:answer|option|choice|selection)|答案|选项|应选|故选|选择?)\W{0,3}"
    r"(?i:(?:is|are|would be|should be|为|是)\b|[为是])?\W{0,4}"
    r"(?<![A-Za-z])(?P<letters>[A-Z](?:\s*(?:[,，、;/&]|and|和|与)?\s*[A-Z])*)(?=\W*(?:\Z|[.,;:)。，；）\n]))"
)
"""Letters of choices behind a word that announces them."""
_NOT = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot)|n't)\b[^,.;:!?\n]{0,30}\Z|不(?:是|能|应|该)*\s*\Z",
    re.IGNORECASE,
)
"""What denies such a word in front of it."""
_YES_OR_NO = re.compile(
    r"\W*(yes|no|true|false|ja|nein|oui|non|sí|是的?|否)(?=\s*[,.;:!，。；：！\n])", re.IGNORECASE
)
_LETTERS = re.compile(r"\W*\(?(?P<letters>[A-Z](?:\W*(?:and|和|与)?\W*[A-Z])+)\)?\W*")
"""Several letters, such as "A, C" and "AC"."""
_LETTER = re.compile(r"\W*\(?([A-Za-z])[).:]?(?:\s+(.*))?", re.DOTALL)
_BEGINS = r"(?:(?<![^\W_])(?<![^\W_]-)|(?<=[一-鿿]))"
_ENDS = r"(?:(?![^\W_]|-[^\W_])|(?=[一-鿿]))"
"""A name stands alone: no cat is in "cat-like", and no "safe" in "non-safe"."""


def _read_chosen(field: Field, content: str) -> list[Filled]:
    """Return the choices that a sentence names: by a letter before it, else by their names.

    The longest name wins where one is part of another; a denied one is not chosen. A yes or no
    that begins it is the answer, whatever the reasons behind it say.
    """
    lead = None if field.multiple else _YES_OR_NO.match(content)
    if lead and fold(lead[1]) in map(fold, field.choices):
        return [Filled(lead[1], lead.span(1))]
    named = _find_named(field, content)
    letters = [] if named else _find_letters(field, content)
    if letters and (field.multiple or len(letters) == 1):
        return letters
    return named if field.multiple or len({one.text for one in named}) == 1 else []


def _find_letters(field: Field, content: str) -> list[Filled]:
    """Return the choices whose letters an answer consists of or announces; none for unlike ones."""
    alone = _LETTER.fullmatch(content.strip(" \t\r\n*`\"'.$"))
    if alone and not (alone[2] or "").strip():
        at = content.find(alone[1])
        return _of_letters(field, [(alone[1].upper(), at)])
    several = _LETTERS.fullmatch(content) if field.multiple else None
    announced = _ANNOUNCED.finditer(content)
    said = (m for m in announced if not _NOT.search(content, max(0, m.start() - 60), m.start()))
    found = [several] if several else [*said]
    spelt = {re.sub(r"[^A-Z]", "", one["letters"]) for one in found}
    if len(spelt) != 1:
        return []
    start = found[-1].start("letters")
    places = ((m[0], start + m.start()) for m in re.finditer("[A-Z]", found[-1]["letters"]))
    return _of_letters(field, [*places])


def _of_letters(field: Field, letters: Sequence[tuple[str, int]]) -> list[Filled]:
    """Return the choices of letters in the order of the alphabet; none where one has no choice."""
    spelt = [letter for letter, _ in letters]
    chosen = [find_lettered(field, letter) for letter in spelt]
    if sorted({*spelt}) != spelt or None in chosen:
        return []
    return [
        Filled(choice, (start, start + 1))
        for choice, (_, start) in zip(chosen, letters, strict=True)
        if choice
    ]


def _find_named(field: Field, content: str) -> list[Filled]:
    text = content.casefold() if len(content.casefold()) == len(content) else content.lower()
    found: dict[str, Filled] = {}
    whole = text
    for choice in sorted(field.choices, key=len, reverse=True):
        pattern = rf"{_BEGINS}{re.escape(choice.casefold())}{_ENDS}"
        pattern = pattern if choice.isascii() else re.escape(choice.casefold())
        for match in re.finditer(pattern, text):
            start, end = match.span()
            if choice and not is_denied(whole, start, end):
                found.setdefault(choice, Filled(content[start:end], (start, end)))
        text = re.sub(pattern, lambda m: " " * len(m[0]), text) if choice else text
    return sorted(found.values(), key=lambda one: one.span)
