"""The pictures of some tasks, small and as data URIs, for a page that calls no other host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

from grounding.asking.gallery import shrink
from grounding.asking.sources import SUFFIXES, is_address
from grounding.errors import GroundingError
from grounding.evaluation.records import TaskRecord
from grounding.labelstudio.data import find_image_address
from grounding.media.fetch import Fetches
from grounding.media.images import Decoder

AT_ONCE = 8
STORED = ("/data/", "s3://", "gs://", "azure-blob://")
"""How addresses of Label Studio's uploads and storages begin."""


def read_photographs(
    tasks: Sequence[TaskRecord], keys: Sequence[str], fetcher: Fetches, max_pixels: int
) -> dict[int, str]:
    """Return the pictures that can be read, by the id of their task; the others are missing.

    `keys` are those of the config, in order. Without any, what looks like a picture's address in
    a task's data is tried. Tasks without an id have none to be found by.
    """
    decoder = Decoder()

    def read(task: TaskRecord) -> str:
        for address in _addresses(task.data, keys):
            try:
                found = shrink(fetcher.fetch(address, task.id), max_pixels, decoder).file
            except GroundingError:
                continue
            if found:
                return found
        return ""

    numbered = [task for task in tasks if task.id is not None]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        files = pool.map(read, numbered)
        return {
            task.id: file for task, file in zip(numbered, files, strict=True) if task.id and file
        }


def _addresses(data: Mapping[str, Any], keys: Sequence[str]) -> Iterator[str]:
    if not keys:
        yield from (text for text in data.values() if isinstance(text, str) and _is_picture(text))
    for key in keys:
        try:
            yield find_image_address(data, key)
        except GroundingError:
            continue


def _is_picture(text: str) -> bool:
    try:
        path = unquote(urlsplit(text).path)
    except ValueError:
        return False
    named = path.lower().endswith(SUFFIXES)
    return text.startswith(STORED) or text.startswith("data:image/") or (is_address(text) and named)
