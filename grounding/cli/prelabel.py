"""`prelabel`: predictions for a whole project, as Label Studio retrieves them, to the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import click
import httpx

from grounding.cli.console import Advance, load_settings, progress, results_console
from grounding.errors import AnswerLost, QueueError, RequestError
from grounding.labelstudio.client.api import Importer, read_key
from grounding.labelstudio.client.projects import Project, Projects, configured_api
from grounding.settings import Settings
from grounding.settings.environment import check_web_address

PAGE = 100
"""Tasks in one request to the backend, which answers within its bulk deadline."""
MOST_WAITING = 1000
"""Unfinished tasks of the project up to which more are asked for: enough for many workers."""
POLL_SECONDS = 1.0
TIMEOUT = httpx.Timeout(110, connect=3)


@dataclass(slots=True)
class Summary:
    """What came of the tasks: `late` ones are answered after their request, and delivered then.

    `unexplained` have no prediction, and nothing is known of why.
    """

    version: str = ""
    tasks: int = 0
    had: int = 0
    stored: int = 0
    late: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    unexplained: int = 0
    seconds: float = 0.0
    undelivered: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks are meant."""

    unannotated: bool
    limit: int | None


class Backend:
    """The web server of ours that Label Studio asks, asked in Label Studio's words."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.most_waiting = min(MOST_WAITING, settings.max_pending // 2)
        self.page = max(1, min(PAGE, self.most_waiting))
        self.most_bytes = settings.max_request_bytes // 2
        self._http = httpx.Client(
            base_url=url, auth=settings.basic_auth, timeout=TIMEOUT, trust_env=False
        )

    def setup(self, project: Project, params: str) -> str:
        """Return the model version of a project's predictions."""
        body = {"project": project.key, "schema": project.label_config, "extra_params": params}
        return str(self._ask("POST", "/setup", "model_version", body))

    def predict(self, project: Project, tasks: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return a prediction for each task, or `[]` for what is not ready."""
        asked = [{"id": task["id"], "data": task["data"]} for task in tasks]
        body = {"tasks": asked, "project": project.key, "label_config": project.label_config}
        return list(self._ask("POST", "/predict", "results", body))

    def obstacle(self) -> str:
        """Return why nothing is answered now; empty where tasks are."""
        response = self._send("GET", "/ready")
        return "" if response.is_success else str(read_key(response, "reason"))

    def unfinished(self, project: Project) -> int:
        """Return how many tasks of a project wait for a worker, or are worked on."""
        return sum(one["pending"] + one["running"] for one in self.states(project))

    def states(self, project: Project) -> list[Mapping[str, Any]]:
        """Return what `/jobs` tells of a project: one state, or none."""
        every = self._ask("GET", f"/jobs?project={project.key}", "projects")
        return [one for one in every if one["project"] == project.key]

    def failures(self, project: Project) -> list[Mapping[str, Any]]:
        """Return the last failures of a project."""
        return list(self._ask("GET", f"/jobs?project={project.key}", "failed"))

    def cancel(self, project: Project) -> int:
        """Drop what waits of a project; return how many tasks that were."""
        return int(self._ask("POST", f"/projects/{project.key}/cancel", "count", {}))

    def _ask(self, method: str, path: str, name: str, body: object = None) -> Any:
        """Return what the answer has under `name`."""
        response = self._send(method, path, body)
        if not response.is_success and response.status_code != httpx.codes.NOT_FOUND:
            cause = f"the backend answers {response.status_code} {response.reason_phrase}".strip()
            hint = "See python -m grounding doctor"
            if response.status_code == httpx.codes.UNAUTHORIZED:
                hint = "Set them for this command to what the backend was started with"
            raise RequestError(cause, hint=hint, status=response.status_code)
        found = read_key(response, name)
        if found is None:
            cause = f"what answers at {self.url} is not the backend: it tells no {name}"
            raise RequestError(cause, hint="Name the backend's address: --backend", status=502)
        return found

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx.HTTPError as exc:
            raise QueueError(
                f"the backend at {self.url} does not answer ({type(exc).__name__})",
                hint="Start it: python -m grounding up; or name its address: --backend",
            ) from exc


def _check_address(
    context: click.Context, option: click.Parameter, value: str | None
) -> str | None:
    try:
        if value:
            check_web_address(value)
    except ValueError as exc:
        raise click.BadParameter(f"it {exc}") from exc
    return value


@click.command(help="Predict every task of a project in Label Studio, through the running backend.")
@click.option("--project", type=int, required=True, help="Number of the project.")
@click.option(
    "--backend",
    callback=_check_address,
    help="Address of the backend, such as http://gpu-1:9090; else GROUNDING_HOST and PORT.",
)
@click.option("--unannotated", is_flag=True, help="Only tasks that nobody has annotated.")
@click.option("--limit", type=click.IntRange(1), help="At most so many tasks.")
@click.option("--dry-run", is_flag=True, help="Only count what would be predicted.")
@click.option("--cancel", is_flag=True, help="Only drop what waits of the project.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def prelabel(
    project: int, backend: str | None, dry_run: bool, cancel: bool, as_json: bool, **wanted: Any
) -> None:
    """Exit 0 where each task has its prediction, 1 where one has not; a second run goes on."""
    if cancel and (dry_run or any(wanted.values())):
        raise click.UsageError("--cancel drops all that waits of the project: give it alone.")
    settings = load_settings(log_level="warning")
    projects = Projects.of(settings)
    found = projects.find(project)
    ours = Backend(backend or settings.own_url, settings)
    if cancel:
        _show_cancelled(ours.cancel(found), found, as_json=as_json)
        return
    summary = Summary(ours.setup(found, projects.extra_params(project)))
    begun = time.monotonic()
    tasks = list(_tasks(projects, found, Wanted(**wanted), summary))
    if not dry_run:
        with _explained(ours, found):
            _run(found, tasks, ours, Importer(configured_api(settings)), summary)
    summary.seconds = time.monotonic() - begun
    _show(summary, len(tasks), dry_run=dry_run, as_json=as_json)
    sys.exit(1 if not dry_run and summary.stored + summary.late < len(tasks) else 0)


def _tasks(
    projects: Projects, project: Project, wanted: Wanted, summary: Summary
) -> Iterator[Mapping[str, Any]]:
    """Yield the tasks that have no prediction of this version yet."""
    taken = 0
    with progress("reading tasks") as bar:
        for page in projects.pages(project.id):
            bar(len(page.tasks), page.total)
            for task in page.tasks:
                if wanted.unannotated and task.get("annotations"):
                    continue
                summary.tasks += 1
                if _has(task, summary.version):
                    summary.had += 1
                elif wanted.limit is None or taken < wanted.limit:
                    taken += 1
                    yield task


def _has(task: Mapping[str, Any], version: str) -> bool:
    stored = task.get("predictions") or ()
    return any(isinstance(p, Mapping) and p.get("model_version") == version for p in stored)


def _run(
    project: Project,
    tasks: Sequence[Mapping[str, Any]],
    backend: Backend,
    importer: Importer,
    summary: Summary,
) -> None:
    """Ask for the tasks in pages, store what is answered, and wait for what comes later."""
    late: dict[int, None] = {}
    with progress("predicting") as bar:
        bar(0, len(tasks))
        for some in _pages(tasks, backend):
            while late and backend.unfinished(project) > backend.most_waiting:
                time.sleep(POLL_SECONDS)
            answers = _predict(project, some, backend, summary)
            ready = [
                {**answer, "task": task["id"]}
                for task, answer in zip(some, answers, strict=True)
                if answer
            ]
            late |= {t["id"]: None for t, a in zip(some, answers, strict=True) if a == []}
            summary.stored += _store(importer, project.id, ready) if ready else 0
            bar(len(ready), len(tasks))
        _wait(project, late, backend, importer, summary, (bar, len(tasks)))


def _pages(
    tasks: Sequence[Mapping[str, Any]], backend: Backend
) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the tasks, as many at a time as the backend takes in one request."""
    page: list[Mapping[str, Any]] = []
    size = 0
    for task in tasks:
        more = len(json.dumps(task["data"]))
        if page and (len(page) == backend.page or size + more > backend.most_bytes):
            yield page
            page, size = [], 0
        page.append(task)
        size += more
    if page:
        yield page


def _predict(
    project: Project, some: Sequence[Mapping[str, Any]], backend: Backend, summary: Summary
) -> list[Any]:
    """Return the answers to some tasks; None to one that is too large for a request."""
    try:
        return backend.predict(project, some)
    except RequestError as exc:
        if exc.status != httpx.codes.REQUEST_ENTITY_TOO_LARGE or len(some) > 1:
            raise
        summary.failed.append({"task": some[0]["id"], "code": exc.code, "reason": exc.cause})
        return [None]


def _store(importer: Importer, project: int, ready: Sequence[dict[str, Any]]) -> int:
    """Put predictions into Label Studio; after a lost answer, only what it does not have."""
    try:
        return importer.send(project, ready)
    except AnswerLost:
        missing = [p for p in ready if not importer.has(p["task"], p["model_version"])]
        return len(ready) - len(missing) + (importer.send(project, missing) if missing else 0)


def _wait(
    project: Project,
    late: dict[int, None],
    backend: Backend,
    importer: Importer,
    summary: Summary,
    shown: tuple[Advance, int],
) -> None:
    """Wait until the backend has delivered what it had not answered in time, or has given up.

    It delivers by itself: asking again could bring a prediction twice.
    """
    bar, total = shown
    before = len(late)
    while late:
        left, reason = _unfinished(backend.states(project))
        bar(max(0, before - left), total)
        before = min(before, left)
        if left == 0 or reason:
            summary.undelivered = reason
            break
        time.sleep(POLL_SECONDS)
    arrived = [task for task in late if importer.has(task, summary.version)]
    summary.late = len(arrived)
    missing = late.keys() - set(arrived)
    failed = [
        {"task": one["task"], "code": one["code"], "reason": one["reason"]}
        for one in (backend.failures(project) if missing else ())
        if one.get("task") in missing
    ]
    summary.failed += failed
    summary.unexplained = 0 if summary.undelivered else len(missing) - len(failed)


def _unfinished(mine: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """Return how many tasks of a project are not in Label Studio yet, and why they stay out."""
    left = sum(one["pending"] + one["running"] + one.get("undelivered", 0) for one in mine)
    waits = any(one["pending"] + one["running"] for one in mine)
    reasons = [str(one.get("undelivered_reason") or "") for one in mine]
    return left, "" if waits else next(filter(None, reasons), "")


@contextmanager
def _explained(backend: Backend, project: Project) -> Iterator[None]:
    """Say first if tasks have to wait for a worker, and after Ctrl-C what is done with them."""
    try:
        if obstacle := backend.obstacle():
            said = f"Tasks wait until there is a worker: {obstacle}"
            click.secho(said, fg="yellow", err=True)
        yield
    except KeyboardInterrupt:
        words = f"prelabel --project {project.id} --backend {backend.url} --cancel"
        told = "The workers finish what was asked for. To drop what still waits:"
        click.echo(f"\n{told} python -m grounding {words}", err=True)
        raise


def _show_cancelled(count: int, project: Project, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"cancelled": count}))
    else:
        click.echo(f"Dropped {count:,} waiting tasks of project {project.id}, {project.title}.")


def _show(summary: Summary, wanted: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        facts = {**asdict(summary), "wanted": wanted, "dry_run": dry_run}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    console = results_console()
    console.print(
        f"{summary.tasks:,} tasks; {summary.had:,} have a prediction of {summary.version}, "
        f"{wanted:,} {'would be' if dry_run else 'were'} asked for."
    )
    if dry_run:
        return
    done = summary.stored + summary.late
    console.print(f"{done:,} predicted in {summary.seconds:.0f} s, {summary.late:,} of them late.")
    for one in summary.failed:
        console.print(f"Task {one['task']}: {one['reason']}", style="red", markup=False)
    if summary.undelivered:
        console.print(f"Not in Label Studio yet: {summary.undelivered}", style="red", markup=False)
    if summary.unexplained:
        said = (
            f"{summary.unexplained:,} tasks have none: there was no room in the queue, somebody "
            "cancelled them, or they are not among the last failures. Run it again."
        )
        console.print(said, style="red", markup=False)
