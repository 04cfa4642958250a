"""The questions put to the model: one `Locate` in, one text out.

The wordings follow Qwen's own evaluation, cookbook and, in Chinese, its cloud guide, because a
3B model's accuracy was seen to move from 15 % to 82 % on wording alone. Each allows an empty
answer: without that, these models draw a box for things that are not there.

The demo checkpoint was trained on the JSON wordings in both languages; they change with it only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grounding.geometry import Box, Frame, Point
from grounding.queries import AnswerFormat, Locate, Shape

PromptSet = Literal["qwen2.5", "qwen3"]

FORMATS: dict[PromptSet, dict[Shape, tuple[AnswerFormat, ...]]] = {
    "qwen2.5": {Shape.BOX: ("json", "plain"), Shape.POINT: ("json", "xml")},
    "qwen3": {Shape.BOX: ("json", "plain"), Shape.POINT: ("json",)},
}
"""The documented answer formats of each family; what it lacks is asked for as JSON."""


@dataclass(frozen=True, slots=True)
class Wording:
    """All wordings in one language: templates by shape or by answer format.

    `output` says what to write, the clauses what follows a question, `meaning` what a name
    means. `at` puts a thing to a place, `one` speaks of a single thing by its name, `thing` of
    one without, and `feature` stands for a feature that nobody named.
    """

    classes: dict[Shape, str]
    phrase: dict[Shape, str]
    each: dict[Shape, str]
    output: dict[tuple[Shape, AnswerFormat], str]
    none: dict[AnswerFormat, str]
    only: dict[AnswerFormat, str]
    names: str
    meaning: str
    at: dict[type, str]
    one: str
    thing: str
    feature: str
    comma: str
    gap: str


ENGLISH = Wording(
    classes={
        Shape.BOX: "Locate every instance that belongs to the following categories: {what}. "
        "Report {output}.",
        Shape.POINT: "Point to every instance that belongs to the following categories: {what}. "
        "Report {output}.",
    },
    phrase={
        Shape.BOX: "Locate {what} in this image and output the {output}.",
        Shape.POINT: "Point to {what} in this image and output the {output}.",
    },
    each={
        Shape.BOX: "Locate each {what} in this image and describe its {feature}, "
        "and output the {output}.",
        Shape.POINT: "Point to each {what} in this image and describe its {feature}, "
        "and output the {output}.",
    },
    output={
        (Shape.BOX, "json"): "bbox coordinates in JSON format",
        (Shape.BOX, "plain"): "bbox coordinates in plain text format, "
        "one line for each: x1,y1,x2,y2 name",
        (Shape.POINT, "json"): "point_2d coordinates in JSON format",
        (Shape.POINT, "xml"): "coordinates in XML format <points x y>object</points>",
    },
    none={
        "json": "If there is none, output [].",
        "plain": "If there is none, output None.",
        "xml": "If there is none, output None.",
    },
    only={
        "json": "Output the JSON list only, without any other word.",
        "plain": "Output these lines only, without any other word.",
        "xml": "Output the XML only, without any other word.",
    },
    names="Label each with one of these names, exactly as written: {names}.",
    meaning="{names} means: {text}.",
    at={
        Point: "{what} at the point [{place}]",
        Box: "{what} in the box [{place}]",
    },
    one="the {name}",
    thing="the object",
    feature="feature",
    comma=", ",
    gap=" ",
)

CHINESE = Wording(
    classes={
        Shape.BOX: "检测图中所有{what}，{output}，名称与引号中的文字完全一致。",
        Shape.POINT: "以点的形式定位图中所有{what}，{output}，名称与引号中的文字完全一致。",
    },
    phrase={
        Shape.BOX: "定位图中{what}，{output}。",
        Shape.POINT: "以点的形式定位图中{what}，{output}。",
    },
    each={
        Shape.BOX: "定位图中每一个{what}并描述其各自的{feature}，{output}。",
        Shape.POINT: "以点的形式定位图中每一个{what}并描述各自的{feature}，{output}。",
    },
    output={
        (Shape.BOX, "json"): "以JSON格式输出其bbox的坐标",
        (Shape.BOX, "plain"): "以纯文本格式输出其bbox的坐标，每个一行：x1,y1,x2,y2 名称",
        (Shape.POINT, "json"): "以JSON格式输出其point坐标",
        (Shape.POINT, "xml"): "以XML格式输出其point坐标：<points x y>名称</points>",
    },
    none={
        "json": "如果没有，输出[]。",
        "plain": "如果没有，输出：无。",
        "xml": "如果没有，输出：无。",
    },
    only={
        "json": "只输出JSON列表，不要输出其他文字。",
        "plain": "只输出这些行，不要输出其他文字。",
        "xml": "只输出XML，不要输出其他文字。",
    },
    names="名称只能是以下之一，与引号中的文字完全一致：{names}。",
    meaning="{names}的含义：{text}。",
    at={
        Point: "位于点[{place}]处的{what}",
        Box: "位于框[{place}]内的{what}",
    },
    one="{name}",
    thing="物体",
    feature="特征",
    comma="、",
    gap="",
)

MAX_NAMES = 100
"""Names that a phrase's finds may have; a longer list costs the model more than it tells."""

NONE_CLAUSE = ENGLISH.none["json"]

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7af]")
WORD = re.compile(r"[A-Za-z]+")

EACH = (
    re.compile(
        r"each (?P<what>.+?)"
        r"(?:,? (?:and|with) (?:describe )?(?:its|their) (?P<feature>.+?))?[.!]?",
        re.IGNORECASE,
    ),
    re.compile(
        r"every (?:single )?(?P<what>.+?),? (?:and|with) (?:describe )?(?:its|their) "
        r"(?P<feature>.+?)[.!]?",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:图中的?)?(?:每一?[个只辆头条张件座棵朵位名匹台把]|每一|各个)(?P<what>.+?)"
        r"(?:，?(?:并?描述|和|以及|及)(?:其各自|各自|其|它们|它)的?(?P<feature>.+?))?。?"
    ),
)
"""How a phrase asks for one by one: "each car and its colour". A lone "every" does not; the
phrase's own wording keeps it as it is."""


def question(ask: Locate, frame: Frame | None = None, prompts: PromptSet = "qwen2.5") -> str:
    """Return the text that asks the model for `ask`; place it after the image.

    `frame` is that of the numbers that the model reads and writes; without one, the place to
    look at goes unsaid. A raw phrase is returned as it is.
    """
    if ask.manner.raw and ask.phrase:
        return ask.phrase
    words, written = wording(ask), _format(ask, prompts)
    body = _body(ask, words, words.output[ask.shape, written], frame)
    asked = words.gap.join(filter(None, (body, _names(ask, words))))
    return words.gap.join((asked, *_meanings(ask, words, asked), words.none[written]))


def strict_question(ask: Locate, frame: Frame | None = None, prompts: PromptSet = "qwen2.5") -> str:
    """Return the second question, for when the first brought no readable answer."""
    words = wording(ask)
    return words.gap.join((question(ask, frame, prompts), words.only[_format(ask, prompts)]))


def wording(ask: Locate) -> Wording:
    """Return the wording in the language asked for, else in that of the phrase or the names.

    That is Chinese where there are no fewer Han characters than words in Latin letters, and no
    kana or hangul, which would make it Japanese or Korean.
    """
    if ask.manner.language != "auto":
        return CHINESE if ask.manner.language == "zh" else ENGLISH
    text = ask.phrase or " ".join(ask.classes)
    han = len(HAN.findall(text))
    chinese = han >= max(1, len(WORD.findall(text))) and not KANA_OR_HANGUL.search(text)
    return CHINESE if chinese else ENGLISH


def one_by_one(phrase: str) -> tuple[str, str | None] | None:
    """Return the thing and the feature of a phrase such as "each car and its colour", else None.

    The feature is None where the phrase names none. Asked for "all" of a dense scene, the model
    may draw one box around everything; asked to describe each one, it goes through them.
    """
    found = next((m for pattern in EACH if (m := pattern.fullmatch(phrase.strip()))), None)
    return (found["what"], found["feature"]) if found else None


def _format(ask: Locate, prompts: PromptSet) -> AnswerFormat:
    wanted = ask.manner.answer_format
    return wanted if wanted in FORMATS[prompts][ask.shape] else "json"


def _body(ask: Locate, words: Wording, output: str, frame: Frame | None) -> str:
    if ask.around and frame:
        what = _there(ask, words, ask.around.to(frame))
        return words.phrase[ask.shape].format(what=what, output=output)
    if not ask.phrase:
        what = _quoted(ask.classes, words)
        return words.classes[ask.shape].format(what=what, output=output)
    if (each := one_by_one(ask.phrase)) is None:
        return words.phrase[ask.shape].format(what=ask.phrase, output=output)
    what, feature = each
    return words.each[ask.shape].format(what=what, feature=feature or words.feature, output=output)


def _there(ask: Locate, words: Wording, around: Point | Box) -> str:
    """Return words for what is at a place: the phrase, the only class, or just something."""
    one = words.one.format(name=_quoted(ask.classes, words)) if len(ask.classes) == 1 else None
    ends = (around.x, around.y) if isinstance(around, Point) else _corners(around)
    place = ", ".join(str(round(number)) for number in ends)
    return words.at[type(around)].format(what=ask.phrase or one or words.thing, place=place)


def _names(ask: Locate, words: Wording) -> str:
    """Return the clause that says what the finds may be called, where a phrase leaves it open."""
    if not (ask.phrase or ask.around) or not 1 < len(ask.classes) <= MAX_NAMES:
        return ""
    return words.names.format(names=_quoted(ask.classes, words))


def _meanings(ask: Locate, words: Wording, asked: str) -> list[str]:
    """Return what the names mean that the question has in it; others would only distract."""
    text = asked.casefold()
    return [
        words.meaning.format(names=_quoted(one.names, words), text=one.text.rstrip(" .。"))
        for one in ask.meanings
        if any(name.casefold() in text for name in one.names)
    ]


def _quoted(names: Sequence[str], words: Wording) -> str:
    """Return names in quotation marks, so that the answer can be matched with them."""
    return words.comma.join(f'"{name}"' if "'" in name else f"'{name}'" for name in names)


def _corners(box: Box) -> tuple[float, ...]:
    return box.x1, box.y1, box.x2, box.y2
