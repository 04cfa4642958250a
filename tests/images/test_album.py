"""Kept pictures are bounded in bytes and age, and belong to their key alone."""

from __future__ import annotations

from PIL import Image

from grounding.geometry import Frame, image_frame
from grounding.images.album import Album
from grounding.images.prepare import Prepared


def picture(side: int = 10) -> Prepared:
    """Return a square picture of three bytes a pixel."""
    pixels = Image.new("RGB", (side, side))
    return Prepared(pixels, image_frame(side, side), Frame("model", side, side))


def test_a_kept_picture_is_found_under_its_own_key_alone() -> None:
    album, kept = Album(), picture()
    album.keep(("1.1", 5), kept)
    assert album.find(("1.1", 5)) is kept
    assert album.find(("2.1", 5)) is None


def test_beyond_the_bytes_the_longest_unused_is_let_go() -> None:
    album = Album(max_bytes=2 * 300)
    for key in "ab":
        album.keep(key, picture())
    album.find("a")
    album.keep("c", picture())
    assert [bool(album.find(key)) for key in "abc"] == [True, False, True]


def test_a_picture_beyond_all_bounds_is_not_kept() -> None:
    album = Album(max_bytes=2 * 300)
    album.keep("a", picture(100))
    assert album.find("a") is None
    album.keep("b", picture())
    assert album.find("b") is not None


def test_a_picture_kept_again_counts_once() -> None:
    album = Album(max_bytes=2 * 300)
    for _ in range(5):
        album.keep("a", picture())
    album.keep("b", picture())
    assert album.find("a")


def test_a_picture_is_fetched_anew_after_its_time_however_often_it_is_used() -> None:
    now = [0.0]
    album = Album(max_age=60, clock=lambda: now[0])
    album.keep("a", picture())
    now[0] = 59
    assert album.find("a")
    now[0] = 61
    assert album.find("a") is None
