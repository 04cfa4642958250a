"""Which words of a plain line name its box: "1. **cat**:" does, "The cat is located at" doesn't."""

from __future__ import annotations

import re
from functools import lru_cache

from grounding.qwen.reading.values import lone_number
from grounding.qwen.reading.vocabulary import Role, meaning

LONGEST_NAME = 80
"""Characters beyond which words before or behind a bracket are a sentence."""

_BULLET = re.compile(r"\s*+(?:[-*•·>#+]++\s++|\(?\d{1,3}(?:[.)]\s++|[、)]))*+\s*+")
_LEAD = re.compile(
    r"\s*(?:(?:the )?(?:final |my )?(?:answer|action|result|output|response)|答案|结果|动作|操作)"
    r"\s*[:：]\s*",
    re.IGNORECASE,
)
_DECORATION = " \t\r\n*_`\"'“”‘’#|,，;；、([{（"
_JOINTS = ":：=-–—>→"
_KEYED = re.compile(
    r"(?:^|[\s,;|{(])[\"']?(?:label|name|class|category|标签|类别)[\"']?\s*[:=：]\s*"
    rf"(?P<name>[^,;|\n]{{1,{LONGEST_NAME}}})",
    re.IGNORECASE,
)
_ENDS_A_SENTENCE = re.compile(
    r"\b(?:is|are|was|at|in|to|by|of|as|follows|following|located|below|here|coordinates?|from|"
    r"bounding box(?:es)?|around|see|and|with|positions?|locations?|objects?)$"
    r"|(?:是|为|在|于|坐标|位置|如下|结果|答案)$",
    re.IGNORECASE,
)
_BEGINS_A_SENTENCE = re.compile(
    r"(?:the\b.*\b(?:is|are|of)|here|there|i|we|it|this|these|that|is|are|was|were|represents?|"
    r"corresponds?|which|where|for|in|on|and|from|to|with|as)\b|[是为在表代]",
    re.IGNORECASE,
)
_IN_A_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|located|found|see|detected|can|has|have|contains?|shows?|at|image|of)\b"
    r"|位于|坐标|检测到|图中|图片|[，。]",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)")


def without_bullet(line: str) -> str:
    """Return `line` without its list mark and without a leading "Answer:"."""
    line = line[_BULLET.match(line).end() :]  # type: ignore[union-attr]
    match = _LEAD.match(line)
    return line[match.end() :] if match else line


@lru_cache(maxsize=1024)
def name_before(words: str) -> str | None:
    """Return the name that `words`, which stand before a box, give it; None in running prose."""
    words = without_bullet(words)
    keyed = _KEYED.search(words)
    if keyed:
        return _core(keyed["name"])
    core = _core(words)
    announced = words.rstrip(_DECORATION).endswith(tuple(_JOINTS))
    if not core or len(core) > LONGEST_NAME or core.startswith(("$", "\\")) or is_empty_word(core):
        return None
    if _ENDS_A_SENTENCE.search(core) or _BEGINS_A_SENTENCE.match(core):
        return None
    if not announced and (len(core.split()) > 4 or _IN_A_SENTENCE.search(core)):
        return None
    dotted = _DOTTED.fullmatch(core)
    return dotted[1] if dotted else core


@lru_cache(maxsize=1024)
def name_after(words: str) -> str | None:
    """Return the name that `words`, which stand behind a box, give it; None in running prose."""
    keyed = _KEYED.search(words)
    if keyed:
        return _core(keyed["name"])
    core = _core(words)
    if not core or len(core) > LONGEST_NAME or not any(c.isalpha() for c in core):
        return None
    sentence = core.endswith((".", "。")) and len(core.split()) > 6
    return None if sentence or _BEGINS_A_SENTENCE.match(core) else core


def is_empty_word(core: str) -> bool:
    """Say whether `core` is a word for the place itself, as in "bbox: [...]"."""
    return meaning(core).role in (Role.PLACE, Role.WRAPPER, Role.SCORE, Role.AXIS)


def _core(words: str) -> str:
    """Return `words` without Markdown, quotes and separators; of table cells the first in words."""
    cells = [cell.strip(_DECORATION + _JOINTS + ")]}）") for cell in words.split("|")]
    cells = [cell for cell in cells if cell and lone_number(cell) is None]
    return cells[0] if cells else ""
