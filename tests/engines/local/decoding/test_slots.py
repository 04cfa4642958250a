"""Kept pictures: least recently used first to go, within a bound of bytes."""

from __future__ import annotations

import pytest
import torch

from grounding.engines.local.decoding.slots import Prefix, PrefixStore, default_limit


def prefix(tokens: int) -> Prefix:
    """Return a prefix of 64 bytes a token."""
    return Prefix([torch.zeros(2, 1, tokens, 4), torch.zeros(2, 1, tokens, 4)], tokens, 0)


def kept(store: PrefixStore, *keys: bytes) -> str:
    return "".join(key.decode() for key in keys if key in store)


def test_the_least_recently_used_picture_goes_first() -> None:
    store = PrefixStore(3 * 640)
    for key in (b"a", b"b", b"c"):
        store.keep(key, prefix(10))
    assert store.find(b"a")
    store.keep(b"d", prefix(10))
    assert kept(store, b"a", b"b", b"c", b"d") == "acd"
    assert store.find(b"b") is None


def test_a_large_picture_takes_the_place_of_several_and_one_too_large_of_none() -> None:
    store = PrefixStore(3 * 640)
    for key in (b"a", b"b", b"c"):
        store.keep(key, prefix(10))
    store.keep(b"d", prefix(31))
    assert kept(store, b"a", b"b", b"c", b"d") == "abc"
    store.keep(b"e", prefix(20))
    assert kept(store, b"a", b"b", b"c", b"e") == "ce"


def test_the_same_picture_counts_once() -> None:
    store = PrefixStore(2 * 640)
    for _ in range(5):
        store.keep(b"a", prefix(10))
    store.keep(b"b", prefix(10))
    assert kept(store, b"a", b"b") == "ab"


def test_a_cleared_store_has_all_its_room_again() -> None:
    store = PrefixStore(640)
    store.keep(b"a", prefix(10))
    store.clear()
    assert kept(store, b"a") == ""
    store.keep(b"b", prefix(10))
    assert kept(store, b"b") == "b"


@pytest.mark.parametrize("key", [b"", None])
def test_a_prompt_without_a_picture_is_not_kept(key: bytes | None) -> None:
    assert key not in PrefixStore(640)
    assert PrefixStore(640).find(key) is None


def test_pictures_take_a_part_of_the_memory_that_is_free() -> None:
    assert 2**20 < default_limit(torch.device("cpu")) <= 2**30
