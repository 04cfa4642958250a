"""What Dockerfile and docker-compose.yml say, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE_ENV = ROOT / "docker" / "example.env"

VARIABLE = re.compile(r"\$\{(\w+)(?:(:?)-([^}]*))?\}")
INSTALL = re.compile(r"pip install -r (\S+)")


@dataclass(frozen=True)
class Image:
    """One stage of the Dockerfile, with what it has from those before it."""

    base: str
    user: str = ""
    workdir: str = "/"
    env: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    copied: dict[str, str] = field(default_factory=dict)
    """From the path in the image to the path in the repository."""
    requirements: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def images(dockerfile: Path = DOCKERFILE) -> dict[str, Image]:
    """Return every stage by its name."""
    stages: dict[str, Image] = {}
    name = ""
    for line in DockerfileParser(str(dockerfile)).structure:
        instruction, value = line["instruction"], line["value"]
        if instruction == "FROM":
            parent, _, name = value.partition(" AS ")
            stages[name] = stages.get(parent, Image(base=parent))
        elif instruction != "COMMENT":
            stages[name] = _with(stages[name], instruction, value)
    return stages


def _with(image: Image, instruction: str, value: str) -> Image:
    match instruction:
        case "USER":
            return replace(image, user=value)
        case "WORKDIR":
            return replace(image, workdir=value)
        case "ENV":
            pairs = dict(pair.split("=", 1) for pair in value.split())
            return replace(image, env=image.env | pairs)
        case "CMD":
            return replace(image, command=tuple(json.loads(value)))
        case "HEALTHCHECK":
            return replace(image, health=tuple(json.loads(value.partition("CMD ")[2])))
        case "COPY":
            return replace(image, copied=image.copied | _copied(image.workdir, value))
        case "RUN":
            installed = tuple(INSTALL.findall(value))
            requirements = image.requirements + installed
            return replace(image, requirements=requirements, runs=(*image.runs, value))
        case "EXPOSE":
            return image
    raise AssertionError(f"the tests do not know {instruction}")


def _copied(workdir: str, value: str) -> dict[str, str]:
    *sources, target = value.split()
    place = Path(workdir, target)
    if target.endswith("/"):
        return {str(place / Path(source).name): source for source in sources}
    (source,) = sources
    return {str(place): source}


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return docker-compose.yml with its anchors resolved and these variables put in."""
    found: dict[str, Any] = _interpolated(yaml.safe_load(COMPOSE.read_text()), variables)
    return found


def _interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    """Put variables into texts only, after YAML is read, as Compose does: an empty one is ""."""
    if isinstance(node, dict):
        return {key: _interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, variables) for value in node]
    if not isinstance(node, str):
        return node
    text = VARIABLE.sub(lambda found: _value(found, variables), node)
    assert "${" not in text, f"the tests do not know how to read {node}"
    return text


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, colon, default = found.groups()
    given = variables.get(name)
    if given is None or (colon and not given):
        return default or ""
    return given


def example_env() -> dict[str, str]:
    """Return the variables of docker/example.env."""
    lines = EXAMPLE_ENV.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def requirement_names(file: str) -> set[str]:
    """Return the packages that a requirements file names, and those that it includes."""
    path = ROOT / file
    names: set[str] = set()
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            names |= requirement_names(str(path.parent.relative_to(ROOT) / line[3:]))
        elif line and not line.startswith(("#", "-", " ")):  # a comment, an option, a hash
            names.add(line.partition("==")[0])
    return names
