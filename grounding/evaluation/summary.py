"""A report in a few sentences, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from grounding.evaluation.edits import Edit
from grounding.evaluation.measures import Counts, Key, Tally, total
from grounding.evaluation.records import Kind
from grounding.evaluation.report import Comparison, Report
from grounding.evaluation.resampling import Interval

BEFORE = (Edit.KEPT, Edit.MOVED, Edit.RELABELLED, Edit.REWRITTEN, Edit.DELETED)
"""What may become of a region that was predicted."""


def share(part: int, whole: int) -> str:
    """Return a share in percent, a dash where there is nothing."""
    return f"{part / whole:.0%}" if whole else "–"


def count(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def figure(value: float | None) -> str:
    """Return a figure with three decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def within(interval: Interval | None, sign: str = "") -> str:
    """Return a figure with its bounds."""
    if interval is None:
        return "–"
    bounds = f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"
    return f"{interval.value:{sign}.3f} ({bounds})"


def sentences(report: Report) -> list[str]:
    """Return what a lead wants to know first, in order."""
    return [*_helped(report), *_right(report), *_compared(report.comparison), *_doubts(report)]


def _helped(report: Report) -> Iterator[str]:
    edits = report.all_edits
    before = predicted(edits)
    became = ", ".join(f"{edit} {share(edits[edit], before)}" for edit in BEFORE if edits[edit])
    yield (
        f"Of {count(before, 'pre-labelled region')} in {count(report.tasks, 'task')} annotators "
        f"{became or 'kept none'}; they added {edits[Edit.MISSED]:,} that were missed."
    )
    final = annotated(edits)
    kept = share(edits[Edit.KEPT], final)
    yield f"{kept} of the {count(final, 'final region')} needed no hand."
    if report.times is not None:
        times = report.times
        yield (
            f"Annotating took {times.prelabelled:.0f} s a task with pre-labels (median of "
            f"{times.prelabelled_count:,}) and {times.scratch:.0f} s without "
            f"({times.scratch_count:,})."
        )


def predicted(edits: Counter[Edit]) -> int:
    """Return how many regions were predicted."""
    return sum(edits[edit] for edit in BEFORE)


def annotated(edits: Counter[Edit]) -> int:
    """Return how many regions the annotations have."""
    return edits.total() - edits[Edit.DELETED]


def _right(report: Report) -> Iterator[str]:
    precision, recall, f1 = (report.intervals[m] for m in ("precision", "recall", "f1"))
    yield (
        f"Precision {within(precision)}, recall {within(recall)}, F1 {within(f1)}; in brackets "
        "are 95 % confidence intervals."
    )
    mean = report.agreement
    if mean.people and mean.model:
        yield (
            f"In {mean.tasks:,} tasks with several annotators, these agree to "
            f"{mean.people.value:.0%}, and the model with them to {mean.model.value:.0%}."
        )


def _compared(comparison: Comparison | None) -> Iterator[str]:
    if comparison is None:
        return
    f1 = next((one for one in comparison.differences if one.measure == "f1"), None)
    if f1 is None:
        yield (
            f"In {count(comparison.tasks, 'task')} of both, {comparison.version} or this version "
            "has nothing to compare."
            if comparison.tasks
            else f"No task was predicted by {comparison.version} too."
        )
        return
    where = f"in {comparison.tasks:,} tasks of both, F1 {within(f1.interval, '+')}"
    if not f1.is_clear:
        yield f"Whether it is better than {comparison.version} cannot be told: {where}."
    else:
        word = "better" if f1.interval.value > 0 else "worse"
        yield f"It is {word} than {comparison.version}: {where}."


def _doubts(report: Report) -> Iterator[str]:
    missing = report.annotated - report.tasks
    if missing:
        yield (
            f"{count(missing, 'annotated task')} without a prediction of this version "
            f"{'does' if missing == 1 else 'do'} not count."
        )
    if report.prelabelled:
        yield (
            f"{report.prelabelled:,} of {count(report.tasks, 'annotation')} began as a prediction: "
            "people who correct pre-labels leave more of them than they would draw."
        )
    if report.left_out:
        yield f"Not predicted, so not counted: {_listed(report.left_out)}."
    if report.unmeasured:
        yield f"Not compared: regions of type {_listed(report.unmeasured)}."


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())


def to_json(report: Report) -> dict[str, Any]:
    """Return the whole report as plain JSON; shares are from 0 to 1, None is unknown."""
    ap = report.average_precision
    return {
        "version": report.version,
        "versions": list(report.versions),
        "summary": sentences(report),
        "tasks": report.tasks,
        "annotated_tasks": report.annotated,
        "annotations_from_predictions": report.prelabelled,
        "edits": {
            "all": _edits(report.all_edits),
            "labels": {label: _edits(edits) for label, edits in report.edits.items()},
        },
        "all": {
            **_counts(report.counts),
            "intervals": {m: one and asdict(one) for m, one in report.intervals.items()},
        },
        "kinds": {
            str(kind): _tally(total(report.tallies, kind), kind)
            for kind in Kind
            if any(key[0] is kind for key in report.tallies)
        },
        "labels": [_labelled(key, tally) for key, tally in report.tallies.items()],
        "average_precision": ap and asdict(ap),
        "places": asdict(report.places),
        "texts": [asdict(one) for one in report.texts],
        "agreement": asdict(report.agreement),
        "seconds": report.times and asdict(report.times),
        "reliability": report.reliability and asdict(report.reliability),
        "thresholds": {
            "precision": report.precision,
            "controls": {c: one and asdict(one) for c, one in report.advice.items()},
        },
        "worst": [
            {"task": task.id, "errors": outcome.errors} for task, _, _, outcome in report.worst
        ],
        "against": report.comparison and _comparison(report.comparison),
        "not_predicted": dict(report.left_out),
        "not_compared": dict(report.unmeasured),
    }


def _edits(edits: Counter[Edit]) -> dict[str, int]:
    return {str(edit): edits[edit] for edit in Edit}


def _counts(counts: Counts) -> dict[str, Any]:
    return {
        **asdict(counts),
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
    }


def _tally(tally: Tally, kind: Kind) -> dict[str, Any]:
    mean = {"f1_50_95": tally.mean_f1} if kind is Kind.BOX else {}
    return {**_counts(tally.at()), **mean}


def _labelled(key: Key, tally: Tally) -> dict[str, Any]:
    kind, control, label = key
    return {"kind": str(kind), "control": control, "label": label, **_tally(tally, kind)}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "version": comparison.version,
        "tasks": comparison.tasks,
        "differences": {
            one.measure: {**asdict(one.interval), "better": one.better, "clear": one.is_clear}
            for one in comparison.differences
        },
        "f1": [
            {"kind": str(kind), "control": control, "label": label, "this": mine, "other": theirs}
            for (kind, control, label), (mine, theirs) in comparison.f1.items()
        ],
    }
