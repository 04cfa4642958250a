"""How gunicorn runs `_wsgi:app`; it reads this file by itself when started in this folder."""

import signal
import sys
from typing import Any

from grounding.cli.supervisor import end_with_parent
from grounding.errors import EXIT_SETTINGS, SettingError
from grounding.settings import Settings
from grounding.web.server import MAX_ARRIVING

try:
    _settings = Settings.load()
    _settings.check_exposure()
except SettingError as error:
    print(f"cannot start: {error}", file=sys.stderr)
    sys.exit(EXIT_SETTINGS)

bind = _settings.address
worker_class = "grounding.web.server.FrontWorker"
# One process: requests mostly wait, and the places for waiting are counted per process.
workers = 1
threads = _settings.threads
# Requests that are arriving, those that wait for an answer, and as many that are about to close.
worker_connections = 2 * (MAX_ARRIVING + threads)
# A request may wait for its deadline, at most 95 s; gunicorn lets requests finish before it ends.
timeout = 120
graceful_timeout = 100
loglevel = "warning"


def pre_fork(server: Any, worker: Any) -> None:
    """Prepare `post_fork` in the master: under --daemon it is another process than at the start."""
    worker.follow_master = end_with_parent(signal.SIGKILL)


def post_fork(server: Any, worker: Any) -> None:
    """End the process that serves requests with its master, which holds the port with it."""
    worker.follow_master()
