"""What the keys, tags and words of an answer mean."""

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
    "label labels class classname classlabel category categoryname action actiontype name names "
    "object objectname objectclass objecttype entity item target tag type kind title phrase ref "
    "标签 类别 类名 名称 名字 物体 对象 目标 类型 动作"
).split()
RANKS = {word: rank for rank, word in enumerate(LABELS, start=1)}

PLACE = re.compile(
    r"(?:gt|pred|predicted|target|object|obj|final|detected|answer|start|end|from|to|click|tap|"
    r"center|centre|ground|top|visible|tight)?"
    r"(?:bbox|box|boundingbox|bndbox|rect|rectangle|roi|coordinate|coord|position|pos|location|loc|"
    r"point|keypoint|landmark|center|centre|centroid|xyxy|xywh|xy|polygon|quad|vertices|corner|"
    r"坐标|位置|边界框|检测框|包围框|边框|框|关键点|中心点|点)"
    r"(?:es|s|ices)?(?:[23]d|xyxy|xywh|xy|abs|norm|normalized|px|coordinates?|coords?|point|points|"
    r"list|坐标|位置)*\d*"
)
_CORNERS = re.compile(r"box|rect|roi|xyxy|corner|框")
_SIZES = re.compile(r"xywh|ltwh")

WRAPPER = re.compile(
    r"\d+|(?:detected|found|all|final|predicted|visible|json)?"
    r"(?:object|obj|detection|result|item|annotation|prediction|instance|element|target|entity|"
    r"entities|shape|region|output|answer|response|part|child|children|component|subobject|subpart|"
    r"argument|arg|parameter|param|actionparameter|actioninput|actionarg|input|function|toolcall|"
    r"frame|image|img|grounding|match|group|list|data|json|properties?|geometry|"
    r"结果|检测结果|物体|目标|对象|部件|子物体|列表|数据)(?:es|s)?(?:list)?\d*"
)
SCORES = set(
    "score scores confidence confidences conf probability prob confidencescore certainty "
    "置信度 得分 分数 概率".split()
)
TEXTS = set(
    "text texts textcontent content ocr ocrtext transcription transcript description desc caption "
    "value words string reason reasoning explanation thought thinking thoughts analysis comment "
    "comments note notes summary feature features 描述 文本 内容 文字 文本内容 理由 特征 思考".split()
)
PRESENCE = set(
    "found exists exist present visible detected count total num number 数量 存在".split()
)
ATTRIBUTES = set(
    "size imagesize imgsize resolution color colour colors rgb rgba time timestamp times timestamps "
    "timerange timespan duration attributes attribute metadata meta info id ids index range "
    "interval velocity dimension dimensions scale angle rotation page mask rle segmentation area "
    "originalsize inputsize ratio aspectratio 颜色 大小 时间 尺寸".split()
)
AXES = set(
    "x y x0 y0 x1 y1 x2 y2 xmin ymin xmax ymax minx miny maxx maxy left top right bottom width "
    "height w h cx cy xcenter ycenter centerx centery xc yc startx starty endx endy topleft "
    "bottomright lefttop rightbottom upperleft lowerright tl br lt rb p1 p2 topleftcorner "
    "bottomrightcorner 左上角 右下角 左上 右下 宽 高 宽度 高度".split()
)
_SETS = (
    (Role.SCORE, SCORES),
    (Role.TEXT, TEXTS),
    (Role.PRESENCE, PRESENCE),
    (Role.ATTRIBUTE, ATTRIBUTES),
    (Role.AXIS, AXES),
)
_LANGUAGE = re.compile(
    r"(?P<base>label|name|class|category|object|title)s?(?P<tongue>[a-z]{2}|english|chinese)"
    r"|(?P<tongue2>en|english|zh|cn|chinese)(?:label|name|class|category|object|title)?"
)
_ENGLISH = {"en", "english"}
_IGNORED = re.compile(r"[\W_]+")


def folded(key: str) -> str:
    """Return `key` without case, space and punctuation."""
    return _IGNORED.sub("", key).casefold()


@lru_cache(maxsize=4096)
def meaning(key: str) -> Meaning:
    """Return what `key` holds, however it is spelt."""
    word = folded(key)
    if word in RANKS:
        return Meaning(Role.LABEL, word, RANKS[word])
    for role, words in _SETS:
        if word in words:
            return Meaning(role, word)
    if PLACE.fullmatch(word):
        corners, sizes = bool(_CORNERS.search(word)), bool(_SIZES.search(word))
        return Meaning(Role.PLACE, word, corners=corners, sizes=sizes)
    if WRAPPER.fullmatch(word):
        return Meaning(Role.WRAPPER, word)
    return _in_some_language(word)


def _in_some_language(word: str) -> Meaning:
    """Return a label's meaning for "name_en" and the like: English first, other tongues last."""
    match = _LANGUAGE.fullmatch(word)
    if match is None:
        return Meaning(Role.OTHER, word)
    english = (match["tongue"] or match["tongue2"]) in _ENGLISH
    return Meaning(Role.LABEL, word, 0 if english else len(LABELS) + 1)
