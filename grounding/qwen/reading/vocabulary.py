"""What the keys of an answer mean, however they are spelt."""

from __future__ import annotations

import re
from enum import IntEnum, auto
from functools import lru_cache
from typing import NamedTuple


class Role(IntEnum):
    """What a key holds."""

    LABEL = auto()
    PLACE = auto()
    AXIS = auto()
    SCORE = auto()
    TEXT = auto()
    PRESENCE = auto()
    WRAPPER = auto()
    ATTRIBUTE = auto()
    OTHER = auto()


class Meaning(NamedTuple):
    """A key's role and folded form; `rank` tells the best of several label keys (0 first).

    Under a key with `corners`, two pairs are one box; under one with `sizes`, four numbers are
    x, y, width and height.
    """

    role: Role
    folded: str
    rank: int = 0
    corners: bool = False
    sizes: bool = False


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
"""Keys that hold a label, the best first; English names of several come before them all."""

_TONGUE = re.compile(
    r"(?:label|name|class|category|object|title)s?(?P<after>[a-z]{2}|english|chinese)"
    r"|(?P<before>en|english|zh|cn|chinese)(?:label|name|class|category|object|title)?"
)
_ENGLISH = {"en", "english"}

PLACE = re.compile(
    r"(?:gt|pred|predicted|target|object|obj|final|detected|answer|start|end|from|to|click|tap|"
    r"center|centre|ground|top|visible|tight)?"
    r"(?:bbox|box|boundingbox|bndbox|rect|rectangle|roi|coordinate|coord|position|pos|location|loc|"
    r"point|keypoint|landmark|center|centre|centroid|xyxy|xywh|xy|polygon|quad|vertices|corner|"
    r"坐标|位置|边界框|检测框|包围框|边框|框|关键点|中心点|点)"
    r"(?:es|s)?(?:[23]d|xyxy|xywh|xy|abs|norm|normalized|px|coordinates?|coords?|points?|list|"
    r"坐标|位置)*\d*"
)
_CORNERS = re.compile(r"box|rect|roi|xyxy|corner|框")
_SIZES = re.compile(r"xywh")

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
            r"velocity|dimensions?|scale|angle|rotation|page|mask|rle|segmentation|area|"
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
            r"frame|image|img|grounding|match|group|list|data|json|propert(?:y|ies)|geometry|"
            r"检测结果|结果|物体|目标|对象|部件|子物体|列表|数据)(?:es|s)?(?:list)?\d*"
        ),
    ),
)
_IGNORED = re.compile(r"[\W_]+")


def folded(key: str) -> str:
    """Return `key` without case, space and punctuation."""
    return _IGNORED.sub("", key).casefold()


@lru_cache(maxsize=4096)
def meaning(key: str) -> Meaning:
    """Return what `key` holds."""
    word = folded(key)
    for rank, pattern in enumerate(LABELS, start=1):
        if re.fullmatch(pattern, word):
            return Meaning(Role.LABEL, word, rank)
    for role, known in _ROLES:
        if known.fullmatch(word):
            corners, sizes = bool(_CORNERS.search(word)), bool(_SIZES.search(word))
            return Meaning(role, word, corners=corners, sizes=sizes)
    return _in_some_tongue(word)


def _in_some_tongue(word: str) -> Meaning:
    """Return a label's meaning for "name_en" and the like: English first, other tongues last."""
    match = _TONGUE.fullmatch(word)
    if match is None:
        return Meaning(Role.OTHER, word)
    english = (match["after"] or match["before"]) in _ENGLISH
    return Meaning(Role.LABEL, word, 0 if english else len(LABELS) + 1)
