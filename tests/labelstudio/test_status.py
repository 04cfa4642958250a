"""An annotator reads our errors in the config's own status area."""

from __future__ import annotations

from grounding.labelstudio.interactive.status import write_status
from tests.labelstudio.configs import BOXES, PROMPT, STATUS, config


def test_the_status_goes_to_the_status_area_on_one_line() -> None:
    (said,) = write_status(config(BOXES, PROMPT, STATUS), "no picture:\n\x1b[2J 404")
    assert len(said.pop("id")) >= 10
    assert said == {
        "from_name": "status",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": ["no picture: [2J 404"]},
    }


def test_without_a_status_area_nothing_is_said() -> None:
    assert write_status(config(BOXES, PROMPT), "busy") == []


def test_a_status_is_short() -> None:
    (said,) = write_status(config(STATUS), "x" * 9999)
    assert said["value"]["text"] == ["x" * 500]
