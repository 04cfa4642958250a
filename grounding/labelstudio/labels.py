"""The model's words to the project's labels, and never to anything else.

A model writes "cats", "Fire truck." or "traffic_light" where the config says "Cat",
"fire-truck" and "Traffic Light". What differs only in spelling is the same word here; what
does not is no label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from grounding.labelstudio.config.interface import Label

MAX_WORD = 400
"""Twice the longest label: whatever is longer cannot name one."""

PLURALS = (
    ("people", "person"),
    ("children", "child"),
    ("men", "man"),
    ("feet", "foot"),
    ("teeth", "tooth"),
    ("geese", "goose"),
    ("mice", "mouse"),
    ("ies", "y"),
    ("knives", "knife"),
    ("wives", "wife"),
    ("leaves", "leaf"),
    ("shelves", "shelf"),
    ("wolves", "wolf"),
    ("calves", "calf"),
    ("halves", "half"),
    ("loaves", "loaf"),
    ("scarves", "scarf"),
    ("hooves", "hoof"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("oes", "o"),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("s", ""),
)
"""English plural endings and what they stand for in the singular."""

KEPT_MARKS = frozenset("#%&@*")
"""Punctuation that tells names apart: C and C#, 5 and 5%."""

VARIATION_SELECTOR = "\ufe0f"
"""Asks for the coloured form of a sign, as in ❤️, which is the same sign."""

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Letters of scripts without spaces between words: Thai to Khmer, kana, Han."""

BLANK = " "
"""Stands for words already used; no word is the same."""

Words = tuple[str, ...]
Keys = Callable[[str], frozenset[str]]
Names = Callable[[Label], Iterable[str]]


def match(word: str, labels: Sequence[Label]) -> Label | None:
    """Return the label that `word` names, or None where it names none, or more than one.

    Tried in this order, and the first that fits decides: the very string; another case, spacing
    or punctuation; singular for plural; the same for `predicted_values` and alias; and for what
    the description lists.
    """
    if len(word) > MAX_WORD:
        return None
    for (keys, _), index in zip(_STAGES, _indexes(tuple(labels)), strict=True):
        fitting = {x.emitted: x for key in keys(word) for x in index.get(key, ())}
        if fitting:
            return next(iter(fitting.values())) if len(fitting) == 1 else None
    return None


def named(phrase: str, labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return the labels that words of `phrase` name, in the labels' order.

    The longest name wins: "fire truck" does not name the label "truck" where both exist.
    """
    spoken = [(label, _words(name)) for label in labels for name in (label.value, *label.words)]
    text = list(_words(phrase))
    found = _named_by_words(text, [pair for pair in spoken if pair[1]])
    found |= _named_within("".join(text), [(x, "".join(words)) for x, words in spoken])
    return tuple(label for label in labels if label.emitted in found)


def _named_by_words(text: list[str], spoken: Sequence[tuple[Label, Words]]) -> set[str]:
    """Return what runs of whole words name; words that named something are blanked in `text`."""
    index: dict[Words, set[str]] = {}
    for label, words in spoken:
        for form in _forms(words):
            index.setdefault(form, set()).add(label.emitted)
    found: set[str] = set()
    for size in sorted({len(words) for _, words in spoken}, reverse=True):
        for start in range(len(text) - size + 1):
            here = slice(start, start + size)
            hits = {x for form in _forms(tuple(text[here])) for x in index.get(form, ())}
            if hits:
                found |= hits
                text[here] = [BLANK] * size
    return found


def _named_within(text: str, spoken: Sequence[tuple[Label, str]]) -> set[str]:
    """Return what `text` names in scripts that write words without spaces between them."""
    found = set()
    for label, name in sorted(spoken, key=lambda pair: -len(pair[1])):
        if UNSPACED.search(name) and name in text:
            found.add(label.emitted)
            text = text.replace(name, BLANK)
    return found


def _forms(words: Words) -> set[Words]:
    """Return some words with each possible singular of the last."""
    return {(*words[:-1], last) for last in _singulars(words[-1])}


@lru_cache(maxsize=16)  # a project's labels are the same for each of its answers
def _indexes(labels: tuple[Label, ...]) -> list[dict[str, list[Label]]]:
    """Return for each stage which labels each key leads to."""
    indexes = []
    for keys, names in _STAGES:
        index: dict[str, list[Label]] = {}
        for label in labels:
            for key in {key for name in names(label) for key in keys(name)}:
                index.setdefault(key, []).append(label)
        indexes.append(index)
    return indexes


def _words(text: str) -> Words:
    """Return the words of `text` in the one form that all its spellings share."""
    flat = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return tuple("".join(" " if _separates(c) else c for c in flat).split())


def _separates(character: str) -> bool:
    """Say whether a character is space, punctuation or control, in any script."""
    if character in KEPT_MARKS:
        return False
    return unicodedata.category(character)[0] in "ZPC" or character == VARIATION_SELECTOR


def _exact(text: str) -> frozenset[str]:
    return frozenset({text})


def _folded(text: str) -> frozenset[str]:
    """Return the words run together; between digits the gap stays, 1.5 is not 15."""
    run = re.sub(r"(?<!\d) | (?!\d)", "", " ".join(_words(text)))
    return frozenset({run} if run else ())


def _singular(text: str) -> frozenset[str]:
    return frozenset(form for run in _folded(text) for form in _singulars(run))


def _singulars(run: str) -> set[str]:
    """Return a word with each of its possible singulars."""
    plain = run.endswith("ss")
    forms = {run[: -len(e)] + one for e, one in PLURALS if run.endswith(e) and not plain}
    return {run} | {form for form in forms if len(form) > 1}


def _own(label: Label) -> Iterable[str]:
    return filter(None, (label.value, label.alias))


def _value(label: Label) -> Iterable[str]:
    return (label.value,)


def _other_names(label: Label) -> Iterable[str]:
    return filter(None, (*label.predicted_values, label.alias))


def _described(label: Label) -> Iterable[str]:
    """Yield what a description lists: "lorry, pickup or van" names three things.

    Only whole items count: a word within a sentence may be what the label is not.
    """
    return re.split(r"[,;/|()\n]|\bor\b", label.description or "")


_STAGES: tuple[tuple[Keys, Names], ...] = (
    (_exact, _own),
    (_folded, _value),
    (_singular, _value),
    (_folded, _other_names),
    (_singular, _other_names),
    (_folded, _described),
    (_singular, _described),
)


def same_spelling(labels: Sequence[Label]) -> list[list[Label]]:
    """Return the groups of labels that only the exact string tells apart."""
    groups: dict[frozenset[str], list[Label]] = {}
    for label in labels:
        groups.setdefault(_folded(label.value), []).append(label)
    return [group for form, group in groups.items() if form and len(group) > 1]
