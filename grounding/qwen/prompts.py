"""What the wordings of all query kinds share: the prompt's language, and how names are quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from grounding.queries import Language

PromptSet = Literal["qwen2.5", "qwen3"]
"""The names of the wordings of the model families; `Profile.prompts` holds one."""

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7af]")
WORD = re.compile(r"[A-Za-z]+")


def language_of(text: str, wanted: Language = "auto") -> Literal["en", "zh"]:
    """Return the language of a prompt about `text`: the `wanted` one, or that of the text.

    Text is Chinese where it has at least as many Han characters as words in Latin letters, and no
    kana or hangul, which make it Japanese or Korean.
    """
    if wanted != "auto":
        return wanted
    han = len(HAN.findall(text))
    chinese = han >= max(1, len(WORD.findall(text))) and not KANA_OR_HANGUL.search(text)
    return "zh" if chinese else "en"


def quote(names: Iterable[str], comma: str) -> str:
    """Return names in quotation marks, joined by `comma`, so that answers can be matched."""
    return comma.join(f'"{name}"' if "'" in name else f"'{name}'" for name in names)
