"""Recognises sentences that say "there are none" or refuse to answer, in English and Chinese."""

from __future__ import annotations

import re

LONGEST = 400
"""Characters of a sentence that says "none"; a longer text is not one."""

_PICTURE = r"(?:images?|pictures?|photos?|photographs?|screenshots?|files?|scene|frame|view)"
_OUR_PICTURE = r"(?:the |this |that |any |an? |your )?(?:attached |provided |uploaded |given )?"
_OUR_PICTURE += _PICTURE
_NOT = r"(?:not|n't|cannot|unable to|failed to|fails to|without)"
_SEEK = (
    r"(?:see|seeing|find|finding|found|detect|detected|locate|located|identify|identified|spot|"
    r"observe|recogni[sz]e|show|contain|include|have|has|depict|feature|appear|exist|visible|"
    r"present|any|there|be seen|be found)"
)
_MEASURE = r"(?: \S+){0,3} (?:bounding box|bbox|coordinate|pixel|position|location)(?:e?s)?\b"
"""What a model says that it cannot tell, though the thing is there."""
_CANNOT = (
    r"(?:can ?not|can't|could not|couldn't|unable to|not able to|won't|will not|do not|don't|"
    r"must decline to)"
)
_SENSITIVE = r"(?:people|persons?|individuals?|someone|faces?|anyone|who)\b"
_WHOSE = r"(?:the |this |these |specific |real |or \w+ )*"
_PROCESS_ZH = r"(?:处理|查看|访问|打开|分析|看到|读取|识别|加载)"
_REFUSE_ZH = (
    r"(?:处理|查看|提供|帮助|回答|协助|完成|满足|分析|识别|执行|访问|确定|给出|回应|继续|标注|透露)"
)


def _compile(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_NONE_WORDS = _compile(
    r"none|null|nil|nothing|no|empty|n/?a|absent|unvisible|invisible|\[ ?\]|\{ ?\}",
    r"not? (?:found|detected|visible|present|applicable)",
    r"no (?:objects?|results?|match(?:es)?|detections?|instances?|targets?|boxes|points?)",
    r"无|没有|空|未找到|未检测到|不存在|没有找到|没找到|未发现|无结果|无目标",
)
_NONE_SENTENCES = _compile(
    r"\bthere (?:is|are|was|were|seems? to be|appears? to be) (?:\w+ly )?"
    r"(?:no|not|none|nothing|zero)\b",
    r"\bthere (?:is|are|was|were)n't\b",
    r"\b(?:none|nothing)\b.{0,60}\b(?:found|detected|visible|present|seen|here|appears?|exists?)\b",
    r"\bnone (?:of|in)\b",
    r"\b(?:i|we|can) (?:see|find|found|detect|detected) (?:no|none|nothing|zero)\b",
    r"\b(?:has|have|contains?|shows?|depicts?|includes?|with) (?:no|none|nothing|zero)\b",
    r"(?:^|[.,;:!?] |\bso |\band |\bbut |\bsorry\W{1,3})no (?:\S+ ){0,8}?(?:found|detected|visible|"
    rf"present|seen|here|exists?|appears?|located|identified|(?:is|are|in|on) (?:the|this) "
    rf"{_PICTURE})\b",
    r"^no (?:such )?[\w' -]{1,40}[.!]?$",
    rf"{_NOT} (?:\w+ ){{0,2}}?{_SEEK}\b(?! {_OUR_PICTURE})(?!{_MEASURE})",
    rf"\b(?:not|n't) (?:in|on) (?:the|this) {_PICTURE}",
    rf"\b(?:missing|absent) from (?:the|this) {_PICTURE}",
    rf"^(?:the|this) (?:page|document|{_PICTURE}) is (?:\w+ly )?(?:blank|empty)\b",
    r"(?:没有|未|無|没)(?:能够|能|有|再|被)?(?:在.{0,12})?(?:检测|找到|发现|看到|识别|出现|包含|符合|任何|"
    r"存在|见到|定位|看见|明显|匹配)",
    r"(?:图|图片|图像|画面|照片|中|里)(?:并|都|也)?(?:没有|无|不存在|没|不包含|不含|未)",
    r"(?:无法|不能)(?:在.{0,12})?(?:找到|检测|发现|看到(?!图|这|您|你)|定位)",
    r"(?:看|找|检测)不[到见](?!图|这|您|你)",
    r"不存在|不在(?:这张|该|此)?(?:图|画面)|^(?:没有|无|未)[^，。,.]{1,20}[。.]?$",
)
_NONE_ABROAD = _compile(
    r"\bes gibt kein|\bkein\w* .{1,40}\b(?:zu sehen|gefunden|vorhanden|sichtbar|erkannt)",
    r"\bil n'y a (?:pas|aucun)|\baucun\w* .{1,40}\b(?:trouvé|visible|détecté)",
    r"\bno hay\b|\bnão há\b|\bnon (?:c'è|ci sono)\b",
)
_UNSEEN_PICTURE = _compile(
    rf"{_CANNOT} (?:directly |actually )?(?:see|view|process|open|access|analy[sz]e|display|read|"
    rf"look at|interpret|have access to|have) (?:or \w+ )?{_OUR_PICTURE}",
    rf"(?:无法|不能|没法)(?:直接)?{_PROCESS_ZH}(?:这|该|此|您|你|图|任何图)",
)
_UNNAMED_PEOPLE = _compile(
    rf"{_CANNOT} (?:\w+ )?(?:identify|recogni[sz]e|describe) {_WHOSE}{_SENSITIVE}"
)
_REFUSALS = _compile(
    rf"{_CANNOT} (?:\w+ ){{0,3}}?(?:help|assist|answer|comply|provide|fulfill?|process|do (?:that|"
    r"this)|support|perform|complete|continue|respond|give|generate|create|discuss|determine|view|"
    r"access|analy[sz]e|share|engage|offer|output|label|annotate|draw)\b",
    rf"{_CANNOT} (?:\w+ ){{0,2}}?{_SEEK}\b{_MEASURE}",
    r"\bas an? (?:ai|language|artificial|large)\b",
    r"\bi (?:must |have to )?(?:decline|refuse)\b",
    r"\b(?:against|violates?) (?:my|the|our) (?:polic|guideline|programming|content)",
    r"\bnot (?:appropriate|comfortable|permitted|allowed)\b",
    r"\b(?:i'm|i am|we're) (?:\w+ )?sorry\b|^sorry\b|\bi apologi[sz]e\b",
    r"抱歉|对不起|很遗憾|不好意思|作为(?:一个|一名)?(?:人工智能|AI|语言模型|大模型)",
    rf"(?:无法|不能|不可以|没法|不便|拒绝)(?:为您|为你|直接)?{_REFUSE_ZH}",
)
_SPACE = re.compile(r"\s+")


def says_none(text: str) -> bool:
    """Return whether `text` says that what was asked for is not there."""
    text = _flatten(text)
    if _NONE_WORDS.fullmatch(text.rstrip(".。!！ ")):
        return True
    if not text or len(text) > LONGEST:
        return False
    if _UNSEEN_PICTURE.search(text) or _UNNAMED_PEOPLE.search(text):
        return False
    return bool(_NONE_SENTENCES.search(text) or _NONE_ABROAD.search(text))


def declines(text: str) -> bool:
    """Return whether `text` is a refusal to answer; check `says_none` first."""
    text = _flatten(text)
    return any(p.search(text) for p in (_UNSEEN_PICTURE, _UNNAMED_PEOPLE, _REFUSALS))


def _flatten(text: str) -> str:
    """Return the beginning of `text` in one line, without outer quotes and Markdown."""
    text = _SPACE.sub(" ", text[: 4 * LONGEST]).replace("’", "'")
    return text.strip(" *_`\"'“”#>-:：")
