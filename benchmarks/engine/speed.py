"""Measures the local engine against the cookbook's way, and itself before: `make bench`.

Each comparison takes turns: all ways answer the same queries, round after round, so that what else
the machine does slows all of them. Printed are the fastest round of each way, and the ratios of
rounds side by side: least, median, most. `bench-output/results.json` has the medians. One thread is
the default because a second one slows models as small as these.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.engine import drafts
from benchmarks.engine.ways import Cookbook, Engine, ForcedRow, Query, save_deep_checkpoint
from grounding.engines.base import Priority
from grounding.engines.local.decoding import in_flight
from grounding.queries import Locate, Shape
from grounding.qwen.queries import locate
from grounding.settings import SHAPES
from tools.shapes.scenes import NAMES, scene

DATA = Path(__file__).parents[2] / "tests" / "data"
PRINTED = ("verbatim", "trimmed", "reconstructed")
LONGEST = 600
"""Most tokens of a forced answer."""

WORKER_JOBS = 14
"""Queries that are out at once as from a worker, whose default this is of GROUNDING_BULK_SLOTS."""

FULL_SIDE = 1008
"""Side of a picture of 1,296 image tokens, about the default size."""

Clock = Callable[[], float]

Rounds = Mapping[str, Sequence[float]]
"""Seconds of each round, by way."""


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""The second counts this process's CPU seconds: for a machine that has other work as well."""


def take_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> Rounds:
    """Return each way's seconds in `rounds` rounds, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, act in ways.items():
            start = clock()
            act()
            if number:
                seconds[name].append(clock() - start)
    return seconds


def ratios(rounds: Rounds, slow: str, fast: str) -> list[float]:
    """Return how many times longer `slow` took than `fast`, round by round, in order of size."""
    return sorted(a / b for a, b in zip(rounds[slow], rounds[fast], strict=True))


def spread(found: Sequence[float]) -> str:
    """Return least, median and most."""
    return f"{statistics.median(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def locating(name: str) -> Locate:
    """Return the query for one label."""
    return Locate(Shape.BOX, (name,))


def shape_queries(pictures: int, labels: int) -> list[Query]:
    """Return queries about new pictures: a thing that is there, then others."""
    queries = []
    for seed in range(pictures):
        drawn = scene(70_000_000 + seed)
        image, there = drawn.draw(), drawn.things[0].name
        names = [there, *(name for name in NAMES if name != there)][:labels]
        asked = [
            (locate.write_prompt(locating(n)), locate.sketch_answer(locating(n))) for n in names
        ]
        queries += [Query(image, *one) for one in asked]
    return queries


class Bench:
    """Runs the comparisons; keeps the rows of the table and the medians."""

    def __init__(self, rounds: int, clock: Clock = time.perf_counter) -> None:
        self.rounds = rounds
        self.clock = clock
        self.rows: list[tuple[str, ...]] = []
        self.medians: dict[str, float] = {}
        self.spreads: dict[str, str] = {}

    def note(self, name: str, found: Sequence[float]) -> None:
        """Keep a ratio's median, and its spread."""
        self.medians[name] = round(statistics.median(found), 3)
        self.spreads[name] = spread(found)

    def compare_on_shapes(self, pictures: int) -> None:
        """Images a second of the three ways, at 1, 8 and 16 in flight, with 1 and 10 labels."""
        book = Cookbook(SHAPES)
        for at_once in (1, 8, 16):
            new, old = Engine(SHAPES, at_once), Engine(SHAPES, at_once, in_flight=False)
            for labels in (1, 10):
                count = max(2, pictures // labels)
                rounds = self._ask_three(new, old, book, shape_queries(count, labels), at_once)
                self._row(f"shapes, {labels} labels, {at_once} at once", count, rounds)
                if (at_once, labels) == (8, 1):
                    self.note("cookbook_ratio_shapes", ratios(rounds, "cookbook", "in flight"))
            new.engine.close()
            old.engine.close()

    def _ask_three(
        self, new: Engine, old: Engine, book: Cookbook, queries: Sequence[Query], at_once: int
    ) -> Rounds:
        ways = {
            "in flight": lambda: (new.forget(), new.ask(queries, at_once)),
            "static": lambda: old.ask(queries, at_once),
            "cookbook": lambda: book.ask(queries),
        }
        return take_turns(ways, self.rounds, self.clock)

    def _row(self, name: str, count: int, rounds: Rounds) -> None:
        speeds = (f"{count / min(rounds[way]):.2f}" for way in ("in flight", "static", "cookbook"))
        against = (spread(ratios(rounds, way, "in flight")) for way in ("static", "cookbook"))
        self.rows.append((name, *speeds, *against))

    def compare_labels(self, pictures: int) -> None:
        """Ten labels on a picture against one, and the second query about it against the first."""
        engine = Engine(SHAPES, 8)
        ten = [shape_queries(seed + 1, 10)[-10:] for seed in range(pictures)]
        many, first, second = [], [], []
        for queries in ten * self.rounds:
            engine.forget()
            many.append(timed(self.clock, engine.ask, queries, 10))
            for one, other in ((queries[0], queries[1]), (queries[1], queries[0])):
                engine.forget()
                first.append(timed(self.clock, engine.ask, [one], 1))
                second.append(timed(self.clock, engine.ask, [other], 1))
        engine.engine.close()
        self.note("ten_labels_ratio", [a / b for a, b in zip(many, first[::2], strict=True)])
        # Both queries were the first once and the second once, so their answers weigh the same.
        pairs = zip(second[::2], second[1::2], first[::2], first[1::2], strict=True)
        self.note("second_question_ratio_shapes", [(a + b) / (c + d) for a, b, c, d in pairs])

    def compare_under_load(self, pictures: int) -> None:
        """An annotator's query while bulk is answered, against one to an idle engine.

        Both engines have answered before, so drafts are as good with the one as with the other.
        """
        engine = Engine(SHAPES, 8)
        engine.ask(shape_queries(2 * pictures, 1)[pictures:], 8)
        people = shape_queries(pictures, 1)
        idle, busy = [], []
        for query in people:
            engine.forget_pictures()
            idle.append(ask_as_person(engine, query))
            engine.forget_pictures()
            with bulk_running(engine):
                busy.append(ask_as_person(engine, query))
        engine.engine.close()
        self.note("interactive_under_load_ratio", [a / b for a, b in zip(busy, idle, strict=True)])

    def compare_on_deep(self, answers: int) -> None:
        """28 thin layers that write answers which Qwen's models were seen to write."""
        with deep_engine(448) as (new, folder):
            queries = list(forced_queries(new.tokenizer, answers))
            book = Cookbook(folder)
            ways = {
                "in flight": lambda: (new.forget(), new.ask(queries, WORKER_JOBS)),
                "cookbook": lambda: book.ask(queries),
            }
            rounds = take_turns(ways, max(1, self.rounds // 2), self.clock)
            lengths = [len(query.forced) for query in queries]
            steps = new.steps / (1 + len(rounds["in flight"]))
        static = sum(max(lengths[i : i + 8]) for i in range(0, len(lengths), 8))
        self.note("cookbook_ratio_28_layers", ratios(rounds, "cookbook", "in flight"))
        self.note("steps_ratio", [static / steps])
        speeds = [f"{len(queries) / min(rounds[way]):.2f}" for way in ("in flight", "cookbook")]
        against = spread(ratios(rounds, "cookbook", "in flight"))
        self.rows.append(("28 layers, 1 label, 8 slots", speeds[0], "", speeds[1], "", against))

    def compare_second(self, pictures: int) -> None:
        """A query about a picture of the default size, new and asked about before, on 28 layers."""
        first, second = [], []
        with deep_engine(FULL_SIDE) as (engine, _):
            pair = one_region_queries(engine.tokenizer)
            engine.ask(pair, 1)  # warms up
            for number in range(pictures):
                engine.forget()
                one, other = (replace(query, picture=scene(number).draw()) for query in pair)
                for seconds, query in ((first, one), (second, replace(other, picture=one.picture))):
                    seconds.append(timed(self.clock, engine.ask, [query], 1))
                pair.reverse()  # each answer is the first as often as the second
        found = [a / b for a, b in zip(second, first, strict=True)]
        self.note("second_question_ratio", found)

    def count_drafts(self) -> None:
        """Tokens that a step writes of all printed answers, and of lists among them."""
        found = drafts.measure(drafts.load_vocabulary(drafts.vocabulary()))
        self.note("tokens_per_step", [found["all"].tokens_a_step])
        self.note("tokens_per_step_lists", [found["lists"].tokens_a_step])


@contextmanager
def deep_engine(side: int) -> Iterator[tuple[Engine, Path]]:
    """Yield an engine whose answers are forced, with its checkpoint: deep, thin and random."""
    with tempfile.TemporaryDirectory() as name, patch.object(in_flight, "Row", ForcedRow):
        save_deep_checkpoint(Path(name), side)
        engine = Engine(Path(name), 8)
        yield engine, Path(name)
        engine.engine.close()


def one_region_queries(tokenizer: Any) -> list[Query]:
    """Return two queries whose printed answers have one region, of two pictures."""
    chosen = (text for text in printed_answers() if text.count("bbox_2d") == 1)
    return list(force(tokenizer, [text for text in chosen if text.startswith("```json")][:2]))


def forced_queries(tokenizer: Any, most: int) -> Iterator[Query]:
    """Yield a query for each printed answer of the corpus, each about a picture of its own."""
    return force(tokenizer, printed_answers()[:most])


def force(tokenizer: Any, answers: Sequence[str]) -> Iterator[Query]:
    """Yield a query for each answer, each about a picture of its own."""
    for number, text in enumerate(answers):
        ids = tuple(tokenizer.encode(text))[:LONGEST]
        template = locate.sketch_answer(locating("person"))
        yield Query(scene(number).draw(), f"query {number}", template, ids)


def printed_answers() -> list[str]:
    """Return the corpus's answers that Qwen's models were seen to write."""
    places = map(json.loads, (DATA / "model_outputs.jsonl").read_text().splitlines())
    others = map(json.loads, (DATA / "cookbook_outputs.jsonl").read_text().splitlines())
    return [
        *(row["raw"] for row in places if row["provenance"] in PRINTED),
        *(row["text"] for row in others if row["real"]),
    ]


def timed(clock: Clock, act: Callable[..., object], *args: object) -> float:
    """Return how many seconds `act` takes with its arguments."""
    start = clock()
    act(*args)
    return clock() - start


def ask_as_person(engine: Engine, query: Query) -> float:
    """Return the seconds in which an annotator's query is answered."""
    request = engine.request(query, engine.view(query.picture), Priority.INTERACTIVE)
    return timed(time.perf_counter, lambda: engine.engine.submit([request])[0].result())


@contextmanager
def bulk_running(engine: Engine) -> Iterator[None]:
    """Keep eight queries of bulk in flight around the block."""
    ended = threading.Event()

    def feed() -> None:
        seed = 0
        while not ended.is_set():
            engine.ask(shape_queries(seed + 8, 1)[seed:], 8)
            seed = (seed + 8) % 64

    thread = threading.Thread(target=feed)
    thread.start()
    time.sleep(0.3)
    yield
    ended.set()
    thread.join()


def report(bench: Bench) -> Table:
    """Return the table of images a second."""
    table = Table(title="Images a second; × is how many times longer the other way took")
    names = ("", "in flight", "static", "cookbook", "static ×", "cookbook ×")
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    for row in bench.rows:
        table.add_row(*row)
    return table


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often all ways take turns.")
@click.option("--pictures", default=24, show_default=True, help="Pictures in a round.")
@click.option("--threads", default=1, show_default=True, help="Torch's CPU threads.")
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True)
def main(rounds: int, pictures: int, threads: int, clock: str) -> None:
    """Print the table, and write it with the medians into bench-output/results.json."""
    torch.set_num_threads(threads)
    bench = Bench(rounds, CLOCKS[clock])
    bench.compare_on_shapes(pictures)
    bench.compare_labels(max(2, pictures // 6))
    bench.compare_under_load(pictures)
    bench.compare_on_deep(max(8, pictures * 4 // 3))
    bench.compare_second(max(2, pictures // 6))
    bench.count_drafts()
    console = Console(width=120)
    console.print(report(bench))
    console.print(bench.spreads)
    results.begin(f"{threads} threads, {clock} clock")
    results.add(rows=bench.rows, **bench.medians, spreads=bench.spreads)


if __name__ == "__main__":
    main()
