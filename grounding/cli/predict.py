"""`predict`: pictures from anywhere to predictions, without Label Studio."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from grounding.cli.console import (
    FILE,
    load_reading_settings,
    progress,
    read_text,
    results_console,
    write,
)
from grounding.errors import GroundingError, InputError
from grounding.settings import Settings

if TYPE_CHECKING:
    from grounding.asking.run import Asked
    from grounding.pipeline import WorkerContext

DONE = "predictions.jsonl"
"""The file of an output folder that has a line for each picture, as it is done."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What came of a picture: its prediction, or why there is none."""

    address: str
    prediction: dict[str, Any] | None
    error: str = ""

    def line(self) -> str:
        """Return it as a line of `DONE`."""
        facts = {"address": self.address, "prediction": self.prediction, "error": self.error}
        return json.dumps(facts, ensure_ascii=False) + "\n"


@click.command(help="Predict pictures: files, folders, patterns or http(s) addresses.")
@click.argument("pictures", nargs=-1, required=True)
@click.option("--find", help='What to look for: "dented car, traffic light".')
@click.option("--points", is_flag=True, help="Look for points instead of boxes.")
@click.option("--config", type=FILE, help="Labelling config that says what to look for.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for predictions.json, a page and annotated pictures; a second run goes on there.",
)
@click.option(
    "--prefix",
    default="",
    help="What precedes a file's path in Label Studio, such as /data/local-files/?d=.",
)
@click.option("--json", "as_json", is_flag=True, help="Print tasks for Label Studio's import.")
def predict(
    pictures: tuple[str, ...],
    output: Path | None,
    prefix: str,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Exit 0 where every picture has a prediction, 1 where one has none, 2 for wrong words."""
    from grounding.asking.sources import find_pictures, task_data
    from grounding.labelstudio.config.parse import parse
    from grounding.tasks import model_version

    xml = wanted_config(**wanted)
    keys = parse(xml).data_keys
    addresses = find_pictures(pictures)
    settings = load_reading_settings(log_level="warning")
    version = model_version(settings, xml, "")
    entries = _predict_all(addresses, xml, version, settings, output)
    tasks = [
        {"data": task_data(one.address, prefix, keys), "predictions": [one.prediction]}
        for one in entries
        if one.prediction is not None
    ]
    text = json.dumps(tasks, indent=1, ensure_ascii=False)
    if output is not None:
        write(output / "predictions.json", text)
    if as_json:
        click.echo(text)
    else:
        results_console().print(_table(entries, version))
        if output is not None:
            results_console().print(f"The page is {output / 'index.html'}", soft_wrap=True)
    failed = [one for one in entries if one.prediction is None]
    for one in failed:
        click.secho(f"{one.address}: {one.error}", fg="red", err=True)
    sys.exit(1 if failed else 0)


def wanted_config(find: str | None, points: bool, config: Path | None) -> str:
    """Return the labelling config that the options name; `InputError` where it is refused."""
    from grounding.asking.sources import config_for
    from grounding.labelstudio.config.parse import parse

    if (find is None) == (config is None):
        raise click.UsageError("Give either --find or --config.")
    if points and config is not None:
        raise click.UsageError("--points goes with --find: a config names its own shapes.")
    xml = config_for(find, points=points) if find is not None else ""
    if config is not None:
        xml = read_text(config)
    try:
        parse(xml)
    except GroundingError as error:
        raise InputError(error.cause, hint=error.hint) from error
    return xml


def _predict_all(
    addresses: Sequence[str], xml: str, version: str, settings: Settings, output: Path | None
) -> list[Entry]:
    """Return what came of each picture, in order; what `output` has already is not asked again."""
    found = _read_done(output, version) if output else {}
    rest = [address for address in addresses if address not in found]
    if rest:
        with loaded(settings, rest) as worker, progress("predicting") as bar:
            bar(len(addresses) - len(rest), len(addresses))
            for asked in _ask(rest, xml, version, worker, settings):
                entry = _entry(asked)
                found[entry.address] = entry
                if output is not None:
                    _keep(entry, output, worker)
                bar(1, len(addresses))
    entries = [found[address] for address in addresses]
    if output is not None:
        _write_page(entries, output, settings)
    return entries


@contextmanager
def loaded(settings: Settings, files: Sequence[str]) -> Iterator[WorkerContext]:
    """Load the model, and read these very files besides what the settings allow."""
    from grounding.asking.sources import FilesToo
    from grounding.factory import load_context

    with progress("loading the model"):
        worker = load_context(settings, lambda **_: None)
    try:
        films = worker.film_reader
        yield replace(
            worker,
            fetcher=FilesToo(files, worker.fetcher),
            films=replace(films, fetcher=FilesToo(files, films.fetcher)),
        )
    finally:
        worker.engine.close()


def _ask(
    addresses: Sequence[str], xml: str, version: str, worker: WorkerContext, settings: Settings
) -> Iterator[Asked]:
    from grounding.asking.run import ask_all
    from grounding.labelstudio.config.parse import parse
    from grounding.tasks import Task

    keys = parse(xml).data_keys
    tasks = [
        Task(number, dict.fromkeys(keys, address), xml, None, version)
        for number, address in enumerate(addresses, 1)
    ]
    return ask_all(tasks, worker, settings.bulk_slots)


def _entry(asked: Asked) -> Entry:
    address = str(next(iter(asked.task.data.values())))
    return Entry(address, asked.prediction, "" if asked.error is None else str(asked.error))


def _read_done(output: Path, version: str) -> dict[str, Entry]:
    """Return what an earlier run has predicted under the same version; errors are tried again."""
    path = output / DONE
    if not path.is_file():
        return {}
    text = read_text(path)
    if not text.endswith("\n"):
        # The run was ended while it wrote a line, which the next one must not go on with.
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    found: dict[str, Entry] = {}
    for line in text.splitlines():
        try:
            facts = json.loads(line)
            address, prediction = str(facts["address"]), facts["prediction"]
            if prediction and prediction["model_version"] == version:
                found[address] = Entry(address, prediction)
        except (ValueError, TypeError, KeyError):  # cut off, or another program's
            continue
    return found


def _keep(entry: Entry, output: Path, worker: WorkerContext) -> None:
    from grounding.asking.gallery import draw_regions

    output.mkdir(parents=True, exist_ok=True)
    with (output / DONE).open("a", encoding="utf-8") as file:
        file.write(entry.line())
    if entry.prediction is None:
        return
    # An address may be silent the second time: its prediction is there, so only its picture is not.
    with suppress(GroundingError):
        data, most = worker.fetcher.fetch(entry.address), worker.max_image_pixels
        with worker.decoder.decode(data, most) as picture:
            draw_regions(picture, entry.prediction["result"])
            picture.save(_annotated(entry.address, output), quality=90)


def _annotated(address: str, output: Path) -> Path:
    """Return the file of an annotated picture: pictures of one name in two folders have two."""
    folder = output / "pictures"
    folder.mkdir(exist_ok=True)
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(address).stem)
    digest = hashlib.sha256(address.encode(errors="replace")).hexdigest()[:8]
    return folder / f"{stem[:100]}-{digest}.jpg"


def _write_page(entries: Sequence[Entry], output: Path, settings: Settings) -> None:
    from grounding.asking import gallery
    from grounding.asking.sources import FilesToo
    from grounding.factory import fetcher
    from grounding.media.images import Decoder

    files, decoder = FilesToo([one.address for one in entries], fetcher(settings)), Decoder()
    rows = []
    for one in entries:
        try:
            data = files.fetch(one.address)
            shown = gallery.shrink(data, settings.max_image_pixels, decoder)
        except GroundingError:
            shown = gallery.NO_PICTURE
        side = gallery.show(one.prediction, one.error or None, shown)
        rows.append(gallery.Row(one.address, (side,)))
    write(output / "index.html", gallery.to_html("Predictions", [""], rows))


def _table(entries: Sequence[Entry], version: str) -> Table:
    table = Table(title=f"Predictions of {version} (percent of the upright picture)")
    for column in ("picture", "control", "found", "x", "y", "width", "height", "score"):
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for one in entries:
        if one.prediction is None:
            table.add_row(escape(one.address), "", "[red](no prediction)")
        elif not one.prediction["result"]:
            table.add_row(escape(one.address), "", "(nothing)")
        else:
            for region in one.prediction["result"]:
                table.add_row(escape(one.address), *_cells(region))
    return table


_NUMBERS = ("x", "y", "width", "height", "score")


def _cells(region: Mapping[str, Any]) -> list[str]:
    value = region["value"]
    said = value.get(region["type"], value.get("text", ""))
    words = ", ".join(map(str, said)) if isinstance(said, list) else str(said)
    numbers = [value.get(name) for name in _NUMBERS[:-1]] + [region.get("score")]
    shown = ["" if number is None else f"{number:.1f}" for number in numbers[:-1]]
    score = "" if numbers[-1] is None else f"{numbers[-1]:.2f}"
    return [region["from_name"], escape(words), *shown, score]
