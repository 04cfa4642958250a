"""`ParseDocument`: the prompts for a page in Qwen's document formats, and how they are read.

The model writes the page as HTML whose elements have their places: `<p data-bbox="10 20 90 40">`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from grounding.geometry import Frame
from grounding.queries import Finding, ParseDocument
from grounding.qwen.answers import Answer, add_caveats, read
from grounding.qwen.prompts import PromptSet
from grounding.qwen.scores import Token, score_findings

PROMPTS: dict[PromptSet, str] = {"qwen2.5": "QwenVL HTML ", "qwen3": "qwenvl html"}
"""What each family was taught; a language or a clause beside it would be another prompt."""

STRICT: dict[PromptSet, str] = {
    "qwen2.5": "QwenVL HTML with data-bbox of every element ",
    "qwen3": "output qwenvl html directly, with the bbox of every element",
}


def write_prompt(
    query: ParseDocument,
    frame: Frame | None = None,
    prompts: PromptSet = "qwen2.5",
    *,
    strict: bool,
) -> str:
    """Return the prompt that asks the model for `query`; it belongs after the view."""
    return (STRICT if strict else PROMPTS)[prompts]


def sketch_answer(query: ParseDocument, prompts: PromptSet = "qwen2.5") -> str:
    """Return a page with two made-up elements."""
    return (
        '```html\n<html><body>\n<h2 data-bbox="100 200 300 400">text</h2>\n'
        '<p data-bbox="500 600 700 800">text</p>\n</body></html>\n```'
    )


def read_answer(query: ParseDocument, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the elements of the page in `text`, in reading order, tables as HTML."""
    answer = read(text, frame, complete)
    comments = list(_COMMENT.finditer(text))
    found = tuple(
        _settle(finding, text, comment)
        for finding in answer.findings
        if (comment := _find_comment(finding, comments)) or not comments or "data-bbox" in text
    )
    return add_caveats(replace(answer, findings=found))


def _find_comment(finding: Finding, comments: Sequence[re.Match[str]]) -> re.Match[str] | None:
    """Return the comment that holds a finding's place; in Markdown, no other numbers are one."""
    start, end = finding.span
    at = bisect_right(comments, start, key=lambda one: one.start()) - 1
    return comments[at] if at >= 0 and end <= comments[at].end() else None


_COMMENT = re.compile(r"<!--\s*(?P<name>[A-Za-z]+)\s*\([^()\n]{3,60}\)\s*-->")
_TABLE = re.compile(r"<table\b[^<>]*>.*?</table>", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"<table\b[^<>]*>", re.IGNORECASE)
_ROWS = re.compile(
    r"\s*((?:\|[^\n]*\n?)+|<table\b[\s\S]{0,20000}?</table>|"
    r"\\begin\{(?:tabular|table)\*?\}[\s\S]{0,20000}?\\end\{(?:tabular|table)\*?\})"
)
"""A table behind its comment: in Markdown, in HTML or in LaTeX."""
_HEADS = ("table", "chart")


def _settle(finding: Finding, text: str, comment: re.Match[str] | None) -> Finding:
    """Return a finding with its table as HTML, or as the rows behind a comment of a place."""
    start, end = finding.span
    if comment:
        name = comment["name"].lower()
        rows = _ROWS.match(text, comment.end()) if name == "table" else None
        return replace(finding, label=name, text=rows[1].strip() if rows else None)
    if (finding.label or "").lower().startswith(_HEADS):
        begin = text.rfind("<", 0, start + 1)
        table = _TABLE.search(text, max(begin, 0))
        if table and "data-bbox" not in text[max(end, begin) : table.start()].replace(
            text[start:end], ""
        ):
            return replace(finding, text=_OPENING.sub("<table>", table[0], count=1))
    return finding


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer` with the scores that the probabilities of its tokens give."""
    return replace(answer, findings=score_findings(answer.findings, text, tokens))
