"""`Fill`: the prompt that asks for values of named fields, and how its answers are read and scored.

The prompt shows the object to fill in, lists what each field may hold and allows null, because
without that these models write a value for what the picture does not show.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Frame
from grounding.queries import Field, Fill, Finding
from grounding.qwen.answers import Answer, Verdict
from grounding.qwen.prompts import PromptSet, language_of
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.fields import CONSTANTS, fold
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import extract_answer
from grounding.qwen.reading.tokenizer import Text, tokenize
from grounding.qwen.reading.values import Group, Number, String, Value, Word
from grounding.qwen.scores import Token

Scalar = Number | String | Word


@dataclass(frozen=True, slots=True)
class Wording:
    """All wordings in one language: the request, a field's clauses, and the clauses at the end."""

    form: str
    one: str
    several: str
    prompt: str
    null: str
    only: str
    comma: str
    gap: str


WORDINGS = {
    "en": Wording(
        form="Look at this image and answer with one JSON object: {form}.",
        one="{name} is one of {choices}.",
        several="{name} is a list of any of {choices}.",
        prompt="{name}: {prompt}",
        null="Write the values exactly as given, and null where the image does not show it.",
        only="Output the JSON object only, without any other word.",
        comma=", ",
        gap=" ",
    ),
    "zh": Wording(
        form="观察这张图片，用一个JSON对象回答：{form}。",
        one="{name}是以下之一：{choices}。",
        several="{name}是以下任意几项的列表：{choices}。",
        prompt="{name}：{prompt}",
        null="取值与引号中的文字完全一致；图中看不出的填null。",
        only="只输出JSON对象，不要输出其他文字。",
        comma="、",
        gap="",
    ),
}


def write_prompt(
    query: Fill, frame: Frame | None = None, prompts: PromptSet = "qwen2.5", *, strict: bool = False
) -> str:
    """Return the prompt that asks the model for `query`; it belongs after the view.

    `frame` and `prompts` change nothing: no place is asked for, and all families share the
    wording. A `strict` prompt also demands the bare object.
    """
    words = WORDINGS[_language(query)]
    form = json.dumps(
        {field.name: [] if field.multiple else "" for field in query.fields}, ensure_ascii=False
    )
    clauses = [clause for field in query.fields for clause in _clauses(field, words)]
    last = (words.only,) if strict else ()
    return words.gap.join((words.form.format(form=form), *clauses, words.null, *last))


def _language(query: Fill) -> str:
    parts = [part for f in query.fields for part in (f.prompt, *f.choices)]
    return language_of(" ".join(parts), query.style.language)


def _clauses(field: Field, words: Wording) -> Iterator[str]:
    name = _json(field.name)
    if field.prompt:
        yield words.prompt.format(name=name, prompt=field.prompt)
    choices = words.comma.join(map(_json, field.choices))
    yield (words.several if field.multiple else words.one).format(name=name, choices=choices)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def read_answer(query: Fill, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the values in `text`, a finding for each, labelled with its field's name.

    Values stay as written. A single field may also be answered with the bare value. A value that
    the end of an incomplete text may have cut is left out.
    """
    content, cut = extract_answer(text)
    lexemes = tokenize(content, KNOWN)
    groups = [item for item in lexemes.items if isinstance(item, Group)]
    prose = "".join(content[t.start : t.end] for t in lexemes.items if isinstance(t, Text))
    cut = cut or lexemes.cut or not (complete or (groups and groups[-1].closed))
    filled = {f.name: values for f in query.fields if (values := _values(f, groups)) is not None}
    found = [_finding(name, value) for name, values in filled.items() for value in values]
    if not filled and len(query.fields) == 1 and complete:
        found = list(_bare(query.fields[0], content))
    return Answer(tuple(found), _verdict(prose, filled=bool(filled), found=bool(found), cut=cut))


def _verdict(prose: str, *, filled: bool, found: bool, cut: bool) -> Verdict:
    if cut:
        return Verdict.TRUNCATED
    if found:
        return Verdict.FOUND
    if filled or says_none(prose):
        return Verdict.NOTHING
    return Verdict.REFUSED if declines(prose) else Verdict.UNREADABLE


def _values(field: Field, groups: Sequence[Group]) -> list[Scalar] | None:
    """Return what the first entry named `field` holds; None where no entry has that name."""
    waiting = deque(groups)
    while waiting:
        group = waiting.popleft()
        entries = group.entries if group.closed else group.entries[:-1]
        for key, value in entries:
            if key is not None and fold(key.text) == fold(field.name):
                return list(_scalars(value))
        waiting.extend(value for _, value in entries if isinstance(value, Group))
    return None


def _scalars(value: Value) -> Iterator[Scalar]:
    if isinstance(value, Group):
        for _, entry in value.entries if value.closed else value.entries[:-1]:
            yield from () if isinstance(entry, Group) else _scalars(entry)
    elif value.text.strip() and not (
        _is_bare(value) and value.text.lower() in CONSTANTS - BOOLEANS
    ):
        yield value


BOOLEANS = {"true", "false"}
"""Constants that are values of their own: a choice may be called so."""


def _is_bare(value: Scalar) -> bool:
    return isinstance(value, Word)


def _bare(field: Field, content: str) -> Iterator[Finding]:
    """Yield the choice that is all of `content`, but for quotes and punctuation around it."""
    words = content.strip(" \t\r\n\"'`*.。“”")
    for choice in field.choices:
        if words and words.casefold() == choice.casefold():
            start = content.find(words)
            yield Finding(label=field.name, value=words, span=(start, start + len(words)))
            return


def _finding(name: str, value: Scalar) -> Finding:
    return Finding(label=name, value=value.text.strip(), span=(value.start, value.end))


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer`, each value with the product of the probabilities of its tokens."""
    scored = tuple(replace(one, score=_score(one.span, tokens)) for one in answer.findings)
    return replace(answer, findings=scored)


def _score(span: tuple[int, int], tokens: Sequence[Token]) -> float | None:
    start, end = span
    logs = [token.logprob for token in tokens if token.start < end and start < token.end]
    return math.exp(min(0.0, sum(logs))) if logs else None
