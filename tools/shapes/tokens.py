"""The checkpoint's tokenizer: a small byte-level BPE with Qwen's special tokens.

It encodes any text, since all 256 bytes are tokens. Every digit is its own token, as in Qwen's.
Words of the prompts and answers are one token each, which keeps sequences short.
"""

from __future__ import annotations

import json
import random
from functools import lru_cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from tools.shapes.names import CHINESE_WORDS
from tools.shapes.questions import every_text

END = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
IMAGE = "<|image_pad|>"
VIDEO = "<|video_pad|>"
SPECIAL = (
    *(END, TURN_START, TURN_END, "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *(VISION_START, VISION_END, "<|vision_pad|>", IMAGE, VIDEO),
)

CHINESE = "|".join(CHINESE_WORDS.values())
WORDS = (
    rf"\p{{N}}|{CHINESE}|(?:(?!{CHINESE})\p{{Han}})+| ?(?:(?!\p{{Han}})\p{{L}})+"
    r"|(?:(?! \p{L})[^\p{L}\p{N}])+"
)
"""One digit, a colour or a shape in Chinese, a run of other Chinese, a word with the space before
it, or a run of anything else."""

SYSTEM = "You are a helpful assistant."
VOCABULARY = 1000

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's chat template without the default system message, which takes ten tokens."""


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer; each process trains it on the same texts."""
    core = splitting(BPE(), WORDS)
    core.train_from_iterator(_texts(), _trainer())
    return complete(core)


def splitting(model: BPE, pattern: str) -> Tokenizer:
    """Return a byte-level tokenizer with `model`, whose tokens lie within matches of `pattern`."""
    core = Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def complete(core: Tokenizer) -> PreTrainedTokenizerFast:
    """Return a tokenizer with Qwen's special tokens and the chat template."""
    core.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=TURN_END,
        pad_token=END,
        additional_special_tokens=list(SPECIAL),
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def spelled() -> str:
    """Return the tokenizer's vocabulary and rules as JSON; equal for equal tokenizers."""
    # Its full JSON also has the padding of the last texts.
    return json.dumps(json.loads(tokenizer().backend_tokenizer.to_str())["model"])


def _trainer() -> trainers.BpeTrainer:
    return trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )


def _texts() -> list[str]:
    chat = ["system\n", "user\n", "assistant\n", SYSTEM]
    return chat * 100 + every_text(random.Random(0), 8000)
