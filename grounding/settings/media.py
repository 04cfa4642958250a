"""The settings of pictures and films, which `grounding.settings` reads with all others."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class MediaSettings(BaseSettings):
    """What a picture or a film may take, and how densely a film is looked at."""

    max_image_bytes: int = Field(25 * 2**20, ge=1024, description="Size of one picture's file")
    max_image_pixels: int = Field(
        50_000_000, ge=1, le=89_478_485, description="Width times height of one picture"
    )
    decode_memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory of one worker for pictures and films' frames; 0: a quarter of all",
    )
    film_fps: float = Field(
        2.0, gt=0, le=30, description="Frames of a film that the model is shown, a second"
    )
    film_fine_fps: float = Field(
        8.0,
        ge=0,
        le=60,
        description="The same around the ends of what was found, for a second look; 0: none",
    )
    film_max_frames: int = Field(
        128,
        ge=4,
        le=768,
        description="Frames in one question; a longer film is asked about in parts that overlap",
    )
    film_max_tokens: int = Field(
        16_384,
        ge=1024,
        le=131_072,
        description="Image tokens of all frames in one question; each frame takes 128 to 768",
    )
    max_film_bytes: int = Field(512 * 2**20, ge=1024, description="Size of one film's file")
    max_film_seconds: float = Field(3600, gt=0, description="Length of one film")
    max_film_pixels: int = Field(
        9_000_000, ge=1, le=89_478_485, description="Width times height of one film"
    )
    film_memory_bytes: int = Field(
        2**30,
        ge=256 * 2**20,
        description="Memory of the process that decodes a film; a worker runs two at most",
    )
    film_timeout: float = Field(
        120, ge=1, le=3600, description="How long fetching a film may take, and each decoding of it"
    )
