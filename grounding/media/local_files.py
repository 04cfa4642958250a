"""Files of Label Studio's local storage, where its folder is mounted for the worker too.

Label Studio checks whether a user may see such a file; a mounted folder knows no users. So no
folder is used unless the operator names it, and nothing outside it is ever opened, whatever
links it contains.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs

from grounding.errors import ImageMissing, ImageTooLarge, SettingError, UrlRefused
from grounding.waiting import Check, no_check

SYSTEM = ("proc", "sys", "dev")
"""Top-level folders that hold no files but views of the kernel and its processes."""

HINT = (
    "Check that GROUNDING_LOCAL_FILES_ROOT is the folder that Label Studio calls "
    "LOCAL_FILES_DOCUMENT_ROOT"
)

BLOCK = 2**20

_LOCAL_FILES = re.compile(r"(?:/[^/]+)*?/data/local-files/?")

# With O_PATH, a folder needs to be searchable only, as for any other path.
_FOLDER = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)  # macOS has no O_PATH
# Without O_NONBLOCK, opening a FIFO would wait until something writes to it.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW


def parse_local_file(target: str) -> str | None:
    """Return the name of the local-storage file that `target` asks Label Studio for, else None.

    `target` is a path with its query. The name is decoded as Label Studio decodes it.
    """
    path, _, query = target.partition("#")[0].partition("?")
    if not _LOCAL_FILES.fullmatch(path):
        return None
    return parse_qs(query).get("d", [None])[-1]


class Folder:
    """The files below `root`; safe to share between threads.

    Raises `SettingError` if `root` is no folder, or a folder that cannot hold pictures only.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        if not self._root.is_dir():
            raise SettingError(
                "GROUNDING_LOCAL_FILES_ROOT is no folder", hint="Mount it, or unset it"
            )
        if len(self._root.parts) == 1 or self._root.parts[1] in SYSTEM:
            raise SettingError(
                "GROUNDING_LOCAL_FILES_ROOT would open the whole machine",
                hint="Name the pictures' folder",
            )

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of the regular file `name`, a path from the root; raises as `copy`."""
        sink = io.BytesIO()
        self.copy(name, max_bytes, sink)
        return sink.getvalue()

    def copy(self, name: str, max_bytes: int, sink: BinaryIO, check: Check = no_check) -> None:
        """Write the regular file `name`, a path from the root, of at most `max_bytes` into `sink`.

        Raises `UrlRefused` if the path leads outside or to anything but a regular file,
        `ImageMissing` if the file does not exist or may not be read, `ImageTooLarge`, and what
        `check` does between the blocks.
        """
        shown = f"local file {name[:120]!r}"
        try:
            handle = self._open(name, shown)
        except (OSError, ValueError) as exc:
            raise ImageMissing(f"{shown} cannot be opened", hint=HINT) from exc
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UrlRefused(f"{shown} is no regular file", hint="Name a picture")
            with open(handle, "rb", closefd=False) as file:
                for block in _blocks(file, max_bytes, shown):
                    check()
                    sink.write(block)
        finally:
            os.close(handle)

    def _open(self, name: str, shown: str) -> int:
        """Return a descriptor of the file; links are followed only if they lead inside."""
        real = Path(os.path.realpath(self._root / name.lstrip("/")))
        if not real.is_relative_to(self._root):
            raise UrlRefused(f"{shown} lies outside GROUNDING_LOCAL_FILES_ROOT", hint=HINT)
        return _open_below(self._root, real.relative_to(self._root).parts or (".",))


def _blocks(file: BinaryIO, max_bytes: int, shown: str) -> Iterator[bytes]:
    size = 0
    while block := file.read(BLOCK):
        size += len(block)
        if size > max_bytes:
            raise ImageTooLarge(f"{shown} has more than {max_bytes} bytes")
        yield block


def _open_below(root: Path, parts: tuple[str, ...]) -> int:
    """Return a descriptor of the file at `parts` below `root`, without following any link.

    Links are resolved before, so a link here has just replaced a folder: it raises `OSError`.
    Each part is opened relative to the folder before it, which stays the same folder even if it
    is moved.
    """
    *folders, last = parts
    here = os.open(root, _FOLDER)
    try:
        for folder in folders:
            parent, here = here, os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(parent)
        return os.open(last, _READ, dir_fd=here)
    finally:
        os.close(here)
