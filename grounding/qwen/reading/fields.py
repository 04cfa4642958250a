"""The keys and values of a record: the role of each key, and the label, score or place in a value.

Keys are compared in folded form (no case, space or punctuation), in English and Chinese.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum, auto
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from grounding.qwen.reading.matches import Matches, Note, is_absent
from grounding.qwen.reading.values import (
    Group,
    Key,
    Number,
    String,
    Value,
    Word,
    parse_lone_number,
)


class Role(IntEnum):
    """What the value of a key is."""

    LABEL = auto()
    PLACE = auto()
    AXIS = auto()
    SCORE = auto()
    TEXT = auto()
    PRESENCE = auto()
    WRAPPER = auto()
    ATTRIBUTE = auto()
    OTHER = auto()


class KeyMeaning(NamedTuple):
    """The role of a key, and its folded form.

    `rank` orders the label keys of one record: the lowest wins. `corners` means that two pairs
    under the key are one box; `sizes`, that four numbers are x, y, width and height; `polygon`,
    that numbers are the vertices of an outline.
    """

    role: Role
    folded: str
    rank: int = 0
    corners: bool = False
    sizes: bool = False
    polygon: bool = False


LABELS = (
    r"labels?|labelname|标签",
    r"class|classname|classlabel|类别|类名",
    r"category|categoryname",
    r"action|actiontype|动作",
    r"names?|名称|名字",
    r"(?:object|entity|item|element)(?:name|class|type|label)?|物体|对象",
    r"target|tag|type|kind|subject|species|目标|类型",
    r"title|phrase|ref|expression|query",
)
"""Keys that hold a label, best first. A key for the English name ("name_en") ranks above all."""

_LANGUAGE = re.compile(
    r"(?:label|name|class|category|object|title)s?(?P<after>(?!id|no|nr)[a-z]{2}|english|chinese)"
    r"|(?P<before>en|english|zh|cn|chinese)(?:label|name|class|category|object|title)?"
)
_ENGLISH = {"en", "english"}

PLACE = re.compile(
    r"(?:gt|pred|predicted|target|object|obj|final|detected|answer|start|end|from|to|click|tap|"
    r"center|centre|ground|top|visible|tight)?"
    r"(?:bbox|box|boundingbox|bndbox|rect|rectangle|roi|coordinate|coord|position|pos|location|loc|"
    r"point|keypoint|landmark|center|centre|centroid|xyxy|xywh|xy|poly(?:gon)?|quad(?:rilateral)?|vertices|contour|outline|segmentation|corner|"
    r"坐标|位置|边界框|检测框|包围框|边框|框|关键点|中心点|点)"
    r"(?:es|s)?(?:[23]d|xyxy|xywh|xy|abs|norm|normalized|px|coordinates?|coords?|points?|list|"
    r"坐标|位置)*\d*"
)
_CORNER_KEY = re.compile(r"box|rect|roi|xyxy|corner|框")
_SIZE_KEY = re.compile(r"xywh")
_POLYGON_KEY = re.compile(r"poly|quad|vertices|contour|outline|segmentation")

_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (
        Role.SCORE,
        re.compile(
            r"scores?|confidences?|conf|prob(?:ability)?|confidencescore|certainty|置信度|得分"
        ),
    ),
    (
        Role.TEXT,
        re.compile(
            r"texts?|textcontent|content|ocr|ocrtext|transcript(?:ion)?|desc(?:ription)?|caption|"
            r"value|words|string|reason(?:ing)?|explanation|thoughts?|thinking|analysis|comments?|"
            r"notes?|summary|features?|描述|文本|内容|文字|文本内容|理由|特征|思考"
        ),
    ),
    (
        Role.PRESENCE,
        re.compile(r"found|exists?|present|presence|visible|detected|count|total|num|number|数量"),
    ),
    (
        Role.ATTRIBUTE,
        re.compile(
            r"(?:(?:image|img|original|input)?size)|resolution|colou?rs?|rgba?|time(?:stamp)?s?|"
            r"timerange|timespan|duration|attributes?|metadata|meta|info|ids?|index|range|interval|"
            r"velocity|dimensions?|scale|angle|rotation|page|mask|rle|area|"
            r"(?:aspect)?ratio|颜色|大小|时间|尺寸"
        ),
    ),
    (
        Role.AXIS,
        re.compile(
            r"[xy][0-2]?|[xy](?:min|max|center|c)|(?:min|max|center|c|start|end)[xy]|left|top|"
            r"right|bottom|width|height|[wh]|topleft|bottomright|lefttop|rightbottom|upperleft|"
            r"lowerright|tl|br|lt|rb|p1|p2|topleftcorner|bottomrightcorner|左上角?|右下角?|[宽高]度?"
        ),
    ),
    (Role.PLACE, PLACE),
    (
        Role.WRAPPER,
        re.compile(
            r"\d+|(?:detected|found|all|final|predicted|visible|json)?(?:object|obj|detection|"
            r"result|item|annotation|prediction|instance|element|target|entity|entities|shape|"
            r"region|output|answer|response|part|child|children|component|subobject|subpart|"
            r"argument|arg|parameter|param|action(?:parameter|input|arg)|input|function|toolcall|"
            r"frame|image|img|grounding|match|group|list|data|dict|json|propert(?:y|ies)|geometry|"
            r"检测结果|结果|物体|目标|对象|部件|子物体|列表|数据)(?:es|s)?(?:list)?\d*"
        ),
    ),
)
_IGNORED = re.compile(r"[\W_]+")


def fold(key: str) -> str:
    """Return `key` without case, space and punctuation."""
    return _IGNORED.sub("", key).casefold()


@lru_cache(maxsize=4096)
def classify_key(key: str) -> KeyMeaning:
    """Return the role of `key` and what it says about the numbers below it."""
    word = fold(key)
    for rank, pattern in enumerate(LABELS, start=1):
        if re.fullmatch(pattern, word):
            return KeyMeaning(Role.LABEL, word, rank)
    for role, known in _ROLES:
        if known.fullmatch(word):
            hints = (_CORNER_KEY, _SIZE_KEY, _POLYGON_KEY)
            return KeyMeaning(role, word, 0, *(bool(hint.search(word)) for hint in hints))
    return _classify_numbered(word) or _classify_by_language(word)


def _classify_numbered(word: str) -> KeyMeaning | None:
    """Return the meaning of "label_2" and similar keys of labels with a number."""
    stem = word.rstrip("0123456789")
    ranks = [rank for rank, known in enumerate(LABELS, start=1) if re.fullmatch(known, stem)]
    return KeyMeaning(Role.LABEL, word, ranks[0]) if ranks else None


def _classify_by_language(word: str) -> KeyMeaning:
    """Return the meaning of "name_en" and the like: a label, the English one ranked first."""
    match = _LANGUAGE.fullmatch(word)
    if match is None:
        return KeyMeaning(Role.OTHER, word)
    english = (match["after"] or match["before"]) in _ENGLISH
    return KeyMeaning(Role.LABEL, word, 0 if english else len(LABELS) + 1)


_TOKENS = re.compile(r"<\|\w+\|>|</?(?:ref|object_ref)>")
CONSTANTS = {"null", "none", "true", "false", "nil", "undefined"}


class Name(NamedTuple):
    """A label, and its span in the text where that is near what it labels."""

    text: str
    span: tuple[int, int] | None = None


class Field(NamedTuple):
    """One entry of a record: the parts of `KeyMeaning`, then the key and its value."""

    role: Role
    folded: str
    rank: int
    corners: bool
    sizes: bool
    polygon: bool
    key: Key
    value: Value

    @property
    def span(self) -> tuple[int, int]:
        """From the key's start to the value's end."""
        return self.key.start, self.value.end

    @property
    def name(self) -> str:
        """The key as a label."""
        return strip_tokens(self.key.text)


def list_fields(group: Group) -> list[Field]:
    """Return the entries of `group` that have a key, in order."""
    return [Field(*classify_key(key.text), key, value) for key, value in group.entries if key]


def read_label(value: Value) -> str | None:
    """Return the label in a value: its own text, or the English one of several texts."""
    if isinstance(value, Group):
        return _choose_label(value)
    return None if is_constant(value) else strip_tokens(value.text) or None


def is_constant(value: Key) -> bool:
    """Say whether a value is null, true or the like, and so no text."""
    return isinstance(value, Word) and value.text.lower() in CONSTANTS


def strip_tokens(text: str) -> str:
    """Return `text` without special tokens, tags for phrases, and outer space."""
    return _TOKENS.sub("", text).strip()


def _choose_label(group: Group) -> str | None:
    if group.numbers or any(isinstance(value, Group) for _, value in group.entries):
        return None
    if any(key for key, _ in group.entries):
        named = [item for item in list_fields(group) if item.role is Role.LABEL]
        return read_label(min(named, key=lambda item: item.rank).value) if named else None
    texts = list_labels(group)
    return next((text for text in texts if text.isascii()), texts[0] if texts else None)


def list_labels(value: Value) -> list[str]:
    """Return the non-empty strings of a list, without outer space."""
    if not isinstance(value, Group):
        return []
    texts = [strip_tokens(v.text) for _, v in value.entries if isinstance(v, String)]
    return [text for text in texts if text]


def read_scores(value: Value) -> list[float]:
    """Return the scores in a value, each in 0..1; "87%" is 0.87."""
    if isinstance(value, Group):
        return [score for score in value.numbers if 0 <= score <= 1]
    score = _read_score(value)
    return [] if score is None else [score]


def _read_score(value: Number | String | Word) -> float | None:
    text = value.text.strip()
    percent = text.endswith("%")
    try:
        score = float(text.removesuffix("%")[:40])
    except ValueError:
        return None
    score = round(score * 0.01, 9) if percent else score
    return score if 0 <= score <= 1 else None


Numbers = tuple[float, ...]

_SIDES = (("width", "height"), ("w", "h"), ("宽", "高"), ("宽度", "高度"))
_ORIGINS = (("x", "y"), ("left", "top"), ("xmin", "ymin"), ("x1", "y1"), ("topleft",))
_CENTRES = (
    ("cx", "cy"),
    ("xcenter", "ycenter"),
    ("centerx", "centery"),
    ("xc", "yc"),
)
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("minx", "miny", "maxx", "maxy"),
    ("left", "top", "right", "bottom"),
    ("startx", "starty", "endx", "endy"),
    ("topleft", "bottomright"),
    ("topleftcorner", "bottomrightcorner"),
    ("lefttop", "rightbottom"),
    ("upperleft", "lowerright"),
    ("tl", "br"),
    ("lt", "rb"),
    ("p1", "p2"),
    ("左上角", "右下角"),
    ("左上", "右下"),
    ("x0", "y0", "x1", "y1"),
)


def convert_corner_and_size(numbers: Numbers) -> Numbers:
    """Return the corners (x1, y1, x2, y2) of a box given as x, y, width, height."""
    x, y, w, h = numbers
    return numbers if is_absent(numbers) else (x, y, x + w, y + h)


def _convert_centre_and_size(numbers: Numbers) -> Numbers:
    x, y, w, h = numbers
    if is_absent(numbers):
        return numbers
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _keep(numbers: Numbers) -> Numbers:
    return numbers


_SHAPES: list[tuple[tuple[str, ...], int, Callable[[Numbers], Numbers]]] = [
    *((names, 4, _keep) for names in _CORNERS),
    *((a + b, 4, _convert_centre_and_size) for a, b in product(_CENTRES, _SIDES)),
    *((a + b, 4, convert_corner_and_size) for a, b in product(_ORIGINS, _SIDES)),
    *((names, 2, _keep) for names in (("x", "y"), *_CENTRES)),
]


def read_axes(axes: dict[str, Value], out: Matches) -> Numbers | None:
    """Return the box (4 numbers) or point (2) that `axes` name, by folded key; None if neither."""
    for names, count, convert in _SHAPES:
        if all(name in axes for name in names):
            numbers = tuple(n for name in names for n in _read_coordinates(axes[name]))
            if len(numbers) != count:
                continue
            if convert is not _keep:
                out.warnings.add(Note.XYWH)
            return convert(numbers)
    return None


def _read_coordinates(value: Value) -> Numbers:
    """Return one number, or two for a corner written as [x, y] or {"x": ..., "y": ...}."""
    if isinstance(value, Group):
        return value.numbers or _read_corner(value)
    alone = parse_lone_number(value.text)
    return () if alone is None else (alone,)


def _read_corner(group: Group) -> Numbers:
    named = {fold(k.text): v for k, v in group.entries if k and not isinstance(v, Group)}
    numbers = (parse_lone_number(named[axis].text) for axis in "xy" if axis in named)
    return tuple(n for n in numbers if n is not None)
