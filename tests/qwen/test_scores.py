"""A score depends on the tokens that decide a finding, and on no others."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import Box, Frame, Point
from grounding.queries import Finding
from grounding.qwen.answers import read
from grounding.qwen.scores import NUMBER, score_findings

FRAME = Frame("model", 1000, 1000)
TOKEN = re.compile(r"\d|[^\W\d_]+|\s+|.", re.DOTALL)
CAT = '{"bbox_2d": [100, 200, 300, 400], "label": "cat"}'
DOG = '{"bbox_2d": [500, 600, 700, 800], "label": "big dog"}'
TWO = f"Here they are:\n```json\n[{CAT}, {DOG}]\n```"
DATA = Path(__file__).parents[1] / "data"
LINES = (DATA / "model_outputs.jsonl").read_text(encoding="utf-8").splitlines()
CORPUS = [json.loads(line)["raw"] for line in LINES]


@dataclass(frozen=True)
class Written:
    """A token as an engine gives it."""

    start: int
    end: int
    logprob: float


def tokens(text: str, doubts: Mapping[int, float] = {}) -> list[Written]:
    """Return the tokens of `text`: certain, except those that start at a key of `doubts`.

    The values of `doubts` are probabilities.
    """
    spans = [match.span() for match in TOKEN.finditer(text)]
    return [Written(a, b, math.log(doubts.get(a, 1.0))) for a, b in spans]


def scores(text: str, doubts: Mapping[int, float] = {}) -> list[float]:
    """Return the scores of the findings of `text`."""
    found = score_findings(read(text, FRAME).findings, text, tokens(text, doubts))
    assert all(one.score is not None for one in found)
    return [one.score or 0.0 for one in found]


def at(word: str, offset: int = 0) -> int:
    """Return the index of a word of `TWO`."""
    return TWO.index(word) + offset


def test_certain_tokens_give_a_score_of_one() -> None:
    assert scores(TWO) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (at("[{"), [0.5, 1]),  # instead of "[]"
        (at("cat"), [0.5, 1]),
        (at(", {"), [1, 0.5]),  # instead of "]"
        (at("big"), [1, 0.5]),
        (at("dog"), [1, 0.5]),
        (at(", 200"), [0.5, 1]),  # the end of "100", which could have been "1000"
        (at("], ", 0), [0.5, 1]),
        (at("Here"), [1, 1]),  # prose
        (at("are"), [1, 1]),
        (at("json"), [1, 1]),
        (len(TWO) - 3, [1, 1]),  # after the last finding
    ],
)
def test_a_token_that_decides_a_finding_counts_in_full(where: int, expected: list[float]) -> None:
    assert scores(TWO, {where: 0.5}) == pytest.approx(expected)


def test_doubt_between_neighbouring_digits_lowers_the_score_of_a_small_object_only() -> None:
    small = '[{"bbox_2d": [100, 200, 108, 208], "label": "cat"}]'
    large = '[{"bbox_2d": [100, 200, 500, 600], "label": "cat"}]'
    doubt = {small.index("100") + 2: 0.3}
    assert scores(large, doubt) == pytest.approx([1])
    mass = [math.erf(math.sqrt(math.pi) * p) for p in (0.3, 1, 1, 1)]
    assert scores(small, doubt) == pytest.approx([math.prod(mass) ** 0.25])


def test_a_point_may_be_off_by_a_fiftieth_of_the_picture() -> None:
    text = '[{"point_2d": [100, 200], "label": "cat"}]'
    (score,) = scores(text, {text.index("100"): 0.02})
    assert score == pytest.approx(math.erf(math.sqrt(math.pi) * 0.02 * 20) ** 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "100,200,300,400 cat 9",
        "cat 9: 100,200,300,400",
        '[{"label": "cat 9", "bbox_2d": [100, 200, 300, 400]}]',
        '[{"bbox_2d": {"x1": 100, "y1": 200, "x2": 300, "y2": 400}, "label": "cat 9"}]',
        '[{"x": 100, "y": 200, "width": 200, "height": 200, "label": "cat 9"}]',
        "<|object_ref_start|>cat 9<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
        '<points x1="100" y1="200" alt="cat 9">cat 9</points>',
    ],
)
def test_only_the_coordinates_are_read_as_numbers_in_every_spelling(text: str) -> None:
    (sure,) = scores(text)
    assert sure == pytest.approx(1)
    (unsure,) = scores(text, {text.index("100"): 1e-3})
    assert unsure < 0.7
    (named,) = scores(text, {text.index("9"): 0.5})
    assert named in (pytest.approx(0.5), pytest.approx(1))


def test_a_finding_without_tokens_has_no_score_even_if_the_model_wrote_one() -> None:
    text = '[{"bbox_2d": [1, 2, 30, 40], "label": "cat", "score": 0.9}]'
    answer = read(text, FRAME)
    assert [one.score for one in score_findings(answer.findings, text, ())] == [None]
    assert [one.score for one in score_findings(answer.findings, text, tokens(text))] == [
        pytest.approx(1)
    ]


def test_a_finding_after_the_last_token_has_no_score() -> None:
    found = score_findings(read(TWO, FRAME).findings, TWO, tokens(TWO)[:30])
    assert [one.score is None for one in found] == [False, True]


LOGS = st.floats(-50, 1e-3, allow_nan=False) | st.just(-math.inf)
"""Rounding on a server can put the logarithm of a certain token above 0."""

SPANS = st.tuples(st.integers(0, 130), st.integers(0, 130)).map(lambda ab: (min(ab), max(ab)))
PLACES = st.builds(
    Box.spanning, *[st.tuples(st.floats(0, 1000), st.floats(0, 1000))] * 2, st.just(FRAME)
) | st.builds(Point, st.floats(0, 1000), st.floats(0, 1000), st.just(FRAME))


@given(
    logs=st.lists(LOGS, min_size=1, max_size=200),
    found=st.lists(
        st.builds(Finding, PLACES, st.none() | st.text(max_size=3), span=SPANS), max_size=5
    ),
    text=st.just(TWO) | st.text(max_size=140),
)
def test_a_score_is_a_probability_whatever_the_tokens_and_spans(
    logs: list[float], found: list[Finding], text: str
) -> None:
    pieces = [Written(i, i + 1, log) for i, log in enumerate(logs)]
    for one in score_findings(found, text, pieces):
        assert one.score is None or 0 <= one.score <= 1


@given(where=st.integers(0, len(TWO)), p=st.floats(0, 1), q=st.floats(0, 1))
def test_a_score_never_rises_with_a_doubt(where: int, p: float, q: float) -> None:
    low, high = (max(x, 1e-9) for x in sorted((p, q)))
    pairs = zip(scores(TWO, {where: low}), scores(TWO, {where: high}), strict=True)
    assert all(a <= b + 1e-12 for a, b in pairs)


def test_the_opening_starts_after_the_last_word_of_prose() -> None:
    text = f"one cat. {CAT} and a dog: {DOG}"
    assert scores(text, {text.index("one"): 0.5}) == pytest.approx([1, 1])
    assert scores(text, {text.index("dog"): 0.5}) == pytest.approx([1, 1])
    assert scores(text, {text.index(f" {DOG}"): 0.5}) == pytest.approx([1, 1])
    assert scores(text, {text.index(DOG): 0.5}) == pytest.approx([1, 0.5])


def test_the_opening_is_what_stands_after_the_previous_finding() -> None:
    text = f"[{CAT}][{DOG}]"
    assert scores(text, {text.index("]["): 0.5}) == pytest.approx([1, 0.5])
    assert scores(text, {text.index("[{"): 0.5}) == pytest.approx([0.5, 1])


def test_a_label_counts_where_it_first_stands_in_its_own_span() -> None:
    text = f"cat: [{CAT}, {DOG.replace('big dog', 'cat')}]"
    first, second = text.index('cat"'), text.rindex('cat"')
    assert scores(text, {0: 0.5}) == pytest.approx([1, 1])
    assert scores(text, {first: 0.5}) == pytest.approx([0.5, 1])
    assert scores(text, {second: 0.5}) == pytest.approx([1, 0.5])


def uncertain(p: float) -> float:
    """Return what a coordinate of a small box counts whose digits have the probability `p`."""
    return math.erf(math.sqrt(math.pi) * p)


def test_coordinates_are_the_numbers_with_the_values_of_the_place_in_any_order() -> None:
    text = "7 8 [3, 4, 1, 2]"
    box = Finding(Box(1, 2, 3, 4, FRAME), span=(0, len(text)))
    (other,) = score_findings([box], text, tokens(text, {0: 0.1}))
    (own,) = score_findings([box], text, tokens(text, {text.index("3"): 0.1}))
    assert other.score == pytest.approx(uncertain(1))
    assert own.score == pytest.approx((uncertain(0.1) * uncertain(1) ** 3) ** 0.25)


def test_of_places_with_the_same_values_the_first_in_the_span_counts() -> None:
    text = "[1, 2, 3, 4], [1, 2, 3, 4]"
    doubts = {text.index("1"): 0.1, text.rindex("1"): 0.2}
    spans = (0, len(text)), (14, len(text))
    both = [Finding(Box(1, 2, 3, 4, FRAME), span=span) for span in spans]
    first, second = score_findings(both, text, tokens(text, doubts))
    assert first.score == pytest.approx((uncertain(0.1) * uncertain(1) ** 3) ** 0.25)
    assert second.score == pytest.approx((uncertain(0.2) * uncertain(1) ** 3) ** 0.25)


def test_numbers_beyond_the_span_are_not_its_coordinates() -> None:
    text = "[1, 2, 3] 4"
    box = Finding(Box(1, 2, 3, 4, FRAME), span=(0, 9))
    (found,) = score_findings([box], text, tokens(text, {text.index("4"): 0.1}))
    assert found.score == pytest.approx(uncertain(1))


def test_a_place_that_was_clipped_counts_the_first_numbers_of_its_span() -> None:
    text = '[{"bbox_2d": [100, 200, 3000, 400], "label": "cat 5 6"}]'
    (unsure,) = scores(text, {text.index("3000"): 0.001})
    assert unsure < 0.7
    assert scores(text, {text.index("5"): 0.5, text.index("6"): 0.5}) == pytest.approx([0.25])


@pytest.mark.parametrize(
    ("text", "label", "doubtful", "expected"),
    [
        ("cat 1, 2, 3, 4", "cat", 0, 0.5),
        ("1, 2, 3, 4 cat or cat", "cat", 11, 0.5),
        ("1, 2, 3, 4 cat or cat", "cat", 18, 1),
        ("1, 2, 3, 4 cat", "a dog", 11, 1),
        ("1, 2, 3, 4 cat", None, 11, 1),
    ],
)
def test_a_label_counts_where_it_is_first_written(
    text: str, label: str | None, doubtful: int, expected: float
) -> None:
    box = Finding(Box(1, 2, 3, 4, FRAME), label, span=(0, len(text)))
    (found,) = score_findings([box], text, tokens(text, {doubtful: 0.5}))
    assert found.score == pytest.approx(expected * uncertain(1))


@pytest.mark.parametrize("label", [None, "a dog"])
def test_the_opening_counts_without_a_label_too(label: str | None) -> None:
    box = Finding(Box(1, 2, 3, 4, FRAME), label, span=(1, 11))
    (found,) = score_findings([box], "[1, 2, 3, 4]", tokens("[1, 2, 3, 4]", {0: 0.5}))
    assert found.score == pytest.approx(0.5 * uncertain(1))


def test_a_place_that_names_no_numbers_is_scored_without_them() -> None:
    box = Finding(Box(1, 2, 3, 4, FRAME), "cat", span=(0, 7))
    (found,) = score_findings([box], "cat: 10", tokens("cat: 10", {0: 0.5, 5: 0.1}))
    assert found.score == pytest.approx(0.5 * uncertain(0.1))


@pytest.mark.parametrize("text", [TWO, '[{"bbox_2d": [1, 2, 9, 9], "label": "cat"}]'])
def test_logarithms_that_rounding_put_above_zero_count_as_certain(text: str) -> None:
    """A tolerance of one unit, as for the small box, shows each digit's probability."""
    above = [Written(token.start, token.end, 1e-3) for token in tokens(text)]
    findings = read(text, FRAME).findings
    found = score_findings(findings, text, above)
    certain = score_findings(findings, text, tokens(text))
    assert [one.score for one in found] == [one.score for one in certain]


@pytest.mark.parametrize(("doubtful", "expected"), [("[", 0.5), ("cat", 0.5), ("7", 1)])
def test_a_finding_without_a_place_is_as_likely_as_its_opening_and_its_label(
    doubtful: str, expected: float
) -> None:
    text = '["cat", 7]'
    cat = Finding(label="cat", span=(1, len(text)))
    (found,) = score_findings([cat], text, tokens(text, {text.index(doubtful): 0.5}))
    assert found.score == pytest.approx(expected)


def test_coordinates_whose_tokens_the_engine_did_not_give_count_neither_way() -> None:
    text = "1, 2, 3, 4"
    box = Finding(Box(1, 2, 3, 4, FRAME), span=(0, len(text)))
    (found,) = score_findings([box], text, tokens(text, {0: 0.1})[:3])
    assert found.score == pytest.approx(uncertain(0.1))


def test_values_that_only_the_next_finding_completes_are_not_the_coordinates() -> None:
    text = "[1, 2, 3], [4, 5]"
    clipped = Finding(Point(3, 4, FRAME), span=(0, 9))
    doubts = [{text.index(digit): 0.001} for digit in "12345"]
    found = [score_findings([clipped], text, tokens(text, doubt))[0].score for doubt in doubts]
    sure = found[-1]
    assert [score == sure for score in found] == [False, False, True, True, True]


def test_a_number_ends_with_the_character_after_it_alone() -> None:
    text = "100,,200, 300, 400"
    box = Finding(Box(100, 200, 300, 400, FRAME), span=(0, len(text)))
    (found,) = score_findings([box], text, tokens(text, {text.index(",,") + 1: 0.5}))
    assert found.score == pytest.approx(1)


def coordinates(text: str, finding: Finding) -> Sequence[re.Match[str]]:
    """Return the coordinates of a finding by a scan of its whole span."""
    place = finding.place
    values = (place.x, place.y) if isinstance(place, Point) else place_corners(place)
    numbers = list(NUMBER.finditer(text, *finding.span))
    runs = [numbers[at : at + len(values)] for at in range(len(numbers))]
    same = (run for run in runs if sorted(float(n[0]) for n in run) == sorted(values))
    return next(same, numbers[: len(values)])


def place_corners(box: Box) -> tuple[float, ...]:
    return box.x1, box.y1, box.x2, box.y2


@pytest.mark.parametrize("text", CORPUS)
def test_doubt_in_a_finding_of_the_corpus_lowers_its_score(text: str) -> None:
    """The coordinates found by index are those that a plain scan of each span finds."""
    findings = read(text, FRAME).findings
    written = tokens(text)
    for finding in findings:
        for number in coordinates(text, finding):
            where = number.start() + number[0].startswith("-")
            doubtful = tokens(text, {where: 1e-9}) if where in {t.start for t in written} else []
            pair = (
                score_findings([finding], text, written),
                score_findings([finding], text, doubtful),
            )
            (sure,), (unsure,) = pair
            assert doubtful
            assert (unsure.score or 0) < (sure.score or 0) * 0.7


def work(boxes: int) -> int:
    """Return how many calls it takes to score `boxes` boxes that share one span."""
    places = [(n % 900, n // 9, n % 900 + 50, n // 9 + 60) for n in range(boxes)]
    text = f'{{"bbox_2d": {[list(place) for place in places]}, "label": "cat"}}'
    findings = [Finding(Box(*place, FRAME), "cat", span=(0, len(text))) for place in places]
    written, calls = tokens(text), 0

    def count(_frame: object, event: str, _value: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        score_findings(findings, text, written)
    finally:
        sys.setprofile(None)
    return calls


def test_the_work_grows_in_proportion_to_the_boxes_that_share_a_span() -> None:
    assert work(400) < 2.2 * work(200)
