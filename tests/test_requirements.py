"""What is installed is pinned, with all that it needs: a container gets what was tested."""

import re
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[1] / "requirements"
LEFT_OUT = re.compile(r"nvidia|cuda|triton")
"""What torch brings for GPUs; its CPU build has none of it."""


def pinned(file: str) -> Iterator[str]:
    """Yield the names that a requirements file pins, with those of the files that it includes."""
    for line in (FOLDER / file).read_text().splitlines():
        if line.startswith("-r "):
            yield from pinned(line.removeprefix("-r "))
        elif "==" in line:
            yield canonicalize_name(line.partition("==")[0].partition("[")[0])


def needed(name: str) -> Iterator[str]:
    """Yield what a package needs on this machine, without its extras."""
    for requirement in map(Requirement, requires(name) or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


@pytest.mark.parametrize("file", ["web.txt", "worker.txt", "dev.txt"])
def test_what_a_pinned_package_needs_is_pinned(file: str) -> None:
    names = set(pinned(file))
    missing = {(name, other) for name in names for other in needed(name) if other not in names}
    assert {one for one in missing if not LEFT_OUT.search(one[1])} == set()
