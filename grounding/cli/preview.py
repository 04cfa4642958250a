"""`preview`: some pictures with what is asked, answered and found, asked in one way or two."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import click

from grounding.cli.console import FILE, load_reading_settings, progress, results_console, write
from grounding.cli.predict import loaded, wanted_config
from grounding.errors import GroundingError, InputError
from grounding.settings import Settings
from grounding.settings.environment import variable

if TYPE_CHECKING:
    from grounding.asking.gallery import Shrunk
    from grounding.asking.run import Asked
    from grounding.tasks import Task

    Shown = tuple[Asked, Shrunk]

SHOWN = 8
PROMPT = "model_prompt"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask: its name on the page, the config with its parameters, and the settings."""

    name: str
    label_config: str
    params: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Picture:
    """One task's data, its name on the page, and its number in Label Studio."""

    name: str
    data: Mapping[str, Any]
    id: int | None = None


@click.command(help="Show what is asked, answered and found on some pictures, as an HTML page.")
@click.argument("pictures", nargs=-1)
@click.option("--project", type=int, help="Number of a project, instead of pictures.")
@click.option(
    "--tasks",
    default=SHOWN,
    show_default=True,
    type=click.IntRange(1, 200),
    help="At most so many tasks or pictures.",
)
@click.option("--find", help='What to look for: "dented car, traffic light".')
@click.option("--points", is_flag=True, help="Look for points instead of boxes.")
@click.option("--config", type=FILE, help="Labelling config that says what to look for.")
@click.option(
    "--against",
    help="Another way beside it: a prompt, an attribute (model_language=zh) or a setting "
    "(MODEL=…, GROUNDING_MAX_PIXELS=…).",
)
@click.option(
    "--html",
    default="preview.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Page to write.",
)
@click.option("--json", "as_json", is_flag=True, help="Print prompts and answers as JSON.")
def preview(
    pictures: tuple[str, ...],
    project: int | None,
    tasks: int,
    against: str | None,
    html: Path,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Write the page; exit 0 unless Label Studio or a model cannot be used."""
    if bool(pictures) == (project is not None):
        raise click.UsageError("Give either pictures or --project.")
    own = wanted_config(**wanted) if pictures or any(wanted.values()) else ""
    settings = load_reading_settings(log_level="warning")
    if project is not None:
        config, params, shown = _of_project(project, tasks, settings)
    else:
        config, params, shown = own, "", _of_words(pictures, tasks, own)
    config = own or config
    ways = [Way("as it is", config, params, settings)]
    if against is not None:
        ways.append(other_way(against, ways[0]))
    sides, failures = _ask_each(ways, shown, html)
    if as_json:
        click.echo(json.dumps(_as_json(ways, shown, sides), indent=1, ensure_ascii=False))
    else:
        results_console().print(f"The page is {html}", soft_wrap=True)
    for way, some in zip(ways, sides, strict=True):
        _tell_failures(way, [asked for asked, _ in some])
    if failures:
        sys.exit(1)


def _ask_each(
    ways: Sequence[Way], shown: Sequence[Picture], html: Path
) -> tuple[list[list[Shown]], list[GroundingError]]:
    """Return what came of each way, and why some could not be asked; raises where none could.

    The page is written after each way: a later one may fail, or be interrupted.
    """
    sides: list[list[Shown]] = []
    failures: list[GroundingError] = []
    for number, way in enumerate(ways, 1):
        try:
            sides.append(list(_ask(way, shown)))
        except GroundingError as error:  # its model is not there, or cannot be loaded
            failures.append(error)
            if len(failures) == len(ways):
                for one, earlier in zip(ways, failures[:-1], strict=False):
                    click.secho(f"{one.name}: {earlier}", fg="red", err=True)
                raise
            sides.append(_not_asked(way, shown, error, sides))
        if len(failures) < number:
            _write(html, ways[:number], shown, sides)
    return sides, failures


def _not_asked(
    way: Way, shown: Sequence[Picture], error: GroundingError, before: Sequence[Sequence[Shown]]
) -> list[Shown]:
    """Return the error in place of each answer, beside the pictures of a way before."""
    from grounding.asking.gallery import NO_PICTURE
    from grounding.asking.run import Asked

    small = [picture for _, picture in before[0]] if before else [NO_PICTURE] * len(shown)
    asked = [Asked(task, None, error, (), 0.0) for task in _tasks(way, shown)]
    return list(zip(asked, small, strict=True))


def _tell_failures(way: Way, asked: Sequence[Asked]) -> None:
    failed = [one for one in asked if one.prediction is None]
    if failed:
        told = f"{way.name}: {len(failed)} of {len(asked)} have no prediction: {failed[0].error}"
        click.secho(told, fg="red", err=True)


def other_way(against: str, way: Way) -> Way:
    """Return the way that differs in what `against` names: a prompt, an attribute or a setting.

    Raises `InputError` for an unknown name, and `SettingError` for a wrong value.
    """
    name, equals, value = against.partition("=")
    fields = {variable(field): field for field in Settings.model_fields}
    if not equals or not name.replace("_", "").isalnum():
        name, value = PROMPT, against
    if name in fields:
        changes: dict[str, object] = {"log_level": "warning", fields[name]: value}
        return replace(way, name=against, settings=load_reading_settings(**changes))
    if not name.startswith("model_"):
        raise InputError(
            f"{name} is neither an attribute nor a setting",
            hint="Write a prompt, model_…=value, or a variable such as MODEL=…",
        )
    changed = with_attribute(way.label_config, name, value)
    return replace(way, name=against, label_config=changed)


def with_attribute(config: str, name: str, value: str) -> str:
    """Return a config in which every served control that takes an attribute has this value."""
    from grounding.labelstudio.config.parse import parse
    from grounding.labelstudio.controls import CONTROLS

    root = ElementTree.fromstring(config)  # noqa: S314  `parse` has refused a DOCTYPE before
    served = {control.from_name for control in parse(config).controls}
    takers = [
        element
        for element in root.iter()
        if element.get("name") in served
        and element.tag in CONTROLS
        and name in CONTROLS[element.tag].attributes
    ]
    if not takers:
        raise InputError(f"no control of the config takes {name}", hint="See docs/prompts.md")
    for element in takers:
        element.set(name, value)
    changed = ElementTree.tostring(root, encoding="unicode")
    parse(changed)
    return changed


def _of_project(number: int, count: int, settings: Settings) -> tuple[str, str, list[Picture]]:
    """Return a project's config, its model's extra parameters, and its first tasks."""
    from grounding.labelstudio.client.projects import Projects

    projects = Projects.of(settings)
    found = projects.find(number)
    page = next(projects.pages(number, size=count), None)
    tasks = page.tasks if page else ()
    shown = [Picture(f"Task {t['id']}", t["data"], t["id"]) for t in tasks]
    return found.label_config, projects.extra_params(number), shown


def _of_words(words: Sequence[str], count: int, config: str) -> list[Picture]:
    from grounding.asking.sources import find_pictures
    from grounding.labelstudio.config.parse import parse

    keys = parse(config).data_keys
    found = find_pictures(words)
    if len(found) > count:
        said = f"The page has the first {count} of {len(found)} pictures: --tasks {len(found)}"
        click.secho(said, fg="yellow", err=True)
    return [Picture(address, dict.fromkeys(keys, address)) for address in found[:count]]


def _ask(way: Way, shown: Sequence[Picture]) -> Iterator[Shown]:
    """Yield what came of each picture, in order, and the picture as the page shows it."""
    from grounding.asking.gallery import NO_PICTURE, shrink
    from grounding.asking.run import ask_all

    files = [str(value) for one in shown if one.id is None for value in one.data.values()]
    with loaded(way.settings, files) as worker, progress(way.name) as bar:
        begun = time.monotonic()  # a second way would seem quicker than one that loaded first
        bar(0, len(shown))
        tasks = list(_tasks(way, shown))
        done: dict[int, Asked] = {}
        for asked in ask_all(tasks, worker, way.settings.bulk_slots):
            done[tasks.index(asked.task)] = asked
            bar(1, len(shown))
        for number, task in enumerate(tasks):
            try:
                data = worker.fetcher.fetch(_address(task), task.id)
                small = shrink(data, worker.max_image_pixels, worker.decoder)
            except GroundingError:
                small = NO_PICTURE
            yield done[number], small
    results_console(stderr=True).print(f"{way.name}: {time.monotonic() - begun:.1f} s")


def _tasks(way: Way, shown: Sequence[Picture]) -> Iterator[Task]:
    from grounding.tasks import Task, model_version

    version = model_version(way.settings, way.label_config, way.params)
    for one in shown:
        yield Task(one.id, one.data, way.label_config, None, version, extra_params=way.params)


def _address(task: Task) -> str:
    from grounding.labelstudio.config.parse import parse
    from grounding.labelstudio.data import find_image_address

    controls = parse(task.label_config).controls
    return find_image_address(task.data, controls[0].data_key if controls else "image")


def _write(html: Path, ways: Sequence[Way], shown: Sequence[Picture], sides: Any) -> None:
    from grounding.asking.gallery import Row, side, to_html

    rows = [
        Row(picture.name, tuple(side(*some[number]) for some in sides))
        for number, picture in enumerate(shown)
    ]
    write(html, to_html("Preview", [way.name for way in ways], rows))


def _as_json(ways: Sequence[Way], shown: Sequence[Picture], sides: Any) -> list[dict[str, Any]]:
    return [
        {
            "picture": picture.name,
            "setting": way.name,
            "prediction": some[number][0].prediction,
            "error": None if some[number][0].error is None else str(some[number][0].error),
            "seconds": some[number][0].seconds,
            "exchanges": [
                {"prompt": one.prompt, "answer": one.answer} for one in some[number][0].exchanges
            ],
        }
        for number, picture in enumerate(shown)
        for way, some in zip(ways, sides, strict=True)
    ]
