"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")


def memory_limit(root: Path = ROOT) -> int:
    """Return how much memory this process may use: its container's limit, or the machine's.

    Reads the limits of control groups, version 2 or 1, as /proc and /sys below `root` show them.
    A limit of any group above this process's own holds too.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            tree = root / "sys/fs/cgroup" / controllers
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            group = tree / path.strip("/")
            # In a container, the path may be the host's, while the tree begins at the container.
            folders = (folder for folder in (group, *group.parents) if folder.is_relative_to(tree))
            limits += [int(text) for f in folders if (text := _read(f / name).strip()).isdigit()]
    return min(limits)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
