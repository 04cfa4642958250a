"""The previous release's files, for a whole test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.previous import check_out


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return check_out(tmp_path_factory.mktemp("previous"))
