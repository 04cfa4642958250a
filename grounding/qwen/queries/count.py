"""`Count`: the prompt that asks to point to each thing and then for their number.

Asked for a number straight away, these models guess; asked to find each one first, they count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Frame
from grounding.notation.numbers import BOUND, parse_number
from grounding.queries import Count, Finding, Shape
from grounding.qwen.answers import Answer, Note, Verdict, read
from grounding.qwen.prompts import PromptSet, language_of
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.fields import Role, classify_key
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import extract_answer, open_boxed
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
    r"(?<!ty[ -])(?<!and )\bone\b(?=\s+(?:of|is|was|has|on|in|at|to|row|column|may|might|could|"
    r"looks|seems|appears)\b|\s*[.,;]|\s*$)|其中一|每一|一[张幅](?=[图照画])|(?<!\w)一(?=共)|另一",
    re.IGNORECASE,
)
"""A word that is a number in "one cat", and stands for a thing in "one is black"."""
_NO_ONE = re.compile(r"\b(?:no|each|every|any|another) one\b", re.IGNORECASE)
_SINGLE = re.compile(r"\b(?:an?|only|just) (?:single|lone|solitary)\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_PART = re.compile(
    r"[(（](?!\s*(?:or|maybe|possibly|perhaps|to|或|可能|[-–~]))[^)）]*[)）]?|"
    r"[,，]?\s?(?:\b(?:\d+|[a-z]+)\s+of\s+(?:which|whom|them|these|those)\b|"
    r"\bincluding\b|其中|包括).*",
    re.IGNORECASE | re.DOTALL,
)
"""What says something of a part of what was counted: brackets, else all that follows."""
_HAN_COUNT = re.compile(
    r"(?<![零一二三四五六七八九两〇十百千万第几数])[零一二三四五六七八九两〇十百千万]++"
    r"(?=[个只条张件座棵朵位名匹台把辆头颗枚根支瓶盒人排行列层组堆袋箱种])"
)
"""A number and what counts with it: no third one (第三个), and no tens of them (几十个)."""
_HAN_JOINT = re.compile(r"(?<=[一-鿿：])(?=\d)|(?<=\d)(?=[一-鿿])")
_WORD = r"(?:\d[\d,]*|(?<![a-z])[a-z]+(?:-[a-z]+)?)"
_TOTAL = re.compile(
    r"(?:\btotal(?:s|ing|ling)?(?: number)?(?: of| is| to| are|:| =)*|\bmak(?:es|ing)|"
    r"\badds? up to|\bequals?|\baltogether,?|[=＝]|总共有?|一共有?|合计有?|总计有?|总数[是为]?)"
    rf"\s*[*_]*(?P<ahead>{_WORD})"
    rf"|(?<![\w.,])(?P<behind>{_WORD})(?: [a-z]+){{0,2}}? (?:in total|in all|altogether)\b",
    re.IGNORECASE,
)
"""The sum of several numbers, in words that say so."""
_EACH_BEFORE = re.compile(
    r"\b(?:each|every)(?:\s+[a-z]+)?\s*\Z|[每各][^\d,，]{0,4}\Z", re.IGNORECASE
)
_EACH_BEHIND = re.compile(
    r"[*_]*(?:\s+[a-z]+)?\s+(?:(?:in|on|at|for)\s+)?(?:per|each|every)\b", re.IGNORECASE
)
"""What makes a sum one of several: 3 rows, each totaling 4; a total of 4 per row."""
UNSAID = {Role.OTHER, Role.LABEL, Role.WRAPPER, Role.TEXT}
"""What a key may be in {"eggs": 3}."""

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
    number = stated if _are_pairs(placed, text, stated) else len(placed.findings) or stated
    if number is None:
        content = extract_answer(text).text
        return Answer((), Verdict.REFUSED if declines(content) else Verdict.UNREADABLE, notes)
    if stated not in (None, number):
        notes = (*notes, Note.MISCOUNTED)
    spans = [finding.span for finding in placed.findings] or [(0, len(text))]
    found = Finding(value=str(number), span=(spans[0][0], spans[-1][1]))
    return Answer((found,), Verdict.FOUND, notes)


def _are_pairs(placed: Answer, text: str, stated: int | None) -> bool:
    """Say whether pairs in a row, which elsewhere are the corners of boxes, are so many points."""
    boxed = all(f.shape is Shape.BOX and f.label is None for f in placed.findings)
    return boxed and len(_PAIR.findall(text)) == stated == 2 * len(placed.findings)


_PAIR = re.compile(r"[(（]\s*\d+(?:\.\d+)?\s*[,，]\s*\d+(?:\.\d+)?\s*[)）]")


def state_number(text: str) -> int | None:
    """Return the number that an answer states outside its places; 0 where it says "none"."""
    content = open_boxed(extract_answer(text).text)
    items = tokenize(content, KNOWN).items
    prose = " ".join(content[t.start : t.end].strip() for t in items if isinstance(t, Text))
    groups = [item for item in items if isinstance(item, Group)]
    told = _skip_parts(prose)
    numbers = [one for one in (*_keyed(groups), *_said(told)) if one is not None]
    none = says_none(prose) and not BOUND.search(prose)
    if not numbers and (none or (not prose and content.strip() in ("[]", "{}"))):
        return 0
    number = numbers[-1] if numbers else None
    whole = number is not None and number.is_integer() and 0 <= number <= MANY
    return int(number) if number is not None and whole else None


_NAMED = re.compile(r"(?P<name>[^\W\d][^\d:：=\n,，;；.]{0,40}?)[*_]*\s*[:：=]\s*[*_]*\d+")
_SUM = re.compile(
    r"total|count|number|answer|sum|overall|altogether|result|final|how many|合计|总|共|数|答案",
    re.IGNORECASE,
)


_LINE = re.compile(r"[^\n.!?。！？]*")


def _skip_parts(prose: str) -> str:
    """Return what stands behind the numbers of parts, as in "Left: 2, right: 3"; all else whole."""
    named = list(_NAMED.finditer(prose))
    if len({one["name"].casefold() for one in named}) < 2 or _SUM.search(named[-1]["name"]):
        return prose
    rest = prose[named[-1].end() :]
    line = _LINE.match(rest)
    return rest[line.end() :] if line and not _SUM.search(line[0]) else rest


def _said(prose: str) -> list[float | None]:
    """Return the number in each sentence; a range, or several numbers in one, are none.

    What is said in digits counts before words, words that differ are none, and "one" is the number
    only where no other is said.
    """
    sentences = [_clear(sentence) for sentence in _SENTENCE.split(prose)]
    told = [sentence for sentence in sentences if _DIGIT.search(sentence)]
    others = [_parse(_ONE.sub(" ", sentence)) for sentence in told or sentences]
    found = others if any(one is not None for one in others) else list(map(_parse, sentences))
    return found if told or len({*found} - {None}) <= 1 else []


def _clear(sentence: str) -> str:
    """Return a sentence without words that only look like a number, or are about a part."""
    sentence = _SINGLE.sub("one", _NO_ONE.sub(" ", sentence))
    part = _PART.search(sentence)
    if part is None or _parse(sentence[: part.start()]) is None:
        return sentence
    return f"{sentence[: part.start()]} {sentence[part.end() :]}"


def _parse(sentence: str) -> float | None:
    """Return the number of a sentence: its only one, or the sum of several that ends it."""
    if BOUND.search(sentence):
        return None
    sentence = _write_digits(sentence)
    number = parse_number(sentence)
    sums = [*_TOTAL.finditer(sentence)] if number is None else []
    if not sums or _DIGIT.search(sentence, sums[-1].end()):
        return number
    start, end = sums[-1].span()
    if _EACH_BEFORE.search(sentence, 0, start) or _EACH_BEHIND.match(sentence, end):
        return None
    return parse_number(sums[-1]["ahead"] or sums[-1]["behind"])


def _write_digits(sentence: str) -> str:
    """Return a sentence with the Chinese numbers that count something in digits, all apart."""
    return _HAN_JOINT.sub(" ", _HAN_COUNT.sub(_to_digits, sentence))


def _to_digits(found: re.Match[str]) -> str:
    number = parse_number(found[0])
    return found[0] if number is None else f" {number:g} "


def _keyed(groups: Sequence[Group]) -> Iterator[float | None]:
    """Yield the numbers in {"count": 3}, and the one of an object that has nothing else."""
    if len(groups) == 1 and len(groups[0].entries) == 1:
        (key, value), *_ = groups[0].entries
        if key and not isinstance(value, Group) and classify_key(key.text).role in UNSAID:
            yield parse_number(value.text)
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
