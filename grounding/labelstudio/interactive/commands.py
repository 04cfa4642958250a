"""What a typed prompt asks for beside naming it: boxes or points, one by one, or to be forgotten.

"Point to the noses" and 「用点标出每一只猫」 name a thing and a manner. The model's own question
has words for the manner, so only the thing goes into it. Words count as a command only where
they cannot be the thing itself: in "the box on the table", the box is what is looked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from grounding.queries import Shape

FORGET = frozenset({"-", "forget", "忘记"})
"""Prompts that ask for nothing, but to be offered no prompt any more."""

DETERMINER = r"(?=(?:the|all|every|each|an?|any|this|that|these|those|both|my)\b)"
COUNTER = "(?=所有|全部|每|各|图|这|那|左|右)"

ENGLISH_LEAD = r"(?:please |can you |could you )*"
CHINESE_LEAD = "(?:请你?|帮我|麻烦你?)*"

_POINTS = (
    rf"{ENGLISH_LEAD}(?:point(?: (?:to|at|out))+|click on) (?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:click|tap|point) {DETERMINER}(?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:put|place|draw|set) (?:an? )?(?:key ?)?points? (?:on|at|in|to|for) "
    r"(?P<what>.+)",
    r"(?P<what>.+?),? as (?:key ?)?points",
    rf"{CHINESE_LEAD}(?:点出|点击|点选|点一下|指出|指向|标点(?!符号))(?P<what>.+)",
    rf"{CHINESE_LEAD}点{COUNTER}(?P<what>.+)",
    rf"{CHINESE_LEAD}(?:用|以)(?:关键)?点(?:的(?:形式|方式))?(?:标[出注记]|定位|指出|找出|表示)?"
    r"(?P<what>.+)",
)
_BOXES = (
    rf"{ENGLISH_LEAD}(?:box|outline|frame|enclose) {DETERMINER}(?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:put|place|draw|set) (?:an? |the )?(?:tight )?(?:bounding )?"
    r"(?:box|boxes|rectangles?|outlines?) (?:a?round|on|over|for|of) (?P<what>.+)",
    rf"{ENGLISH_LEAD}bounding box(?:es)? (?:a?round|on|over|for|of) (?P<what>.+)",
    r"(?P<what>.+?),? (?:as (?:bounding )?|with bounding )boxes",
    rf"{CHINESE_LEAD}(?:框出|框选|框住|圈出|画框标?[出注]?)(?P<what>.+)",
    rf"{CHINESE_LEAD}框{COUNTER}(?P<what>.+)",
    rf"{CHINESE_LEAD}(?:用|以)(?:矩形|方)?框(?:的(?:形式|方式))?(?:标[出注记]|框[出住]|找出|圈出)"
    r"(?P<what>.+)",
)
_FINDS = (
    rf"{ENGLISH_LEAD}(?:find|locate|detect|look for|search for|show)(?: me)? (?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:label|mark|select|segment|highlight|annotate) {DETERMINER}(?P<what>.+)",
    r"where(?: is| are|'s|’s) (?P<what>.+?)\??",
    r"(?P<what>.+?) in (?:this|the) (?:image|picture|photo)",
    rf"{CHINESE_LEAD}(?:找出|找到|查找|标出|寻找|选出)(?P<what>.+)",
    # With one character behind, these are things: 定位孔, 检测器, 识别码.
    rf"{CHINESE_LEAD}(?:检测|定位|标注|标记|识别)(?P<what>.{{2,}})",
    rf"{CHINESE_LEAD}找{COUNTER}(?P<what>.+)",
    r"(?:图|图片|图像|画面)(?:中|里|上)的?(?P<what>.+)",
)

_COMMANDS: tuple[tuple[re.Pattern[str], Shape | None], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), shape)
    for patterns, shape in ((_POINTS, Shape.POINT), (_BOXES, Shape.BOX), (_FINDS, None))
    for pattern in patterns
)

_EVERY = re.compile(r"(?:each and every|every(?: single)?|each single) (?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """A typed prompt taken apart: the thing, and the shape that was asked for, if any."""

    thing: str
    shape: Shape | None = None


def read_command(prompt: str) -> Command:
    """Return what `prompt` asks for; its thing is never empty unless the prompt is.

    "every" becomes "each": the question for one by one has that word, and asked for all of a
    dense scene the model may draw one box around everything.
    """
    sentence = prompt.rstrip(" .!。！")
    thing, asked = sentence if sentence.strip() else prompt, None
    for pattern, shape in _COMMANDS:
        if found := pattern.fullmatch(thing):
            thing, asked = found["what"].strip(), asked or shape
    return Command(_EVERY.sub("each ", thing, count=1) if _EVERY.match(thing) else thing, asked)


def forgets(prompt: str) -> bool:
    """Say whether a prompt only asks to be offered none any more."""
    return prompt.casefold() in FORGET
