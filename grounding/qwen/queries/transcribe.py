"""`Transcribe`: the prompts that ask for print, with places or as one text, and how it is read.

The wordings for lines with places and for a whole text are those of Qwen's notebook for OCR; the
answers write a comma after every value and are no JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Frame
from grounding.queries import Finding, TextUnit, Transcribe
from grounding.qwen.answers import Answer, Note, Verdict, add_caveats, read
from grounding.qwen.prompts import PromptSet, language_of, quote
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.fields import fold
from grounding.qwen.reading.lines import unquote
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import extract_answer
from grounding.qwen.reading.tokenizer import Lexeme, tokenize
from grounding.qwen.reading.values import Group, String
from grounding.qwen.scores import Token, score_findings


@dataclass(frozen=True, slots=True)
class Wording:
    """All wordings in one language: a request by unit, that for fields, and clauses at the end."""

    spot: dict[TextUnit, str]
    fields: str
    meaning: str
    none: str
    none_whole: str
    only: str
    only_whole: str
    comma: str
    gap: str


WORDINGS = {
    "en": Wording(
        spot={
            TextUnit.LINE: "Spotting all the text in the image with line-level, "
            "and output in JSON format.",
            TextUnit.WORD: "Spotting all the text in the image with word-level, "
            "and output in JSON format.",
            TextUnit.WHOLE: "Read all the text in the image. Output only the text content, "
            "line by line, without any description or formatting.",
        },
        fields="Locate the value of each of these fields: {names}. Report bbox_2d coordinates, "
        "label and text_content in JSON format.",
        meaning="{names} means: {text}.",
        none="If there is none, output [].",
        none_whole="If there is none, output None.",
        only="Output the JSON list only, without any other word.",
        only_whole="Output nothing but the text.",
        comma=", ",
        gap=" ",
    ),
    "zh": Wording(
        spot={
            TextUnit.LINE: "识别图中所有的文字，逐行以JSON格式输出其bbox_2d坐标和text_content。",
            TextUnit.WORD: "识别图中所有的文字，逐词以JSON格式输出其bbox_2d坐标和text_content。",
            TextUnit.WHOLE: "请识别出图中所有的文字，逐行输出，只输出文字内容。",
        },
        fields="定位图中以下各字段的值：{names}，以JSON格式输出其bbox_2d坐标、label和text_content。",
        meaning="{names}的含义：{text}。",
        none="如果没有，输出[]。",
        none_whole="如果没有，输出：无。",
        only="只输出JSON列表，不要输出其他文字。",
        only_whole="除文字内容外不要输出任何内容。",
        comma="、",
        gap="",
    ),
}

GENERIC = {fold(name) for name in ("text", "line", "word", "textline", "ocr", "文字", "文本")}
"""Labels that say nothing of what is written; any other label without a text is the text."""

LOOP = 4
"""Equal lines one after the other from which on they are a loop."""


def write_prompt(
    query: Transcribe, frame: Frame | None = None, prompts: PromptSet = "qwen2.5", *, strict: bool
) -> str:
    """Return the prompt that asks the model for `query`; it belongs after the view.

    `frame` and `prompts` change nothing. A `strict` prompt also demands the bare answer.
    """
    names = query.classes if query.named else ()
    words = WORDINGS[language_of(" ".join(names), query.style.language)]
    whole = query.unit is TextUnit.WHOLE
    main = words.spot[query.unit]
    if query.named:
        main = words.fields.format(names=quote(names, words.comma))
    meanings = [
        words.meaning.format(names=quote(one.names, words.comma), text=one.text.rstrip(" .。"))
        for one in query.meanings
    ]
    none, only = (words.none_whole, words.only_whole) if whole else (words.none, words.only)
    return words.gap.join((main, *meanings, none, *((only,) if strict else ())))


def sketch_answer(query: Transcribe, prompts: PromptSet = "qwen2.5") -> str:
    """Return an answer with two made-up lines in the notebook's form; nothing for a whole text."""
    if query.unit is TextUnit.WHOLE:
        return ""
    label = f'"label": "{query.classes[0]}",\n        ' if query.named and query.classes else ""
    line = f'    {{\n        "bbox_2d": [PLACE],\n        {label}"text_content": "text",\n    }},\n'
    places = ("100, 200, 300, 400", "500, 600, 700, 800")
    return "```json\n[\n" + "".join(line.replace("PLACE", one) for one in places) + "]\n```"


def read_answer(query: Transcribe, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the print in `text`: a finding for each line or word, or one for a whole text."""
    if query.unit is TextUnit.WHOLE:
        return _read_whole(text, frame, complete=complete)
    answer = read(text, frame, complete)
    split = [_split_label(one, query) if query.named else one for one in answer.findings]
    found = tuple(_settle_text(finding, named=query.named) for finding in split)
    return add_caveats(replace(answer, findings=found))


def _split_label(finding: Finding, query: Transcribe) -> Finding:
    """Return a finding of a line such as "company: ACME [10, 20, 110, 40]" with its text apart."""
    label, mark, text = (finding.label or "").partition(":")
    known = mark and not finding.text and fold(label) in map(fold, query.classes)
    return replace(finding, label=label.strip(), text=text.strip()) if known else finding


def _settle_text(finding: Finding, *, named: bool) -> Finding:
    """Return a finding with its text, and a label only where the query named some."""
    text = (finding.text or "").strip()
    if named:
        return replace(finding, text=text or None)
    label = finding.label or ""
    return replace(
        finding, text=text or (None if fold(label) in GENERIC else label) or None, label=None
    )


_FENCE = re.compile(r"\A\s*```[ ]*(?:[A-Za-z][\w+-]*)?\n?|\n?```\s*\Z")


def _read_whole(text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return an answer that is one text; a list of places gives their texts, line by line."""
    content, cut = extract_answer(text)
    placed = read(text, frame, complete)
    listed = bool(placed.findings and _PLACED.search(content))
    found = [_settle_text(f, named=not listed) for f in placed.findings]
    texts = [f.text for f in found if f.text]
    plain = "" if texts else _unwrap(_FENCE.sub("", content).strip(), complete=complete and not cut)
    lines = texts or plain.split("\n")
    cut = cut or not complete or (bool(texts) and placed.verdict is Verdict.TRUNCATED)
    kept, looped = _without_loop(lines[:-1] if cut and not texts else lines)
    whole = "\n".join(kept).strip()
    notes = ((Note.LOOP,) if looped else ()) + ((Note.TRUNCATED,) if cut else ())
    if listed and not texts:
        return Answer((), Verdict.UNREADABLE, notes)
    if not texts and _says_no_text(whole):
        return Answer((), Verdict.TRUNCATED if cut else Verdict.NOTHING, notes)
    if not whole or (not texts and declines(whole)):
        verdict = Verdict.REFUSED if whole else Verdict.UNREADABLE
        return Answer((), Verdict.TRUNCATED if cut else verdict, notes)
    start = len(content) - len(content.lstrip())
    finding = Finding(text=whole, value=whole, span=(start, len(content.rstrip())))
    return Answer((finding,), Verdict.TRUNCATED if cut else Verdict.FOUND, notes)


_KIND = (
    r"(?:visible|printed|written|handwritten|extracted|transcribed|recogni[sz]ed|detected|full|"
    r"complete|exact|whole|entire|raw|plain|main|only|image|following|ocr|an?)"
)
"""What the model says of the print; "Read the text below:" and "Copy the words" are print."""
_LEAD = re.compile(
    r"(?=[^\n:\"“]*\b(?:here|image|picture|photo|screenshot|document|receipt|reads?|says?|follows|"
    r"extracted|transcribed|visible)\b)"
    r"(?:(?:sure|certainly|of course|ok(?:ay)?)[!,.]?\s+)?(?:here(?:['’]s| is| are) )?"
    r"(?:all )?(?:of )?"
    rf"(?:the )?(?:{_KIND} ){{0,2}}(?:text|transcription|words|writing|ocr)\b[^\n:\"“]{{0,60}}"
    r"(?::|(?:reads?|says?|is)[:,]?(?=\s*[\"“]))\s*|"
    r"(?:好的[，,。！!]\s*)?(?:以下是)?(?=[^\n:：]*(?:图|如下|识别|提取))[^\n:：]{0,16}"
    r"(?:文字|文本|内容)[^\n:：]{0,10}[:：]\s*",
    re.IGNORECASE,
)
"""Words of the model in front of the print."""
_FAREWELL = re.compile(
    r"\n+(?:please )?(?:let me know|i hope|feel free|if you (?:need|have|want)|如果您|如需|希望)"
    r"[^\n]*\Z",
    re.IGNORECASE,
)
_STOP = re.compile(r"(?<=[\"”])[.。]\Z")
_TAGGED = re.compile(r"<(text|ocr|transcription|content)>(.*)</\1>", re.IGNORECASE | re.DOTALL)


def _unwrap(text: str, *, complete: bool) -> str:
    """Return the print of an answer without the model's own words, tags or JSON around it."""
    lead = _LEAD.match(text)
    if lead and lead.end() < len(text):
        text = _FENCE.sub("", _FAREWELL.sub("", text[lead.end() :]).strip()).strip()
        text = unquote(_STOP.sub("", text)) if complete and text else text
    elif tagged := _TAGGED.fullmatch(text):
        text = tagged[2].strip()
    groups = tokenize(text, KNOWN).items if complete and text[:1] in ("{", "[") else []
    inner = _list_print(groups[0]) if len(groups) == 1 else []
    return "\n".join(inner) if inner else text


def _list_print(item: Lexeme) -> list[str]:
    """Return the lines in ["TOTAL", "8.75"] and {"text": "TOTAL"}; none of anything else."""
    if not isinstance(item, Group) or not item.closed:
        return []
    keyed = len(item.entries) == 1 and item.keyed
    texts = [
        value.text.strip()
        for key, value in item.entries
        if isinstance(value, String) and (key is None or (keyed and fold(key.text) in _TEXT_KEYS))
    ]
    return texts if len(texts) == len(item.entries) else []


_TEXT_KEYS = {"text", "textcontent", "ocr", "ocrtext", "transcription", "content", "文字", "文本"}

_PLACED = re.compile(r'"(?:bbox|box|point|quad)_?\w*"\s*:\s*\[|<\|box_start\|>')
"""What only a list of places writes: numbers that are printed look like places too."""

_NO_TEXT = re.compile(
    r"(?:none|null|n/?a|empty|no (?:visible |readable )?text|无|没有(?:文字)?|\[\]|\{\})[.。]?",
    re.IGNORECASE,
)
_ABOUT_TEXT = re.compile(
    r"\b(?:texts?|writing|letters|words|characters|images?|pictures?|photos?)\b|文字|文本|图|画面",
    re.IGNORECASE,
)


def _says_no_text(text: str) -> bool:
    """Say whether an answer is about the picture; "No parking" is what stands there."""
    if _NO_TEXT.fullmatch(text):
        return True
    return not text.isupper() and says_none(text) and bool(_ABOUT_TEXT.search(text))


def _without_loop(lines: Sequence[str]) -> tuple[list[str], bool]:
    """Return the lines without what a loop at their end repeats, and whether there was one."""
    last = len(lines)
    while last > 1 and lines[last - 1].strip() and lines[last - 2] == lines[-1]:
        last -= 1
    looped = len(lines) - last + 1 >= LOOP
    return list(lines[:last] if looped else lines), looped


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer` with the scores that the probabilities of its tokens give.

    That of a whole text is the geometric mean over its tokens, because each of many may be wrong
    without the others.
    """
    if any(finding.place is None for finding in answer.findings):
        logs = [token.logprob for token in tokens]
        score = math.exp(min(0.0, sum(logs) / len(logs))) if logs else None
        return replace(answer, findings=tuple(replace(f, score=score) for f in answer.findings))
    return replace(answer, findings=score_findings(answer.findings, text, tokens))
