"""Profiles: the family of a checkpoint, its coordinates, and the size of its pictures."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import SettingError
from grounding.geometry import THOUSAND, Frame, image_frame, model_frame
from grounding.qwen.profiles import PROFILES, profile_for

T28, T32 = 28 * 28, 32 * 32


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5-vl"),
        ("qwen2.5-vl-72b-instruct", "qwen2.5-vl"),
        ("Qwen/Qwen2-VL-2B-Instruct-AWQ", "qwen2-vl"),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3-vl"),
        ("/models/qwen2_5_vl_finetuned", "qwen2.5-vl"),
        ("Qwen/Qwen3.5-27B", "qwen3.5"),
        ("Qwen/Qwen3.5-35B-A3B-FP8", "qwen3.5"),
        ("qwen3.5-plus", "qwen3.5"),
        ("qwen3.5:9b", "qwen3.5"),
        ("/models/qwen3_5", "qwen3.5"),
        ({"model_type": "qwen2_5_vl"}, "qwen2.5-vl"),
        ({"model_type": "qwen2_vl"}, "qwen2-vl"),
        ({"model_type": "qwen3_vl"}, "qwen3-vl"),
        ({"model_type": "qwen3_vl_moe"}, "qwen3-vl"),
        ({"model_type": "qwen3_5"}, "qwen3.5"),
        ({"model_type": "qwen3_5_moe"}, "qwen3.5"),
    ],
)
def test_the_family_is_read_from_the_id_or_the_config(model: object, name: str) -> None:
    assert profile_for(model).name == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        "qwen-vl-max",  # a moving alias: its family changes
        "Qwen/Qwen2.5-7B-Instruct",
        "OpenGVLab/InternVL3-8B",
        "Qwen/Qwen2-VLM-1B",
        "Qwen/Qwen3.5-Omni-7B",
        "qwen3.8-flash",  # a successor, of which we know nothing
        "Qwen/Qwen3-5B",
        "qwen3.50",
        "",
        {"model_type": "llama"},
        {},
    ],
)
def test_an_unknown_family_is_refused_unless_it_is_named(model: object) -> None:
    with pytest.raises(SettingError, match=r"qwen2\.5-vl"):
        profile_for(model)  # type: ignore[arg-type]
    assert profile_for(model, name="qwen3-vl").factor == 32  # type: ignore[arg-type]


def test_the_error_for_an_unknown_profile_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"'qwen25'.*qwen2-vl, qwen2\.5-vl, qwen3-vl"):
        profile_for("Qwen/Qwen2.5-VL-7B-Instruct", name="qwen25")


def test_coordinates_are_model_pixels_or_thousandths_by_family() -> None:
    seen = Frame("model", 1316, 728)
    assert PROFILES["qwen2.5-vl"].answer_frame(seen) == seen
    assert PROFILES["qwen2-vl"].answer_frame(seen) == THOUSAND
    assert PROFILES["qwen3-vl"].answer_frame(seen) == THOUSAND
    assert PROFILES["qwen3.5"].answer_frame(seen) == THOUSAND


@pytest.mark.parametrize(
    ("name", "token"),
    [("qwen2-vl", T28), ("qwen2.5-vl", T28), ("qwen3-vl", T32), ("qwen3.5", T32)],
)
def test_pictures_are_256_to_1280_tokens_by_default(name: str, token: int) -> None:
    profile = PROFILES[name]
    assert (profile.min_pixels, profile.max_pixels) == (256 * token, 1280 * token)
    assert token == profile.factor**2


@pytest.mark.parametrize(
    ("own", "wanted", "bounds"),
    [
        (None, (None, None), (256, 1280)),
        ((4, 16384), (None, None), (256, 1280)),  # the published checkpoints
        ((16, 25), (None, None), (16, 25)),  # a checkpoint trained on small pictures only
        ((512, 900), (None, None), (512, 900)),
        ((4, 600), (None, None), (256, 600)),
        ((2000, 4000), (None, None), (2000, 4000)),
        ((4, 16384), (64, 4096), (64, 4096)),
        ((16, 25), (64, 128), (64, 128)),  # a setting takes precedence over the checkpoint
        ((4, 16384), (2000, None), (2000, 2000)),  # one setting moves the other bound
        ((4, 16384), (None, 100), (100, 100)),
        ((16, 25), (None, 20), (16, 20)),
    ],
)
def test_bounds_are_the_settings_or_the_overlap_of_default_and_checkpoint(
    own: tuple[int, int] | None, wanted: tuple[int | None, int | None], bounds: tuple[int, int]
) -> None:
    def pixels(tokens: int | None) -> int | None:
        return tokens and tokens * T28

    limits = own and (own[0] * T28, own[1] * T28)
    low, high = map(pixels, wanted)
    profile = PROFILES["qwen2.5-vl"].bounded(limits, min_pixels=low, max_pixels=high)
    assert (profile.min_pixels, profile.max_pixels) == (bounds[0] * T28, bounds[1] * T28)


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(
        SettingError, match="GROUNDING_MIN_PIXELS 2000 exceeds GROUNDING_MAX_PIXELS 1000"
    ):
        PROFILES["qwen2.5-vl"].bounded(min_pixels=2000, max_pixels=1000)


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ((None, None), (256, 1280)),
        ((400, 800), (400, 800)),
        ((None, 400), (256, 400)),
        ((400, None), (400, 1280)),
        ((16, 25), (256, 256)),  # both below the deployment's minimum
        ((5000, 9000), (1280, 1280)),
        ((1, 99999), (256, 1280)),
    ],
)
def test_the_bounds_of_a_control_are_limited_to_those_of_the_deployment(
    wanted: tuple[int | None, int | None], kept: tuple[int, int]
) -> None:
    low, high = (tokens and tokens * T28 for tokens in wanted)
    profile = PROFILES["qwen2.5-vl"].within(low, high)
    assert (profile.min_pixels, profile.max_pixels) == (kept[0] * T28, kept[1] * T28)


@given(
    own=st.tuples(st.integers(1, 99), st.integers(0, 99)),
    low=st.none() | st.integers(1, 200),
    more=st.none() | st.integers(0, 200),
)
def test_any_bounds_of_a_control_give_bounds_within_those_of_the_deployment(
    own: tuple[int, int], low: int | None, more: int | None
) -> None:
    deployed = replace(PROFILES["qwen2.5-vl"], min_pixels=own[0], max_pixels=sum(own))
    kept = deployed.within(low, None if more is None else (low or 1) + more)
    assert own[0] <= kept.min_pixels <= kept.max_pixels <= sum(own)


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((200, 150), (532, 392)),  # below the robust range: enlarged
        ((100, 100), (448, 448)),
        ((640, 480), (644, 476)),  # within it: rounded to whole patches
        ((1920, 1080), (1316, 728)),  # more than 1280 tokens: shrunk
        ((3840, 2160), (1316, 728)),
        ((8000, 8000), (980, 980)),
    ],
)
def test_a_small_picture_is_enlarged_and_a_large_one_shrunk(
    size: tuple[int, int], seen: tuple[int, int]
) -> None:
    profile = PROFILES["qwen2.5-vl"]
    frame = model_frame(image_frame(*size), profile.bounds)
    assert (frame.width, frame.height) == seen


def test_profiles_and_the_engine_interface_need_no_torch() -> None:
    code = (
        "import sys, grounding.engines.base, grounding.qwen.profiles; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
