"""The folder of Label Studio's local storage, where it is mounted here too.

Label Studio checks whether a user may see such a file; a mounted folder knows no users. So there
is none unless the operator names it, and nothing outside it is ever opened, whatever links lie
in it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import parse_qs

from grounding.errors import ImageMissing, ImageTooLarge, SettingError, UrlRefused

SYSTEM = ("proc", "sys", "dev")
"""Folders of the root that hold no files but the kernel's and processes' insides."""

HINT = (
    "Check that GROUNDING_LOCAL_FILES_ROOT is the folder that Label Studio calls "
    "LOCAL_FILES_DOCUMENT_ROOT"
)

_LOCAL_FILES = re.compile(r"(?:/[^/]+)*?/data/local-files/?")


def file_name(target: str) -> str | None:
    """Return the file that `target`, path and query on Label Studio, names in its local storage.

    None where it names none. The name is decoded, as Label Studio reads it.
    """
    path, _, query = target.partition("#")[0].partition("?")
    if not _LOCAL_FILES.fullmatch(path):
        return None
    return parse_qs(query).get("d", [None])[-1]


class Folder:
    """The files below `root`; safe to share between threads.

    Raises `SettingError` where `root` is no folder, or one that no pictures are in.
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
        """Return the bytes of the regular file `name`, a path from the root, at most `max_bytes`.

        Raises `UrlRefused` where it leads outside or to what is no regular file, `ImageMissing`
        where it is not there or may not be read, and `ImageTooLarge`.
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
                body = file.read(max_bytes + 1)
        finally:
            os.close(handle)
        if len(body) > max_bytes:
            raise ImageTooLarge(f"{shown} has more than {max_bytes} bytes")
        return body

    def _open(self, name: str, shown: str) -> int:
        real = Path(os.path.realpath(self._root / name.lstrip("/")))
        if not real.is_relative_to(self._root):
            raise UrlRefused(f"{shown} lies outside GROUNDING_LOCAL_FILES_ROOT", hint=HINT)
        # NONBLOCK, or a FIFO would hold us until somebody writes to it; NOFOLLOW, since all
        # links are resolved by now and one that appears meanwhile could lead outside.
        return os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
