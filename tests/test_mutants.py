"""The report of `make mutants`."""

from __future__ import annotations

from tools.mutants import killed_shares, parse_statuses

RESULTS = """\
    grounding.geometry.xǁFrameǁscale_to__mutmut_1: killed
    grounding.geometry.xǁFrameǁscale_to__mutmut_2: survived
    grounding.geometry.x_image_frame__mutmut_1: no tests
    grounding.geometry.x_image_frame__mutmut_2: timeout
    grounding.qwen.scores.x__mass__mutmut_1: killed
"""


def test_a_mutant_that_no_test_reaches_counts_as_one_that_survives() -> None:
    assert killed_shares(parse_statuses(RESULTS)) == {
        "grounding.geometry": 0.5,
        "grounding.qwen.scores": 1.0,
    }


def test_other_lines_of_the_output_are_ignored() -> None:
    assert parse_statuses("To apply a mutant on disk:\n\n  mutmut apply <id>\n") == {}
