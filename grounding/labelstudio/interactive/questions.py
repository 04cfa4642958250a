"""Tells a typed question, which is answered in words, from a prompt that asks for places.

The config names the text area for the answer: one that the model fills, and only when asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from grounding.labelstudio.config.interface import Control

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
