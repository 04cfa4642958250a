"""What a task carries in itself leaves its record and comes back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import DataError
from grounding.jobs.payloads import INLINE_CHARACTERS, parted, whole

texts = st.text(st.characters(codec="utf-8"))


@given(data=st.dictionaries(texts, texts), length=st.integers(0, 2 * INLINE_CHARACTERS))
def test_what_is_parted_becomes_whole_again(data: dict[str, str], length: int) -> None:
    payload = {"id": 1, "data": {**data, "image": "x" * length}}
    record, blob = parted(payload)
    assert len(json.dumps(record, ensure_ascii=False)) <= INLINE_CHARACTERS + 100
    assert whole(record, blob.encode() or None) == payload


def test_what_has_expired_is_told() -> None:
    record, _ = parted({"id": 1, "data": {"image": "x" * 5000}})
    with pytest.raises(DataError) as told:
        whole(record, None)
    assert told.value.code == "data_expired"
