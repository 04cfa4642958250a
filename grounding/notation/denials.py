"""Says whether a sentence denies a thing that it names.

no bus · not a bus · 没有猫          denied in front of the name
bus: no · A bus is not visible.      denied behind it
No, it's a bus. · not only a bus     not denied
"""

from __future__ import annotations

import re

REACH = 60
"""Characters in front of a name that are looked at."""

_FLAG = r"(?:(?<=[:：=|→]no)|(?<=[:：=|→] no))\s*[,，;|]"
"""What follows the no of "cat: no, dog: yes", which denies no dog."""

_WORD = (
    rf"\b(?:neither|nor|not(?! only)|no(?! doubt|{_FLAG})|never|without(?! (?:a )?doubt)|\w+n['’]t|"
    r"cannot|none(?= (?:of|is|are|was|were)\b)|"
    r"lacks?|free of|rather than|instead of|than|unlike|except)\b|不是|没有|并非|而非|不像|"
    r"[没未](?:能)?(?:看|见|发现|出现|检测)|看不[到见清]|不(?:存在|见|含|包[含括])"
)
_TURN = (
    r"\bbut\b|而是|[,，]\s*"
    r"(?:it['’]s|(?:it|this|there) is|there are|only|rather(?! than)|just|[只但却]?[有是])"
)
"""What ends a denial within a sentence."""

_IN_FRONT = re.compile(
    rf"(?:{_WORD})(?:(?!{_TURN})[^.;!?。；！？\n]){{0,40}}\Z|"
    r"不(?:太|够|算|很|大|怎么)?\Z|[非未没无]\Z|\bnon[-\s]\Z|"
    r"(?:\[\s?\]|[☐□✗✘❌])\s*[*_`]*\Z",
    re.IGNORECASE,
)
"""What denies a name in front of it; [ ] is a box that is not ticked."""

_SEEN = (
    r"(?:visible|present|seen|shown|found|detected|depicted|identified|included|here|there|at all|"
    r"in (?:the|this|view)|on (?:the|this))\b"
)
_ENDS = r"(?=\s*(?:[.,;!?)。，；]|\Z|(?:and|but|from|in|on)\b))"
_PLURAL = r"(?:\s*(?:,|\band|\bor|\bnor)\s+[\w-]+){0,3}\s+(?=(?:are|were)\b)"
"""More names that one verb is about: "fog and snow are not visible"."""

_BEHIND = re.compile(
    r"[\"'*_`]*\s*(?:[:：|?？=(（]|->?|→)\s*[*_`\"']*(?:"
    r"(?:no|not|false|absent|missing|none|0(?:\.0+)?)(?![\w%]|\.\d)"
    rf"(?![^\S\n]+(?!{_SEEN})[^\W\d_])|[不否无没])|"
    r"[\"'*_`:：|?？=(（→ \t-]*[✗✘❌]|"
    rf"[\"'*_`)]*(?:{_PLURAL}|\s+)(?:(?:also|clearly)\s+)?(?:"
    r"(?:(?:is|are|was|were)(?:\s+also)?(?:\s+not|n['’]t)|can(?:not|\s+not|['’]t)|could(?:\s+not|n['’]t))"
    rf"(?:\s+(?:be|clearly|really|actually))*(?:\s+{_SEEN}|{_ENDS})|"
    rf"(?:is|are|was|were)\s+(?:absent|missing|excluded|ruled out){_ENDS}|"
    r"do(?:es)?(?:\s+not|n['’]t)\s+(?:appear|exist|occur)\b)|"
    r"(?:并|都|也)?(?:不(?:可见|存在|在)|没有?(?:出现|看到|发现)|未(?:出现|见|检测到|发现)|看不[到见])",
    re.IGNORECASE,
)
"""What denies a name behind it: "cat: no" and "cat is not seen", but no "cat is not red"."""


def is_denied(text: str, start: int, end: int) -> bool:
    """Return whether the words around the name at `text[start:end]` deny it."""
    in_front = _IN_FRONT.search(text, max(0, start - REACH), start)
    return bool(in_front or _BEHIND.match(text, end))
