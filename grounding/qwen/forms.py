"""Reads the values of named fields from an answer, in every notation that models fill forms in.

    {"total": "8.75"}                       an object, within others or in a list
    [{"key": "total", "value": "8.75"}]     records with a name and a value
    - **Total**: 8.75                       lines with a name and a value, a table of two columns
    8.75                                    the bare value, where there is one field only

A value stays as it is written; a number and a date of a field of that type get one spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from grounding.notation.dates import join_moment, parse_datetime
from grounding.notation.numbers import parse_number
from grounding.notation.times import parse_time
from grounding.queries import PATH_SIGN, Field, ValueKind
from grounding.qwen.reading.fields import CONSTANTS, Role, classify_key, fold
from grounding.qwen.reading.values import Group, Number, String, Value, Word

Scalar = Number | String | Word

BOOLEANS = {"true", "false"}
"""Constants that are values of their own: a choice may be called so."""

ABSENT = re.compile(
    r"(?:null|none|nil|n\.? ?/? ?a|undefined|unknown|absent|(?-i:NaN)|"
    r"unreadable|illegible|(?:cannot|can't|can not|could not) be (?:read|seen|determined|found)|"
    r"no (?:value|information|answer|text)|"
    r"not? (?:clearly )?(?:visible|found|present|applicable|available|shown|given|specified|stated|"
    r"mentioned|provided|indicated|listed|printed|legible|readable|known|in the image)"
    r"(?: (?:in|on) (?:the|this) (?:image|picture|photo|document|page|receipt|text))?|"
    r"keine angabe|k\. ?a|unbekannt|nicht (?:vorhanden|sichtbar|angegeben|lesbar|erkennbar)|"
    r"无|没有|暂无|未知|空白?|未找到|不存在|不适用|未(?:显示|提及|提供|标明)|(?:看|辨认)不清|"
    r"无法(?:确定|辨认|识别)|不可见|-+|[–—/?…]+)?",
    re.IGNORECASE,
)
"""What is written into a field of text for "not there", without what stands around it."""

NAMELIKE = re.compile(r"nan|empty|blank|missing|no (?:data|date|name|number|amount)", re.IGNORECASE)
"""What is nothing for a number, a date or in brackets, but else may be printed, or be a name."""

_AROUND_ABSENT = " .()[]<>{}\"'*_"

NAMES = {"key", "field", "fieldname", "attribute", "property", "键", "字段", "字段名"}
"""Keys of a record whose value is the name of a field, beside those of labels."""


class Filled(NamedTuple):
    """A value, and the half-open range of the answer's characters where it stands."""

    text: str
    span: tuple[int, int]


class Entry(NamedTuple):
    """A name in the answer, and the value that it has there."""

    name: str
    value: Value


def read_groups(fields: Sequence[Field], groups: Sequence[Group], content: str) -> Values:
    """Return the values by field of the objects and records in an answer.

    A field that is there without a value has none; one that is not there is missing. Where one
    date is asked for, its parts may be the whole answer.
    """
    if len(fields) == len(groups) == 1 and fields[0].type.kind is ValueKind.DATE:
        whole = list(_read_whole(fields[0], groups[0]))
        if whole:
            return {fields[0].name: whole}
    entries = list(_walk(groups))
    return _assign(fields, [*(e for e, own in entries if own), *(e for e, own in entries)], content)


Values = dict[str, list[Filled]]


def _walk(groups: Sequence[Group]) -> Iterator[tuple[Entry, bool]]:
    """Yield the entries of all groups, outer ones first, and whether each is a key of its own."""
    waiting = deque(groups)
    while waiting:
        group = waiting.popleft()
        entries = group.entries if group.closed else group.entries[:-1]
        for key, value in entries:
            if key is not None:
                yield Entry(key.text, value), True
        if (record := _read_record(group)) is not None:
            yield record, False
        waiting.extend(value for _, value in entries if isinstance(value, Group))


def _read_record(group: Group) -> Entry | None:
    """Return the entry that {"key": "total", "value": "8.75"} makes; None for any other group."""
    if not group.closed:
        return None
    named = {classify_key(key.text): value for key, value in group.entries if key is not None}
    names = [v for k, v in named.items() if k.role is Role.LABEL or k.folded in NAMES]
    values = [v for k, v in named.items() if k.role is Role.TEXT]
    if not names or not values or isinstance(names[0], Group):
        return None
    return Entry(names[0].text, values[0])


def read_lines(fields: Sequence[Field], content: str, *, complete: bool) -> Values:
    """Return the values by field of lines such as "- **Total**: 8.75" and "| Total | 8.75 |".

    Without `complete`, the last line may be cut and is left out.
    """
    lines = list(_LINE.finditer(content))
    entries = []
    for line in lines if complete else lines[:-1]:
        name, value = _cell(line, "name"), _cell(line, "value")
        if name.text and value.text:
            entries.append(Entry(name.text, value))
    return _assign(fields, entries, content)


_LINE = re.compile(
    r"^[ \t>*•|#-]*+(?:\d{1,3}[.)][ \t]++)?+"
    r"(?P<name>[^:：|\n]{1,250}?)[ \t]*[:：|](?P<value>[^\n]*+)",
    re.MULTILINE,
)
_MARKS = " \t*_`|\"'"


def _cell(line: re.Match[str], group: str) -> String:
    """Return a part of a line without its Markdown, with its span."""
    text, start = line[group], line.start(group)
    inner = text.strip(_MARKS)
    start += text.find(inner) if inner else 0
    return String(inner, start, start + len(inner))


def _assign(fields: Sequence[Field], entries: Sequence[Entry], content: str) -> Values:
    """Return the values of the fields that `entries` name: of the first that names each.

    The same name goes before one that differs in case, spacing or punctuation, and two fields
    that differ in these only are told apart by the same name alone.
    """
    exact: dict[str, Value] = {}
    alike: dict[str, Value] = {}
    for name, value in entries:
        exact.setdefault(name.strip(), value)
        alike.setdefault(fold(name), value)
    spellings = Counter(fold(field.name) for field in fields)
    values: Values = {}
    for field in fields:
        folded = fold(field.name)
        lone = bool(folded) and spellings[folded] == 1
        found = exact.get(field.name.strip()) or (alike.get(folded) if lone else None)
        if found is not None:
            values[field.name] = list(read_value(field, found, content))
    return values


# One value


def read_value(field: Field, value: Value, content: str) -> Iterator[Filled]:
    """Yield the values that `value` holds for a field: one for each of a list of choices."""
    kind = field.type.kind
    if kind is ValueKind.DATE and isinstance(value, Group):
        yield from _read_dates(field, value)
    elif kind is ValueKind.PATH and isinstance(value, Group):
        yield from _read_paths(field, value)
    elif kind is ValueKind.TEXT and isinstance(value, Group):
        yield from _read_texts(value, content)
    else:
        for scalar in _scalars(value):
            span = (scalar.start, scalar.end)
            for text in _split_choices(field, scalar.text):
                if spelt := spell(field, text):
                    yield Filled(spelt, span)


def _split_choices(field: Field, text: str) -> list[str]:
    """Return the choices in "rain, fog", where several may be chosen; else the text itself."""
    known = set(map(fold, field.choices))
    if not field.multiple or fold(text) in known:
        return [text]
    parts = [part.strip() for part in _COMMA.split(text)]
    return parts if known.issuperset(map(fold, parts)) else _split_longest(field, text) or [text]


def _split_longest(field: Field, text: str) -> list[str]:
    """Return the choices that a text is a list of, commas in their names too; none for any other.

    The longest that fits is taken each time, so that the time is that of one pass.
    """
    choices = sorted(field.choices, key=len, reverse=True)
    parts, at = [], 0
    while at < len(text):
        for choice in choices:
            end = at + len(choice)
            after = _COMMAS.match(text, end)
            if choice and after and text[at:end].casefold() == choice.casefold():
                parts.append(choice)
                at = after.end()
                break
        else:
            return []
    return parts


_COMMA = re.compile(r"[,;，、；]|\band\b")
_COMMAS = re.compile(r"\s*(?:(?:[,;，、；]|\band\b|(?=$))\s*)+")


def spell(field: Field, text: str) -> str:
    """Return a text in the one spelling of the field's type, as written where it has none.

    A text that says that nothing is there is empty.
    """
    text, kind = text.strip(), field.type.kind
    if kind in (ValueKind.CHOICE, ValueKind.PATH):
        return text
    bare = unicodedata.normalize("NFKC", text).strip(_AROUND_ABSENT)
    if ABSENT.fullmatch(bare) or (_may_be_none(kind, text) and NAMELIKE.fullmatch(bare)):
        return ""
    if kind is ValueKind.NUMBER:
        if found := _STARS.fullmatch(text):
            return f"{sum(map(text.count, '★⭐'))}{'.5' if found[1] else ''}"
        number = parse_number(_of_most(field, text))
        return text if number is None else _write_number(number)
    return _spell_date(field, text) if kind is ValueKind.DATE else text


def _may_be_none(kind: ValueKind, text: str) -> bool:
    """Say whether "blank" means nothing: in a number or a date, and in brackets in a text."""
    return kind is not ValueKind.TEXT or text[:1] in set("([<{（【")


_STARS = re.compile(r"[★⭐]+\s?(½?)\s?☆*")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|out of|of|von)\s*(\d+)\b.*", re.IGNORECASE)


def _of_most(field: Field, text: str) -> str:
    """Return the first number of "4/5" and "4 out of 5" where the field's most is the second."""
    found = _SHARE.fullmatch(text)
    return found[1] if found and float(found[2]) == field.type.high else text


def _write_number(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)


def _spell_date(field: Field, text: str) -> str:
    if not any(letter in field.type.form for letter in "YD"):
        clock = parse_time(text)
        return text if clock is None else clock.isoformat("minutes")
    moment = parse_datetime(text)
    return text if moment is None else moment.isoformat(timespec="minutes")


def _scalars(value: Value) -> Iterator[Scalar]:
    if isinstance(value, Group):
        for _, entry in value.entries if value.closed else value.entries[:-1]:
            yield from () if isinstance(entry, Group) else _scalars(entry)
    elif value.text.strip() and not _is_null(value):
        yield value


def _is_null(value: Scalar) -> bool:
    return isinstance(value, Word) and value.text.lower() in CONSTANTS - BOOLEANS


def _read_texts(group: Group, content: str) -> Iterator[Filled]:
    """Yield a list of texts as lines of one text, and any other group as it is written."""
    if not group.closed:
        return
    span = (group.start, group.end)
    if any(key is not None or isinstance(value, Group) for key, value in group.entries):
        yield Filled(" ".join(content[group.start : group.end].split()), span)
    elif texts := [scalar.text.strip() for scalar in _scalars(group)]:
        yield Filled("\n".join(texts), span)


def _read_dates(field: Field, group: Group) -> Iterator[Filled]:
    """Yield the moment of {"year": 2018, "month": 6, "day": 1}, and each date of another group."""
    if _name_parts(group):
        yield from _read_whole(field, group)
        return
    for scalar in _scalars(group):
        if spelt := spell(field, scalar.text):
            yield Filled(spelt, (scalar.start, scalar.end))


def _read_whole(field: Field, group: Group) -> Iterator[Filled]:
    if moment := spell(field, join_moment(_name_parts(group))):
        yield Filled(moment, (group.start, group.end))


def _name_parts(group: Group) -> dict[str, str]:
    """Return the values of a group that is a moment in parts, by name; none of another group."""
    named = {
        fold(key.text): value.text.strip()
        for key, value in (group.entries if group.closed else ())
        if key and isinstance(value, Scalar) and not _is_null(value)
    }
    parted = "year" in named or "hour" in named or named.keys() >= {"date", "time"}
    return named if parted else {}


def _read_paths(field: Field, group: Group) -> Iterator[Filled]:
    """Yield a path for each list of names, and one for a flat list that is one of the choices."""
    names = list(_scalars(group))
    if names:
        joined = PATH_SIGN.join(name.text.strip() for name in names)
        if not field.multiple or fold(joined) in map(fold, field.choices):
            yield Filled(joined, (group.start, group.end))
            return
        yield from (Filled(name.text.strip(), (name.start, name.end)) for name in names)
    for _, inner in group.entries if group.closed else group.entries[:-1]:
        if isinstance(inner, Group) and inner.closed:
            texts = [scalar.text.strip() for scalar in _scalars(inner)]
            if texts:
                yield Filled(PATH_SIGN.join(texts), (inner.start, inner.end))


# A bare value


def read_bare(field: Field, groups: Sequence[Group], content: str) -> list[Filled]:
    """Return the values of an answer that names no field, as to a question about one field."""
    if field.type.kind in (ValueKind.CHOICE, ValueKind.PATH):
        return _read_listed(field, groups) or _read_chosen(field, content)
    inner = _FENCE.sub(lambda mark: " " * len(mark[0]), content)
    text = inner.strip(" \t\r\n\"'`*“”")
    spelt = spell(field, text)
    if not text or not spelt or (groups and field.type.kind is ValueKind.TEXT and text[0] in "[{"):
        return []
    start = content.find(text)
    return [Filled(spelt, (start, start + len(text)))] if start >= 0 else []


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


_LETTER = re.compile(r"\W*\(?([A-Za-z])[).:]?(?:\s+(.*))?", re.DOTALL)
_DENIAL = re.compile(
    r"(?:\b(?:neither|nor|not|no|never|without|isn't|aren't|wasn't|rather than|instead of|"
    r"than|unlike|except)\b|不是|没有|并非|而非|不像)"
    r"(?:(?!\bbut\b|而是)[^.;!?。；！？]){0,40}$",
    re.IGNORECASE,
)


def _read_chosen(field: Field, content: str) -> list[Filled]:
    """Return the choices that a sentence names: by a letter before it, else by their names.

    The longest name wins where one is part of another; a denied one is not chosen.
    """
    letter = _LETTER.fullmatch(content.strip(" \t\r\n*`\"'."))
    named = _find_named(field, content)
    if letter and not named:
        at = ord(letter[1].upper()) - ord("A")
        if at < len(field.choices) and not (letter[2] or "").strip():
            start = content.find(letter[1])
            return [Filled(field.choices[at], (start, start + 1))]
    return named if field.multiple or len({one.text for one in named}) == 1 else []


def _find_named(field: Field, content: str) -> list[Filled]:
    text = content.casefold() if len(content.casefold()) == len(content) else content.lower()
    found: dict[str, Filled] = {}
    for choice in sorted(field.choices, key=len, reverse=True):
        pattern = rf"(?<![^\W_]){re.escape(choice.casefold())}(?![^\W_])"
        pattern = pattern if choice.isascii() else re.escape(choice.casefold())
        for match in re.finditer(pattern, text):
            start, end = match.span()
            if choice and not _DENIAL.search(text, max(0, start - 60), start):
                found.setdefault(choice, Filled(content[start:end], (start, end)))
        text = re.sub(pattern, lambda m: " " * len(m[0]), text) if choice else text
    return sorted(found.values(), key=lambda one: one.span)
