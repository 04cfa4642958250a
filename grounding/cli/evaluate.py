"""`evaluate`: did the pre-labels help?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from grounding.cli.console import (
    FILE,
    load_reading_settings,
    load_settings,
    read_annotated,
    read_json,
    read_text,
    results_console,
    write,
)
from grounding.errors import ConfigError, InputError, SettingError

if TYPE_CHECKING:
    from grounding.evaluation.records import Records
    from grounding.evaluation.report import Report
    from grounding.labelstudio.config.interface import LabelConfig

EXTRA_HINT = "Install them: pip install 'qwen-grounding[evaluate]'"


@dataclass(frozen=True, slots=True)
class Source:
    """What is evaluated: the tasks, a name for people, and the addresses of tasks by their id.

    `controls` are those that count, all where there are none. `keys` are where the tasks' data
    have their pictures, as far as a config says.
    """

    records: Records
    title: str
    links: dict[int, str]
    controls: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ()


@click.command(
    help="Compare predictions with annotations: did the pre-labels help?\n\n"
    "ANNOTATIONS is a JSON export of Label Studio; PREDICTIONS are files with predictions, since "
    "such an export has none. Instead of files, --project reads both from Label Studio.",
)
@click.argument("annotations", required=False, type=FILE)
@click.argument("predictions", nargs=-1, type=FILE)
@click.option("--project", type=int, help="Number of a project in Label Studio.")
@click.option("--version", help="Model version to look at; else that of the newest prediction.")
@click.option("--against", help="Model version to compare it with.")
@click.option("--config", type=FILE, help="Labelling config: its served controls are what counts.")
@click.option(
    "--precision",
    default=0.9,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Precision that thresholds are advised for.",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Page to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def evaluate(
    annotations: Path | None,
    predictions: tuple[Path, ...],
    project: int | None,
    **options: Any,
) -> None:
    """Print the report; exit 0 if there is one, 2 if nothing can be compared."""
    if (annotations is None) == (project is None):
        raise click.UsageError("Give either an export with annotations, or --project.")
    _check_extra()
    from grounding.evaluation.report import Wanted
    from grounding.evaluation.report import evaluate as measure

    source = _of_project(project) if project is not None else _of_files(annotations, predictions)  # type: ignore[arg-type]
    if options["config"]:
        config = _parse(read_text(options["config"]))
        source = replace(source, controls=_served(config), keys=config.data_keys)
    wanted = Wanted(options["version"], options["against"], source.controls, options["precision"])
    _show(measure(source.records, wanted), source, options)


def _check_extra() -> None:
    try:
        import faster_coco_eval  # noqa: F401
        import rapidfuzz  # noqa: F401
    except ImportError as exc:
        raise SettingError(f"{exc.name} is not installed", hint=EXTRA_HINT) from exc


def _of_files(annotations: Path, predictions: Sequence[Path]) -> Source:
    from grounding.evaluation.records import read_tasks

    records = read_tasks(read_json(annotations), name=annotations.stem, file=str(annotations))
    for path in predictions:
        more = read_tasks(read_json(path), name=path.stem, file=str(path))
        records = records.joined(more.tasks)
    return Source(records, annotations.name, {})


def _of_project(number: int) -> Source:
    from grounding.evaluation.records import read_tasks
    from grounding.labelstudio.client.projects import Projects

    settings = load_settings(log_level="warning")
    projects = Projects.of(settings)
    project = projects.find(number)
    tasks = read_annotated(projects, number)
    if not tasks:
        raise InputError(
            f"nobody has submitted an annotation in project {number}",
            hint="Predictions are compared with annotations: submit some first",
        )
    home = settings.label_studio_host or settings.label_studio_url
    links = {task["id"]: f"{home}/projects/{number}/data?task={task['id']}" for task in tasks}
    title = f"project {number}, {project.title}"
    try:
        keys = _parse(project.label_config).data_keys
    except ConfigError:  # of today; its annotations may be of another one
        keys = ()
    return Source(read_tasks(tasks), title, links, keys=keys)


def _parse(config: str) -> LabelConfig:
    from grounding.labelstudio.config.parse import parse

    return parse(config)


def _served(config: LabelConfig) -> frozenset[str]:
    """Return the controls that are pre-labelled."""
    served = (c for c in config.controls if not c.options.only_asked and not c.per_region)
    return frozenset(control.from_name for control in served)


def _photographs(report: Report, source: Source) -> dict[int, str]:
    """Return the pictures of the worst tasks, as far as the settings let them be read."""
    from grounding.asking.gallery import read_photographs
    from grounding.factory import fetcher

    try:
        settings = load_reading_settings(log_level="warning")
        get = fetcher(settings)
    except SettingError as error:
        click.secho(f"The page has no pictures: {error}", fg="yellow", err=True)
        return {}
    tasks = [task for task, *_ in report.worst]
    return read_photographs(tasks, source.keys, get, settings.max_image_pixels)


def _show(report: Report, source: Source, options: dict[str, Any]) -> None:
    from grounding.evaluation.page import to_html
    from grounding.evaluation.summary import to_json

    if options["html"]:
        files = _photographs(report, source)
        page = to_html(report, title=source.title, files=files, links=source.links)
        write(options["html"], page)
    if options["as_json"]:
        click.echo(json.dumps(to_json(report), indent=1, ensure_ascii=False))
        return
    console = results_console()
    _print_sentences(report, console)
    for table in _tables(report):
        console.print(table)
    if options["html"]:
        console.print(f"The page is {options['html']}", highlight=False)


def _print_sentences(report: Report, console: Console) -> None:
    from grounding.evaluation.summary import sentences

    first, *others = sentences(report)
    console.print(first, style="bold", highlight=False)
    for sentence in others:
        console.print(sentence, highlight=False)
    for control, advice in report.advice.items():
        if advice and advice.threshold:
            console.print(
                f"For a precision of {report.precision:.0%} set model_score_threshold="
                f'"{advice.threshold}" on {control}: recall is then {advice.recall:.3f}.',
                highlight=False,
            )


def _tables(report: Report) -> Iterable[Table]:
    yield _edits_table(report)
    yield _figures_table(report)


def _edits_table(report: Report) -> Table:
    from grounding.evaluation.edits import Edit
    from grounding.evaluation.summary import annotated, predicted

    table = Table(title=f"What annotators did with {report.version}")
    table.add_column("label")
    whole = report.all_edits
    shown = [edit for edit in Edit if whole[edit]]
    for name in ("predicted", *shown, "annotated"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, edits in (*report.edits.items(), ("all", whole)):
        numbers = (predicted(edits), *(edits[edit] for edit in shown), annotated(edits))
        table.add_row(label or "(no label)", *map(str, numbers))
    return table


def _figures_table(report: Report) -> Table:
    from grounding.evaluation.measures import total
    from grounding.evaluation.records import Kind
    from grounding.evaluation.summary import figure

    table = Table(title="How right they are: boxes from IoU 0.5, points within 5 % of the image")
    for name in ("label", "kind"):
        table.add_column(name)
    for name in ("precision", "recall", "F1", "F1 0.5:0.95"):
        table.add_column(name, justify="right", no_wrap=True)
    kinds = [kind for kind in Kind if any(key[0] is kind for key in report.tallies)]
    rows = [(label or "(no label)", kind, t) for (kind, _, label), t in report.tallies.items()]
    rows += [("all", kind, total(report.tallies, kind)) for kind in kinds]
    for label, kind, tally in rows:
        counts, mean = tally.at(), tally.mean_f1 if kind is Kind.BOX else None
        numbers = (counts.precision, counts.recall, counts.f1, mean)
        table.add_row(label, str(kind), *map(figure, numbers))
    return table
