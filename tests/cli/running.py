"""Runs a command in this process, as `main` does."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from grounding.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


class Commands:
    """Commands whose output is captured."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def __call__(self, *words: object, **environment: str) -> Done:
        """Run `qwen-grounding WORDS…` with these variables."""
        for name, value in environment.items():
            self._patch.setenv(name, value)
        self._patch.setattr(sys, "argv", ["qwen-grounding", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = self._capture.readouterr()
        code = end.value.code
        return Done(code if isinstance(code, int) else int(code is not None), *printed)
