"""What the things are called, in English and in Chinese."""

from __future__ import annotations

from typing import Literal

Tongue = Literal["en", "zh"]

CHINESE_WORDS = {
    "red": "红色",
    "green": "绿色",
    "blue": "蓝色",
    "yellow": "黄色",
    "black": "黑色",
    "orange": "橙色",
    "circle": "圆形",
    "square": "方形",
    "triangle": "三角形",
    "star": "星形",
}


def said(name: str, tongue: Tongue) -> str:
    """Return an English name such as "red circle" in a language: "红色圆形" in Chinese."""
    if tongue == "en":
        return name
    return "".join(CHINESE_WORDS[word] for word in name.split())
