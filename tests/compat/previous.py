"""The previous release, out of git: its files, and its code run against a test's Redis."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COMMIT = "4709bb8a3bbbc1569c746e8cf3e5416eee8e01bd"
"""The last commit of layout 1 of the keys in Redis."""

SET_UP = """
import sys
from grounding.jobs.connection import connect
from grounding.jobs.debts import Debts, Paid
from grounding.jobs.lanes import Lanes
from grounding.jobs.ledger import Job, Lane, Ledger, Terms, job_key, lease_key
from grounding.jobs.presence import Presence
from grounding.jobs.projects import Projects
redis = connect(sys.argv[1])
ledger, debts, lanes, projects = Ledger(redis), Debts(redis), Lanes(redis), Projects(redis)
"""
"""What a script that `run` gets may use of the previous release."""


def check_out(folder: Path) -> Path:
    """Write the previous release's files into `folder`, and return it.

    Raises `AssertionError` with the cure where this clone does not have its commit.
    """
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", COMMIT, "--", ":!demo"], capture_output=True
    )
    assert archive.returncode == 0, (
        f"the previous release is not in this clone: run `git fetch --unshallow`, "
        f"which brings commit {COMMIT[:7]} ({archive.stderr.decode().strip()})"
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def run(root: Path, url: str, script: str) -> None:
    """Run `script` with the code of the release in `root`, on the Redis at `url`."""
    env = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run(
        [sys.executable, "-c", SET_UP + script, url], cwd=root, env=env, check=True, timeout=60
    )
