"""Reads what a typed prompt asks for beside naming a thing: boxes, points, words, or forgetting.

"Point to the noses" and 「用点标出每一只猫」 name a thing and a shape. The prompt for the model
has its own words for the shape, so only the thing goes into it.

Many verbs are also the first word of a name: a box truck, a show dog, 定位螺栓, 检测设备. Such a
verb is a command only before a determiner, as in "box the truck" and 定位图中的螺栓, before
anything but a word that makes a name of it (检测汽车, not 检测设备), before one of the project's
labels, or after a word such as 请. Else the whole prompt is the thing: the model then reads both
meanings, and a thing cut in half would find something else. No command is read that would cut
through one of the project's labels.

A question is answered in words. The config names the text area for the answer: one that the model
fills, and only when asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.labels import find_named
from grounding.queries import Shape

FORGET = frozenset({"-", "forget", "忘记"})
"""Prompts that only ask to forget the last prompt."""

# "box that is open" and "label A" are things; "box that car" and "label a car" are commands.
_CLAUSE = (
    r"that (?:is|are|was|were|has|have|had|can|does|do|says?|reads?|shows?|looks?|holds?|hangs?"
    r"|lies|lie|stands?|sits?|fell|broke)\b"
)
DETERMINER = (
    rf"(?=(?!{_CLAUSE})(?:(?:the|every|an?|any|my) \S|(?:all|each|this|that|these|those|both)\b))"
)
"""Ahead of it, an English verb is a command."""

QUANTIFIER = "(?=所有|全部|每|各|这|那|图片?像?[中里上]|画面[中里上])"
"""Ahead of it, a Chinese verb is a command: 框图 and 点心 are things."""

COUNTER = f"(?:{QUANTIFIER}|(?=[左右]))"

_HEADS = (
    "设备|设施|仪器|仪表|仪|器|装置|装备|系统|软件|程序|平台|工具|工具栏|工具箱|模块|单元|单位|机构|机器人|机|"
    "结果|报告|数据|信号|记录|标志|标识|标签|标牌|符号|图标|按钮|按键|键|窗口|页面|菜单|栏|框|码|号|笔|牌|卡|"
    "贴纸?|带|条|线|点|孔|槽|口|区域|区|范围|位置|站点?|台|室|门|通道|探头|人员|员|工人|文字|内容|对象|物|板|图"
)
NO_NAME = f"(?:{QUANTIFIER}|(?!(?:{_HEADS})(?:$|[的上中里内外旁左右下前后和与及、，])))"
"""Ahead of it, a Chinese verb such as 检测 is no name's beginning: 检测设备 is a device, and
检测设备上的按钮 a button on it."""

ENGLISH_LEAD = r"(?:please |can you |could you )*"
CHINESE_PLEASE = "(?:请你?|帮我|麻烦你?)"
CHINESE_LEAD = f"{CHINESE_PLEASE}*"

_POINTS = (
    rf"{ENGLISH_LEAD}(?!point to point\b)(?:point(?: (?:to|at|out))+|click on) (?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:click|tap|point) {DETERMINER}(?P<what>.+)",
    # A "set point" is a thing.
    rf"{ENGLISH_LEAD}(?!set (?:key ?)?point )(?:put|place|draw|set) (?:an? )?(?:key ?)?points? "
    r"(?:on|at|in|to|for) (?P<what>.+)",
    r"(?P<what>.+?),? as (?:key ?)?points",
    # 点击率, 点击器 and 点选框 are things.
    rf"{CHINESE_LEAD}(?:点出|点击(?![率量器])|点选(?![框器])|点一下|指出)(?P<what>.+)",
    rf"{CHINESE_LEAD}点{COUNTER}(?P<what>.+)",
    # 指向左边的箭头 is an arrow, 标点符号 are punctuation marks.
    rf"{CHINESE_LEAD}(?:指向|标点){QUANTIFIER}(?P<what>.+)",
    # 用点心做的蛋糕 is a cake.
    rf"{CHINESE_LEAD}(?:用|以)(?:关键)?点(?:标[出注记]|定位|指出|找出|表示|{QUANTIFIER})(?P<what>.+)",
    rf"{CHINESE_LEAD}(?:用|以)(?:关键)?点的(?:形式|方式)(?:标[出注记]|定位|指出|找出|表示)?"
    r"(?P<what>.+)",
)
_BOXES = (
    rf"{ENGLISH_LEAD}(?:box|outline|frame|enclose) {DETERMINER}(?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:put|place|draw|set) (?:an? |the )?(?:tight )?(?:bounding )?"
    r"(?:box|boxes|rectangles?|outlines?) (?:a?round|on|over|for|of) (?P<what>.+)",
    rf"{ENGLISH_LEAD}bounding box(?:es)? (?:a?round|on|over|for|of) (?P<what>.+)",
    r"(?P<what>.+?),? (?:as (?:bounding )?|with bounding )boxes",
    rf"{CHINESE_LEAD}(?:框出|框选{NO_NAME}|框住|圈出)(?P<what>.+)",
    rf"{CHINESE_PLEASE}+框选(?P<what>.+)",
    # 画框里的画 is a picture in a frame.
    rf"{CHINESE_LEAD}画框(?:标[出注]|{QUANTIFIER})(?P<what>.+)",
    rf"{CHINESE_LEAD}框{COUNTER}(?P<what>.+)",
    # 用框架搭的房子 is a house.
    rf"{CHINESE_LEAD}(?:用|以)(?:矩形|方)?框(?:标[出注记]|框[出住]|找出|圈出|{QUANTIFIER})(?P<what>.+)",
    rf"{CHINESE_LEAD}(?:用|以)(?:矩形|方)?框的(?:形式|方式)(?:标[出注记]|框[出住]|找出|圈出)?"
    r"(?P<what>.+)",
)
_FINDS = (
    rf"{ENGLISH_LEAD}(?:find|locate|detect|look for|search for)(?: (?:me|us))? (?P<what>.+)",
    rf"{ENGLISH_LEAD}show (?:me|us) (?P<what>.+)",
    rf"{ENGLISH_LEAD}(?:show|label|mark|select|segment|highlight|annotate) {DETERMINER}"
    r"(?P<what>.+)",
    r"where(?: is| are|'s|’s) (?P<what>.+?)\??",
    r"(?P<what>.+?) in (?:this|the) (?:image|picture|photo)",
    rf"{CHINESE_LEAD}(?:找出|找到|查找{NO_NAME}|标出|寻找|选出)(?P<what>.+)",
    # 出 of 出口 and 出租车 belongs to the thing.
    rf"{CHINESE_LEAD}(?:检测|标注|标记|识别)(?:到|出来?(?![口租入发水]))(?P<what>.+)",
    # Before one character, these verbs begin a thing: 检测器, 识别码, 标记笔.
    rf"{CHINESE_LEAD}(?:检测|标注|标记|识别){NO_NAME}(?P<what>.{{2,}})",
    rf"{CHINESE_PLEASE}+(?:检测|标注|标记|识别|查找|定位)(?P<what>.+)",
    rf"{CHINESE_LEAD}(?:找{COUNTER}|定位{COUNTER})(?P<what>.+)",
    r"(?:图|图片|图像|画面)(?:中|里|上)的?(?P<what>.+)",
)
_LABEL_FINDS = (
    rf"{ENGLISH_LEAD}show (?P<what>.+)",
    rf"{CHINESE_LEAD}(?:定位|检测|标注|标记|识别|查找)(?P<what>.+)",
)
_LABEL_BOXES = (rf"{CHINESE_LEAD}框选(?P<what>.+)",)
"""These two are commands only before words that name a label."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """How a command is written, the shape it asks for, and whether a label must follow."""

    form: re.Pattern[str]
    shape: Shape | None
    before_label: bool

    def cut(self, prompt: str, labels: Sequence[Label]) -> str | None:
        """Return the thing in `prompt`, or None if it is no command of this form."""
        found = self.form.fullmatch(prompt)
        if found is None:
            return None
        thing = found["what"]
        # What the whole names and no part of it does would be cut through.
        parts = (prompt[: found.start("what")], thing, prompt[found.end("what") :])
        kept = {label for part in parts for label in find_named(part, labels)}
        if not kept.issuperset(find_named(prompt, labels)):
            return None
        return thing.strip() if not self.before_label or find_named(thing, labels) else None


_PATTERNS = tuple(
    _Pattern(re.compile(form, re.IGNORECASE), shape, forms in (_LABEL_FINDS, _LABEL_BOXES))
    for forms, shape in (
        (_POINTS, Shape.POINT),
        (_BOXES, Shape.BOX),
        (_FINDS, None),
        (_LABEL_FINDS, None),
        (_LABEL_BOXES, Shape.BOX),
    )
    for form in forms
)

_EVERY = re.compile(r"\A(?:each and every|every(?: single)?|each single) (?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """A typed prompt taken apart: the thing, and the shape that is asked for, if any."""

    thing: str
    shape: Shape | None = None


def read_command(prompt: str, labels: Sequence[Label] = ()) -> Command:
    """Return what `prompt` asks for; its thing is empty only if the prompt is.

    `labels` are the project's: no command cuts through one of them. "every" becomes "each": that
    word makes the prompt ask for one thing after the other; for all of a dense scene at once, the
    model may draw one box around everything.
    """
    sentence = prompt.rstrip(" .!。！")
    thing, shape = sentence if sentence.strip() else prompt, None
    for pattern in _PATTERNS:
        if (rest := pattern.cut(thing, labels)) is not None:
            thing, shape = rest, shape or pattern.shape
    return Command(_EVERY.sub("each ", thing), shape)


def choose_controls(prompt: str, controls: Sequence[Control]) -> tuple[Control, ...]:
    """Return the controls that a prompt is for.

    Those that draw the shape its verb asks for, or all if none does; of these, those with a label
    that it names, or all if none has one.
    """
    drawing = [control for control in controls if control.shape]
    command = read_command(prompt, [label for control in drawing for label in control.labels])
    fitting = [c for c in drawing if c.shape is command.shape] or drawing
    return tuple([c for c in fitting if find_named(command.thing, c.labels)] or fitting)


def is_forget(prompt: str) -> bool:
    """Say whether a prompt only asks to forget the last one."""
    return prompt.casefold() in FORGET


_QUESTION = re.compile(
    r"(?:what|which|who|whose|whom|when|why|how|is|are|was|were|does|do|did|has|have|can|could|"
    r"read|describe|say|tell)\b.*|.*(?:什么|多少|几个|几点|谁|哪[一个些里]?|为什么|怎么|吗|是否).*",
    re.IGNORECASE | re.DOTALL,
)
_PLACE = re.compile(r"(?:where|show|point|box)\b|.*(?:在哪|哪里|何处)", re.IGNORECASE)


def is_question(prompt: str) -> bool:
    """Say whether a prompt is answered in words: "where is the car?" is answered by a place."""
    text = prompt.strip()
    if _PLACE.match(text):
        return False
    return text.endswith(("?", "？")) or bool(_QUESTION.fullmatch(text))


def choose_answer(prompt: str, controls: Sequence[Control]) -> tuple[Control, ...]:
    """Return the one text area that a typed prompt is answered in, () where places answer it.

    Where nothing is drawn, every prompt is a question.
    """
    areas = [c for c in controls if c.takes_answers]
    drawn = any(control.shape for control in controls)
    if len(areas) != 1 or (drawn and not is_question(prompt)):
        return ()
    return (areas[0],)
