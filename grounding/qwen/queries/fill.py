"""`Fill`: the prompt that asks for values of named fields, and how its answers are read and scored.

The prompt shows the object to fill in, lists what each field may hold and allows null, because
without that these models write a value for what the picture does not show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Frame
from grounding.queries import Field, Fill, Finding, ValueKind, ValueType
from grounding.qwen.answers import Answer, Verdict
from grounding.qwen.choices import read_bare
from grounding.qwen.forms import Filled, read_groups, read_lines
from grounding.qwen.prompts import PromptSet, language_of
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import (
    SECOND_THOUGHT,
    blank_before,
    drop_revised,
    extract_answer,
    open_boxed,
)
from grounding.qwen.reading.tokenizer import Text, tokenize
from grounding.qwen.reading.values import Group
from grounding.qwen.scores import Token


@dataclass(frozen=True, slots=True)
class Wording:
    """All wordings in one language: the request, a field's clauses, and the clauses at the end."""

    form: str
    one: str
    several: str
    prompt: str
    number: str
    whole: str
    between: str
    least: str
    most: str
    date: str
    null: str
    null_typed: str
    only: str
    comma: str
    gap: str
    stop: str


WORDINGS = {
    "en": Wording(
        form="Look at this image and answer with one JSON object: {form}.",
        one="{name} is one of {choices}.",
        several="{name} is a list of any of {choices}.",
        prompt="{name}: {prompt}",
        number="{name} is a number{bounds}, in digits and without a unit.",
        whole="{name} is a whole number{bounds}.",
        between=" from {low} to {high}",
        least=" of at least {low}",
        most=" of at most {high}",
        date="{name} is written as {form}.",
        null="Write the values exactly as given, and null where the image does not show it.",
        null_typed="Write printed text exactly as it stands, choices exactly as given, "
        "and null for what the image does not show.",
        only="Output the JSON object only, without any other word.",
        comma=", ",
        gap=" ",
        stop=".",
    ),
    "zh": Wording(
        form="观察这张图片，用一个JSON对象回答：{form}。",
        one="{name}是以下之一：{choices}。",
        several="{name}是以下任意几项的列表：{choices}。",
        prompt="{name}：{prompt}",
        number="{name}是一个{bounds}数字，不带单位。",
        whole="{name}是一个{bounds}整数。",
        between="从{low}到{high}的",
        least="不小于{low}的",
        most="不大于{high}的",
        date="{name}的格式为{form}。",
        null="取值与引号中的文字完全一致；图中看不出的填null。",
        null_typed="印刷文字照原样填写，选项与引号中的文字完全一致；图中看不出的填null。",
        only="只输出JSON对象，不要输出其他文字。",
        comma="、",
        gap="",
        stop="。",
    ),
}


FILMS = {
    "en": replace(
        WORDINGS["en"],
        form="These are frames of a video, each after its time. Answer about the whole video with "
        "one JSON object: {form}.",
        null="Write the values exactly as given, and null where the video does not show it.",
        null_typed="Write printed text exactly as it stands, choices exactly as given, "
        "and null for what the video does not show.",
    ),
    "zh": replace(
        WORDINGS["zh"],
        form="以下是一段视频的各帧，每帧之前是其时间。观察整段视频，用一个JSON对象回答：{form}。",
        null="取值与引号中的文字完全一致；视频中看不出的填null。",
        null_typed="印刷文字照原样填写，选项与引号中的文字完全一致；视频中看不出的填null。",
    ),
}
"""The same about a film."""


def write_prompt(
    query: Fill, frame: Frame | None = None, prompts: PromptSet = "qwen2.5", *, strict: bool = False
) -> str:
    """Return the prompt that asks the model for `query`; it belongs after the view.

    `frame` and `prompts` change nothing: no place is asked for, and all families share the
    wording. A `strict` prompt also demands the bare object.
    """
    words = (FILMS if query.film else WORDINGS)[_language(query)]
    form = json.dumps(
        {field.name: [] if field.multiple else "" for field in query.fields}, ensure_ascii=False
    )
    clauses = [clause for field in query.fields for clause in _clauses(field, words)]
    null = words.null if all(map(_is_chosen, query.fields)) else words.null_typed
    last = (words.only,) if strict else ()
    return words.gap.join((words.form.format(form=form), *clauses, null, *last))


def sketch_answer(query: Fill, prompts: PromptSet = "qwen2.5") -> str:
    """Return an object with the first choice of each field; `prompts` changes nothing."""
    values = {f.name: next(iter(f.choices), "") for f in query.fields}
    return f"```json\n{json.dumps(values, ensure_ascii=False, indent=2)}\n```"


def _language(query: Fill) -> str:
    parts = [part for f in query.fields for part in (f.prompt, *f.choices)]
    words = " ".join(parts).strip() or " ".join(field.name for field in query.fields)
    return language_of(words, query.style.language)


def _clauses(field: Field, words: Wording) -> Iterator[str]:
    name, kind = _json(field.name), field.type
    if field.prompt:
        # Without a stop, the words would run into the next field's; those of choices stay as they
        # were, because answers change with the prompt.
        ends = _is_chosen(field) or field.prompt[-1] in ".?!:。？！："
        yield words.prompt.format(name=name, prompt=field.prompt + ("" if ends else words.stop))
    if _is_chosen(field):
        choices = words.comma.join(map(_json, field.choices))
        yield (words.several if field.multiple else words.one).format(name=name, choices=choices)
    elif kind.kind is ValueKind.NUMBER:
        number = words.whole if kind.whole else words.number
        yield number.format(name=name, bounds=_bounds(kind, words))
    elif kind.kind is ValueKind.DATE:
        yield words.date.format(name=name, form=kind.form)


def _bounds(kind: ValueType, words: Wording) -> str:
    low, high = (None if one is None else f"{one:.15g}" for one in (kind.low, kind.high))
    if low is not None and high is not None:
        return words.between.format(low=low, high=high)
    if low is not None:
        return words.least.format(low=low)
    return "" if high is None else words.most.format(high=high)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def read_answer(query: Fill, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the values in `text`, a finding for each, labelled with its field's name.

    Values stay as written, but numbers and dates get one spelling. A single field may also be
    answered with the bare value. A value that the end of an incomplete text may have cut is left
    out. What a corrected answer does not name again holds as before.
    """
    content, cut = extract_answer(text)
    if all(field.type.kind is not ValueKind.TEXT for field in query.fields):
        content = open_boxed(content)
    lexemes = tokenize(content, KNOWN)
    whole, said = content, lexemes.items
    lexemes.items = drop_revised(content, said, SECOND_THOUGHT)
    content = blank_before(content, lexemes.items)
    replaced = said[: len(said) - len(lexemes.items)]
    groups = [item for item in lexemes.items if isinstance(item, Group)]
    prose = "".join(content[t.start : t.end] for t in lexemes.items if isinstance(t, Text))
    cut = cut or lexemes.cut or not (complete or (groups and groups[-1].closed))
    filled = read_groups(query.fields, groups, content)
    if filled and replaced:
        before = [item for item in replaced if isinstance(item, Group)]
        filled = {**read_groups(query.fields, before, whole), **filled}
    filled = filled or read_lines(query.fields, _outside(content, groups), complete=complete)
    found = [_finding(f.name, value) for f in query.fields for value in filled.get(f.name, ())]
    alone = len(query.fields) == 1 and not filled and complete and not cut
    if alone and not (groups and groups[0].keyed and not _is_chosen(query.fields[0])):
        found = [
            _finding(f.name, x) for f in query.fields for x in _bare(f, groups, content, prose)
        ]
    return Answer(tuple(found), _verdict(prose, filled=bool(filled), found=bool(found), cut=cut))


def _outside(content: str, groups: Sequence[Group]) -> str:
    """Return the answer with blanks for its objects; offsets stay."""
    parts, done = [], 0
    for group in groups:
        if group.keyed:
            parts += [content[done : group.start], " " * (group.end - group.start)]
            done = group.end
    return "".join((*parts, content[done:]))


def _is_chosen(field: Field) -> bool:
    return field.type.kind in (ValueKind.CHOICE, ValueKind.PATH)


def _bare(field: Field, groups: Sequence[Group], content: str, prose: str) -> Sequence[Filled]:
    """Return the values of an answer without any name, unless it says that there is none."""
    named = read_bare(field, groups, content)
    if _is_chosen(field):
        return named
    printed = prose.strip().isupper()  # NO PARKING is what a sign says, and no answer about it
    return () if not printed and (says_none(prose) or declines(prose)) else named


def _verdict(prose: str, *, filled: bool, found: bool, cut: bool) -> Verdict:
    if cut:
        return Verdict.TRUNCATED
    if found:
        return Verdict.FOUND
    if filled or says_none(prose):
        return Verdict.NOTHING
    return Verdict.REFUSED if declines(prose) else Verdict.UNREADABLE


def _finding(name: str, value: Filled) -> Finding:
    return Finding(label=name, value=value.text, span=value.span)


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer`, each value with the product of the probabilities of its tokens."""
    scored = tuple(replace(one, score=_score(one.span, tokens)) for one in answer.findings)
    return replace(answer, findings=scored)


def _score(span: tuple[int, int], tokens: Sequence[Token]) -> float | None:
    start, end = span
    logs = [token.logprob for token in tokens if token.start < end and start < token.end]
    return math.exp(min(0.0, sum(logs))) if logs else None
