"""How gunicorn runs `_wsgi:app`; it reads this file by itself when started in this folder."""

import sys

from grounding.errors import SettingError
from grounding.settings import Settings

try:
    _settings = Settings.load()
    _settings.check_exposure()
except SettingError as error:
    sys.exit(f"cannot start: {error}")

bind = _settings.address
worker_class = "gthread"
# One process: requests mostly wait, and the slots for waiting are counted per process.
workers = 1
threads = _settings.threads
# A request may wait for its deadline, at most 95 s; what is in hand is finished before the end.
timeout = 120
graceful_timeout = 100
loglevel = "warning"
