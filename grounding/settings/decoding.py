"""The settings of how a model in the worker decodes, part of all settings.

None of them changes an answer but by rounding: in float32 log-probabilities move by millionths, and
no token that the tests compare; in bfloat16 a coordinate may move by a pixel.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

Attention = Literal["sdpa", "eager", "flash_attention_2"]


class DecodingSettings(BaseSettings):
    """How many queries are answered at once, and by which ways of the library."""

    max_batch: int = Field(8, ge=1, le=256, description="Queries of bulk that are answered at once")
    in_flight: bool = Field(True, description="Queries join others at work; false: whole batches")
    picture_cache_bytes: int | None = Field(
        None, ge=0, description="Device memory for pictures that were read; unset: part of the free"
    )
    attention: Attention = Field(
        "sdpa",
        description="How the model attends; eager: in whole batches; flash_attention_2: pictures "
        "by the package flash-attn, on an NVIDIA GPU since Ampere",
    )
    cuda_graphs: bool = Field(
        True, description="On a GPU, replay steps of the model as graphs, launched as a whole"
    )
