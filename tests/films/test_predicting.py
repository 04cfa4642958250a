"""A film becomes spans on its timeline and values of the whole, through the whole pipeline."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.errors import AnswerError, DataError, FilmTooLarge, FilmUnreadable
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.media.films.sampling import Sampling
from grounding.pipeline import TaskResult, WorkerContext, predict
from grounding.tasks import Task
from grounding.testing import ScriptedEngine, answer_each, make_completion
from tests.films.watching import COLOURS, scene, uri, watcher
from tests.media.films.making import cut

VIDEO = '<Video name="video" value="$video" frameRate="30"/>'
LABELS = "".join(f'<Label value="{name}"/>' for name in COLOURS)
SPANS = f'<TimelineLabels name="when" toName="video">{LABELS}</TimelineLabels>'
TEXT = '<TextArea name="what" toName="video" perRegion="true"/>'
SHOWN = {"red": [(2.0, 4.4)], "green": [(0.0, 3.0), (6.0, 8.0)]}
FILM = uri(scene(SHOWN, 8))


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    made = watcher()
    yield made
    made.close()


def ask(
    engine: ScriptedEngine,
    config: str,
    film: str = FILM,
    sampling: Sampling | None = None,
    context: dict[str, Any] | None = None,
    **data: Any,
) -> TaskResult:
    fetcher = Fetcher(FetchRules())
    films = FilmReader(fetcher, sampling=sampling or Sampling())
    worker = WorkerContext(engine, fetcher, 512, 10**7, films=films)
    task = Task(1, {"video": film, **data}, f"<View>{config}</View>", context, "v")
    return predict(task, worker)


def ranges(result: TaskResult) -> list[tuple[str, int, int]]:
    return [
        (one["value"]["timelinelabels"][0], span["start"], span["end"])
        for one in result.prediction["result"]
        if one["type"] == "timelinelabels"
        for span in one["value"]["ranges"]
    ]


def test_each_label_is_found_when_it_is_there(engine: ScriptedEngine) -> None:
    """The ends are within an eighth of a second, though two frames a second are looked at first."""
    result = ask(engine, VIDEO + SPANS)
    found = ranges(result)
    assert [label for label, _, _ in found] == ["green", "red", "green"]
    for (_, first, last), (start, end) in zip(
        found, [(0.0, 3.0), (2.0, 4.4), (6.0, 8.0)], strict=True
    ):
        assert abs((first - 1) / 30 - start) <= 0.13
        assert abs(last / 30 - end) <= 0.17
    assert all(0 < one["score"] < 1 for one in result.prediction["result"])


def test_the_finer_look_is_what_finds_the_ends(engine: ScriptedEngine) -> None:
    film = uri(scene({"red": [(2.05, 4.7)]}, 8))
    off = []
    for sampling in (Sampling(fine_fps=0), Sampling()):
        ((_, first, last),) = ranges(ask(engine, VIDEO + SPANS, film, sampling))
        off.append(abs((first - 1) / 30 - 2.05) + abs(last / 30 - 4.7))
    assert off[0] > 0.4
    assert off[1] < 0.25


def test_a_region_has_one_range_of_whole_frames_from_one(engine: ScriptedEngine) -> None:
    for one in ask(engine, VIDEO + SPANS).prediction["result"]:
        (span,) = one["value"]["ranges"]
        assert type(span["start"]) is type(span["end"]) is int
        assert 1 <= span["start"] <= span["end"] <= 240
        assert one["to_name"] == "video"


def test_a_description_comes_after_its_span_with_all_of_it(engine: ScriptedEngine) -> None:
    result = ask(engine, VIDEO + SPANS + TEXT).prediction["result"]
    kinds = [one["type"] for one in result]
    assert kinds == ["timelinelabels", "textarea"] * 3
    for span, text in zip(result[::2], result[1::2], strict=True):
        assert span["id"] == text["id"]
        assert text["value"]["ranges"] == span["value"]["ranges"]
        assert text["value"]["text"] == [f"a {span['value']['timelinelabels'][0]} square"]


def test_nothing_asks_for_a_description_where_no_text_area_takes_it(
    engine: ScriptedEngine,
) -> None:
    ask(engine, VIDEO + SPANS)
    assert not any("description" in request.text for request in engine.requests)


@pytest.mark.parametrize(
    ("attribute", "data", "last"),
    [
        ("", {}, 192),  # the page counts 24 frames a second
        ('frameRate="10"', {}, 80),
        ('frameRate="0.5"', {}, 16),  # seconds of a frame
        ('frameRate="$fps"', {"fps": 50}, 400),
        ('frameRate="$fps"', {"fps": "12.5"}, 100),
    ],
)
def test_frames_are_those_that_the_page_counts(
    engine: ScriptedEngine, attribute: str, data: dict[str, Any], last: int
) -> None:
    video = f'<Video name="video" value="$video" {attribute}/>'
    found = ranges(ask(engine, video + SPANS, **data))
    assert max(end for _, _, end in found) in (last, last - 1, last - 2)


RED = {"red": [(2.0, 4.4)]}
LATE = [3 + number / 25 for number in range(200)]
SLOWER = [number / 25 if number < 100 else 4 + (number - 100) * 0.08 for number in range(200)]
ODD = {
    "begins at 3 s": (scene(RED, 8, times=LATE), (5.0, 7.4)),
    "begins at 3 s, WebM": (scene(RED, 8, times=LATE, codec="libvpx", form="webm"), (5.0, 7.4)),
    "cut by 1 s without encoding": (cut(scene(RED, 8), 1), (1.0, 3.4)),
    "100 frames a second": (scene(RED, 8, 100, ticks=10_000), (2.0, 4.4)),
    "half as many from 4 s on": (scene(RED, 8, times=SLOWER), (2.0, 4.8)),
    "one frame": (scene({"red": [(0, 1)]}, 0.04), (0.0, 0.04)),
}


@pytest.mark.parametrize(("film", "span"), ODD.values(), ids=ODD)
def test_frames_of_odd_films_are_those_that_the_page_counts(
    engine: ScriptedEngine, film: bytes, span: tuple[float, float]
) -> None:
    ((label, first, last),) = ranges(ask(engine, VIDEO + SPANS, uri(film)))
    assert label == "red"
    assert abs((first - 1) / 30 - span[0]) <= 0.13
    assert abs(last / 30 - span[1]) <= 0.17


def test_a_task_without_its_frame_rate_says_so(engine: ScriptedEngine) -> None:
    video = '<Video name="video" value="$video" frameRate="$fps"/>'
    with pytest.raises(DataError) as failure:
        ask(engine, video + SPANS)
    assert failure.value.code == "frame_rate_missing"


def test_values_of_a_film_need_no_frame_rate(engine: ScriptedEngine) -> None:
    video = '<Video name="video" value="$video" frameRate="$fps"/>'
    number = '<Number name="count" toName="video"/>'
    (one,) = ask(engine, video + number).prediction["result"]
    assert one["value"] == {"number": 2}


def test_a_long_film_is_asked_about_in_windows_whose_spans_are_joined(
    engine: ScriptedEngine,
) -> None:
    """A span across a seam is one span."""
    film = uri(scene({"red": [(5.0, 31.0)], "blue": [(20.0, 22.0)]}, 40, fps=10))
    sampling = Sampling(max_frames=24, fine_fps=0)
    found = ranges(ask(engine, VIDEO + SPANS, film, sampling))
    assert [name for name, _, _ in found] == ["red", "blue"]
    (_, first, last), (_, start, end) = found
    assert abs((first - 1) / 30 - 5) < 0.6
    assert abs(last / 30 - 31) < 0.6
    assert abs((start - 1) / 30 - 20) < 0.6
    assert abs(end / 30 - 22) < 0.6
    assert len(engine.requests) == 4 * len(COLOURS)
    assert all(len(request.views) <= 24 for request in engine.requests)


def test_a_film_in_too_many_parts_is_refused_before_it_is_asked_about(
    engine: ScriptedEngine,
) -> None:
    spans = SPANS.replace(">", ' model_fps="30" model_max_frames="4">', 1)
    with pytest.raises(FilmTooLarge) as failure:
        ask(engine, VIDEO + spans, uri(scene({}, 80, fps=2)))
    assert failure.value.code == "film_too_many_parts"
    assert "model_max_frames" in failure.value.hint
    assert engine.requests == []


def test_a_question_stays_within_its_tokens(engine: ScriptedEngine) -> None:
    ask(engine, VIDEO + SPANS, sampling=Sampling(max_tokens=2000))
    for request in engine.requests:
        assert sum(v.frame.bounds().area for v in request.views) / 28**2 <= 2000


def test_a_control_says_how_densely_its_film_is_looked_at(engine: ScriptedEngine) -> None:
    spans = SPANS.replace(">", ' model_fps="4" model_max_frames="16">', 1)
    ask(engine, VIDEO + spans, sampling=Sampling(fine_fps=0))
    first = engine.requests[0].views
    assert len(first) == 16
    times = [view.time or 0 for view in first]
    steps = {round(after - before, 1) for before, after in itertools.pairwise(times)}
    assert steps <= {0.2, 0.3}


def test_all_labels_may_share_a_question(engine: ScriptedEngine) -> None:
    spans = SPANS.replace(">", ' model_labels_per_query="0">', 1)
    found = ranges(ask(engine, VIDEO + spans, sampling=Sampling(fine_fps=0)))
    assert {name for name, _, _ in found} == {"red", "green"}
    assert len(engine.requests) == 1


def test_the_times_stand_before_their_frames(engine: ScriptedEngine) -> None:
    ask(engine, VIDEO + SPANS, sampling=Sampling(fine_fps=0))
    parts = engine.requests[0].parts
    assert parts[0] == "<0.0 seconds>"
    for before, view in zip(parts[:-1:2], parts[1:-1:2], strict=True):
        assert not isinstance(view, str)
        assert before == f"<{view.time:.2f}".removesuffix("0") + " seconds>"


def test_what_never_happens_is_an_empty_prediction(engine: ScriptedEngine) -> None:
    result = ask(engine, VIDEO + SPANS, uri(scene({}, 3)))
    assert result.prediction["result"] == []
    assert "score" not in result.prediction


def test_values_of_the_whole_film_are_one_question(engine: ScriptedEngine) -> None:
    """A choice, a text and a number, beside the spans."""
    config = (
        VIDEO
        + SPANS
        + '<Choices name="colours" toName="video" choice="multiple">'
        + "".join(f'<Choice value="{name}"/>' for name in COLOURS)
        + '</Choices><TextArea name="what" toName="video" model_task="fill"/>'
        + '<Number name="count" toName="video"/>'
    )
    result = ask(engine, config).prediction["result"]
    values = {one["from_name"]: one["value"] for one in result if one["from_name"] != "when"}
    assert values == {
        "colours": {"choices": ["green", "red"]},
        "what": {"text": ["squares come and go"]},
        "count": {"number": 2},
    }
    asked = [request for request in engine.requests if "one JSON object" in request.text]
    assert len(asked) == 1
    assert "video" in asked[0].text
    assert "image" not in asked[0].text


def test_a_number_counts_the_spans(engine: ScriptedEngine) -> None:
    number = '<Number name="count" toName="video" model_task="count"/>'
    result = ask(engine, VIDEO + SPANS + number).prediction["result"]
    assert [one["value"] for one in result if one["type"] == "number"] == [{"number": 3}]


def test_a_typed_prompt_asks_for_spans(engine: ScriptedEngine) -> None:
    config = VIDEO + SPANS + '<TextArea name="prompt" toName="video"/>'
    typed = {"type": "textarea", "from_name": "prompt", "value": {"text": ["red"]}}
    found = ranges(ask(engine, config, context={"result": [typed]}))
    assert [name for name, _, _ in found] == ["red"]


def test_a_film_that_cannot_be_read_is_an_error_of_its_task(engine: ScriptedEngine) -> None:
    with pytest.raises(FilmUnreadable):
        ask(engine, VIDEO + SPANS, uri(b"no film"))


def answering(text: str) -> ScriptedEngine:
    def say(_: ModelRequest) -> Completion:
        return make_completion(text)

    return ScriptedEngine(answer_each(say))


def test_babble_is_no_answer() -> None:
    engine = answering("What a nice film.")
    with pytest.raises(AnswerError):
        ask(engine, VIDEO + SPANS)
    engine.close()


def test_spans_of_one_label_that_touch_are_one() -> None:
    engine = answering('[{"start_time": 1, "end_time": 2}, {"start_time": 2, "end_time": 3}]')
    spans = '<TimelineLabels name="when" toName="video"><Label value="red"/></TimelineLabels>'
    result = ask(engine, VIDEO + spans, sampling=Sampling(fine_fps=0))
    assert ranges(result) == [("red", 31, 90)]
    engine.close()


def test_a_film_and_a_picture_in_one_task(engine: ScriptedEngine) -> None:
    """Each is asked about by itself."""
    picture = io.BytesIO()
    Image.new("RGB", (300, 300), "red").save(picture, "PNG")
    address = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    boxes = (
        '<Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
        '<Label value="cat"/></RectangleLabels>'
    )
    result = ask(engine, boxes + VIDEO + SPANS, image=address).prediction["result"]
    assert {one["from_name"] for one in result} == {"box", "when"}
