"""Measures how many tokens a step the drafts give on answers that Qwen's models wrote.

`python -m benchmarks.engine.drafts` takes Qwen's vocabulary from `requirements/vocabulary.txt`. The
answers are forced one after the other, each drafted from itself, those before it, and the sketch
for its first label; a step keeps the right part of a draft and one token more. The prompt counts as
a step: it checks the first draft.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import bytes_to_unicode

from grounding.engines.local.decoding.drafts import Drafter, Memory
from grounding.engines.local.decoding.in_flight import DRAFT_TOKENS
from grounding.queries import Locate, Shape
from grounding.qwen.queries import locate

DATA = Path(__file__).parents[2] / "tests" / "data"
PRINTED = ("verbatim", "trimmed", "reconstructed")
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's rule for words: each digit is one of its own."""

LISTED = 5
"""Regions from which on an answer is a list."""


@dataclass(frozen=True, slots=True)
class Printed:
    """An answer, how many regions it has, and the sketch that a query for its label gives."""

    text: str
    regions: int
    sketch: str


@dataclass(frozen=True, slots=True)
class Found:
    """How many answers were counted, and how many of their tokens a step writes."""

    answers: int
    tokens_a_step: float


def printed() -> list[Printed]:
    """Return the corpus's answers that Qwen's models were seen to write."""
    places, others = (
        [json.loads(line) for line in (DATA / name).read_text().splitlines()]
        for name in ("model_outputs.jsonl", "cookbook_outputs.jsonl")
    )
    return [
        *(_read(row, row["raw"]) for row in places if row["provenance"] in PRINTED),
        *(_read(row, row["text"]) for row in others if row["real"]),
    ]


def _read(row: Mapping[str, Any], text: str) -> Printed:
    found = {kind: row["expected"].get(kind) or [] for kind in ("boxes", "points")}
    shape = Shape.POINT if found["points"] and not found["boxes"] else Shape.BOX
    labels = [one.get("label") for one in found["boxes"] + found["points"]]
    query = Locate(shape, (next(filter(None, labels), "object"),))
    return Printed(text, len(labels), locate.sketch_answer(query))


def load_vocabulary(file: Path) -> Tokenizer:
    """Return the tokenizer of a file of base64 pieces and their ranks."""
    letters = bytes_to_unicode()
    lines = (line.split() for line in file.read_bytes().splitlines())
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in lines}
    written = {piece: "".join(letters[byte] for byte in piece) for piece in ranks}
    merges = [
        (written[left], written[right])
        for piece in ranks
        for left, right in sorted(_halves(piece, ranks), key=lambda two: [ranks[p] for p in two])
    ]
    tokenizer = Tokenizer(BPE({written[piece]: rank for piece, rank in ranks.items()}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _halves(piece: bytes, ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    pairs = ((piece[:i], piece[i:]) for i in range(1, len(piece)))
    return ((left, right) for left, right in pairs if left in ranks and right in ranks)


def count_steps(ids: Sequence[int], drafter: Drafter, most: int) -> int:
    """Return in how many steps a model that writes `ids` writes them with drafts."""
    steps = 0
    while (done := len(drafter.text.tokens)) < len(ids):
        draft = drafter.propose(min(most, len(ids) - done - 1))
        right = next((i for i, token in enumerate(draft) if token != ids[done + i]), len(draft))
        for token in ids[done : done + right + 1]:
            drafter.text.push(token)
        steps += 1
    return steps


def vocabulary() -> Path:
    """Return the file with Qwen's vocabulary, in an installed package whose code is not run."""
    found = find_spec("dashscope")
    if found is None or not found.submodule_search_locations:
        raise click.ClickException("install Qwen's vocabulary: requirements/vocabulary.txt")
    return Path(found.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"


def measure(tokenizer: Tokenizer, most: int = DRAFT_TOKENS) -> dict[str, Found]:
    """Return what drafts give for lists, for answers with a region, and for all."""
    memory = Memory()
    counted: list[tuple[int, int, int]] = []
    for answer in printed():
        drafter = Drafter(memory, tokenizer.encode(answer.sketch).ids)
        ids = [*tokenizer.encode(answer.text).ids, -1]  # its end
        counted.append((answer.regions, len(ids), count_steps(ids, drafter, most)))
        memory.keep(drafter.text)
    found = {}
    for name, least in (("lists", LISTED), ("with a region", 1), ("all", 0)):
        chosen = [(tokens, steps) for regions, tokens, steps in counted if regions >= least]
        tokens, steps = (sum(column) for column in zip(*chosen, strict=True))
        found[name] = Found(len(chosen), tokens / steps)
    return found


@click.command()
@click.option("--most", default=DRAFT_TOKENS, show_default=True, help="Tokens of a draft.")
def main(most: int) -> None:
    """Print tokens a step: of lists, of answers with a region, of all."""
    for name, found in measure(load_vocabulary(vocabulary()), most).items():
        click.echo(f"{name}: {found.tokens_a_step:.2f} tokens a step, {found.answers} answers")


if __name__ == "__main__":
    main()
