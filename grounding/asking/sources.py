"""The pictures that a command is given: files, folders, patterns and addresses."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

from grounding.errors import ImageMissing, InputError
from grounding.media.fetch import Fetches
from grounding.waiting import Check, no_check

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
"""The files of a folder that are pictures."""


def find_pictures(words: Iterable[str]) -> list[str]:
    """Return the paths and addresses that words name, each once: folders hold all their pictures.

    Raises `InputError` for a word that names no picture, and for a name that is no text.
    """
    found: dict[str, None] = {}
    for word in words:
        some = list(_expand(word))
        if not some:
            kinds = ", ".join(SUFFIXES)
            raise InputError(f"{word} names no picture", hint=f"Pictures are {kinds} or http(s)")
        found |= dict.fromkeys(some)
    for one in found:
        if not _is_text(one):
            shown = one.encode(errors="replace").decode()
            raise InputError(f"the name of {shown} is no text in UTF-8", hint="Rename the file")
    return list(found)


def _is_text(name: str) -> bool:
    """Say whether a name can be written down; on Linux any bytes may be one."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expand(word: str) -> Iterator[str]:
    path = Path(word)
    if is_address(word) or path.is_file():
        yield word
    elif path.is_dir():
        yield from sorted(str(one) for one in path.rglob("*") if one.suffix.lower() in SUFFIXES)
    else:
        yield from sorted(one for one in glob.glob(word, recursive=True) if Path(one).is_file())


def is_address(word: str) -> bool:
    """Say whether a word is the address of a web server."""
    return word.startswith(("http://", "https://"))


class FilesToo(Fetches):
    """Fetches the files that a command was given, and all else as `others` does.

    Only those very files: a task's data of Label Studio names no file of this machine.
    """

    def __init__(self, files: Iterable[str], others: Fetches) -> None:
        self._files = frozenset(files)
        self._others = others

    def fetch_into(
        self, sink: BinaryIO, value: str, task_id: int | None = None, check: Check = no_check
    ) -> None:
        """Write the bytes into a file; raises as `Fetches` does."""
        if value not in self._files or is_address(value):
            self._others.fetch_into(sink, value, task_id, check)
            return
        try:
            with Path(value).open("rb") as file:
                shutil.copyfileobj(file, sink)
        except OSError as exc:
            raise ImageMissing(f"{value} cannot be read: {exc.strerror}", hint="") from exc


def config_for(names: str, *, points: bool = False) -> str:
    """Return a labelling config that looks for what is named, with commas between.

    Raises `InputError` where nothing is named.
    """
    labels = [name for part in names.split(",") if (name := part.strip())]
    if not labels:
        raise InputError("nothing to find is named", hint='Write --find "dented car, dog"')
    tag, name = ("KeyPointLabels", "point") if points else ("RectangleLabels", "box")
    inside = "".join(f"<Label value={quoteattr(one)}/>" for one in dict.fromkeys(labels))
    image = '<Image name="image" value="$image"/>'
    return f'<View>{image}<{tag} name="{name}" toName="image">{inside}</{tag}></View>'


def task_data(address: str, prefix: str, keys: Iterable[str]) -> Mapping[str, str]:
    """Return a task's data for import: under each key the address, a file's after `prefix`."""
    return dict.fromkeys(keys, address if is_address(address) else f"{prefix}{address}")
