"""What is installed is pinned, with all that it needs: a container gets what was tested."""

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.audit import FILES as AUDITED
from tools.audit import verdict
from tools.lock import read

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


FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_release_is_bound_to_its_bytes(file: Path) -> None:
    """pip then takes no other file for it, from whatever index."""
    lines = file.read_text().splitlines()
    assert "--require-hashes" in lines
    pins = [n for n, line in enumerate(lines) if "==" in line and not line.startswith("#")]
    assert pins
    for number in pins:
        assert re.fullmatch(r"[\w.\-\[\]]+==\S+ \\", lines[number])
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", lines[number + 1])


def test_locking_keeps_the_head_and_the_pins() -> None:
    text = "# why\n-r web.txt\n--require-hashes\nb==2 \\\n    --hash=sha256:1\na==1\n"
    assert read(text) == (["# why", "-r web.txt", "--require-hashes"], ["a==1", "b==2"])


AUDITS = {
    "clean": (0, "No known vulnerabilities found", 0, "no known holes"),
    "a hole": (1, "Found 2 known vulnerabilities in 1 package", 1, "Found 2"),
    "no service": (1, "ERROR: could not connect to pypi.org", 0, "NOT CHECKED"),
    "a package skipped": (1, "ERROR: torch: dependency not found on PyPI", 0, "NOT CHECKED"),
}


@pytest.mark.parametrize(("status", "said", "exit_status", "shown"), AUDITS.values(), ids=AUDITS)
def test_an_audit_that_asked_nobody_does_not_look_like_a_clean_one(
    capsys: pytest.CaptureFixture[str], status: int, said: str, exit_status: int, shown: str
) -> None:
    assert verdict(status, said) == exit_status
    out = capsys.readouterr()
    assert shown in out.out + out.err
    assert ("no known holes" in out.out) == (said == "No known vulnerabilities found")


def test_bill_and_audit_are_about_all_that_the_images_install() -> None:
    installed = set(
        re.findall(r"-r requirements/(\S+)", (FOLDER.parent / "Dockerfile").read_text())
    )
    makefile = (FOLDER.parent / "Makefile").read_text()
    listed = [set(re.findall(r"requirements/(\w+\.txt)", line)) for line in makefile.splitlines()]
    assert installed == {"web.txt", "worker.txt", "cuda.txt"}
    assert {"web.txt"} in listed
    assert installed in listed
    assert installed <= set(AUDITED)


def test_what_gunicorn_s_gevent_worker_imports_is_pinned_for_the_web_server() -> None:
    """gunicorn does not declare it, so nothing else would bring it into the web server's image."""
    from gunicorn.workers import ggevent

    assert "from packaging" in inspect.getsource(ggevent)
    assert "packaging" in set(pinned("web.txt"))
