"""Frames are counted and sized as qwen-vl-utils does, and long films are covered by windows."""

from __future__ import annotations

import itertools
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import image_frame, model_frame
from grounding.media.films.sampling import (
    OVERLAP,
    Sampling,
    count_frames,
    frame_bounds,
    picture_bounds,
    spread,
    windows,
)
from tests.geometry.test_library import library

__all__ = ["library"]

totals = st.integers(2, 200_000)
rates = st.floats(0.5, 240)
factors = st.sampled_from((28, 32))


@given(total=totals, rate=rates, fps=st.floats(0.1, 30), most=st.integers(4, 768))
def test_our_number_of_frames_is_that_of_qwen_vl_utils(
    library: ModuleType, total: int, rate: float, fps: float, most: int
) -> None:
    theirs = {"fps": fps, "max_frames": min(most, total)}
    assert count_frames(total, rate, fps, most) == library.smart_nframes(theirs, total, rate)


@given(
    frames=st.integers(1, 768),
    tokens=st.integers(1024, 131_072),
    factor=factors,
    size=st.tuples(st.integers(60, 4000), st.integers(60, 4000)),
)
def test_our_size_of_frames_is_that_of_qwen_vl_utils(
    library: ModuleType, frames: int, tokens: int, factor: int, size: tuple[int, int]
) -> None:
    width, height = size
    low = library.VIDEO_MIN_TOKEN_NUM * factor**2
    most = library.VIDEO_MAX_TOKEN_NUM * factor**2
    share = tokens * factor**2 / frames * library.FRAME_FACTOR
    high = max(min(most, share), int(low * 1.05))  # as `fetch_video` writes it
    theirs = library.smart_resize(height, width, factor, min_pixels=low, max_pixels=high)
    bounds = frame_bounds(frames, tokens * factor**2, factor)
    ours = model_frame(image_frame(width, height), bounds)
    assert (ours.height, ours.width) == theirs


@given(
    sampling=st.builds(
        Sampling, max_frames=st.integers(4, 768), max_tokens=st.integers(1024, 131_072)
    ),
    factor=factors,
    size=st.tuples(st.integers(200, 4000), st.integers(200, 4000)),
)
def test_the_frames_of_a_question_stay_within_its_tokens(
    sampling: Sampling, factor: int, size: tuple[int, int]
) -> None:
    image = image_frame(*size)
    most = sampling.most(image, factor)
    for count in (most, max(2, most // 3)):
        bounds = picture_bounds(count, sampling, factor)
        frame = model_frame(image, bounds)
        assert count * frame.bounds().area / factor**2 <= sampling.max_tokens


@given(begins=st.floats(0, 900), duration=st.floats(0.1, 7200), seconds=st.floats(1, 120))
def test_windows_cover_a_film_and_overlap(begins: float, duration: float, seconds: float) -> None:
    found = windows((begins, begins + duration), seconds)
    assert found[0][0] == begins
    assert found[-1][1] == pytest.approx(begins + duration)
    assert all(end - start <= seconds + 1e-6 for start, end in found)
    for (_, end), (start, _) in itertools.pairwise(found):
        assert end - start >= OVERLAP * seconds - 1e-6


def test_times_are_spread_from_end_to_end() -> None:
    assert spread(1, 3, 5) == (1, 1.5, 2, 2.5, 3)
    assert spread(1, 3, 1) == (1,)
    assert spread(1, 3, 0) == ()
