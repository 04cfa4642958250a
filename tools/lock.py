"""Writes the hashes of every pinned release into requirements/*.txt: `make lock`.

To raise a release, change its number in the file and run this. It asks the index for the hashes of
all files of each release, so that one file serves every platform; nothing else is resolved.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "requirements"
PIN = re.compile(r"^[\w.\-]+==\S+")
BUILDS = {
    "torch==2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
}
"""The hash of a release's build that is not on PyPI: torch-2.13.0+cpu for Python 3.11 on Linux.

It was taken from the file that this project is tested with. Take it anew with each release.
"""


def read(text: str) -> tuple[list[str], list[str]]:
    """Return the comments and options at the top of a file, and its pins."""
    lines = text.splitlines()
    head = [line for line in lines if line.startswith(("#", "-"))]
    return head, sorted(found[0] for line in lines if (found := PIN.match(line)))


def lock(pins: list[str], python: str = "3.11") -> str:
    """Return the pins with the hashes of all their files."""
    command = ["uv", "pip", "compile", "--no-deps", "--generate-hashes", "--no-header"]
    done = subprocess.run(
        [*command, "--no-annotate", "--quiet", "--python-version", python, "-"],
        input="\n".join(pins),
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout
    for pin, build in BUILDS.items():
        text = text.replace(f"{pin} \\\n", f"{pin} \\\n    --hash=sha256:{build} \\\n")
    return text


def main() -> None:
    """Lock every file, or those that are named."""
    named = [FOLDER / name for name in sys.argv[1:]]
    for file in named or sorted(FOLDER.glob("*.txt")):
        head, pins = read(file.read_text())
        hashed = lock(pins)
        missing = [pin for pin in pins if f"{pin} \\\n" not in hashed]
        if missing:
            sys.exit(f"{file.name}: no hashes for {', '.join(missing)}")
        options = [line for line in head if line != "--require-hashes"]
        file.write_text("\n".join([*options, "--require-hashes", hashed]))
        print(f"{file.name}: {len(pins)} releases")


if __name__ == "__main__":
    main()
