"""Measures the decode loop on a GPU, with random weights at the true shapes of the 3B and the 7B.

`python -m benchmarks.engine.gpu` needs a checkout, torch and transformers, and no other package or
download. Answers are forced: ten boxes of 34 tokens each, whose form repeats as it does in real
ones and whose digits do not. The share of the roofline is the time in which the device could at
best read the weights and the rows' keys and values of each step, over the time that steps took.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from grounding.engines.base import Priority
from grounding.engines.local.decoding import in_flight
from grounding.engines.local.decoding.endings import Endings, Ends
from grounding.engines.local.encoder import Encoder, PatchRule, TokenizedRequest
from grounding.engines.local.scheduler import AHEAD

OUTPUT = Path("bench-output")
SIDE, BOXES, PROMPT = 1008, 10, 60
IMAGE, START, END, EOS, PAD = 151655, 151652, 151653, 151645, 151643
"""Qwen's own ids."""

TEXT = {
    "3B": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36}
    | {"num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    | {"num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True},
}
"""From the checkpoints' config.json; "tiny" only proves that this program runs."""

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12, "A100": 2.0e12}
"""Bytes a second that the device's memory gives, by a part of its name."""


@dataclass(frozen=True)
class Picture:
    """Random pixels, with what the encoder asks of a picture."""

    pixels: Any
    size: tuple[int, int]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.pixels


class Wordless:
    """A detokenizer that writes nothing: only ids are measured."""

    def decode(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        """Return no text, and no place in it."""
        return "", [(0, 0)] * len(ids)


class ForcedRow(in_flight.Row):
    """A row that takes the next token of its request's answer for the model's."""

    def _add(self, scored: tuple[int, float]) -> None:
        answer = self.request.answer  # type: ignore[attr-defined]
        super()._add((answer[len(self.ids)], scored[1]))

    def accept(self, successors: Sequence[tuple[int, float]]) -> None:
        answer = self.request.answer  # type: ignore[attr-defined]
        rest = answer[len(self.ids) : len(self.ids) + len(successors)]
        super().accept([(token, 0.0) for token in rest])


@dataclass(frozen=True, eq=False)
class Asked(TokenizedRequest):
    """A request whose answer is known."""

    answer: tuple[int, ...] = ()


@dataclass
class Run:
    """What one number of slots gives; each step has its seconds, rows and tokens in the cache."""

    slots: int
    seconds: float = 0
    first_token: float = 0
    steps: list[float] = field(default_factory=list)
    tokens: int = 0
    rows: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)


def build_model(shape: str, device: str) -> Any:
    """Return the model with random weights, in bfloat16 on a GPU."""
    text = TEXT[shape] | {"vocab_size": 152064 if shape == "7B" else 151936}
    text |= {"max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "use_sliding_window": False}
    size = text["hidden_size"] // text["num_attention_heads"]
    rope = {"mrope_section": [size // 8, size // 16 * 3, size // 16 * 3], "rope_theta": 1e6}
    text |= {"rope_parameters": rope | {"rope_type": "default"}}
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    vision |= {"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}
    if shape == "tiny":
        vision |= {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
        vision |= {"fullatt_block_indexes": [1]}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision | {"out_hidden_size": text["hidden_size"]},
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    with torch.device(device):
        return Qwen2_5_VLForConditionalGeneration(config).eval()


def requests(count: int, seed: int = 0) -> Iterator[Asked]:
    """Yield requests about a picture each."""
    rng = random.Random(seed)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        words = [rng.randrange(1000, 9000) for _ in range(PROMPT)]
        ids = [*words[:20], START, *[IMAGE] * (SIDE // 28) ** 2, END, *words[20:]]
        answer = tuple(write_answer(rng))
        yield Asked(ids, (Picture(noise, (SIDE, SIDE)),), len(answer), Priority.BULK, answer=answer)


def write_answer(rng: random.Random) -> Iterator[int]:
    """Yield an answer's tokens: in each box 18 that repeat and 16 digits, four for a corner."""
    for _ in range(BOXES):
        for corner in range(4):
            yield from range(100 + 4 * corner, 104 + 4 * corner)
            yield from (rng.randrange(15, 25) for _ in range(4))
        yield from (300, 301)


def measure(model: Any, slots: int, device: str) -> Run:
    """Return what the loop does with requests for three times its slots, at most 96."""
    rule = PatchRule(14, 2, 2, 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    encoder = Encoder(rule, IMAGE, PAD, torch.device(device))
    static = device == "cuda"
    options = in_flight.SlotOptions.on(torch.device(device), slots, 0, static=static)
    options = replace(options, people=0)
    endings = Endings(Ends(frozenset({EOS}), PAD), Wordless())  # type: ignore[arg-type]
    loop = in_flight.InFlight(model, encoder, endings, options)
    run = Run(slots)
    watch_steps(loop, run, device)
    waiting = list(requests(max(3, min(96, 3 * slots))))
    start = time.perf_counter()
    while waiting or loop._rows or loop._entering:
        waiting = waiting[loop.admit(waiting) :]
        loop.expect(waiting[:AHEAD])
        for one, _ in loop.step():
            run.tokens += len(one.answer)  # type: ignore[attr-defined]
    run.seconds = time.perf_counter() - start
    loop.close()
    return run


def watch_steps(loop: Any, run: Run, device: str) -> None:
    """Note how long each decoding step takes, and the time to the first token."""
    decode, enter = loop._decode, loop._enter

    def timed_decode(rows: Sequence[Any]) -> None:
        run.rows.append(len(rows))
        run.cached.append(sum(row.length for row in rows))
        start = time.perf_counter()
        decode(rows)
        run.steps.append(time.perf_counter() - start)

    def timed_enter(is_bulks_turn: bool) -> None:
        start = time.perf_counter()
        enter(is_bulks_turn)
        if device == "cuda":
            torch.cuda.synchronize()
        run.first_token = run.first_token or time.perf_counter() - start

    loop._decode, loop._enter = timed_decode, timed_enter


def roofline(model: Any, run: Run, name: str) -> float | None:
    """Return the share of the memory's bandwidth that steps use; None for an unknown device."""
    speed = next((speed for part, speed in BANDWIDTH.items() if part in name), None)
    if speed is None:
        return None
    config = model.config.get_text_config()
    size = config.hidden_size // config.num_attention_heads
    a_token = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * size
    # With the embeddings, which stand for the head: it has their size, and they are hardly read.
    weights = sum(p.nbytes for p in model.model.language_model.parameters())
    best = [(weights + a_token * cached) / speed for cached in run.cached]
    return sum(best) / sum(run.steps)


def row(shape: str, model: Any, run: Run, name: str) -> dict[str, Any]:
    """Return the figures of a run."""
    pictures = run.tokens // (34 * BOXES)
    share = roofline(model, run, name)
    return {
        "model": shape,
        "slots": run.slots,
        "images_per_second": round(pictures / run.seconds, 3),
        "step_ms": round(1e3 * statistics.median(run.steps), 2),
        "tokens_per_step": round(run.tokens / (pictures + sum(run.rows)), 2),
        "roofline_share": None if share is None else round(share, 3),
        "first_token_ms": round(1e3 * run.first_token, 1),
        "boxes_per_second": round(BOXES * pictures / run.seconds, 2),
    }


def main() -> None:
    """Print the table, and write it to bench-output/gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=TEXT, default=["3B", "7B"])
    parser.add_argument("--slots", nargs="+", type=int, default=[1, 8, 32, 64])
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and options.shapes != ["tiny"]:
        raise SystemExit("there is no GPU here; --shapes tiny proves on a CPU that this runs")
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    rows = []
    in_flight.Row = ForcedRow  # type: ignore[misc]
    for shape in options.shapes:
        model = build_model(shape, device)
        measure(model, 1, device)  # warms up
        for slots in options.slots:
            rows.append(row(shape, model, measure(model, slots, device), name))
            print(rows[-1], flush=True)
        del model
    OUTPUT.mkdir(exist_ok=True)
    found = {"device": name, "torch": torch.__version__, "rows": rows}
    (OUTPUT / "gpu.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
