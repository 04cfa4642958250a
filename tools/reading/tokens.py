"""The reading checkpoint's tokenizer: whole sentences of the prompts, and single characters.

A byte-level BPE without merges: what a pattern cuts out as a `PIECES` is one token, and all else
is bytes. Sequences are short, which is most of the speed on a CPU: a prompt has about eight tokens
and a printed line a token for each character and seven more.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tokenizers import pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from grounding.geometry import Frame
from grounding.queries import Count, Fill, FindSpans, Transcribe
from grounding.qwen.queries import act, count, fill, spans, transcribe
from tools.reading.films import FPS, MOST_FRAMES
from tools.reading.pages import BUTTONS
from tools.reading.questions import CHOSEN, RECEIPT, STEP, press
from tools.shapes.scenes import COLOURS, SHAPES
from tools.shapes.tokens import complete, splitting

WIDEST = 392
NUMBERS = tuple(str(n) for n in range(0, WIDEST + 1, STEP))
COUNTS = tuple(str(n) for n in range(10, 13) if n % STEP)
TIMES = tuple(f"{n / FPS:.1f}" for n in range(MOST_FRAMES + 1))
CLOCK = tuple(spans.write_time(n / FPS) for n in range(MOST_FRAMES))
WORDS = ("shop", "date", "total", "colour", "shape", *SHAPES, *COLOURS)
ANSWERS = (
    *("```json\n[]\n```", '```json\n[\n    {\n        "bbox_2d": ['),
    *('],\n        "text_content": "', '",\n    },\n]\n```'),
    *('",\n    },\n    {\n        "bbox_2d": [', '```json\n{\n  "'),
    *('": null\n}\n```', '": null,\n  "', '": "', '"\n}\n```', '",\n  "'),
    *("```json\n[]\n```\n\nThere are ", '```json\n[\n\t{"point_2d": ['),
    *(f'], "label": "{s}"}},\n\t{{"point_2d": [' for s in SHAPES),
    *(f'], "label": "{s}"}}\n]\n```\n\nThere are ' for s in SHAPES),
    *('```json\n[\n\t{"start_time": ', ', "end_time": ', "}\n]\n```"),
    *('<tool_call>\n{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [',),
    *("]}}\n</tool_call>", *CLOCK),
    '<tool_call>\n{"name": "mobile_use", "arguments": {"action": "terminate", '
    '"status": "failure"}}\n</tool_call>',
    *("assistant\n", "user\n", "system\n"),
)


def _phrases() -> list[str]:
    """Return the sentences of the prompts, without the words that change."""
    frame = Frame("model", 100, 100)
    texts = [
        transcribe.write_prompt(Transcribe(), frame, strict=False),
        fill.write_prompt(Fill(RECEIPT)),
        *(fill.write_prompt(Fill((one,))) for one in CHOSEN.values()),
        count.write_prompt(Count("every star"), frame, "qwen2.5", strict=False),
        spans.write_prompt(FindSpans(("star",)), None, strict=False),
        act.write_prompt(press(BUTTONS[0])).removesuffix(BUTTONS[0]),
    ]
    words = "|".join(map(re.escape, (*WORDS, '"', "'", ", ")))
    parts = {part for text in texts for part in re.split(f"({words})", text) if part.strip()}
    screen = act.write_system(press(BUTTONS[0]), frame)
    return sorted({*parts, *screen.split("100x100")})


PIECES = (*ANSWERS, *_phrases(), *WORDS)


def pattern() -> str:
    """Return the pattern whose matches are tokens; longer pieces go first."""
    # Oniguruma reads # and spaces as they are, and needs no escape for them.
    pieces = "|".join(_escaped(one) for one in sorted(PIECES, key=len, reverse=True))
    buttons = rf"(?<=Press )(?:{'|'.join(BUTTONS)})"
    sides = r"(?<=Its screen is )\d{1,3}|(?<=\dx)\d{1,3}(?=; coordinates)"
    times = r'(?<=_time": )\d\.\d(?!\d)'
    numbers = r"(?<=There are )\d+|\d{1,3}, |\d{1,3}(?=\])"
    return rf"{pieces}|{buttons}|{sides}|{times}|{numbers}|[\s\S]"


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer."""
    numbers = [*NUMBERS, *(f"{n}, " for n in NUMBERS), *COUNTS, *TIMES, *BUTTONS]
    known = dict.fromkeys(
        (*sorted(pre_tokenizers.ByteLevel.alphabet()), *map(_spelled, (*PIECES, *numbers)))
    )
    model = BPE({one: k for k, one in enumerate(known)}, [], ignore_merges=True)
    return complete(splitting(model, pattern()))


def _spelled(text: str) -> str:
    """Return `text` in the printable characters of a byte-level vocabulary."""
    ((word, _),) = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    ).pre_tokenize_str(text)
    return str(word)


def _escaped(text: str) -> str:
    return re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\1", text)
