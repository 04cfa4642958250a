"""The reading checkpoint's material: pages, questions with right answers, tokens, helper truths."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.reading import LINES, RECEIPT, choice_config, count_config
from grounding.geometry import Box, image_frame
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.plan import plan
from grounding.queries import Count, Fill, Transcribe
from grounding.qwen.answers import Answer, Verdict
from grounding.qwen.queries import count, fill, transcribe
from tools.reading.model import FACTOR, MAX_PIXELS, MIN_PIXELS
from tools.reading.pages import ALPHABET, FIELDS, KINDS, Page, page
from tools.reading.questions import Case, choices, counted, fields, lines, pose
from tools.reading.rows import BLANK, UNSAID, encode, page_row, seen_at
from tools.reading.tokens import tokenizer
from tools.shapes.scenes import SHAPES

SEEDS = range(40)


def asked(kind: str, seed: int) -> tuple[Page, list[Case]]:
    """Return a page and its questions."""
    drawn = page(seed, kind)
    frame = seen_at(drawn.width, drawn.height)
    return drawn, pose(drawn, frame, random.Random(seed))


def read(case: Case, drawn: Page) -> Answer:
    """Return what the product reads in the right answer."""
    frame, text = seen_at(drawn.width, drawn.height), case.answer
    if isinstance(case.query, Transcribe):
        return transcribe.read_answer(case.query, text, frame, complete=True)
    if isinstance(case.query, Fill):
        return fill.read_answer(case.query, text, frame, complete=True)
    assert isinstance(case.query, Count)
    return count.read_answer(case.query, text, frame, complete=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_its_seed_and_everything_is_in_the_picture(kind: str) -> None:
    for seed in SEEDS:
        drawn = page(seed, kind)
        assert drawn == page(seed, kind)
        for one in (*drawn.prints, *drawn.figures, *drawn.buttons):
            x1, y1, x2, y2 = one.box
            assert 0 <= x1 < x2 <= drawn.width
            assert 0 <= y1 < y2 <= drawn.height


def test_a_line_s_box_is_that_of_its_ink() -> None:
    for seed in SEEDS:
        drawn = page(seed, "lines")
        for one in drawn.prints:
            alone = Page("lines", drawn.width, drawn.height, (255, 255, 255), (one,))
            ink = Image.eval(alone.draw().convert("L"), lambda v: 255 * (v < 160)).getbbox()
            assert ink is not None
            assert np.abs(np.array(ink) - one.box).max() <= 2


def test_what_the_product_reads_in_a_right_answer_for_lines_is_the_print() -> None:
    told = 0
    for seed in SEEDS:
        drawn, (case,) = asked("lines", seed)
        found = read(case, drawn).findings
        assert [one.text for one in found] == [one.text for one in drawn.prints]
        frame = image_frame(drawn.width, drawn.height)
        for one, true in zip(found, drawn.prints, strict=True):
            assert isinstance(one.place, Box)
            assert one.place.iou(Box(*true.box, frame)) > 0.6
        told += len(found)
    assert told > 40


@pytest.mark.parametrize("kind", ["receipt", "single"])
def test_what_the_product_reads_in_a_right_object_are_the_values_that_are_there(kind: str) -> None:
    absent = 0
    for seed in SEEDS:
        drawn, (case,) = asked(kind, seed)
        assert isinstance(case.query, Fill)
        answer = read(case, drawn)
        names = [one.name for one in case.query.fields]
        true = {name: drawn.values[name] for name in names if drawn.values[name] is not None}
        assert {one.label: one.value for one in answer.findings} == true
        assert answer.verdict is (Verdict.FOUND if true else Verdict.NOTHING)
        absent += len(names) - len(true)
    assert absent > 3


def test_what_the_product_reads_in_a_right_count_is_the_number_without_a_note() -> None:
    numbers = set()
    for seed in range(200):
        drawn = page(seed, "count")
        frame = seen_at(drawn.width, drawn.height)
        for shape in SHAPES:
            answer = read(counted(drawn, shape, frame), drawn)
            (found,) = answer.findings
            assert found.value == str(sum(one.shape == shape for one in drawn.figures))
            assert not answer.warnings
            numbers.add(int(found.value))
    assert numbers == set(range(13))


@pytest.mark.parametrize("kind", KINDS)
def test_each_piece_of_an_answer_is_one_token(kind: str) -> None:
    for seed in SEEDS:
        for case in asked(kind, seed)[1]:
            ids = encode(case.answer)
            assert [tokenizer().decode([i]) for i in ids] == [piece for piece, *_ in case.pieces]


@pytest.mark.parametrize(
    ("config", "case"),
    [
        (LINES, lines(page(0, "lines"), seen_at(200, 160))),
        (RECEIPT, fields(page(0, "receipt"))),
        (choice_config("shape"), choices(page(0, "single"), ("shape",))),
        (choice_config("colour"), choices(page(0, "single"), ("colour",))),
        (count_config("star"), counted(page(0, "count"), "star", seen_at(200, 160))),
    ],
    ids=["lines", "receipt", "shape", "colour", "count"],
)
def test_it_is_trained_on_what_the_product_asks_in_few_tokens(config: str, case: Case) -> None:
    """A changed wording breaks it into bytes, which the checkpoint never saw: train it again."""
    (one,) = plan(parse(config))
    query, frame = one.query, seen_at(200, 160)
    if isinstance(query, Transcribe):
        prompt = transcribe.write_prompt(query, frame, strict=False)
    elif isinstance(query, Fill):
        prompt = fill.write_prompt(query)
    else:
        assert isinstance(query, Count)
        prompt = count.write_prompt(query, frame, "qwen2.5", strict=False)
    assert prompt == case.prompt
    assert len(encode(prompt)) < 40


def test_the_helpers_are_told_each_character_once_where_its_middle_is() -> None:
    for seed in SEEDS:
        drawn = page(seed, "lines")
        row = page_row(drawn, random.Random(seed))
        told = "".join(ALPHABET[i] for i in row.chars.flatten() if i != BLANK)
        assert sorted(told) == sorted("".join(one.text for one in drawn.prints))
        assert ((row.facts[:, 1] != UNSAID) == (row.chars[:, 0] != BLANK)).all()


def test_an_answer_s_characters_are_told_their_index_and_the_others_none() -> None:
    drawn = page(3, "receipt")
    row = page_row(drawn, random.Random(3))
    words = [tokenizer().decode([i]) for i in row.ids]
    index = row.told[:, 2]
    assert {words[k] for k in range(len(words)) if index[k] == UNSAID} >= {*FIELDS}
    values = "".join(value for value in drawn.values.values() if value)
    told = "".join(w for w, k in zip(words, index, strict=True) if k != UNSAID and len(w) == 1)
    assert told == values


def test_the_model_sees_pictures_in_its_bounds() -> None:
    for seed in SEEDS:
        drawn = page(seed, "lines")
        frame = seen_at(drawn.width, drawn.height)
        assert frame.width % FACTOR == frame.height % FACTOR == 0
        assert MIN_PIXELS * 0.8 < frame.width * frame.height <= MAX_PIXELS
