"""The error tree, and the drawing of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grounding import errors
from grounding.errors import EngineError, GroundingError, ImageMissing, TaskError, codes_of
from grounding.jobs.metrics import FAILURES, FETCHES
from tools.reference import _finer_codes


def tree(root: type[GroundingError], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, root.__name__
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


def drawn() -> list[tuple[int, str]]:
    lines = re.findall(r"^    ((?:[│├└─ ]{4})*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    return [(len(lead) // 4, name) for lead, name in lines]


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    assert drawn() == list(tree(GroundingError))


def test_codes_are_unique_and_every_error_but_the_abstract_ones_has_a_cure() -> None:
    classes = [getattr(errors, name) for _, name in tree(GroundingError)]
    codes = [cls.code for cls in classes]
    assert len(set(codes)) == len(codes)
    branches = {"GroundingError", "SettingError", "RequestError", "TaskError", "ImageError"}
    branches |= {"FilmError"}
    assert {cls.__name__ for cls in classes if not cls.hint} <= branches


def test_an_error_reads_as_cause_and_cure_on_one_line() -> None:
    error = ImageMissing("the host answered 404", code="image_forbidden", hint="Log in")
    assert str(error) == "the host answered 404. Log in"
    assert (error.cause, error.code, error.retryable) == (
        "the host answered 404",
        "image_forbidden",
        False,
    )


def test_each_class_names_the_special_cases_that_a_task_may_fail_with() -> None:
    """`/metrics` prints them from the start."""
    classes = [getattr(errors, name) for _, name in tree(TaskError)]
    classes += [getattr(errors, name) for _, name in tree(EngineError)]
    used = [(kind, code) for code, kind in _finer_codes() if kind in {one.code for one in classes}]
    assert {code for _, code in used} | {one.code for one in classes} == codes_of(
        TaskError, EngineError
    )
    for one in classes:
        own = {code for kind, code in used if kind == one.code} - {kind.code for kind in classes}
        assert set(vars(one).get("special", ())) == own, one
    assert [code for code in FETCHES if code not in FAILURES] == ["ok"]
