"""A checkpoint of which one file is not what it should be: one line says so, and no traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from grounding.errors import EngineError, SettingError
from grounding.factory import load_engine
from grounding.settings import SHAPES, Settings

BROKEN = {
    "tokenizer.json": "[1]",
    "tokenizer_config.json": "[1]",
    "chat_template.jinja": "{% for message in 'user",
    "preprocessor_config.json": "[1]",
    "generation_config.json": "[1]",
    "config.json": "[1]",
}


@pytest.mark.parametrize("file", BROKEN)
def test_a_broken_file_is_refused_with_the_checkpoints_name(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(SHAPES, folder)
    (folder / file).write_text(BROKEN[file])
    with pytest.raises((EngineError, SettingError), match=str(folder)) as caught:
        load_engine(Settings.load(model=str(folder)), lambda **_: None)
    assert caught.value.hint
