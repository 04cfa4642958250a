"""`config check`: what a labelling config would ask of the model, and every warning."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grounding.cli.console import FILE, load_settings, read_json, read_text, results_console
from grounding.errors import ConfigError, DataError
from grounding.geometry import image_frame, model_frame
from grounding.labelstudio.acting import INSTRUCTION
from grounding.labelstudio.config.interface import LABELS, Control, LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.config.xml import read as read_xml
from grounding.labelstudio.controls.number import sets_limit
from grounding.labelstudio.plan import PlannedQuery, PromptDefaults, plan
from grounding.labelstudio.regions import plan_any_region
from grounding.qwen.profiles import PROFILES, Profile, profile_for
from grounding.qwen.queries import write_prompt
from grounding.settings import Settings

SAMPLE = image_frame(1280, 960)
"""A picture of usual size: some prompts name the size that the model sees."""


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """One query as the model reads it: its prompt, and the controls that take its findings.

    One of `each_region` is put again for every region that is drawn.
    """

    controls: tuple[str, ...]
    prompt: str
    each_region: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """What a config leads to. `trouble` is why nothing can be asked of a task, if so.

    `unserved` are the tags that label something and are not served; `typed` the text areas whose
    text is a prompt, `limits` the numbers that annotators narrow an answer with.
    """

    controls: tuple[Control, ...]
    queries: tuple[AskedQuery, ...]
    typed: tuple[str, ...]
    limits: tuple[str, ...]
    status: str | None
    unserved: tuple[str, ...]
    warnings: tuple[str, ...]
    trouble: str = ""


@click.group(help="Look at labelling configs.")
def config() -> None:
    """Hold the commands about labelling configs together."""


@config.command(help="Say what a labelling config would ask of the model, and every warning.")
@click.argument("path", metavar="CONFIG.XML", type=FILE)
@click.option("--params", default="", help="The project's extra parameters, as JSON.")
@click.option("--task", type=FILE, help="File with one task's data, for prompts that name fields.")
@click.option("--strict", is_flag=True, help="Exit 1 where there is a warning, too.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def check(path: Path, params: str, task: Path | None, strict: bool, as_json: bool) -> None:
    """Exit 0 if the config is served, 1 if it is not."""
    settings = load_settings(log_level="warning")
    data = _data(read_json(task)) if task else {}
    try:
        found = check_config(read_text(path), params, data, settings)
    except ConfigError as error:
        _refuse(error, as_json=as_json)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=1, ensure_ascii=False))
    else:
        _print(found, results_console())
    sys.exit(1 if found.trouble or (strict and found.warnings) else 0)


def _data(document: Any) -> Mapping[str, Any]:
    """Return the data of a task: the file may be the data, a task, or a list of tasks."""
    one = document[0] if isinstance(document, list) and document else document
    data = one.get("data", one) if isinstance(one, Mapping) else {}
    return data if isinstance(data, Mapping) else {}


def _refuse(error: ConfigError, *, as_json: bool) -> None:
    if as_json:
        facts = {"served": False, "code": error.code, "cause": error.cause, "cure": error.hint}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        click.secho(f"Refused: {error.cause}", fg="red", err=True)
        click.echo(f"Cure: {error.hint}", err=True)
    sys.exit(1)


def check_config(xml: str, params: str, data: Mapping[str, Any], settings: Settings) -> Checked:
    """Return what a config leads to; `ConfigError` where it would be refused at connecting.

    Fields that prompts are made of and `data` lacks are shown as «name».
    """
    parsed = parse(xml, params)
    defaults = PromptDefaults(_with_fields(parsed, data), "", settings.labels_per_query)
    trouble, queries = "", list[AskedQuery]()
    try:
        queries = list(_queries(parsed, defaults, profile_of(settings)))
    except DataError as error:
        trouble = str(error)
    area = parsed.status_area()
    return Checked(
        parsed.controls,
        tuple(queries),
        tuple(one.name for one in parsed.prompt_areas()),
        tuple(str(one.get("name")) for one in read_xml(xml).walk() if _is_limit(one)),
        area.name if area else None,
        tuple(_unserved(xml, parsed)),
        parsed.warnings,
        trouble,
    )


def _with_fields(parsed: LabelConfig, data: Mapping[str, Any]) -> dict[str, Any]:
    prompts = (control.options.prompt for control in parsed.controls)
    names = {name for prompt in prompts if prompt for name in prompt.fields if name != LABELS}
    return {**{name: f"«{name}»" for name in {*names, INSTRUCTION}}, **data}


def profile_of(settings: Settings) -> Profile:
    """Return the model's profile; the demo model speaks as Qwen2.5-VL."""
    if settings.is_demo and not settings.profile:
        return PROFILES["qwen2.5-vl"]
    return profile_for(settings.model, name=settings.profile or None)


def _queries(
    parsed: LabelConfig, defaults: PromptDefaults, profile: Profile
) -> Iterator[AskedQuery]:
    """Yield what is asked of a task, and then of each region, every question once."""
    for planned in plan(parsed, None, defaults):
        yield _asked(planned, profile)
    drawing = [control for control in parsed.controls if control.shape]
    about = [one for control in drawing for one in plan_any_region(parsed, control, defaults)]
    for planned in dict.fromkeys(about):
        yield replace(_asked(planned, profile), each_region=True)


def _asked(planned: PlannedQuery, profile: Profile) -> AskedQuery:
    bounds = profile.within(planned.view.min_pixels, planned.view.max_pixels).bounds
    seen = model_frame(SAMPLE, bounds)
    prompt = write_prompt(planned.query, profile.answer_frame(seen), profile.prompts)
    return AskedQuery(tuple(control.from_name for control in planned.controls), prompt)


def _is_limit(element: Element) -> bool:
    return element.kind == "number" and sets_limit(element)


def _unserved(xml: str, parsed: LabelConfig) -> Iterator[str]:
    """Yield the tags that write results and are neither served nor for typing prompts."""
    known = {control.from_name for control in parsed.controls}
    known |= {control.labels_from for control in parsed.controls if control.labels_from}
    known |= {area.name for area in parsed.text_areas if area.smart and not area.per_region}
    status = parsed.status_area()
    known |= {status.name} if status else set()
    for element in read_xml(xml).walk():
        if element.get("toName") and element.get("name") not in known and not _is_limit(element):
            yield str(element)


def _as_json(found: Checked) -> dict[str, Any]:
    return {
        "served": not found.trouble,
        "trouble": found.trouble,
        "controls": [
            {
                "tag": control.tag,
                "name": control.from_name,
                "image": control.to_name,
                "labels": [label.emitted for label in control.labels],
                "only_when_asked": control.options.only_asked,
                "per_region": control.per_region,
            }
            for control in found.controls
        ],
        "queries": [asdict(query) for query in found.queries],
        "prompt_areas": list(found.typed),
        "limits": list(found.limits),
        "status_area": found.status,
        "not_served": list(found.unserved),
        "warnings": list(found.warnings),
    }


def _print(found: Checked, console: Console) -> None:
    console.print(_controls_table(found.controls))
    for number, query in enumerate(found.queries, 1):
        names = ", ".join(query.controls)
        about = ", about each region" if query.each_region else ""
        console.print(f"\n[bold]Query {number}[/bold], for {escape(names)}{about}:")
        console.print(query.prompt, markup=False, soft_wrap=True)
    console.print()
    for line in _notes(found):
        console.print(line, markup=False)
    for warning in found.warnings:
        console.print(f"Warning: {warning}", style="yellow", markup=False)
    if found.trouble:
        console.print(f"Nothing can be asked: {found.trouble}", style="red", markup=False)


def _notes(found: Checked) -> Iterator[str]:
    if not found.controls:
        yield "Nothing is served: the config labels nothing that we know."
    elif not found.queries and not found.trouble:
        yield "Pre-labelling asks nothing: every control waits for an annotator."
    if found.typed:
        yield f"Annotators may type a prompt into {', '.join(found.typed)}."
    if found.limits:
        yield f"Annotators may narrow an answer with {', '.join(found.limits)}."
    if found.status is None:
        yield 'Annotators see no reasons: add <TextArea name="status" smart="false" toName="…"/>.'
    for tag in found.unserved:
        yield f"Not served: {tag}"


def _controls_table(controls: tuple[Control, ...]) -> Table:
    table = Table(title="Controls that are served")
    for column in ("tag", "name", "on", "labels", "answers"):
        table.add_column(column)
    for control in controls:
        labels = ", ".join(label.emitted for label in control.labels)
        table.add_row(
            control.tag, control.from_name, control.to_name, escape(labels), _when(control)
        )
    return table


def _when(control: Control) -> str:
    if control.per_region:
        return "with each region"
    return "annotators only" if control.options.only_asked else "always"
