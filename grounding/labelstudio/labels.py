"""Finds which of the project's labels a model's word or an annotator's phrase names.

A model writes "cats", "Fire truck." or "traffic_light" for the labels "Cat", "fire-truck" and
"Traffic Light". Words that differ only in spelling are the same word here. A word that differs
otherwise names no label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby

from grounding.labelstudio.config.interface import Label

MAX_WORD = 400
"""Twice the length of the longest label: a longer word cannot name one."""

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
"""English plural endings, each with its singular."""

ARTICLE = re.compile(r"\s*(?:an?|the)\s+(?=\w)", re.IGNORECASE)
"""What a model may write before a name: "a cat"."""

KEPT_MARKS = frozenset("#%&@*")
"""Punctuation that distinguishes names: C and C#, 5 and 5%."""

VARIATION_SELECTOR = "\ufe0f"
"""Selects the coloured form of a sign such as ❤️; without it the sign is the same."""

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Letters of scripts that write no spaces between words: Thai to Khmer, kana, Han."""

CACHED_CONTROLS = 16
"""Label lists whose index is kept: each answer of a project uses the same ones."""

BLANK = " "
"""Replaces words that already named a label; it equals no word."""

Words = tuple[str, ...]
Keys = Callable[[str], frozenset[str]]
Names = Callable[[Label], Iterable[str]]
Rejects = Callable[[str, int, int], bool]
Place = tuple[int, int]
Named = tuple[str, int, int]
"""What a label emits, and the range of letters that names it, of all words without their gaps."""


def match(word: str, labels: Sequence[Label]) -> Label | None:
    """Return the label that `word` names, or None if it names none or more than one.

    The first rule that any label fits decides: the same string; the same but for case, spacing
    and punctuation; the same but for singular and plural; then the last two for
    `predicted_values` and alias, then for the items that the description lists. A word that
    names none may name one behind its article.
    """
    if len(word) > MAX_WORD:
        return None
    for (keys, _), index in zip(_RULES, _index_by_rule(tuple(labels)), strict=True):
        fitting = {x.emitted: x for key in keys(word) for x in index.get(key, ())}
        if fitting:
            return next(iter(fitting.values())) if len(fitting) == 1 else None
    article = ARTICLE.match(word)
    return match(word[article.end() :], labels) if article else None


def find_queried(classes: Iterable[str], labels: Sequence[Label]) -> Label | None:
    """Return the label that a query for these classes was for; None for none or several."""
    wanted = set(classes)
    queried = [label for label in labels if wanted.intersection(label.words)]
    return queried[0] if len(queried) == 1 else None


def find_named(
    phrase: str, labels: Sequence[Label], rejects: Rejects | None = None
) -> tuple[Label, ...]:
    """Return the labels that words of `phrase` name, in the labels' order.

    The longest name wins: "fire truck" does not name the label "truck" if both exist. Of labels
    that differ in spelling only, those win that are written exactly so. `rejects` says of a name
    by its range in `phrase` whether it does not count there.
    """
    names = _index_names(tuple(labels))
    words = list(_locate_words(phrase))
    text = [form for form, _ in words]
    named = [*names.take_words(text), *names.take_within("".join(text))]
    places = [place for form, place in words for place in _locate_letters(form, place)]
    found = {
        emitted
        for emitted, start, end in named
        if rejects is None or not rejects(phrase, places[start][0], places[end - 1][1])
    }
    for twins in group_same_spelling([label for label in labels if label.emitted in found]):
        if written := {label.emitted for label in twins if label.value in phrase}:
            found -= {label.emitted for label in twins} - written
    return tuple(label for label in labels if label.emitted in found)


@dataclass(frozen=True, slots=True)
class _NameIndex:
    """The names of a control's labels, for the search in phrases.

    `by_words` leads from a name's words, also in the singular, to what the labels emit, `sizes`
    are the numbers of words in a name, longest first, and `unspaced` are the names in scripts
    without spaces, longest first, each with what its label emits.
    """

    by_words: Mapping[Words, set[str]]
    sizes: tuple[int, ...]
    unspaced: tuple[tuple[str, str], ...]

    def take_words(self, text: list[str]) -> list[Named]:
        """Return the labels that runs of whole words name, and blank those words in `text`."""
        found: list[Named] = []
        offsets = [0, *accumulate(map(len, text))]
        for size in self.sizes:
            for start in range(len(text) - size + 1):
                end = start + size
                forms = _forms(tuple(text[start:end]))
                if hits := {x for form in forms for x in self.by_words.get(form, ())}:
                    found += [(emitted, offsets[start], offsets[end]) for emitted in hits]
                    text[start:end] = [BLANK * len(word) for word in text[start:end]]
        return found

    def take_within(self, text: str) -> list[Named]:
        """Return the labels that parts of `text` name in scripts without spaces."""
        found: list[Named] = []
        for name, emitted in self.unspaced:
            found += [(emitted, *one.span()) for one in re.finditer(re.escape(name), text)]
            text = text.replace(name, BLANK * len(name))
        return found


@lru_cache(maxsize=CACHED_CONTROLS)
def _index_names(labels: tuple[Label, ...]) -> _NameIndex:
    named = [(_split_words(name), x.emitted) for x in labels for name in (x.value, *x.words)]
    by_words: dict[Words, set[str]] = {}
    for words, emitted in named:
        for form in _forms(words) if words else ():
            by_words.setdefault(form, set()).add(emitted)
    joined = sorted((("".join(words), x) for words, x in named), key=lambda pair: -len(pair[0]))
    return _NameIndex(
        by_words,
        tuple(sorted({len(words) for words in by_words}, reverse=True)),
        tuple((name, x) for name, x in joined if UNSPACED.search(name)),
    )


def _forms(words: Words) -> set[Words]:
    """Return `words` with each possible singular of the last one."""
    return {(*words[:-1], last) for last in _singulars(words[-1])}


@lru_cache(maxsize=CACHED_CONTROLS)
def _index_by_rule(labels: tuple[Label, ...]) -> list[dict[str, list[Label]]]:
    """Return for each rule of `match` the labels by key."""
    indexes = []
    for keys, names in _RULES:
        index: dict[str, list[Label]] = {}
        for label in labels:
            for key in {key for name in names(label) for key in keys(name)}:
                index.setdefault(key, []).append(label)
        indexes.append(index)
    return indexes


def _split_words(text: str) -> Words:
    """Return the words of `text` in the form that all its spellings share."""
    flat = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return tuple("".join(" " if _separates(c) else c for c in flat).split())


def _locate_words(text: str) -> Iterator[tuple[str, Place]]:
    """Yield the words of `text` as `_split_words` gives them, and where each stands."""
    for apart, run in groupby(enumerate(text), key=lambda one: _is_gap(one[1])):
        if not apart:
            places = [at for at, _ in run]
            start, end = places[0], places[-1] + 1
            yield from ((word, (start, end)) for word in _split_words(text[start:end]))


def _is_gap(character: str) -> bool:
    return all(map(_separates, unicodedata.normalize("NFKC", character)))


def _locate_letters(form: str, place: Place) -> list[Place]:
    """Return where each letter of a word stands: all of its place where the lengths differ."""
    start, end = place
    if end - start != len(form):
        return [place] * len(form)
    return [(at, at + 1) for at in range(start, end)]


def _separates(character: str) -> bool:
    """Say whether a character is a space, punctuation or a control character, in any script."""
    if character in KEPT_MARKS:
        return False
    return unicodedata.category(character)[0] in "ZPC" or character == VARIATION_SELECTOR


def _exact_keys(text: str) -> frozenset[str]:
    return frozenset({text})


def _folded_keys(text: str) -> frozenset[str]:
    """Return the words joined; a gap between digits stays, so that 1.5 is not 15."""
    run = re.sub(r"(?<!\d) | (?!\d)", "", " ".join(_split_words(text)))
    return frozenset({run} if run else ())


def _singular_keys(text: str) -> frozenset[str]:
    return frozenset(form for run in _folded_keys(text) for form in _singulars(run))


def _singulars(run: str) -> set[str]:
    """Return a word and each of its possible singulars."""
    plain = run.endswith("ss")  # glass, dress
    forms = {run[: -len(e)] + one for e, one in PLURALS if run.endswith(e) and not plain}
    return {run} | {form for form in forms if len(form) > 1}


def _own_names(label: Label) -> Iterable[str]:
    return filter(None, (label.value, label.alias))


def _value_name(label: Label) -> Iterable[str]:
    return (label.value,)


def _other_names(label: Label) -> Iterable[str]:
    return filter(None, (*label.predicted_values, label.alias))


def _listed_names(label: Label) -> Iterable[str]:
    """Return the items that a description lists: "lorry, pickup or van" has three.

    Only whole items count, because a word in a sentence may say what the label is not.
    """
    return re.split(r"[,;/|()\n]|\bor\b", label.description) if label.description else ()


_RULES: tuple[tuple[Keys, Names], ...] = (
    (_exact_keys, _own_names),
    (_folded_keys, _value_name),
    (_singular_keys, _value_name),
    (_folded_keys, _other_names),
    (_singular_keys, _other_names),
    (_folded_keys, _listed_names),
    (_singular_keys, _listed_names),
)


def group_same_spelling(labels: Sequence[Label]) -> list[list[Label]]:
    """Return the groups of labels that differ in case, spacing or punctuation only."""
    groups: dict[frozenset[str], list[Label]] = {}
    for label in labels:
        groups.setdefault(_folded_keys(label.value), []).append(label)
    return [group for form, group in groups.items() if form and len(group) > 1]
