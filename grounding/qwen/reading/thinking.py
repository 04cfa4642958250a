"""Finds the answer in a text: removes thinking, and keeps only the content of <answer>.

`extract_answer` follows the tags. `drop_drafts` recognises thinking without tags by its words: a
place that the model still doubts is a draft and no answer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from grounding.qwen.reading.elements import Use, classify_tag
from grounding.qwen.reading.tokenizer import ENDINGS, Corners, Fence, Lexeme, Tag, Text
from grounding.qwen.reading.values import Group

MAX_TEXT = 1 << 17
"""Characters of an answer that are read; about 32,000 tokens of boxes."""

_WRAPPER = re.compile(
    r"(?:<\|?|◁|\[(?=/?THINK\]))\s*+(?P<closes>/|end_of_)?\s*+(?:begin_of_|seed:)?"
    r"(?P<name>think|thinking|thought|reasoning|reflection|answer|solution)\s*+(?:\|?>|▷|\])",
    re.IGNORECASE,
)
_ESCAPED_KEY = re.compile(r'[\[{]\s*+\\"')
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Extracted(NamedTuple):
    """The answer, with blanks for the text before it (offsets stay); `cut`: a tag is unclosed."""

    text: str
    cut: bool


def extract_answer(text: str) -> Extracted:
    """Return the part of `text` that is the answer.

    Thinking without its opening tag begins at the start of the text. Thinking without its
    closing tag ends at the end of the text, and there is no answer.
    """
    text = _UNSTORABLE.sub("\ufffd", text[:MAX_TEXT])
    start, end, cut = _find_bounds(text)
    text = " " * start + text[start:end]
    return Extracted(_unescape_quotes(text), cut)


def _find_bounds(text: str) -> tuple[int, int, bool]:
    start, end = 0, len(text)
    thinking = -1
    answering = False
    for match in _WRAPPER.finditer(text):
        closes = bool(match["closes"])
        is_answer = match["name"].lower() in ("answer", "solution")
        if is_answer and not closes:
            start, end, thinking, answering = match.end(), len(text), -1, True
        elif is_answer and start <= match.start():
            end, answering = min(end, match.start()), False
        elif closes and match.end() <= end:
            start, thinking = match.end(), -1
        elif not closes and thinking < 0:
            thinking = match.start()
    if thinking >= 0 and thinking < end:
        return start, max(start, thinking), True
    return start, end, answering


def _unescape_quotes(text: str) -> str:
    """Remove one level of escaping, keeping offsets, where the answer is one JSON string."""
    if _ESCAPED_KEY.search(text) and text.count('"') - text.count('\\"') <= 2:
        return text.replace('\\"', ' "').replace("\\n", "  ")
    return text


_BOXED = re.compile(r"\\(?:boxed|text|mathrm|mathbf)\s*\{([^{}]*)\}")


def open_boxed(text: str) -> str:
    """Return `text` with what stands in \\boxed{...} without its LaTeX; offsets stay."""
    for _ in range(2 if "\\boxed" in text else 0):
        text = _BOXED.sub(lambda m: " " * (m.start(1) - m.start()) + m[1] + " ", text)
    return text


# Thinking without tags

NEAR = 40
"""Characters between two fenced blocks of one answer, such as "And the dogs:"."""

_HEADER = re.compile(
    r"[\s*#_>]*+(?:(?:here(?:'s| is) (?:a|my|the) )?(?:thinking|thought|reasoning)[ -]process"
    r"|thinking|reasoning|chain of thought"
    r"|step[- ]by[- ]step (?:thinking|reasoning|analysis)"
    r"|思考过程|思考|推理过程|分析过程)[ \t*_]*+[:：\n]",
    re.IGNORECASE,
)
# An agent's thought is followed by its action, a thinking model's by its answer.
_THOUGHT_HEADER = re.compile(r"[\s*#_>]*+thoughts?[ \t*_]*+[:：\n]", re.IGNORECASE)
_OPENER = re.compile(
    r"\W*+(?:so|okay|ok|alright|all right|well|now|first|hm+|looking|let me|let's|let us|we|i|"
    r"the user|got it|right|to (?:find|locate)|maybe|perhaps|好的|好，|首先|那么|我|让我|用户)\b",
    re.IGNORECASE,
)
_ANSWER_OPENER = re.compile(
    r"\W*+(?:here|sure|certainly|of course|below|the following|the (?:bounding box|coordinate)|"
    r"based on|以下|当然|根据|下面)",
    re.IGNORECASE,
)
# Words that a model writes only while it thinks.
_THOUGHT = re.compile(
    r"\bhm+\b|\bwait\b(?=\s*(?:[,!…—–]|\.\.\.)|\s+(?:no|maybe|let)\b)|\bon second thought\b"
    r"|\bdouble[- ]check|\bthe user(?:'s)? (?:wants?|asks?|asked|is asking|needs?|said|request|"
    r"query|question|prompt)\b|\bi (?:need|have) to (?:find|locate|identify|look|check|determine|"
    r"figure|make|provide|output|return|detect|see|give)\b|\bi'll (?:look|check|start|need)\b"
    r"|\bi should (?:\w+ )?(?:find|locate|look|check|output|return|provide|give|use)\b"
    r"|用户(?:要求|想|需要|让|希望)|(?:\A|(?<=[。，？！\n]))嗯|等等，|等一下|不对，|我需要(?:先|找|检查|确定)",
    re.IGNORECASE,
)
# Words behind a place that show more thinking about it.
_DOUBT = re.compile(
    r"\blet me\b(?! (?:know|explain|describe|help|summari[sz]e|elaborate|clarify|add|provide|give|"
    r"share|show)\b)|\blet's\b|让我(?:们)?(?:再|想|看|检查|确认|仔细)|再(?:看|检查|确认)",
    re.IGNORECASE,
)
_SUPPOSITION = re.compile(
    r"\b(?:maybe|perhaps|actually|probably)\b|\bno,|也许|可能|应该是", re.IGNORECASE
)
_FINAL = re.compile(r"\bfinal answer\b|最终答案", re.IGNORECASE)
_ANSWER_LINE = re.compile(
    r"^[ \t*#_>]*+(?:answer|output|result|答案|结果)[ \t*_]*+[:：]?+[ \t*_]*+$",
    re.IGNORECASE | re.MULTILINE,
)
_REVISION = re.compile(
    r"\b(?:corrected|revised|updated)\b(?=[*_]*(?:[ ][a-z]+){0,2}[*_ ]*[:：]|[*_ ]*(?:\n|\Z)|"
    r"(?:\s+(?:and|the|my|bounding)){0,2}\s+(?:answers?|versions?|lists?|results?|output|json|"
    r"response|coordinates|box(?:es)?|points?|values?|detections?|annotations?|it|that|them)\b)"
    r"|\bcorrection\b(?=[^.\n]{0,60}(?:[:：.\n]|\Z))|更正|修正后|纠正|更新后",
    re.IGNORECASE,
)
"""Words between two answers that say that the second one replaces the first."""
SECOND_THOUGHT = re.compile(
    rf"{_REVISION.pattern}|\b(?:wait|actually|sorry|oops|hold on)\b", re.IGNORECASE
)
"""More such words between two values of one field; between places they may announce one more."""
_QUESTION_MARK = re.compile(r"\s*(?:[?？…]|\.\.\.)")
_LIST_MARK = re.compile(r"^[ \t]*+(?:\d+[.)]|[*•-])\s", re.MULTILINE)
_ANNOUNCED = re.compile(
    r"(?:final answer|answer|action|答案|最终答案|动作)\W*(?:is|are|是|为)?\s*[:：]?\s*\Z",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[\s*#_>\"'“]*+[^\W\d_]")
_SENTENCE_ENDS = tuple(".!?。！？)]\"'”`*")


class Kept(NamedTuple):
    """The lexemes of the answer; `cut`: the text ends while the model thinks."""

    items: list[Lexeme]
    cut: bool


def drop_drafts(text: str, items: list[Lexeme], *, complete: bool) -> Kept:
    """Return the lexemes behind thinking without tags and behind an answer that was corrected.

    All of them are kept where there is neither. An answer behind thinking is fenced, or begins a
    line and ends the text. A text that is not `complete` may break off before its words show that
    it is thinking; its first words decide.
    """
    items = drop_revised(text, items)
    places = [item for item in items if _is_place(item)]
    prose = _list_prose(items)
    if not prose or prose[0] is not items[0] or not _PROSE.match(text):
        return Kept(items, cut=False)
    header = _HEADER.match(text) or (
        _THOUGHT_HEADER.match(text) if _find_all(_ANSWER_LINE, text, prose) else None
    )
    end = _find_end(text, prose, places, header)
    if end < 0 and not complete and _OPENER.match(text):
        end = 0
    if end < 0:
        return Kept(items, cut=False)
    if not places:
        return Kept(items, cut=not text.rstrip().endswith(_SENTENCE_ENDS))
    behind = [index for index, item in enumerate(items) if item.start >= end]
    first = _find_fenced(text, items, behind, header)
    if first is None and (complete or not header):
        first = _find_last(text, items, behind, header)
    return Kept([], cut=True) if first is None else Kept(items[first:], cut=False)


def drop_revised(
    text: str, items: list[Lexeme], words: re.Pattern[str] = _REVISION
) -> list[Lexeme]:
    """Return the lexemes behind the last words that announce an answer in place of the one before.

    The new answer begins a line and ends the text.
    """
    places = [item.start for item in items if _is_place(item)]
    prose = [p for p in _list_prose(items) if places and places[0] < p.start < places[-1]]
    revised = _find_all(words, text, prose)
    if not revised:
        return items
    behind = [index for index, item in enumerate(items) if item.start >= revised[-1]]
    first = _find_fenced(text, items, behind, None)
    first = _find_last(text, items, behind, None) if first is None else first
    return items if first is None else items[first:]


def blank_before(text: str, items: list[Lexeme]) -> str:
    """Return `text` with blanks before the first of the lexemes that are kept; offsets stay."""
    start = items[0].start if items else 0
    return " " * start + text[start:]


def _is_place(item: Lexeme) -> bool:
    """Return whether a lexeme may hold a place."""
    if isinstance(item, Tag):
        return not item.closing and classify_tag(item) in (Use.BOX, Use.POINTS)
    return isinstance(item, Group | Corners)


def _list_prose(items: list[Lexeme]) -> list[Text]:
    """Return the texts outside fences."""
    prose: list[Text] = []
    is_fenced = False
    for item in items:
        is_fenced ^= isinstance(item, Fence)
        if isinstance(item, Text) and not is_fenced:
            prose.append(item)
    return prose


def _find_end(
    text: str, prose: list[Text], places: list[Lexeme], header: re.Match[str] | None
) -> int:
    """Return the offset behind the last words of thinking, or -1 if there are none."""
    first = places[0].start if places else len(text)
    thoughts = _find_all(_THOUGHT, text, prose)
    doubts = [place.end for place in places if _QUESTION_MARK.match(text, place.end)]
    doubts += [end for end in _find_all(_DOUBT, text, prose) if end > first]
    guesses = [end for end in _find_all(_SUPPOSITION, text, prose) if end > first]
    is_thinking = (
        header
        or thoughts
        or (doubts and not _ANSWER_OPENER.match(text))
        or (guesses and _OPENER.match(text))
    )
    if not is_thinking:
        return -1
    steps = [header.end(), *_find_all(_LIST_MARK, text, prose)] if header else []
    steps += _find_all(_ANSWER_LINE, text, prose) if header else []
    return max(thoughts + doubts + guesses + steps + _find_all(_FINAL, text, prose))


def _find_all(pattern: re.Pattern[str], text: str, prose: list[Text]) -> list[int]:
    return [m.end() for part in prose for m in pattern.finditer(text, part.start, part.end)]


def _find_fenced(
    text: str, items: list[Lexeme], behind: list[int], header: re.Match[str] | None
) -> int | None:
    """Return the index of the fence that opens the last blocks among `behind`."""
    fences = [index for index in behind if isinstance(items[index], Fence)]
    opening = fences[::2]
    if not opening or (header and not _begins_line(text, items[opening[-1]], header)):
        return None
    first = len(opening) - 1
    while first and items[opening[first]].start - items[fences[2 * first - 1]].end <= NEAR:
        first -= 1
    return opening[first]


def _find_last(
    text: str, items: list[Lexeme], behind: list[int], header: re.Match[str] | None
) -> int | None:
    """Return the index of the first place of an answer that ends the text."""
    rest = [items[i] for i in behind if not _is_blank(text, items[i])]
    if not rest or isinstance(rest[-1], Text):
        return None
    places = (i for i in behind if _is_place(items[i]))
    return next((i for i in places if _begins_line(text, items[i], header)), None)


def _is_blank(text: str, item: Lexeme) -> bool:
    """Return whether a lexeme is white space, a full stop or the end of the turn."""
    if isinstance(item, Tag):
        return item.name in ENDINGS
    return isinstance(item, Text) and not text[item.start : item.end].strip(" \t\r\n.。")


def _begins_line(text: str, item: Lexeme, header: re.Match[str] | None) -> bool:
    """Return whether a lexeme begins its line (below a header without indent) or is announced."""
    line = text[max(0, item.start - 2 * NEAR) : item.start].rpartition("\n")[2]
    return not (line if header else line.strip()) or bool(_ANNOUNCED.search(line))
