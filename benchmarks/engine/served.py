"""Measures the local engine beside a real vLLM and the cookbook's way: the end of `make bench`.

All run on the same cores with the same queries and take turns, each round with new pictures. The
pictures travel to vLLM as JPEG, as by default. Without `make servers` there is no vLLM, and
nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.engine.speed import Rounds, locating, ratios, spread, take_turns
from benchmarks.engine.ways import Cookbook, Engine, Query
from grounding.factory import load_engine
from grounding.qwen.queries import locate
from grounding.settings import SHAPES, Settings
from tests.servers.installing import HOME
from tests.servers.running import RealServer, vllm
from tools.shapes.scenes import scene

FIRST = 60_000_000
"""Not among the pictures of the training, nor of the other measurements."""


class Served(Engine):
    """The same way of asking, through a server."""

    def __init__(self, real: RealServer) -> None:
        settings = Settings.load(**real.settings | {"image_format": "jpeg"})
        self.engine: Any = load_engine(settings, lambda **_: None)
        profile = self.engine.profile
        self._bounds = profile.bounds

    def forget(self) -> None:
        """Do nothing: no picture is asked about twice."""


def new_queries(number: int, pictures: int) -> list[Query]:
    """Return one query about each picture of round `number`."""
    return [one_query(seed) for seed in range(number * pictures, (number + 1) * pictures)]


def one_query(seed: int) -> Query:
    """Return the query for the first thing on a new picture."""
    drawn = scene(FIRST + seed)
    query = locating(drawn.things[0].name)
    return Query(drawn.draw(), locate.write_prompt(query), locate.sketch_answer(query))


def in_rounds(
    ask: Callable[[Sequence[Query], int], object], batches: Sequence[Sequence[Query]], at_once: int
) -> Callable[[], object]:
    """Return what asks the next batch each time it is called."""
    waiting = iter(batches)
    return lambda: ask(next(waiting), at_once)


def measure(server: RealServer, at_once: int, rounds: int, pictures: int) -> Rounds:
    """Return the seconds of each round of the three ways."""
    local, served, book = Engine(SHAPES, at_once), Served(server), Cookbook(SHAPES)
    batches = [new_queries(number, pictures) for number in range(rounds + 1)]
    ways = {"local": local.ask, "vllm": served.ask, "cookbook": book.ask}
    found = take_turns(
        {name: in_rounds(ask, batches, at_once) for name, ask in ways.items()}, rounds
    )
    local.engine.close()
    served.engine.close()
    return found


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often all ways take turns.")
@click.option("--pictures", default=48, show_default=True, help="Pictures in a round.")
@click.option("--threads", default=2, show_default=True, help="Torch's CPU threads.")
def main(rounds: int, pictures: int, threads: int) -> None:
    """Print images a second of the local engine, vLLM and the cookbook's way."""
    if not (HOME / "vllm").exists():
        click.echo("No vLLM to compare with: run `make servers` first.")
        return
    torch.set_num_threads(threads)
    table = Table(title="Images a second; × is how many times longer it took than locally")
    for name in ("at once", "local", "vLLM", "cookbook", "vLLM ×", "cookbook ×"):
        table.add_column(name, justify="right")
    server = vllm()
    server.start()
    try:
        for at_once in (1, 8, 16):
            found = measure(server, at_once, rounds, pictures)
            speeds = [f"{pictures / min(found[way]):.2f}" for way in ("local", "vllm", "cookbook")]
            against = [spread(ratios(found, way, "local")) for way in ("vllm", "cookbook")]
            table.add_row(str(at_once), *speeds, *against)
    finally:
        server.kill()
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
