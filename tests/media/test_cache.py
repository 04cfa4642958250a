"""Kept pictures are bounded in bytes and age, and belong to their key alone."""

from __future__ import annotations

from PIL import Image

from grounding.geometry import Frame, image_frame
from grounding.media.cache import ImageCache
from grounding.media.views import View


def picture(side: int = 10) -> View:
    """Return a square picture of three bytes a pixel."""
    pixels = Image.new("RGB", (side, side))
    return View(pixels, Frame("model", side, side), image_frame(side, side))


def test_a_kept_picture_is_found_under_its_own_key_alone() -> None:
    image_cache, kept = ImageCache(), picture()
    image_cache.keep(("1.1", 5), kept)
    assert image_cache.find(("1.1", 5)) is kept
    assert image_cache.find(("2.1", 5)) is None


def test_beyond_the_bytes_the_longest_unused_is_let_go() -> None:
    image_cache = ImageCache(max_bytes=2 * 300)
    for key in "ab":
        image_cache.keep(key, picture())
    image_cache.find("a")
    image_cache.keep("c", picture())
    assert [bool(image_cache.find(key)) for key in "abc"] == [True, False, True]


def test_a_picture_beyond_all_bounds_is_not_kept() -> None:
    image_cache = ImageCache(max_bytes=2 * 300)
    image_cache.keep("a", picture(100))
    assert image_cache.find("a") is None
    image_cache.keep("b", picture())
    assert image_cache.find("b") is not None


def test_a_picture_kept_again_counts_once() -> None:
    image_cache = ImageCache(max_bytes=2 * 300)
    for _ in range(5):
        image_cache.keep("a", picture())
    image_cache.keep("b", picture())
    assert image_cache.find("a")


def test_a_picture_is_fetched_anew_after_its_time_however_often_it_is_used() -> None:
    now = [0.0]
    image_cache = ImageCache(max_age=60, clock=lambda: now[0])
    image_cache.keep("a", picture())
    now[0] = 59
    assert image_cache.find("a")
    now[0] = 61
    assert image_cache.find("a") is None
