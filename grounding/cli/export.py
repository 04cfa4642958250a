"""`export --for-training`: annotations as conversations for LLaMA-Factory and ms-swift."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grounding.cli.config import profile_of
from grounding.cli.console import (
    FILE,
    load_reading_settings,
    progress,
    read_annotated,
    read_json,
    read_text,
    results_console,
    write,
)
from grounding.errors import DataError, GroundingError
from grounding.settings import Settings

if TYPE_CHECKING:
    from grounding.asking.training import Example
    from grounding.evaluation.records import Records, TaskRecord
    from grounding.labelstudio.config.interface import LabelConfig
    from grounding.media.fetch import Fetches

LLAMA_FACTORY = {
    "grounding": {
        "file_name": "train.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
}
"""LLaMA-Factory's `dataset_info.json`; ms-swift reads `train.jsonl` as it is."""


@dataclass(slots=True)
class Exported:
    """The conversations so far, and why others are left out."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    tasks: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@click.command(help="Write annotations as conversations that a model is trained with.")
@click.argument("annotations", required=False, type=FILE)
@click.option(
    "--for-training",
    is_flag=True,
    required=True,
    expose_value=False,  # it is the only one there is
    help="What it is written for.",
)
@click.option("--project", type=int, help="Number of a project, instead of an export's file.")
@click.option("--config", type=FILE, help="The project's labelling config, with a file.")
@click.option(
    "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export(
    annotations: Path | None,
    project: int | None,
    config: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Exit 0 where every query could be written, 1 where some could not."""
    if (annotations is None) == (project is None) or (config is None) != (annotations is None):
        raise click.UsageError("Give either an export's file and --config, or --project.")
    settings = load_reading_settings(log_level="warning")
    if annotations is not None and config is not None:
        from grounding.evaluation.records import read_tasks
        from grounding.labelstudio.config.parse import parse

        records = read_tasks(read_json(annotations), file=str(annotations))
        parsed = parse(read_text(config))
    else:
        parsed, records = _of_project(project or 0, settings)
    done = _export(records, parsed, settings, output)
    _write(done, output)
    _show(done, output, as_json=as_json)
    sys.exit(1 if done.left_out or not done.rows else 0)


def _of_project(number: int, settings: Settings) -> tuple[LabelConfig, Records]:
    from grounding.evaluation.records import read_tasks
    from grounding.labelstudio.client.projects import Projects
    from grounding.labelstudio.config.parse import parse

    projects = Projects.of(settings)
    found = projects.find(number)
    config = parse(found.label_config, projects.extra_params(number))
    return config, read_tasks(read_annotated(projects, number))


def _export(records: Records, config: LabelConfig, settings: Settings, output: Path) -> Exported:
    from grounding.factory import fetcher

    get = fetcher(settings)
    done = Exported()
    annotated = [task for task in records.tasks if task.reference is not None]
    with progress("exporting") as bar:
        for number, task in enumerate(annotated, 1):
            _keep(_of_task(task, config, get, settings, done), task.id or number, done, output)
            bar(1, len(annotated))
    return done


def _of_task(
    task: TaskRecord, config: LabelConfig, get: Fetches, settings: Settings, done: Exported
) -> list[Example]:
    """Return the examples about each picture of a task; one that cannot be read costs no other."""
    found: list[Example] = []
    read = 0
    for key in config.data_keys:
        try:
            found += _examples(task, key, config, get, settings)
            read += 1
        except GroundingError as error:
            done.left_out[str(error)] += 1
    done.tasks += read > 0
    return found


def _examples(
    task: TaskRecord, key: str, config: LabelConfig, get: Fetches, settings: Settings
) -> Iterator[Example]:
    """Yield the examples about the picture under a key of the task's data."""
    from grounding.asking.training import examples
    from grounding.labelstudio.data import find_image_address
    from grounding.labelstudio.plan import PromptDefaults
    from grounding.media.images import Decoder

    profile = profile_of(settings).bounded(
        min_pixels=settings.min_pixels, max_pixels=settings.max_pixels
    )
    defaults = PromptDefaults(task.data, "", settings.labels_per_query)
    if task.reference is None:
        return
    if any(one.on_film and one.data_key == key for one in config.controls):
        raise DataError("films are not exported", hint="Export a project of pictures")
    address = find_image_address(task.data, key)
    data = get.fetch(address, task.id)
    with Decoder().decode(data, settings.max_image_pixels) as picture:
        made = examples(config, defaults, task.reference, picture, profile)
        yield from (one for one in made if one.view.data_key == key)


def _keep(found: list[Example], number: int, done: Exported, output: Path) -> None:
    files: dict[Any, str] = {}
    for one in found:
        if one.flaw:
            done.left_out[one.flaw] += 1
            continue
        if one.view not in files:
            # PNG, so that no pixel changes; its size is the model's own.
            files[one.view] = f"images/{number}-{len(files) + 1}.png"
            (output / "images").mkdir(parents=True, exist_ok=True)
            one.pixels.save(output / files[one.view])
        done.rows.append({"messages": one.messages(), "images": [files[one.view]]})


def _write(done: Exported, output: Path) -> None:
    write(output / "train.json", json.dumps(done.rows, indent=1, ensure_ascii=False))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in done.rows)
    write(output / "train.jsonl", "".join(lines))
    write(output / "dataset_info.json", json.dumps(LLAMA_FACTORY, indent=1))


def _show(done: Exported, output: Path, *, as_json: bool) -> None:
    facts: Mapping[str, Any] = {
        "conversations": len(done.rows),
        "tasks": done.tasks,
        "left_out": dict(done.left_out),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    console = results_console()
    console.print(f"{len(done.rows):,} conversations of {done.tasks:,} tasks are in {output}.")
    console.print(
        "LLaMA-Factory: dataset_dir is that folder, dataset is grounding; give image_max_pixels no "
        "less than the pictures have. ms-swift: --dataset train.jsonl, in that folder.",
        markup=False,
    )
    for why, count in done.left_out.items():
        console.print(f"Left out, {count:,}: {why}", style="yellow", markup=False)
