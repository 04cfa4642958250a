"""Reads large bodies in a process of their own, one at a time.

Reading JSON of megabytes, and writing each task's data again, holds Python's lock for seconds if
the values are small, and takes twenty times the body's size. A child does both: it answers a line
of JSON with all that is read of the body but the tasks' data, then each data's text. So this
process only moves bytes, `/health` answers meanwhile, and the memory goes back with the child.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

from grounding.errors import RequestError, WebServerBusy
from grounding.web.parsing.strict import WrittenData, parse, write_data

LARGE = 2**20
"""Bytes from which a body is read by a child, which takes a fifth of a second to start."""
MEMORY = 3 * 2**29
"""Bytes that the child may take: 64 MiB of the smallest values take 1.4 GiB."""
SECONDS = 60
"""How long the child may take: 64 MiB of the smallest values take six seconds of a core."""
WAIT_SECONDS = 30
"""How long a body may wait for the child, and hold a thread: longer than four of 64 MiB take."""
MAX_REST = 16 * 2**20
"""Bytes of a body without its tasks' data, which this process parses itself."""
STEP = 2**20
ASKED = {"id", "annotations", "predictions", "drafts"}
"""What is read of a task that an annotator asks about, beside its data."""
PACKAGE = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "grounding.web.parsing.large")
DIED = "it takes too much memory or time to read"

_ONE = threading.BoundedSemaphore(1)


class Source(Protocol):
    """What a body is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


def read_large(first: bytes, more: Source) -> Mapping[str, Any]:
    """Return the body that begins with `first`, with `WrittenData` in place of each task's data.

    Raises `RequestError` as `parse` does, and `body_too_large` for one that takes too much;
    `WebServerBusy` where others are read for too long.
    """
    with _turn(), _child() as (given, answered):
        _send(given, first, more)
        return _receive(answered)


@contextmanager
def _turn() -> Iterator[None]:
    """Let the block be the only one that reads a large body."""
    if not _ONE.acquire(timeout=WAIT_SECONDS):
        raise WebServerBusy("other large bodies are still being read", wait_s=SECONDS)
    try:
        yield
    finally:
        _ONE.release()


def _receive(answered: IO[bytes]) -> Mapping[str, Any]:
    """Return the body that the child answers with; a child that died on the way has cut it."""
    header = answered.readline()
    if not header.endswith(b"\n"):
        raise _too_large(DIED)
    found = json.loads(header)
    if "error" in found:
        cause, code, status = found["error"]
        raise RequestError(cause, code=code, status=status)
    tasks = found["body"].get("tasks")
    for place, (length, code) in enumerate(found["data"]):
        text = answered.read(length)
        if len(text) < length:
            raise _too_large(DIED)
        if isinstance(tasks[place], dict):
            tasks[place]["data"] = WrittenData(text, code)
    return dict(found["body"])


@contextmanager
def _child() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Run the child around the block; yields its input and output, and ends it after its time."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - nothing of a request is in the command
        COMMAND, cwd=PACKAGE, stdin=pipe, stdout=pipe
    ) as child:
        limit = threading.Timer(SECONDS, child.kill)
        limit.daemon = True
        limit.start()
        try:
            yield cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
        finally:
            limit.cancel()
            child.kill()
            with suppress(BrokenPipeError):  # what it did not take
                cast("IO[bytes]", child.stdin).close()


def _send(given: IO[bytes], first: bytes, more: Source) -> None:
    """Write the body; a child that has died says so by its empty answer."""
    with suppress(BrokenPipeError):
        given.write(first)
        while part := more.read(STEP):
            given.write(part)
        given.close()


def _too_large(why: str) -> RequestError:
    return RequestError(
        f"the body is too large: {why}",
        code="body_too_large",
        hint="Send fewer tasks at once, or pictures as addresses",
        status=413,
    )


def pack(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[WrittenData]]:
    """Return what is read of a body but its tasks' data, and the data of each task, written.

    Of a task that no annotator asks about only the id is read; parameters that are no object
    stay none.
    """
    tasks, params = body.get("tasks"), body.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    kept = {name: body[name] for name in ("project", "label_config") if name in body}
    kept["params"] = {"context": context} if isinstance(params, dict) else params and []
    if not isinstance(tasks, list):
        return kept, []
    written = [write_data(task) for task in tasks]
    names = {"id"} if context is None else ASKED
    return {**kept, "tasks": [_only(names, task) for task in tasks]}, written


def _only(names: Set[str], task: object) -> dict[str, Any] | None:
    if not isinstance(task, dict):
        return None
    return {name: value for name, value in task.items() if name in names}


def answer(raw: bytes) -> Iterator[bytes]:
    """Yield what the child answers for a body: a line of JSON, then the texts that it counts."""
    try:
        rest, written = pack(parse(raw))
        texts = [one.text for one in written]
        sizes = [(len(one.text), one.code) for one in written]
        header = json.dumps({"body": rest, "data": sizes}).encode()
        if len(header) > MAX_REST:
            raise _too_large("what is beside the tasks' data is")
    except RequestError as exc:
        header, texts = json.dumps({"error": (str(exc), exc.code, exc.status)}).encode(), []
    yield header + b"\n"
    yield from texts


def main() -> None:
    """Be the child."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    gc.disable()  # nothing in JSON is a cycle, and looking for them takes longer than reading
    with suppress(MemoryError, BrokenPipeError):
        for part in answer(sys.stdin.buffer.read()):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
