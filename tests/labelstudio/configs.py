"""Labelling configs that several tests read."""

from __future__ import annotations

import pytest

from grounding.errors import ConfigError
from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.plan import NO_DEFAULTS, PromptDefaults, plan
from grounding.queries import Locate, Query

LONGEST_STATUS_LINE = 120

IMAGE = '<Image name="image" value="$image"/>'
CAR_DOG = '<Label value="Car"/><Label value="Dog" alias="d"/>'
BOXES = f'<RectangleLabels name="box" toName="image">{CAR_DOG}</RectangleLabels>'
POINTS = '<KeyPointLabels name="kp" toName="image"><Label value="Nose"/></KeyPointLabels>'
LABELS = f'<Labels name="label" toName="image">{CAR_DOG}</Labels>'
RECTANGLE = '<Rectangle name="r" toName="image"/>'
KEY_POINT = '<KeyPoint name="k" toName="image"/>'
CHOICES = '<Choices name="c" toName="image"><Choice value="x"/></Choices>'
PROMPT = '<TextArea name="prompt" toName="image"/>'
STATUS = '<TextArea name="status" toName="image" smart="false"/>'


def view(*parts: str) -> str:
    """Return the XML of a config with one image and these parts."""
    return f"<View>{IMAGE}{''.join(parts)}</View>"


def having(part: str, attributes: str) -> str:
    """Return a part whose first tag has these attributes too."""
    return part.replace(" ", f" {attributes} ", 1)


def area(name: str, attributes: str = "") -> str:
    """Return a text area on the image."""
    return f'<TextArea name="{name}" toName="image" {attributes}/>'


def config(*parts: str) -> LabelConfig:
    """Return the parsed config with one image and these parts."""
    return parse(view(*parts))


def control(*parts: str) -> Control:
    """Return the first control of the config with these parts."""
    return config(*parts).controls[0]


def queries_of(
    config: LabelConfig, intent: Intent | None = None, defaults: PromptDefaults = NO_DEFAULTS
) -> list[Locate]:
    """Return the queries for places that a config plans."""
    planned: list[Query] = [one.query for one in plan(config, intent, defaults)]
    return [query for query in planned if isinstance(query, Locate)]


def queries_for(
    on: Control, intent: Intent | None = None, defaults: PromptDefaults = NO_DEFAULTS
) -> list[Locate]:
    """Return the queries of a config that has this control only."""
    return queries_of(LabelConfig((on,)), intent, defaults)


def refused(xml: object, extra_params: str = "") -> ConfigError:
    """Return the error that a config is refused with."""
    with pytest.raises(ConfigError) as caught:
        parse(xml, extra_params)
    return caught.value


def fits_a_status_line(cause: str) -> bool:
    """Say whether Label Studio would show all of a cause."""
    return cause.isascii() and cause.isprintable() and len(cause) <= LONGEST_STATUS_LINE
