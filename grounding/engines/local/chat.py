"""The checkpoint's own chat template, turned into token ids around views and texts.

Requests of one form (which parts are views, with a system text or not) differ in texts and in
numbers of image tokens alone. So the template is rendered once per form, and only texts are
tokenised per request. A control token found in a text came from outside and is left out: no text
can end its own turn, start another or add a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from grounding.errors import SettingError

SYSTEM, TEXT = "\ue000system\ue000", "\ue000text\ue000"
"""Stand for the texts while the template is rendered: private-use characters no template has."""

CALL_MARKS = frozenset({"<tool_call>", "</tool_call>"})
"""Tokens around a call of a tool, which a system text may have."""

Form = tuple[tuple[bool, ...], bool]
"""Which parts of a request are texts, and whether it has a system text."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a text goes: `marker` names it, and the template's own words stand around it.

    The words between the nearest control tokens are tokenised together with the text, as in the
    whole rendered template: a line break before the text and one that begins it may be one token.
    """

    marker: str
    before: str
    after: str


Part = tuple[int, ...] | Slot
"""A part of a rendered template: ids that are always the same, or a text's place."""


class Chat:
    """Turns requests into a checkpoint's token ids; safe to share between threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_id: int) -> None:
        """Use `image_id` as the placeholder of an image token.

        Raises `SettingError` where the tokenizer has no chat template, or one that does not put
        one picture before the text.
        """
        self._tokenizer = tokenizer
        self.image_id = image_id
        self._control = frozenset(tokenizer.added_tokens_decoder)
        # The text that tells of tools shows a call as the model is to write it.
        self._call_marks = frozenset(
            i for i, t in tokenizer.added_tokens_decoder.items() if t.content in CALL_MARKS
        )
        self._forms: dict[Form, tuple[Part, ...]] = {}
        self._parts(((False, True), False))

    def tokenize(self, parts: Sequence[int | str], system: str | None = None) -> list[int]:
        """Return the whole prompt's ids; `parts` are texts, and each view's number of tokens.

        The texts add plain words only, whatever they hold. Raises `SettingError` where the
        template cannot carry a request of this form.
        """
        texts = iter([part for part in parts if isinstance(part, str)])
        views = iter([part for part in parts if not isinstance(part, str)])
        form = tuple(isinstance(part, str) for part in parts)
        ids: list[int] = []
        for part in self._parts((form, system is not None)):
            if isinstance(part, Slot):
                words = next(texts) if part.marker == TEXT else system or ""
                kept = self._call_marks if part.marker == SYSTEM else frozenset()
                ids += self.tokenize_words(part.before + words + part.after, kept)
            else:
                ids += self._expand(part, views)
        return ids

    def tokenize_words(self, text: str, kept: frozenset[int] = frozenset()) -> list[int]:
        """Return the ids of a text without its control tokens but those that are `kept`."""
        return [i for i in self._encode(text) if i not in self._control or i in kept]

    def _expand(self, ids: Sequence[int], views: Iterator[int]) -> Iterator[int]:
        """Yield `ids`, each image placeholder as often as the next view has tokens."""
        for one in ids:
            yield from [one] * (next(views) if one == self.image_id else 1)

    def _parts(self, form: Form) -> tuple[Part, ...]:
        if form not in self._forms:
            self._forms[form] = self._parse(self._render(form), form)
        return self._forms[form]

    def _parse(self, rendered: str, form: Form) -> tuple[Part, ...]:
        """Split a rendered template at its texts; raise unless it has all parts in their order."""
        kinds, has_system = form
        *before, after = rendered.split(TEXT)
        complete = bool(before) and (SYSTEM in before[0] or not has_system)
        found = [self._encode(one).count(self.image_id) for one in (*before, after)]
        if not complete or found != _views_between(kinds):
            views = kinds.count(False)
            images = "one image" if views == 1 else f"{views} images"
            raise SettingError(
                f"the checkpoint's chat template does not put {images} before the text",
                hint="Use the chat template of the base model",
            )
        parts = re.split(f"({SYSTEM}|{TEXT})", rendered)
        return tuple(self._join(parts))

    def _join(self, parts: Sequence[str]) -> Iterator[Part]:
        """Yield ids and slots in order; the words around a text go into its slot."""
        literal = parts[0]
        for marker, following in zip(parts[1::2], parts[2::2], strict=True):
            fixed, before = self._split_last(literal)
            after, literal = self._split_first(following)
            yield tuple(self._encode(fixed))
            yield Slot(marker, before, after)
        yield tuple(self._encode(literal))

    def _split_last(self, text: str) -> tuple[str, str]:
        """Return `text` up to the end of its last control token, and the rest."""
        end = max((found.end() for found in self._controls.finditer(text)), default=0)
        return text[:end], text[end:]

    def _split_first(self, text: str) -> tuple[str, str]:
        """Return `text` before its first control token, and the rest."""
        found = self._controls.search(text)
        start = found.start() if found else len(text)
        return text[:start], text[start:]

    @cached_property
    def _controls(self) -> re.Pattern[str]:
        contents = [token.content for token in self._tokenizer.added_tokens_decoder.values()]
        longest_first = sorted(contents, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def _render(self, form: Form) -> str:
        if not self._tokenizer.chat_template:
            raise SettingError(
                "the checkpoint has no chat template", hint="Use an Instruct checkpoint"
            )
        kinds, has_system = form
        text = {"type": "text", "text": TEXT}
        content = [text if is_text else {"type": "image"} for is_text in kinds]
        messages = [{"role": "user", "content": content}]
        if has_system:
            system = [{"type": "text", "text": SYSTEM}]
            messages.insert(0, {"role": "system", "content": system})
        # Hybrid checkpoints think unless their template is told otherwise; others ignore it.
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def _views_between(kinds: Sequence[bool]) -> list[int]:
    """Return how many views stand before the first text, between each two, and after the last."""
    counts = [0]
    for is_text in kinds:
        if is_text:
            counts.append(0)
        else:
            counts[-1] += 1
    return counts
