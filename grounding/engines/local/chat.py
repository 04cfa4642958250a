"""The checkpoint's own chat template, turned into token ids around one picture and one text.

Only the text and the number of image tokens differ between questions, so the template is
rendered once, and each question's text is tokenised by itself. Any control token found there
can only have come from the asker, and is left out: no text can end its own turn, start another
or smuggle in a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from grounding.errors import SettingError

MARKER = "\ue000question\ue000"
"""Stands for the text while the template is rendered: private-use characters no template has."""


@dataclass(frozen=True, slots=True)
class Chat:
    """One question's token ids, but for its text and its image tokens."""

    tokenizer: PreTrainedTokenizerBase
    image_id: int
    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    control: frozenset[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, image_id: int) -> Chat:
        """Return the chat of a checkpoint: system prompt, picture, text, the assistant's turn.

        `image_id` is the placeholder's token id. Raises `SettingError` where the tokenizer has
        no template, or one that does not show one picture before the text.
        """
        head, _, tail = _render(tokenizer).partition(MARKER)
        ids = _encode(tokenizer, head)
        if not tail or ids.count(image_id) != 1:
            raise SettingError(
                "the checkpoint's chat template does not put one image before the text",
                hint="Use the chat template of the base model",
            )
        place = ids.index(image_id)
        return cls(
            tokenizer,
            image_id,
            before=tuple(ids[:place]),
            between=tuple(ids[place + 1 :]),
            after=tuple(_encode(tokenizer, tail)),
            control=frozenset(tokenizer.added_tokens_decoder),
        )

    def ids(self, text: str, image_tokens: int) -> list[int]:
        """Return the whole prompt's ids; `text` adds plain words only, whatever it holds."""
        words = [i for i in _encode(self.tokenizer, text) if i not in self.control]
        picture = [self.image_id] * image_tokens
        return [*self.before, *picture, *self.between, *words, *self.after]


def _render(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        raise SettingError("the checkpoint has no chat template", hint="Use an Instruct checkpoint")
    content = [{"type": "image"}, {"type": "text", "text": MARKER}]
    return str(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
    )


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))
