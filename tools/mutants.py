"""Mutation testing of the pure modules: `python -m tools.mutants`, or `make mutants`.

mutmut changes one operator, number or argument at a time and runs the tests that reach the change.
`[tool.mutmut]` in pyproject.toml names the modules and the tests. A mutant that no test notices
survives. Prints the survivors as diffs and the killed share of each module, and ends with status 1
if a share is below `GOAL`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping

GOAL = 0.9
"""Least share of the mutants of a module that tests must kill."""

MUTMUT = (sys.executable, "-m", "mutmut")
UNNOTICED = ("survived", "no tests")

Statuses = Mapping[str, str]
"""The status of each mutant by its name, such as `grounding.geometry.x_image_frame__mutmut_1`."""


def main() -> int:
    """Run all mutants, print what survives, and return the exit status."""
    # On a terminal mutmut shows its progress; in a log that would be megabytes.
    quiet = not sys.stdout.isatty()
    ran = subprocess.run([*MUTMUT, "run"], check=False, capture_output=quiet, text=True)
    statuses = parse_statuses(_output("results", "--all", "true"))
    if not statuses:
        print((ran.stdout or "")[-4000:])
        return ran.returncode or 1
    for name, status in statuses.items():
        if status in UNNOTICED:
            print(_output("show", name))
    shares = killed_shares(statuses)
    for module, share in sorted(shares.items()):
        print(f"{share:6.1%} killed  {module}")
    return int(min(shares.values()) < GOAL)


def parse_statuses(results: str) -> Statuses:
    """Return the statuses in the output of `mutmut results --all true`."""
    pairs = (line.strip().rpartition(": ") for line in results.splitlines())
    return {name: status for name, _, status in pairs if "__mutmut_" in name}


def killed_shares(statuses: Statuses) -> Mapping[str, float]:
    """Return the share of killed mutants of each module."""
    killed: dict[str, list[bool]] = defaultdict(list)
    for name, status in statuses.items():
        killed[name.rpartition(".")[0]].append(status not in UNNOTICED)
    return {module: sum(some) / len(some) for module, some in killed.items()}


def _output(*arguments: str) -> str:
    done = subprocess.run([*MUTMUT, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
