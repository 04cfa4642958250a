"""How far a film is never goes back, and ends at all of its questions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from grounding.films.progress import Progress
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.media.films.sampling import Sampling
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from tests.films.test_predicting import TEXT, VIDEO
from tests.films.watching import scene, uri, watcher

Told = list[tuple[int, int]]


def shares(told: Told) -> list[Fraction]:
    return [Fraction(done, total) for done, total in told]


def check(told: Told) -> None:
    assert all(done <= total for done, total in told)
    assert all(before <= after for before, after in pairwise(shares(told)))


LOOKS = st.lists(
    st.tuples(st.integers(0, 50), st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 20)))),
    min_size=1,
    max_size=4,
)


@given(LOOKS)
def test_the_share_that_is_answered_never_falls(
    looks: Sequence[tuple[int, Sequence[tuple[int, int]]]],
) -> None:
    """Whatever was expected, and however many questions come unexpected."""
    told: Told = []
    progress = Progress(lambda done, total: told.append((done, total)), len(looks))
    for questions, steps in looks:
        progress.begin(questions)
        for more, answered in steps:
            progress.expect(more)
            progress.add(answered)
    check(told)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_film_that_is_looked_at_twice_does_not_begin_again() -> None:
    """Two controls look at it in two ways, and each again at the ends of what it found."""
    both = '<Label value="red"/><Label value="blue"/>'
    spans = '<TimelineLabels name="{}" toName="video" model_fps="{}">{}</TimelineLabels>'
    config = VIDEO + spans.format("a", 2, both) + spans.format("b", 1, both) + TEXT
    on_and_off = {"red": [(at, at + 1.1) for at in range(1, 19, 2)], "blue": [(3, 9)]}
    told: Told = []
    engine, fetcher = watcher(), Fetcher(FetchRules())
    worker = WorkerContext(
        engine,
        fetcher,
        512,
        10**7,
        films=FilmReader(fetcher, sampling=Sampling(max_frames=16)),
        on_progress=lambda done, total: told.append((done, total)),
    )
    film = uri(scene(on_and_off, 20, fps=10))
    predict(Task(1, {"video": film}, f"<View>{config}</View>", None, "v"), worker)
    engine.close()
    check(told)
    asked = len(engine.requests)
    assert told[-1] == (asked, asked), "all of its questions"
    assert told[len(told) // 2][0] < told[len(told) // 2][1]
