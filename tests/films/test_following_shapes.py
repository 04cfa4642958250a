"""The shapes checkpoint follows what moves: the boxes that the page shows lie on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

from grounding import demo
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.geometry import seen_at
from tests.demo.test_answers import EXAMPLES, SHAPES
from tests.films.test_following import config
from tests.films.test_predicting import ask
from tests.films.truth import keys_of, overlaps
from tests.films.watching import uri
from tools.shapes.films import EXAMPLE, film

RATE = 30


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    loaded = LocalEngine.load(str(SHAPES), LoadOptions(torch_threads=1))
    yield loaded
    loaded.close()


def test_the_example_is_answered_as_its_readme_says(engine: LocalEngine) -> None:
    config_xml = (EXAMPLES / "moving-boxes" / "config.xml").read_text()
    film_file = (Path(demo.__file__).parent / "films" / "moving-shapes.mp4").read_bytes()
    whole = config_xml.strip().removeprefix("<View>").removesuffix("</View>")
    regions = ask(engine, whole, uri(film_file)).prediction["result"]
    assert len(regions) == 2
    assert min(overlaps(regions, EXAMPLE, EXAMPLE.fps).values()) >= 0.7
    (circle,) = [keys_of(r) for r in regions if r["value"]["labels"] == ["red circle"]]
    assert seen_at(circle, round(3.2 * EXAMPLE.fps)) is None
    assert all(seen_at(circle, round(at * EXAMPLE.fps)) for at in (1.5, 5))


def test_over_all_frames_of_films_never_seen_the_boxes_overlap_what_moves(
    engine: LocalEngine,
) -> None:
    ious: list[float] = []
    for seed in range(100, 104):
        made = film(seed, seconds=4)
        names = [way.name for way in made.ways]
        result = ask(engine, config(*names), uri(made.encode())).prediction["result"]
        ious += overlaps(result, made, RATE).values()
    assert fmean(ious) >= 0.7
