"""Label Studio's own templates: each is served as its title says, or refused with the reason."""

from __future__ import annotations

import pytest

from grounding.errors import ConfigError
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.plan import plan

from ..client import Client

pytestmark = pytest.mark.e2e

SERVED = {
    "Image Captioning": ["Fill"],
    "Image Classification": ["Fill"],
    "Keypoint Labeling": ["Locate", "Locate"],
    "Medical Image Classification with Bounding Boxes": ["Locate", "Fill"],
    "OCR Invoices Pre-NER BIO Format": ["Locate"],
    "Object Detection with Bounding Boxes": ["Locate", "Locate"],
    "Optical Character Recognition": ["Locate", "Locate"],
    "Content-based Image Retrieval": ["Fill"],
    "Video Classification": ["Fill"],
    "Video Frame Classification": ["FindSpans"] * 3,
    "Video Object Tracking": ["Locate"] * 3,
}
"""What each template that is served asks about a task, before its regions stand."""

READ = {"OCR Invoices Pre-NER BIO Format", "Optical Character Recognition"}
"""Templates whose regions are read, one by one."""

WARNED = {"Content-based Image Retrieval": "the model does not see <Image name"}
"""Templates that are served and make little sense of it, and how the warning begins."""

REFUSED = {
    "Breast Cancer Mammogram Classification": "several images",
    "Inventory Tracking": "no outlines",
    "Multi-page document annotation": "valueList",
    "Pairwise regression": "several images",
    "Semantic Segmentation with Masks": "no outlines",
    "Semantic Segmentation with Polygons": "no outlines",
    "Video Timeline Segmentation": "<Audio>",
    "Visual Genome": "labels from the task's data",
    "Visual Question Answering": "<Text>",
}
"""Templates with pictures or films that are refused, and the reason."""


def test_every_template_is_served_or_refused_with_its_reason(studio: Client) -> None:
    outcomes = {one["title"]: outcome(one["config"]) for one in studio.templates()}
    assert len(outcomes) > 60
    served = {title: one for title, one in outcomes.items() if isinstance(one, LabelConfig)}
    asked = {title: [type(p.query).__name__ for p in plan(c)] for title, c in served.items()}
    assert asked == SERVED
    reads = {title for title, c in served.items() if any(one.asks_of_regions for one in c.controls)}
    assert reads == READ
    warned = {title: one.warnings for title, one in served.items() if one.warnings}
    assert warned.keys() == WARNED.keys()
    assert all(said[0].startswith(WARNED[title]) for title, said in warned.items())
    refused = {title: one for title, one in outcomes.items() if isinstance(one, ConfigError)}
    assert {t for t, reason in REFUSED.items() if reason not in refused[t].cause} == set()
    assert all(one.hint for one in refused.values())


def outcome(config: str) -> LabelConfig | ConfigError:
    """Return what a template becomes."""
    try:
        return parse(config)
    except ConfigError as error:
        return error
