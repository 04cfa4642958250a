"""A report as one HTML file that needs no other host."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from grounding.evaluation.edits import Edit
from grounding.evaluation.measures import total
from grounding.evaluation.plots import picture, precision_plot, reliability_plot
from grounding.evaluation.records import Kind, Labelling, Region
from grounding.evaluation.report import Report
from grounding.evaluation.summary import (
    BEFORE,
    annotated,
    figure,
    predicted,
    sentences,
    share,
    within,
)


@cache
def _template() -> Template:
    loader = PackageLoader("grounding.evaluation", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"figure": figure, "within": within}
    environment.globals |= {"share": share, "within": within}
    return environment.get_template("report.html")


def to_html(
    report: Report,
    *,
    title: str = "",
    files: Mapping[int, str] | None = None,
    links: Mapping[int, str] | None = None,
) -> str:
    """Return the page of a report.

    By a task's id, `files` are pictures as data URIs and `links` addresses in Label Studio.
    """
    files, links = files or {}, links or {}
    worst = [
        {
            "id": task.id,
            "link": links.get(task.id or 0, ""),
            "errors": outcome.errors,
            "drawing": picture(prediction, outcome, files.get(task.id or 0, "")),
            "values": _values(prediction, reference),
        }
        for task, prediction, reference, outcome in report.worst
    ]
    return _template().render(
        title=title,
        report=report,
        sentences=sentences(report),
        edits=[edit for edit in Edit if report.all_edits[edit]],
        before=[edit for edit in BEFORE if report.all_edits[edit]],
        predicted=predicted,
        annotated=annotated,
        kinds={k: total(report.tallies, k) for k in Kind if any(x[0] is k for x in report.tallies)},
        reliability=report.reliability and reliability_plot(report.reliability),
        curve=report.curve and precision_plot(report.curve, report.precision),
        worst=worst,
    )


def _values(prediction: Labelling, reference: Labelling) -> list[str]:
    """Return the values of the whole image that differ, in words."""
    mine, theirs = _by_control(prediction), _by_control(reference)
    return [
        f"{control}: predicted {mine.get(control) or 'nothing'}, "
        f"annotated {theirs.get(control) or 'nothing'}"
        for control in sorted({**mine, **theirs})
        if mine.get(control) != theirs.get(control)
    ]


def _by_control(labelling: Labelling) -> dict[str, str]:
    return {one.control: _words(one) for one in labelling.regions if one.place is None}


def _words(region: Region) -> str:
    return region.text if region.kind is Kind.TEXT else region.label
