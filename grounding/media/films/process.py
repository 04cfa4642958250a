"""The process that decodes a film, as its parent sees it: an order in, an answer out, and its end.

The answer is read in short waits, so that no decoder holds who waits for it beyond the time that
is allowed, or beyond a check that raises. The process has ended after the block in any case.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from selectors import EVENT_READ, PollSelector
from typing import IO, Any, cast

from grounding.waiting import Check, step

CHILD = Path(__file__).with_name("child.py")

KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL")
"""Variables that the child gets: the others hold passwords, which a decoder must not see."""

BLOCK = 256 * 1024


class Ended(Exception):
    """The child has ended in the middle of its answer."""


class Late(Ended):
    """The child's time is over."""


@contextmanager
def ask_child(
    file: IO[bytes], order: Mapping[str, Any], seconds: float, check: Check
) -> Iterator[IO[bytes]]:
    """Yield where the answer of a child to an order about a file comes from.

    Reading raises `Late` after `seconds`, and what `check` does: it is called between short waits.
    """
    whole = {**order, "file": file.fileno(), "parent": os.getpid()}
    ends = time.monotonic() + seconds
    with child(file.fileno()) as process:
        order_pipe, answer_pipe = process.stdin, process.stdout
        assert order_pipe is not None  # noqa: S101  both are pipes
        assert answer_pipe is not None  # noqa: S101
        with suppress(BrokenPipeError):
            order_pipe.write(json.dumps(whole).encode())
            order_pipe.close()
        answer = _Answer(answer_pipe.fileno(), ends, check)
        yield cast(IO[bytes], io.BufferedReader(answer, BLOCK))


@contextmanager
def child(descriptor: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the child around the block; it has ended after it."""
    process = subprocess.Popen(  # noqa: S603  our own file
        [sys.executable, "-P", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env={name: os.environ[name] for name in KEPT if name in os.environ},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def take(output: IO[bytes], size: int) -> bytes:
    """Return the next bytes of an answer; raises `Ended` where there are fewer."""
    data = output.read(size)
    if len(data) < size:
        raise Ended
    return data


class _Answer(io.RawIOBase):
    """The child's end of a pipe, read in short waits until a time of `time.monotonic`."""

    def __init__(self, descriptor: int, ends: float, check: Check) -> None:
        self._descriptor = descriptor
        self._ends = ends
        self._check = check
        self._ready = PollSelector()  # unlike select, for descriptors of any number
        self._ready.register(descriptor, EVENT_READ)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._check()
            left = self._ends - time.monotonic()
            if left <= 0:
                raise Late
            if self._ready.select(step(left)):
                return os.readv(self._descriptor, [buffer])
