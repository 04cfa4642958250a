"""The documents keep their word: links lead somewhere, commands and names exist, tables are new."""

from __future__ import annotations

import io
import re
import shlex
import sys
import tokenize
from pathlib import Path

import click
import pytest
import yaml
from redis import Redis

from grounding.cli.main import cli
from grounding.jobs.metrics import render_metrics
from grounding.jobs.store import JobStore
from grounding.labelstudio.config.parse import parse
from grounding.settings import Settings
from grounding.settings.environment import ECOSYSTEM, variable
from tools.reference import DOCS, PAGES, ROOT

PAGES_OF_OURS = [
    path
    for path in sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("examples/**/*.md")])
    if path.name not in PAGES
]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
TEST = re.compile(r"\btests/[\w/]+(?:\.\w+)?")
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
VARIABLE = re.compile(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b")
FOREIGN = {
    "USE_DEFAULT_BANNED_SUBNETS",
    "USER_ADDITIONAL_BANNED_SUBNETS",
    "ML_BLOCK_LOCAL_IP",
    "LOCAL_FILES_DOCUMENT_ROOT",
    "HF_HUB_OFFLINE",
    "SGLANG_IMAGE_MAX_PIXELS",
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_NUM_PARALLEL",
    "SSL_CERT_FILE",
    "HF_HOME",
    "ML_TIMEOUT_SETUP",
    "NAME_FILE",
    "DEAD_TTL",
    "SERVER_PATIENCE",
    "LABELS_PER_QUESTION",
}
"""Variables of others that the documents name, the pattern of ours, and names that were ours."""

each_page = pytest.mark.parametrize(
    "page", PAGES_OF_OURS, ids=lambda page: str(page.relative_to(ROOT))
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m tools.reference"


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "file",
    [
        *PAGES_OF_OURS,
        *sorted(ROOT.glob("tools/**/*.md")),
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
    ],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_every_test_that_is_named_is_there(file: Path) -> None:
    """But for NAME, which stands for one that is to be written."""
    named = {name for name in TEST.findall(file.read_text()) if "NAME" not in name}
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES_OF_OURS if page.name != "CONTRIBUTING.md"],  # it names constants
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_variable_is_a_setting(page: Path) -> None:
    code = " ".join([*CODE.findall(page.read_text()), *commands(page)])
    known = {variable(name) for name in Settings.model_fields} | FOREIGN
    assert set(VARIABLE.findall(code)) - known == set()


def test_every_metric_that_is_named_is_there(redis: Redis) -> None:
    text = render_metrics(JobStore(redis)).decode()
    known = set(re.findall(r"^# HELP (\S+)", text, re.MULTILINE))
    pages = " ".join(page.read_text() for page in PAGES_OF_OURS)
    named = set(re.findall(r"\bgrounding_[a-z_]+\b", pages))
    assert named
    assert named - known == set()


def test_the_runbook_has_a_section_for_every_alert() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    sections = set(re.findall(r"^### (Grounding\w+)$", (DOCS / "runbook.md").read_text(), re.M))
    assert sections == alerts


TEXTS = [
    *sorted((ROOT / "grounding").rglob("*.py")),
    *(ROOT / name for name in ("docker-compose.yml", "docker/example.env", "Dockerfile")),
]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_text_names_a_setting_by_a_variable_that_is_not_read(file: Path) -> None:
    """Only what stands in strings, comments and other files counts: constants may have any name."""
    fields = [name.upper() for name in Settings.model_fields if name not in ECOSYSTEM]
    names = "|".join(name for name in fields if "_" in name)
    found = re.findall(rf"(?<![A-Z_{{`])(?:{names})(?![A-Z_])", text_of(file))
    assert found == []


def text_of(file: Path) -> str:
    """Return the strings and comments of Python, or a whole other file."""
    source = file.read_text()
    if file.suffix != ".py":
        return source
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(t.string for t in tokens if t.type in (tokenize.STRING, tokenize.COMMENT))


@each_page
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = "\n".join([*CODE.findall(page.read_text()), *commands(page)])
    named = set(re.findall(r"\bmake ([a-z0-9]+)", text))
    assert [target for target in named if f"\n{target}: " not in makefile] == []


@each_page
def test_every_command_parses_and_calls_what_exists(page: Path) -> None:
    for line in commands(page):
        spoken = shlex.split(line.replace("…", ""), comments=True)
        words = [word for word in spoken if not re.match("[A-Z_]+=", word)]
        if words:
            assert exists(words), line


def commands(page: Path) -> list[str]:
    """Return the command lines of a page's shell blocks, each as one line."""
    blocks = [text for kind, text in BLOCK.findall(page.read_text()) if kind == "bash"]
    return [line for text in blocks for line in text.replace("\\\n", " ").splitlines() if line]


def exists(words: list[str]) -> bool:
    """Say whether there is such a command: of ours, or one of those that a reader must have."""
    program, *arguments = words
    if program.endswith("python") and arguments[:2] == ["-m", "grounding"]:
        return cli.get_command(click.Context(cli), arguments[2]) is not None
    if program.startswith("docker/"):
        return (ROOT / program).exists()
    if program.startswith(".venv/bin/"):
        return Path(sys.executable).with_name(Path(program).name).exists()
    servers = {"vllm", "llama-server", "ollama"}
    return program in {"make", "curl", "docker", "kubectl", "label-studio"} | servers


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@each_page
def test_every_labelling_config_shown_can_be_served(page: Path) -> None:
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "xml":
            config = parse(text)
            assert config.controls
            assert config.warnings == ()


@each_page
def test_other_blocks_are_what_they_say(page: Path) -> None:
    kinds = {kind for kind, _ in BLOCK.findall(page.read_text())}
    assert kinds <= {"bash", "xml", "python"}


def test_docker_compose_calls_in_the_documents_use_its_services() -> None:
    services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    text = "\n".join(page.read_text() for page in PAGES_OF_OURS)
    named = set(re.findall(r"docker compose logs ([\w-]+)", text))
    named |= set(re.findall(r"--scale ([\w-]+)=", text))
    assert named
    assert named <= services
