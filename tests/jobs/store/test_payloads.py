"""What a job's record holds, and what readers of other releases make of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import DataError
from grounding.jobs.payloads import (
    INLINE_BYTES,
    Claim,
    Outcome,
    Parts,
    QueueName,
    State,
    build,
    restore,
    split,
)

texts = st.text(st.characters(codec="utf-8"))


def claim(parts: Parts) -> Claim:
    """Return the claim of a job with these parts; Redis has nothing where a part is empty."""
    blob, config = parts.data or None, parts.config.encode() or None
    return Claim("a", parts.record, False, blob=blob, config=config)


@given(
    data=st.dictionaries(texts, texts),
    length=st.integers(0, 2 * INLINE_BYTES),
    config=texts,
)
def test_restore_returns_what_split_took_apart(
    data: dict[str, str], length: int, config: str
) -> None:
    payload = {"id": 1, "data": {**data, "image": "x" * length}, "label_config": config}
    parts = split(payload)
    assert len(json.dumps(parts.record, ensure_ascii=False)) <= INLINE_BYTES + 100
    assert restore(claim(parts)) == payload


@pytest.mark.parametrize("part", ["data", "config"])
def test_a_part_that_has_expired_is_an_error_with_its_cure(part: str) -> None:
    whole = claim(split({"id": 1, "data": {"image": "x" * 5000}, "label_config": "<View/>"}))
    with pytest.raises(DataError) as caught:
        restore(replace(whole, **{{"data": "blob"}.get(part, part): None}))
    assert caught.value.code == f"{part}_expired"
    assert "worker" in caught.value.hint


@dataclass
class Point:
    x: int
    y: int = 0


def test_a_field_that_a_newer_release_added_is_ignored() -> None:
    assert build(Point, {"x": 1, "colour": "red"}) == Point(1)
    assert Outcome.read(b'{"prediction": {"result": []}, "seconds": 3}').prediction == {
        "result": []
    }


def test_an_outcome_of_an_older_release_left_nothing_out() -> None:
    assert Outcome.read(b'{"prediction": {"result": []}}').left_out == {}


def test_a_missing_field_is_an_error_of_this_record_only() -> None:
    with pytest.raises(DataError) as caught:
        build(Point, {"y": 1})
    assert caught.value.code == "record_unreadable"


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"null", b"{"])
def test_an_unreadable_outcome_is_a_failure_that_says_so(text: bytes) -> None:
    assert Outcome.read(text).code == "record_unreadable"


def test_words_of_a_newer_release_have_a_meaning() -> None:
    assert QueueName.of("express") is QueueName.BULK
    assert State.of("paused") is State.PENDING
    assert (QueueName.of("interactive"), State.of("failed")) == (
        QueueName.INTERACTIVE,
        State.FAILED,
    )
