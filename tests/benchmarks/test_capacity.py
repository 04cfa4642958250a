"""The capacity table: its arithmetic, and that the page shows what is computed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.capacity import A100, BUSY, DAY, lines, need

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_the_page_shows_the_computed_table() -> None:
    assert "\n".join(lines()) in PAGE.read_text()


def test_what_is_bought_bears_the_load_and_one_less_would_not() -> None:
    load = need(1_000_000, 5)
    asked = 5_000_000 / DAY
    assert load.a100 * A100 * BUSY >= asked > (load.a100 - 1) * A100 * BUSY
