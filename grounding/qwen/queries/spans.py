"""`FindSpans`: the prompt that asks when something happens, and how spans of time are read.

The frames of a film are shown one by one, each after its time in seconds (`write_time`), and the
answer is asked for in seconds too. Models also write times as they were trained to: as clocks, in
sentences, as keys of an object. Where that many notations are read, the words of a text decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Frame
from grounding.notation.times import parse_seconds
from grounding.queries import Finding, FindSpans, Span
from grounding.qwen.answers import Answer, Note, Verdict
from grounding.qwen.prompts import PromptSet, language_of, quote
from grounding.qwen.ranges import Event, read_lines, read_range, two
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.fields import fold
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import blank_before, drop_revised, extract_answer
from grounding.qwen.reading.tokenizer import Text, tokenize
from grounding.qwen.reading.values import Group, Key, Value
from grounding.qwen.scores import Token, score_findings


@dataclass(frozen=True, slots=True)
class Wording:
    """All wordings in one language: requests, the keys of an answer, and the clauses at the end."""

    one: str
    several: str
    output: str
    label: str
    described: str
    meaning: str
    none: str
    only: str
    comma: str
    gap: str


WORDINGS = {
    "en": Wording(
        one="These are frames of a video, each after its time. Give the query: {what}, when does "
        "the described content occur in the video?",
        several="These are frames of a video, each after its time. When does each of the "
        "following occur in the video: {what}?",
        output="Output every time span with start_time and end_time in seconds{keys} in JSON "
        "format.",
        label=", and its label exactly as given",
        described=", and a description of what happens",
        meaning="{names} means: {text}.",
        none="If it does not occur, output [].",
        only="Output the JSON list only, without any other word.",
        comma=", ",
        gap=" ",
    ),
    "zh": Wording(
        one="以下是一段视频的各帧，每帧之前是其时间。视频中{what}发生在什么时间？",
        several="以下是一段视频的各帧，每帧之前是其时间。视频中以下各项分别发生在什么时间：{what}？",
        output="以JSON格式输出每一个时间段的start_time和end_time，以秒为单位{keys}。",
        label="，以及与引号中文字完全一致的label",
        described="，以及描述所发生内容的description",
        meaning="{names}的含义：{text}。",
        none="如果没有发生，输出[]。",
        only="只输出JSON列表，不要输出其他文字。",
        comma="、",
        gap="",
    ),
}


def write_time(seconds: float) -> str:
    """Return the words before a frame that say its time."""
    text = f"{seconds:.2f}"
    return f"<{text.removesuffix('0')} seconds>"


def write_prompt(
    query: FindSpans, frame: Frame | None, prompts: PromptSet = "qwen2.5", *, strict: bool
) -> str:
    """Return the prompt that asks the model for `query`; it belongs after the frames.

    `frame` and `prompts` change nothing. A `strict` prompt also demands the bare answer.
    """
    words = WORDINGS[language_of(query.phrase or " ".join(query.classes), query.style.language)]
    if query.style.raw and query.phrase:
        return query.phrase
    names = quote(query.classes, words.comma)
    if query.phrase:
        ask = words.one.format(what=quote((query.phrase,), words.comma))
    else:
        ask = (words.several if len(query.classes) > 1 else words.one).format(what=names)
    meanings = [
        words.meaning.format(names=quote(one.names, words.comma), text=one.text.rstrip(" .。"))
        for one in query.meanings
    ]
    keys = words.label if len(query.classes) > 1 else ""
    keys += words.described if query.described else ""
    last = (words.only,) if strict else ()
    return words.gap.join((ask, *meanings, words.output.format(keys=keys), words.none, *last))


def sketch_answer(query: FindSpans, prompts: PromptSet = "qwen2.5") -> str:
    """Return an answer with two made-up spans."""
    label = f', "label": "{query.classes[0]}"' if len(query.classes) > 1 else ""
    text = ', "description": "what happens"' if query.described else ""
    rows = ('{"start_time": 1.0, "end_time": 2.5', '{"start_time": 4.0, "end_time": 6.5')
    return "```json\n[\n" + ",\n".join(f"\t{row}{label}{text}}}" for row in rows) + "\n]\n```"


# How answers are read

ABSENT = {"", "-1", "-1.0"}
"""What is written for the time of what does not happen, beside words."""

MAX_SPANS = 1000
"""Most spans of one answer; only a model in a loop writes more."""

_UNIT = r"(?:ning|ing)?(?:time|timestamp|s|sec|seconds)?(?:时间)?"
START = re.compile(rf"(?:start|begin|from|onset|开始|起始){_UNIT}")
END = re.compile(rf"(?:end|finish|stop|to|until|offset|结束|终止){_UNIT}")
BOTH = re.compile(
    r"(?:time|times|timestamps?|time(?:range|span|interval)s?|range|span|interval|segment|window|"
    r"period|时间|时间段|区间)"
)
LABEL = re.compile(r"labels?|class|category|name|标签|类别")
TEXT = re.compile(
    r"desc(?:ription)?|events?|caption|query|texts?|activity|action|sentence|content|描述|事件|内容"
)

_NEVER = re.compile(
    r"\b(?:not|n't|never|no)\b[^.]{0,40}\b(?:occur|happen|takes? place|appear|seen|shown)"
    r"|(?:没有|未|并未|不)(?:发生|出现|看到)",
    re.IGNORECASE,
)


def read_answer(query: FindSpans, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the spans of time in `text`, in seconds, clipped to what the query is about.

    Times in the wrong order are swapped; a span beyond the end is left out, as is one whose times
    cannot be read.
    """
    content, cut = extract_answer(text)
    lexemes = tokenize(content, KNOWN)
    lexemes.items = drop_revised(content, lexemes.items)
    content = blank_before(content, lexemes.items)
    groups = [item for item in lexemes.items if isinstance(item, Group)]
    prose = "\n".join(content[t.start : t.end] for t in lexemes.items if isinstance(t, Text))
    cut = cut or lexemes.cut or not (complete or (groups and groups[-1].closed))
    events = [event for group in groups for event in _walk(group, None, None)]
    if "{" not in content and '"' not in content:  # brackets stand around times in prose, too
        lines = list(read_lines(content, complete=complete))
        events = lines if len(lines) > len(events) else events
    found = _settle(events[:MAX_SPANS], query.within)
    notes = (Note.TRUNCATED,) if cut else ()
    return Answer(tuple(found), _verdict(groups, prose, found=bool(events), cut=cut), notes)


def _verdict(groups: Sequence[Group], prose: str, *, found: bool, cut: bool) -> Verdict:
    if cut:
        return Verdict.TRUNCATED
    if found:
        return Verdict.FOUND
    if (groups and all(map(_is_empty, groups))) or says_none(prose) or _NEVER.search(prose):
        return Verdict.NOTHING
    return Verdict.REFUSED if declines(prose) else Verdict.UNREADABLE


def _is_empty(value: Value) -> bool:
    """Say whether a value has no time: nothing, null, minus one, or only such values."""
    if isinstance(value, Group):
        timed = [v for key, v in value.entries if key is None or not _names_words(key)]
        if value.numbers:
            return value.closed and all(number == -1 for number in value.numbers)
        return value.closed and all(map(_is_empty, timed))
    return says_none(value.text) or value.text.strip() in ABSENT


def _names_words(key: Key) -> bool:
    name = fold(key.text)
    return bool(LABEL.fullmatch(name) or TEXT.fullmatch(name))


def _settle(events: Sequence[Event], within: Span) -> list[Finding]:
    """Return the events as findings: in order of their times, inside the film, each once."""
    first, last = within
    found: dict[tuple[object, ...], Finding] = {}
    for event in events:
        start, end = sorted((event.start, event.end))
        if start >= last or end < first:
            continue
        time = max(first, start), min(last, end)
        one = Finding(label=event.label, text=event.text, time=time, span=event.span)
        found.setdefault((time, event.label, event.text), one)
    return list(found.values())


def _walk(group: Group, label: str | None, text: str | None) -> Iterator[Event]:
    """Yield the events in a group, with the words that stand above them."""
    words = [(key, value) for key, value in group.entries if key and not isinstance(value, Group)]
    label = _find(words, LABEL) or label
    text = _find(words, TEXT) or text
    event = _record(group, label, text) or _pair(group, label, text)
    if event:
        if group.closed:
            yield event
        return
    for at, (key, value) in enumerate(group.entries, start=1):
        if not (group.closed or isinstance(value, Group)) and at == len(group.entries):
            break  # the end of the text may have cut it
        if key and (times := read_range(key.text)):
            if not isinstance(value, Group):
                yield Event(*times, label, value.text or None, (key.start, value.end))
        elif isinstance(value, Group):
            named = key is not None and not _is_wrapper(key)
            yield from _walk(value, key.text if named and key else label, text)
        elif key is None:
            yield from read_lines(value.text, label=label, at=value.start)
        elif not _names_words(key) and (times := read_range(value.text)):
            name = label if _is_wrapper(key) else key.text
            yield Event(*times, name, text, (key.start, value.end))


_WRAPPERS = re.compile(
    r"(?:relevant|all|detected|found)?(?:events?|windows?|spans?|segments?|results?|answers?|"
    r"timestamps?|times?|intervals?|moments?|clips?|data|items?|list|query|video|timespans?|"
    r"timeranges?|periods?|结果|事件)\d*|\d+"
)


def _is_wrapper(key: Key) -> bool:
    return bool(_WRAPPERS.fullmatch(fold(key.text)))


def _find(words: Sequence[tuple[Key, Key]], names: re.Pattern[str]) -> str | None:
    for key, value in words:
        if names.fullmatch(fold(key.text)):
            return value.text.strip() or None
    return None


def _record(group: Group, label: str | None, text: str | None) -> Event | None:
    """Return the event of a group with keys for its start and its end, or for both."""
    times: dict[str, float] = {}
    for key, value in group.entries:
        if key is None:
            continue
        name = fold(key.text)
        if BOTH.fullmatch(name):
            both = _read_both(value)
            times |= dict(zip(("start", "end"), both, strict=True)) if both else {}
        for kind, pattern in (("start", START), ("end", END)):
            if pattern.fullmatch(name) and not isinstance(value, Group):
                seconds = parse_seconds(value.text)
                times |= {} if seconds is None else {kind: seconds}
    if times.keys() != {"start", "end"}:
        return None
    return Event(times["start"], times["end"], label, text, (group.start, group.end))


def _read_both(value: Value) -> Span | None:
    if not isinstance(value, Group):
        return read_range(value.text)
    pair = _pair(value, None, None)
    return (pair.start, pair.end) if pair else None


def _pair(group: Group, label: str | None, text: str | None) -> Event | None:
    """Return the event of a group that consists of two times."""
    if any(key for key, _ in group.entries):
        return None
    written = [value.text for _, value in group.entries if not isinstance(value, Group)]
    times: list[float | None] = [*group.numbers] or [parse_seconds(one) for one in written]
    return Event(*pair, label, text, (group.start, group.end)) if (pair := two(times)) else None


# Scores

_NUMBER = re.compile(r"\d[\d:.]*")


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer` with scores: that a span is there and so called, and how sure its times are.

    The latter is the geometric mean over the tokens of the times: times near by are right, too.
    """
    scored = score_findings(answer.findings, text, tokens)
    sure = (
        one if one.score is None else replace(one, score=one.score * _certainty(one, text, tokens))
        for one in scored
    )
    return replace(answer, findings=tuple(sure))


def _certainty(finding: Finding, text: str, tokens: Sequence[Token]) -> float:
    times = [m.span() for m in _NUMBER.finditer(text, *finding.span)][:2]
    logs = [
        token.logprob
        for token in tokens
        if any(token.start < end and start < token.end for start, end in times)
    ]
    return math.exp(min(0.0, sum(logs) / len(logs))) if logs else 1.0
