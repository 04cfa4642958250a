"""`Count`: the prompt that asks to point to each thing and then for their number.

Asked for a number straight away, these models guess; asked to find each one first, they count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Frame
from grounding.notation.numbers import parse_number
from grounding.queries import Count, Finding
from grounding.qwen.answers import Answer, Note, Verdict, read
from grounding.qwen.prompts import PromptSet, language_of
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.fields import Role, classify_key
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import extract_answer
from grounding.qwen.reading.tokenizer import Text, tokenize
from grounding.qwen.reading.values import Group
from grounding.qwen.scores import Token, score_findings


@dataclass(frozen=True, slots=True)
class Wording:
    """All wordings in one language: the request, and the clause of the second try."""

    point: str
    only: str


WORDINGS = {
    "en": Wording(
        "Point to {what} in this image and output the point_2d coordinates in JSON format, "
        "and then answer how many there are. If there is none, output [] and 0.",
        " Do not leave any out, and end with the number in digits.",
    ),
    "zh": Wording(
        "以点的形式定位图中{what}，以JSON格式输出其point_2d坐标，然后回答数目是多少。"
        "如果没有，输出[]和0。",
        "不要遗漏，最后用数字写出数目。",
    ),
}

_SENTENCE = re.compile(r"[.!?:;](?:\s|$)|[。！？：；\n]")

_ONE = re.compile(
    r"(?<!ty[ -])(?<!and )\bone\b(?=\s+(?:of|is|was|has|on|in|at|to|row|column)\b|\s*[.,;]|\s*$)"
    r"|其中一|每一",
    re.IGNORECASE,
)
"""A word that is a number in "one cat", and stands for a thing in "one is black"."""
_NO_ONE = re.compile(r"\b(?:no|each|every|any|another) one\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")

MANY = 10_000
"""More than a picture holds."""


def write_prompt(query: Count, frame: Frame | None, prompts: PromptSet, *, strict: bool) -> str:
    """Return the prompt that asks the model for `query`; it belongs after the view."""
    words = WORDINGS[language_of(query.phrase, query.style.language)]
    return words.point.format(what=query.phrase) + (words.only if strict else "")


def sketch_answer(query: Count, prompts: PromptSet = "qwen2.5") -> str:
    """Return an answer with two made-up points and their number."""
    points = "".join(
        f'\t{{"point_2d": [{n}00, {n}50], "label": "{query.phrase}"}},\n' for n in (1, 2)
    )
    return f"```json\n[\n{points.rstrip()[:-1]}\n]\n```\n\nThere are 2."


def read_answer(query: Count, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the number of places in `text`, or the number that it states where it has none.

    A stated number that differs from that of the places is a note: people check the places. A list
    that is cut has no number.
    """
    placed = read(text, frame, complete)
    stated = state_number(text)
    notes = tuple(note for note in placed.warnings if note is not Note.DROPPED_INVALID)
    if placed.verdict is Verdict.TRUNCATED:
        return Answer((), Verdict.TRUNCATED, notes)
    number = len(placed.findings) or stated
    if number is None:
        content = extract_answer(text).text
        return Answer((), Verdict.REFUSED if declines(content) else Verdict.UNREADABLE, notes)
    if stated not in (None, number):
        notes = (*notes, Note.MISCOUNTED)
    spans = [finding.span for finding in placed.findings] or [(0, len(text))]
    found = Finding(value=str(number), span=(spans[0][0], spans[-1][1]))
    return Answer((found,), Verdict.FOUND, notes)


def state_number(text: str) -> int | None:
    """Return the number that an answer states outside its places; 0 where it says "none"."""
    content, _ = extract_answer(text)
    items = tokenize(content, KNOWN).items
    prose = " ".join(content[t.start : t.end].strip() for t in items if isinstance(t, Text))
    groups = [item for item in items if isinstance(item, Group)]
    numbers = [one for one in (*_keyed(groups), *_said(prose)) if one is not None]
    if not numbers and (says_none(prose) or (not prose and content.strip() in ("[]", "{}"))):
        return 0
    number = numbers[-1] if numbers else None
    whole = number is not None and number.is_integer() and 0 <= number <= MANY
    return int(number) if number is not None and whole else None


def _said(prose: str) -> list[float | None]:
    """Return the number in each sentence; a range, or several numbers in one, are none.

    What is said in digits counts before words, words that differ are none, and "one" is the number
    only where no other is said.
    """
    sentences = [_NO_ONE.sub(" ", sentence) for sentence in _SENTENCE.split(prose)]
    told = [sentence for sentence in sentences if _DIGIT.search(sentence)]
    others = [parse_number(_ONE.sub(" ", sentence)) for sentence in told or sentences]
    found = others if any(one is not None for one in others) else list(map(parse_number, sentences))
    return found if told or len({*found} - {None}) <= 1 else []


def _keyed(groups: Sequence[Group]) -> Iterator[float | None]:
    """Yield the numbers in {"count": 3}."""
    for group in groups:
        for key, value in group.entries:
            if (
                key
                and not isinstance(value, Group)
                and classify_key(key.text).role is Role.PRESENCE
            ):
                yield parse_number(value.text)


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer` with the scores that the probabilities of its tokens give."""
    return replace(answer, findings=score_findings(answer.findings, text, tokens))
