"""Reads the values of named fields from an answer, in every notation that models fill forms in.

`entries` finds the names and values; a value stays as it is written, and a number and a date of a
field of that type get one spelling. An answer without a name is read by `choices`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from grounding.notation.dates import join_moment, parse_datetime
from grounding.notation.numbers import parse_number
from grounding.notation.times import parse_time
from grounding.queries import PATH_SIGN, Field, ValueKind
from grounding.qwen.entries import Entry, list_entries, list_line_entries
from grounding.qwen.reading.fields import CONSTANTS, KeyMeaning, Role, classify_key, fold
from grounding.qwen.reading.values import Group, Number, String, Value, Word

Scalar = Number | String | Word

BOOLEANS = {"true", "false"}
"""Constants that are values of their own: a choice may be called so."""

ABSENT = re.compile(
    r"(?:null|none(?: (?:found|visible|given|shown))?|nil|n\.? ?/? ?a|undefined|unknown|absent|"
    r"(?-i:NaN)|unreadable|illegible|unspecified|unclear|"
    r"(?:cannot|can't|can not|could not) (?:tell|(?:be )?(?:read|seen|determined?|found))|"
    r"unable to (?:tell|read|see|determine|find)|"
    r"no (?:value|information|answer|text|data available)|"
    r"not? (?:clearly )?(?:visible|found|present|applicable|available|shown|given|specified|stated|"
    r"mentioned|provided|indicated|listed|printed|legible|readable|known|clear|in the image)"
    r"(?: (?:in|on) (?:the|this) (?:image|picture|photo|document|page|receipt|text))?|"
    r"keine angabe|k\. ?a|unbekannt|nicht (?:vorhanden|sichtbar|angegeben|lesbar|erkennbar)|"
    r"inconnue?|aucune?|non (?:visible|lisible|renseignée?|disponibile|visibile|indicato)|"
    r"desconocid[oa]|ningun[oa]|sin datos|no (?:disponible|aparece|consta)|"
    r"não (?:disponível|visível|informado)|desconhecid[oa]|"
    r"(?:图|图片|图像|画面)?(?:中|里|上)?(?:没有|未(?:找到|显示|提及|提供|标[明注]|注明|知|给出)|"
    r"不(?:存在|适用|可见|详|明|清楚)|(?:看|辨认)不(?:清楚?|到|见)|无法(?:确定|辨认|识别|看清|判断))|"
    r"无|暂[无缺]|空白?|缺失|なし|없음|-+|[–—/?…]+)?",
    re.IGNORECASE,
)
"""What is written into a field of text for "not there", without what stands around it."""

NAMELIKE = re.compile(r"nan|empty|blank|missing|no (?:data|date|name|number|amount)", re.IGNORECASE)
"""What is nothing for a number, a date or in brackets, but else may be printed, or be a name."""

_AROUND_ABSENT = " .。()[]<>{}\"'*_"
_REASON = re.compile(r"(?<=[^\W\d_])\s?\([^()]*\)?$")
"""Why a value is not there, in brackets behind the word for it."""


class Filled(NamedTuple):
    """A value, and the half-open range of the answer's characters where it stands."""

    text: str
    span: tuple[int, int]


def read_groups(fields: Sequence[Field], groups: Sequence[Group], content: str) -> Values:
    """Return the values by field of the objects and records in an answer.

    A field that is there without a value has none; one that is not there is missing. Where one
    date is asked for, its parts may be the whole answer.
    """
    if len(fields) == len(groups) == 1 and fields[0].type.kind is ValueKind.DATE:
        whole = list(_read_whole(fields[0], groups[0]))
        if whole:
            return {fields[0].name: whole}
    entries = list(list_entries(groups))
    return _assign(fields, [*(e for e, own in entries if own), *(e for e, own in entries)], content)


Values = dict[str, list[Filled]]


def read_lines(fields: Sequence[Field], content: str, *, complete: bool) -> Values:
    """Return the values by field of lines, rows of a table and elements."""
    return _assign(fields, list_line_entries(fields, content, complete=complete), content)


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
    kind, value = field.type.kind, _unwrap(value)
    if kind is ValueKind.DATE and isinstance(value, Group):
        yield from _read_dates(field, value)
    elif kind is ValueKind.PATH and isinstance(value, Group):
        yield from _read_paths(field, value)
    elif kind is ValueKind.TEXT and isinstance(value, Group):
        yield from _read_texts(value, content)
    elif kind is ValueKind.CHOICE and (flags := _read_flags(field, value)) is not None:
        yield from flags
    else:
        for scalar in _list_scalars(field, value):
            span = (scalar.start, scalar.end)
            for text in _split_choices(field, scalar.text):
                if spelt := spell(field, text):
                    yield Filled(spelt, span)


VALUES = {"value", "text", "textcontent", "content", "answer", "值", "内容", "文本"}
"""Keys of the value in an object that says more of it: how sure it is, where it stands and why."""


YES = {"true", "yes", "1", "present", "是", "有", "✓", "✔", "✅"}
NO = {"false", "no", "0", "absent", "not present", "none", "null", "", "否", "没有", "无"}
NO |= {"✗", "✘", "❌"}


def _read_flags(field: Field, value: Value) -> list[Filled] | None:
    """Return the choices in {"rain": true, "fog": false}.

    None where the keys are no choices, or none is chosen and the values say more than no.
    """
    entries = value.entries if isinstance(value, Group) and value.closed else []
    flags = [(key, flag) for key, flag in entries if key and isinstance(flag, Scalar)]
    if not flags or {fold(c) for c in field.choices}.isdisjoint(fold(k.text) for k, _ in flags):
        return None
    said = [flag.text.strip().lower() for _, flag in flags]
    if YES.isdisjoint(said) and not NO.issuperset(said):
        return None
    chosen = [key for (key, _), word in zip(flags, said, strict=True) if word in YES]
    return [Filled(key.text.strip(), (key.start, key.end)) for key in chosen]


def _unwrap(value: Value) -> Value:
    """Return the value in {"value": "8.75", "confidence": 0.9}; any other value as it is."""
    if not isinstance(value, Group) or not value.closed:
        return value
    named = [(classify_key(key.text), inner) for key, inner in value.entries if key is not None]
    values = [inner for key, inner in named if key.folded in VALUES]
    rest = [key for key, _ in named if key.folded not in VALUES]
    beside = all(key.role is Role.TEXT or _is_aside(key) for key in rest)
    whole = len(named) == len(value.entries) and len(values) == 1
    return values[0] if whole and beside else value


def _is_aside(key: KeyMeaning) -> bool:
    """Say whether a key is of how sure a value is or where it stands, and so of no value."""
    return key.role in (Role.SCORE, Role.PLACE) or key.folded in ("page", "source", "evidence")


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


_COMMA = re.compile(r"[,;，、；/|\n]|\band\b")
_COMMAS = re.compile(r"\s*(?:(?:[,;，、；]|\band\b|(?=$))\s*)+")


def spell(field: Field, text: str) -> str:
    """Return a text in the one spelling of the field's type, as written where it has none.

    A text that says that nothing is there is empty.
    """
    text, kind = text.strip(), field.type.kind
    if kind in (ValueKind.CHOICE, ValueKind.PATH):
        letter = _LETTER.fullmatch(text) if kind is ValueKind.CHOICE else None
        return (letter and find_lettered(field, letter[1])) or text
    bare = unicodedata.normalize("NFKC", text).strip(_AROUND_ABSENT)
    bare = _REASON.sub("", bare)
    if (
        ABSENT.fullmatch(bare)
        or _says_unseen(field, bare)
        or (_may_be_none(kind, text) and NAMELIKE.fullmatch(bare))
    ):
        return ""
    if kind is ValueKind.NUMBER:
        if found := _STARS.fullmatch(text):
            return f"{sum(map(text.count, '★⭐'))}{'.5' if found[1] else ''}"
        number = parse_number(_of_most(field, text))
        return text if number is None else _write_number(number)
    return _spell_date(field, text) if kind is ValueKind.DATE else text


_LETTER = re.compile(r"\(?([A-Z])[).:]?")
_OWN_LETTER = re.compile(r"(?<=\W)[A-Z]\b|^[A-Z](?=[.):]|$)|(?:^|(?<=\s))[a-z]$")
"""A letter that a choice has in its own name: "Type B" and "b", but no "A car"."""


def find_lettered(field: Field, letter: str) -> str | None:
    """Return the choice with a capital letter in its name, else, where none has any, in its place.

    It is none where several have the letter.
    """
    own = [[one.upper() for one in _OWN_LETTER.findall(choice)] for choice in field.choices]
    if any(own):
        named = [c for c, letters in zip(field.choices, own, strict=True) if letter in letters]
        return named[0] if len(named) == 1 else None
    at = ord(letter) - ord("A")
    return field.choices[at] if at < len(field.choices) else None


_UNSEEN = re.compile(
    r"(?:(?:i'm |i am )?sorry,? (?:but )?)?(?:"
    r"(?:i|we) (?:cannot|can't|can not|could not|couldn't|(?:am|are) unable to) (?:clearly )?"
    r"(?:read|see|tell|determine|find|identify|make out)\b(?P<whom>[^.]{0,60})|"
    r"(?:the )?(?P<what>[\w '-]{1,40}) (?:is|are|was|were) (?:not (?:clearly )?(?:visible|legible|"
    r"readable|shown|present|given|provided|specified|stated|mentioned|available|indicated|printed)|"
    r"illegible|unreadable)(?: (?:in|on) (?:the|this) \w+)?)",
    re.IGNORECASE,
)


_ITS_WORDS = frozenset({"it", "this", "text", "value", "if", "whether", "what", "image", "picture"})
"""What such a sentence says of any field: "I cannot tell a lie" says nothing of one."""


def _says_unseen(field: Field, text: str) -> bool:
    """Say whether a text is a sentence about the field, that its value cannot be seen."""
    found = _UNSEEN.fullmatch(text.replace("’", "'"))
    if found is None:
        return False
    said = (found["what"] or found["whom"] or "it").lower().replace("_", " ").split()
    named = re.findall(r"[^\W_]{3,}", f"{field.name} {field.prompt}".lower())
    return not _ITS_WORDS.union(named).isdisjoint(word.strip(",!?\"'") for word in said)


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
    moment = parse_datetime(text, field.type.form)
    return text if moment is None else moment.isoformat(timespec="minutes")


def _list_scalars(field: Field, value: Value) -> list[Scalar]:
    """Return the scalars in a value: of {"amount": 5, "currency": "EUR"} the number that it is."""
    if field.type.kind is not ValueKind.NUMBER or not (isinstance(value, Group) and value.keyed):
        return list(_scalars(value))
    entries = value.entries if value.closed else value.entries[:-1]
    inner = [v for key, v in entries if key is None or not _is_aside(classify_key(key.text))]
    numbers = [one for v in inner for one in _scalars(v) if parse_number(one.text) is not None]
    return numbers if len(numbers) == 1 else []


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
