"""The questions put to the model: one `Ask` in, one text out.

The wordings follow Qwen's own evaluation and cookbook prompts, because a 3B model's accuracy
was seen to move from 15 % to 82 % on wording alone. Each allows an empty answer: without
that, these models draw a box for things that are not there.
"""

from __future__ import annotations

from grounding.ask import Ask, Shape

NONE_CLAUSE = "If there is none, output []."

CLASS_PROMPTS = {
    Shape.BOX: "Locate every instance that belongs to the following categories: {what}. "
    "Report bbox coordinates in JSON format.",
    Shape.POINT: "Point to every instance that belongs to the following categories: {what}. "
    "Report point_2d coordinates in JSON format.",
}
PHRASE_PROMPTS = {
    Shape.BOX: "Locate {what} in this image and output the bbox coordinates in JSON format.",
    Shape.POINT: "Point to {what} in this image and output the point_2d coordinates "
    "in JSON format.",
}


def question(ask: Ask) -> str:
    """Return the text that asks the model for `ask`; place it after the image."""
    if ask.phrase:
        body = PHRASE_PROMPTS[ask.shape].format(what=ask.phrase)
    else:
        body = CLASS_PROMPTS[ask.shape].format(what=", ".join(f"'{c}'" for c in ask.classes))
    return f"{body} {NONE_CLAUSE}"


def strict_question(ask: Ask) -> str:
    """Return the second question, for when the first brought no readable answer."""
    return f"{question(ask)} Output the JSON list only, without any other word."
