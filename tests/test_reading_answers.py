"""The reading checkpoint answers new pages as well as its README says, through the pipeline."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from transformers import AutoTokenizer

from benchmarks.accuracy.reading import (
    LINES,
    READING,
    RECEIPT,
    Read,
    choice_config,
    count_config,
    most,
    score_choice,
    score_count,
    score_fields,
    score_lines,
)
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from tools.reading.pages import Page, page
from tools.reading.tokens import tokenizer

PAGES = {
    (kind, number): page(f"tested {number}", kind)
    for kind in ("lines", "receipt", "single", "count")
    for number in range(24)
}


class Printer:
    """Draws the page whose kind and number an address names."""

    def fetch(self, value: str, task_id: int | None = None) -> bytes:
        kind, number = value.split()
        out = io.BytesIO()
        PAGES[kind, int(number)].draw().save(out, "PNG")
        return out.getvalue()


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerContext]:
    engine = LocalEngine.load(str(READING), LoadOptions(torch_threads=1))
    yield WorkerContext(engine, Printer(), 200, 10**7)
    engine.close()


@pytest.fixture(scope="module")
def read(worker: WorkerContext) -> Read:
    """What is right on 24 pages of each kind."""
    out = Read()
    for (kind, number), drawn in PAGES.items():
        for config, score in asked(kind, drawn):
            task = Task(number + 1, {"image": f"{kind} {number}"}, config, None, "v")
            score(drawn, predict(task, worker).prediction["result"], out)
    return out


def asked(kind: str, drawn: Page) -> list[tuple[str, object]]:
    """Return the configs that ask about a page, each with what scores the answer."""
    if kind == "single":
        return [(choice_config(name), score_choice(name)) for name in ("shape", "colour")]
    if kind == "count":
        return [(count_config(most(drawn)), score_count(most(drawn)))]
    return [(LINES, score_lines)] if kind == "lines" else [(RECEIPT, score_fields)]


def share(flags: list[bool]) -> float:
    """Return the share of what is right."""
    return sum(flags) / len(flags)


def test_lines_are_found_and_read(read: Read) -> None:
    assert share(read.lines) >= 0.65
    assert share(read.extra) >= 0.65


def test_a_receipt_s_fields_are_filled_in(read: Read) -> None:
    assert share(read.fields) >= 0.75


def test_shape_and_colour_are_chosen(read: Read) -> None:
    assert share(read.choices) >= 0.9


def test_what_is_not_there_stays_empty(read: Read) -> None:
    assert len(read.absent) >= 10
    assert share(read.absent) >= 0.9


def test_numbers_are_near(read: Read) -> None:
    """It counts up to twelve exactly about every second time, and is mostly off by one at most."""
    assert share([abs(off) <= 2 for off in read.counts]) >= 0.85


def test_the_checkpoint_fits_into_the_repository() -> None:
    assert sum(path.stat().st_size for path in READING.iterdir()) <= 16 * 2**20


def test_the_checkpoint_has_the_tokenizer_of_its_training() -> None:
    shipped = AutoTokenizer.from_pretrained(READING)
    assert shipped.get_vocab() == tokenizer().get_vocab()
