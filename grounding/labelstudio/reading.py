"""What controls that read ask: print with places, one text, or the parts of a page."""

from __future__ import annotations

from collections.abc import Sequence

from grounding.geometry import Box
from grounding.labelstudio.config.interface import Control, Label, ModelTask
from grounding.labelstudio.config.tasks import PRINT, WORDS
from grounding.labelstudio.data import fold
from grounding.labelstudio.labels import match
from grounding.queries import Meaning, ParseDocument, TextUnit, Transcribe

READING = (ModelTask.OCR, ModelTask.DOCUMENT)

ELEMENTS: dict[str, tuple[str, ...]] = {
    "h1": ("Title", "Section-header", "Heading", "Header"),
    "title": ("Title", "Section-header", "Heading"),
    "heading": ("Section-header", "Heading", "Title"),
    "sectionheader": ("Section-header", "Heading", "Title"),
    "p": ("Text", "Paragraph"),
    "text": ("Text", "Paragraph"),
    "div": ("Text", "Paragraph"),
    "paragraph": ("Paragraph", "Text"),
    "li": ("List-item", "List", "Text", "Paragraph"),
    "listitem": ("List-item", "List", "Text", "Paragraph"),
    "ul": ("List", "List-item", "Text"),
    "ol": ("List", "List-item", "Text"),
    "table": ("Table",),
    "img": ("Picture", "Image", "Figure"),
    "figure": ("Figure", "Picture", "Image"),
    "picture": ("Picture", "Image", "Figure"),
    "image": ("Picture", "Image", "Figure"),
    "chart": ("Chart", "Picture", "Figure", "Image"),
    "formula": ("Formula", "Equation"),
    "chemicalformula": ("Formula", "Equation"),
    "equation": ("Formula", "Equation"),
    "musicsheet": ("Music", "Picture", "Figure"),
    "caption": ("Caption", "Text"),
    "footer": ("Page-footer", "Footer"),
    "header": ("Page-header", "Header"),
    "footnote": ("Footnote", "Text"),
    "code": ("Code", "Text"),
}
"""The names of a page's elements, folded, and the labels that they become: the first there is."""


def plan_reading(control: Control, labels: Sequence[Label]) -> Transcribe | ParseDocument:
    """Return what a control asks that reads: all print, the fields that it labels, or the page."""
    style = control.options.style
    words = tuple(dict.fromkeys(word for label in labels for word in label.words))
    if control.task is ModelTask.DOCUMENT:
        return ParseDocument(words, style)
    folded = [fold(label.value) for label in labels]
    if len(labels) > 1 and not PRINT.issuperset(folded):
        meanings = tuple(Meaning(x.words, x.meaning) for x in labels if x.meaning)
        return Transcribe(TextUnit.LINE, words, named=True, style=style, meanings=meanings)
    unit = TextUnit.WORD if folded and WORDS.issuperset(folded) else TextUnit.LINE
    lines = [label for label in labels if fold(label.value) not in WORDS] or list(labels)
    return Transcribe(unit, lines[0].words[:1] if lines else (), style=style)


def plan_reading_in(control: Control, around: Box, labels: Sequence[Label]) -> Transcribe:
    """Return what a control asks about the print in a box that an annotator drew."""
    words = tuple(word for label in labels[:1] for word in label.words[:1])
    return Transcribe(TextUnit.WHOLE, words, around=around, style=control.options.style)


def match_element(name: str, labels: Sequence[Label]) -> Label | None:
    """Return the label that an element of a page becomes, None where none fits.

    An element's own name goes before the labels that it may become; "table4" is a table, and
    "image caption" a picture.
    """
    folded = fold(name).rstrip("0123456789") if fold(name)[:1] != "h" else fold(name)
    if folded[:1] == "h" and folded[1:].isdecimal() and folded != "h1":
        folded = "heading"
    kinds = [kind for kind in sorted(ELEMENTS, key=len, reverse=True) if folded.startswith(kind)]
    wanted = ELEMENTS.get(folded) or next((ELEMENTS[kind] for kind in kinds), ())
    found = (match(one, labels) for one in (name, *wanted))
    return next((label for label in found if label), None)
