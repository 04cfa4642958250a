"""One report: whether the predictions of a version helped, in figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grounding.errors import InputError
from grounding.evaluation.agreement import Agreement, Times, agreement, times
from grounding.evaluation.calibration import (
    Advice,
    Reliability,
    Step,
    advise,
    reliability,
    scored,
    steps,
)
from grounding.evaluation.edits import Edit, find_edits
from grounding.evaluation.matching import Outcome, judge, pair_up
from grounding.evaluation.measures import (
    AveragePrecision,
    Counts,
    Key,
    Places,
    Tally,
    Texts,
    average_precision,
    compare_texts,
    nearness,
    tally,
    total,
)
from grounding.evaluation.records import Labelling, Records, TaskRecord
from grounding.evaluation.resampling import (
    Difference,
    Interval,
    Measure,
    differences,
    intervals,
)

WORST = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report is to say.

    `version` is the model version to look at, by default that of the newest prediction; `against`
    is one to compare it with. `controls` are those that count: by default the controls that the
    versions predict. Thresholds are advised for `precision`.
    """

    version: str | None = None
    against: str | None = None
    controls: frozenset[str] = frozenset()
    precision: float = 0.9


Judged = tuple[TaskRecord, Labelling, Labelling, Outcome]
"""A task, the prediction, the annotation that counts as right, and what is right."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A version against another, in the tasks that both predicted; `f1` has both by label."""

    version: str
    tasks: int
    differences: tuple[Difference, ...]
    f1: Mapping[Key, tuple[float | None, float | None]]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is known of one version.

    `annotated` tasks have an annotation; of these, `tasks` have a prediction of the version and
    are judged. `prelabelled` of their annotations began as a prediction. `left_out` counts the
    annotated regions of controls that are never predicted, by control; `unmeasured` those of types
    that are not compared, by type.
    """

    version: str
    versions: tuple[str, ...]
    annotated: int
    tasks: int
    prelabelled: int
    left_out: Mapping[str, int]
    unmeasured: Mapping[str, int]
    edits: Mapping[str, Counter[Edit]]
    tallies: Mapping[Key, Tally]
    intervals: Mapping[Measure, Interval | None]
    average_precision: AveragePrecision | None
    places: Places
    texts: Sequence[Texts]
    agreement: Agreement
    times: Times | None
    reliability: Reliability | None
    curve: Sequence[Step]
    precision: float
    advice: Mapping[str, Advice | None]
    worst: Sequence[Judged]
    comparison: Comparison | None

    @property
    def all_edits(self) -> Counter[Edit]:
        """The edits over all labels."""
        return sum(self.edits.values(), Counter[Edit]())

    @property
    def counts(self) -> Counts:
        """The counts over all units."""
        return total(self.tallies).at()


def evaluate(records: Records, wanted: Wanted) -> Report:
    """Return the report of one version. Raises `InputError` where there is nothing to compare."""
    version = _choose(records, wanted)
    controls = wanted.controls or _predicted(records, version, wanted.against)
    tasks = [task.of(controls) for task in records.tasks]
    judged = _judge(tasks, version)
    if not judged:
        raise InputError(
            f"no task has both an annotation and a prediction of {version}",
            hint="Retrieve predictions for annotated tasks, or give a file of predictions",
        )
    outcomes = [outcome for *_, outcome in judged]
    pairs = [(prediction, reference) for _, prediction, reference, _ in judged]
    tallies = tally(outcomes)
    every = scored(outcomes)
    return Report(
        version=version,
        versions=tuple(records.versions),
        annotated=sum(task.reference is not None for task in tasks),
        tasks=len(judged),
        prelabelled=sum(reference.prelabelled for _, reference in pairs),
        left_out=_left_out(records, controls),
        unmeasured=records.unmeasured,
        edits=_edits(pairs),
        tallies=tallies,
        intervals=intervals(outcomes),
        average_precision=average_precision(outcomes),
        places=nearness(both for p, r in pairs for both in pair_up(p.regions, r.regions)),
        texts=compare_texts(pairs),
        agreement=agreement((task, prediction) for task, prediction, *_ in judged),
        times=times([task for task, *_ in judged]),
        reliability=reliability(every),
        curve=steps(every, sum(len(outcome.wanted) for outcome in outcomes)),
        precision=wanted.precision,
        advice=_advise(outcomes, wanted.precision),
        worst=sorted((j for j in judged if j[3].errors), key=lambda j: -j[3].errors)[:WORST],
        comparison=_compare(tasks, version, wanted.against) if wanted.against else None,
    )


def _choose(records: Records, wanted: Wanted) -> str:
    known = records.versions
    if not known:
        raise InputError(
            "there are no predictions",
            hint="An export of Label Studio 1.23 has none: use --project, or give a second file",
        )
    for version in (wanted.version, wanted.against):
        if version is not None and version not in known:
            raise InputError(
                f"there is no prediction of {version}", hint=f"There are {', '.join(known)}"
            )
    return known[0] if wanted.version is None else wanted.version


def _predicted(records: Records, *versions: str | None) -> frozenset[str]:
    """Return the controls that predictions of these versions have; all where they have none."""
    made = [p for task in records.tasks for p in task.predictions if p.version in versions]
    references = [a for task in records.tasks if (a := task.reference)]
    # Predictions that hold nothing at all leave everything to be found.
    return _controls(made) or _controls(references)


def _controls(labellings: Sequence[Labelling]) -> frozenset[str]:
    return frozenset(region.control for one in labellings for region in one.regions)


def _judge(tasks: Sequence[TaskRecord], version: str) -> list[Judged]:
    found: list[Judged] = []
    for task in tasks:
        prediction, reference = task.prediction(version), task.reference
        if prediction is not None and reference is not None:
            found.append((task, prediction, reference, judge(task, prediction, reference)))
    return found


def _left_out(records: Records, controls: frozenset[str]) -> dict[str, int]:
    references = (task.reference for task in records.tasks)
    regions = (region for one in references if one for region in one.regions)
    return dict(Counter(r.control for r in regions if r.control not in controls))


def _edits(pairs: Sequence[tuple[Labelling, Labelling]]) -> dict[str, Counter[Edit]]:
    found: defaultdict[str, Counter[Edit]] = defaultdict(Counter)
    for prediction, reference in pairs:
        for edit, label in find_edits(prediction, reference):
            found[label][edit] += 1
    return dict(sorted(found.items()))


def _advise(outcomes: Sequence[Outcome], precision: float) -> dict[str, Advice | None]:
    """Return the advice for each control with scores: `model_score_threshold` is a control's."""
    units = [guess.region for outcome in outcomes for guess in outcome.guesses]
    controls = sorted({unit.control for unit in units if unit.score is not None})
    wanted = Counter(unit.control for outcome in outcomes for unit in outcome.wanted)
    return {
        control: advise(control, scored(outcomes, control), wanted[control], precision)
        for control in controls
    }


def _compare(tasks: Sequence[TaskRecord], version: str, other: str) -> Comparison:
    mine = {id(task): outcome for task, *_, outcome in _judge(tasks, version)}
    theirs = {id(task): outcome for task, *_, outcome in _judge(tasks, other)}
    both = [key for key in mine if key in theirs]
    ours, others = [mine[key] for key in both], [theirs[key] for key in both]
    tallies, other_tallies = tally(ours), tally(others)
    f1 = {
        key: (_f1(tallies.get(key)), _f1(other_tallies.get(key)))
        for key in sorted({**tallies, **other_tallies})
    }
    return Comparison(other, len(both), tuple(differences(ours, others)), f1)


def _f1(one: Tally | None) -> float | None:
    return one.at().f1 if one else None
