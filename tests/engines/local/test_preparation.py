"""Pictures cut ahead of the model: in their order, within a bound, and none that nobody wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from PIL import Image

from grounding.engines.local.preparation import Preparation

Ahead = Preparation[torch.Tensor]


class Knife:
    """Cuts a picture into its width; notes by which thread, and waits while `free` is not set."""

    def __init__(self) -> None:
        self.cuts: list[tuple[int, str]] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        self.cuts.append((picture.width, threading.current_thread().name.partition("_")[0]))
        if threading.current_thread() is not threading.main_thread():
            assert self.free.wait(60)
        if picture.width == 13 or (picture.width == 12 and len(self.cuts) == 1):
            raise torch.OutOfMemoryError("no room")
        return torch.tensor(picture.width)


@pytest.fixture
def knife() -> Knife:
    return Knife()


@pytest.fixture
def ahead(knife: Knife) -> Iterator[Ahead]:
    ahead = Preparation(knife, lambda picture: picture.width, most=30)
    yield ahead
    knife.free.set()
    ahead.close()


def pictures(*widths: int) -> list[Image.Image]:
    return [Image.new("RGB", (width, 1)) for width in widths]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_pictures_are_cut_once_and_ahead_in_their_order(knife: Knife, ahead: Ahead) -> None:
    some = pictures(5, 6, 7)
    ahead.expect([some[0], *some])
    until(lambda: len(knife.cuts) == 3)
    ahead.expect(some)
    assert [int(ahead.take(one)) for one in some] == [5, 6, 7]
    assert knife.cuts == [(5, "pictures"), (6, "pictures"), (7, "pictures")]


def test_what_waits_is_bounded_and_the_rest_is_cut_when_it_is_taken(
    knife: Knife, ahead: Ahead
) -> None:
    some = pictures(16, 14, 1, 31)
    ahead.expect(some)
    until(lambda: len(knife.cuts) == 2)
    assert int(ahead.take(some[3])) == 31
    assert int(ahead.take(some[2])) == 1
    assert knife.cuts == [(16, "pictures"), (14, "pictures"), (31, "MainThread"), (1, "MainThread")]
    ahead.expect(some[2:])
    assert int(ahead.take(some[2])) == 1
    assert len(ahead._begun) == 0


def test_what_is_expected_no_more_is_let_go_of(knife: Knife, ahead: Ahead) -> None:
    knife.free.clear()
    some = pictures(5, 6, 7)
    ahead.expect(some)
    until(lambda: len(knife.cuts) == 1)
    ahead.expect(some[2:])
    knife.free.set()
    assert int(ahead.take(some[2])) == 7
    assert [width for width, _ in knife.cuts] == [5, 7]


def test_a_picture_that_is_not_begun_waits_for_no_other(knife: Knife, ahead: Ahead) -> None:
    knife.free.clear()
    first, second = pictures(5, 6)
    ahead.expect([first, second])
    until(lambda: len(knife.cuts) == 1)
    assert int(ahead.take(second)) == 6
    assert knife.cuts == [(5, "pictures"), (6, "MainThread")]


def test_a_failure_ahead_is_not_that_of_whoever_takes_the_picture_later(
    knife: Knife, ahead: Ahead
) -> None:
    """Such as at a peak of memory that is over by then."""
    (picture,) = pictures(12)
    ahead.expect([picture])
    until(lambda: len(knife.cuts) == 1)
    assert int(ahead.take(picture)) == 12
    assert knife.cuts == [(12, "pictures"), (12, "MainThread")]


def test_where_no_thread_can_start_pictures_are_cut_when_they_are_taken(
    knife: Knife, ahead: Ahead, caplog: pytest.LogCaptureFixture
) -> None:
    some = pictures(5, 6)
    usual = threading.stack_size(2**46)  # more memory than there are addresses
    try:
        for _ in range(3):
            ahead.expect(some)
    finally:
        threading.stack_size(usual)
    assert [int(ahead.take(one)) for one in some] == [5, 6]
    assert knife.cuts == [(5, "MainThread"), (6, "MainThread")]
    assert caplog.text.count("no picture is prepared ahead") == 1
    ahead.expect(some)
    until(lambda: len(knife.cuts) == 4)
    assert [int(ahead.take(one)) for one in some] == [5, 6]
    assert knife.cuts[2:] == [(5, "pictures"), (6, "pictures")]


def test_a_failure_is_raised_where_the_picture_is_taken(knife: Knife, ahead: Ahead) -> None:
    bad, good = pictures(13, 5)
    ahead.expect([bad, good])
    until(lambda: len(knife.cuts) == 2)
    with pytest.raises(torch.OutOfMemoryError):
        ahead.take(bad)
    assert int(ahead.take(good)) == 5
