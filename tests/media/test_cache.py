"""The image cache is bounded in bytes and age, and finds a view under its own key only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from grounding.geometry import Frame, image_frame
from grounding.media.views import ImageCache, View


def view(side: int = 10) -> View:
    """Return a square view of three bytes a pixel."""
    pixels = Image.new("RGB", (side, side))
    return View(pixels, Frame("model", side, side), image_frame(side, side))


def test_a_view_is_found_under_its_own_key_only() -> None:
    cache, kept = ImageCache(), view()
    cache.keep(("1.1", 5), kept)
    assert cache.find(("1.1", 5)) is kept
    assert cache.find(("2.1", 5)) is None


def test_beyond_the_bound_the_least_recently_used_view_is_dropped() -> None:
    cache = ImageCache(max_bytes=2 * 300)
    for key in "ab":
        cache.keep(key, view())
    cache.find("a")
    cache.keep("c", view())
    assert [bool(cache.find(key)) for key in "abc"] == [True, False, True]


def test_a_view_larger_than_the_bound_is_not_kept_and_drops_no_other() -> None:
    cache = ImageCache(max_bytes=2 * 300)
    cache.keep("a", view())
    cache.keep("b", view(100))
    assert cache.find("b") is None
    assert cache.find("a")


def test_a_view_of_exactly_the_bound_is_kept() -> None:
    cache = ImageCache(max_bytes=300)
    cache.keep("a", view())
    assert cache.find("a")


def test_a_new_view_replaces_the_old_one_even_if_it_is_too_large() -> None:
    cache = ImageCache(max_bytes=2 * 300)
    cache.keep("a", view())
    cache.keep("a", view(100))
    assert cache.find("a") is None


def test_a_view_kept_again_counts_once() -> None:
    cache = ImageCache(max_bytes=2 * 300)
    for _ in range(5):
        cache.keep("a", view())
    cache.keep("b", view())
    assert cache.find("a")


def test_a_view_expires_after_its_time_however_often_it_is_used() -> None:
    now = [0.0]
    cache = ImageCache(max_age=60, clock=lambda: now[0])
    cache.keep("a", view())
    now[0] = 59
    assert cache.find("a")
    now[0] = 61
    assert cache.find("a") is None


def test_threads_share_a_cache_within_its_bound() -> None:
    cache = ImageCache(max_bytes=20 * 300)

    def use(worker: int) -> None:
        for n in range(300):
            cache.keep((worker, n % 7), view())
            cache.find((worker - 1, n % 7))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    keys = [(worker, n) for worker in range(8) for n in range(7)]
    assert sum(cache.find(key) is not None for key in keys) == 20
