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
BY_HAND = {"cpu.txt"}
"""Files with builds that are not on PyPI: their hashes are those of the files themselves."""


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
    return done.stdout


def main() -> None:
    """Lock every file, or those that are named."""
    named = [FOLDER / name for name in sys.argv[1:]]
    every = [file for file in sorted(FOLDER.glob("*.txt")) if file.name not in BY_HAND]
    for file in named or every:
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
