"""Mutation testing of the pure modules: `python -m tools.mutants [WORD …]`, or `make mutants`.

With words, as in `ONLY="places labels" make mutants`, only mutants with one of them in their name
are run.

mutmut changes one operator, number or argument at a time and runs the tests that reach the change.
`[tool.mutmut]` in pyproject.toml names the modules and the tests. A mutant that no test notices
survives; one that writes an attribute's name in another case is no change, since a config's
attributes are read in any case. Prints the survivors as diffs and the killed share of each module,
and ends with status 1 if a share is below `GOAL`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence

GOAL = 0.9
"""Least share of the mutants of a module that tests must kill."""

MUTMUT = (sys.executable, "-m", "mutmut")
UNNOTICED = ("survived", "no tests")

Statuses = Mapping[str, str]
"""The status of each mutant by its name, such as `grounding.geometry.x_image_frame__mutmut_1`."""


def main(words: Sequence[str]) -> int:
    """Run the mutants with one of `words` in their name, or all; return the exit status.

    Prints what survives.
    """
    # On a terminal mutmut shows its progress; in a log that would be megabytes.
    quiet = not sys.stdout.isatty()
    command = [*MUTMUT, "run", *(f"*{word}*" for word in words)]
    ran = subprocess.run(command, check=False, capture_output=quiet, text=True)
    statuses = select(parse_statuses(_output("results", "--all", "true")), words)
    if not statuses:
        print((ran.stdout or "")[-4000:])
        return ran.returncode or 1
    unnoticed = {name: _output("show", name) for name, s in statuses.items() if s in UNNOTICED}
    same = {name for name, diff in unnoticed.items() if is_same(diff)}
    print("\n".join(diff for name, diff in unnoticed.items() if name not in same))
    statuses = {name: status for name, status in statuses.items() if name not in same}
    shares = killed_shares(statuses)
    for module, share in sorted(shares.items()):
        print(f"{share:6.1%} killed  {module}")
    return int(min(shares.values()) < GOAL)


def parse_statuses(results: str) -> Statuses:
    """Return the statuses in the output of `mutmut results --all true`, of mutants that ran."""
    pairs = (line.strip().rpartition(": ") for line in results.splitlines())
    named = {name: status for name, _, status in pairs if "__mutmut_" in name}
    return {name: status for name, status in named.items() if status != "not checked"}


def select(statuses: Statuses, words: Sequence[str]) -> Statuses:
    """Return the statuses of the mutants with one of `words` in their name; all without words."""
    wanted = words or [""]
    return {name: s for name, s in statuses.items() if any(word in name for word in wanted)}


def is_same(diff: str) -> bool:
    """Say whether a mutant's diff changes the case of an attribute's name and nothing else."""
    lines = [line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
    texts = {line[1:].casefold() for line in lines}
    return len(lines) == len(texts) + 1 and all(_NAMED.search(line) for line in lines)


_NAMED = re.compile(r"""\belement\.(?:get|says)\("[a-z]+"[,)]""", re.IGNORECASE)
"""A line that reads an attribute of an element by its name."""


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
    sys.exit(main(sys.argv[1:]))
