"""The web server's entry: `gunicorn _wsgi:app`."""

import sys

from grounding.errors import SettingError
from grounding.logs import set_up_logging
from grounding.settings import Settings
from grounding.web.app import create_app

try:
    settings = Settings.load()
    set_up_logging(settings.log_level)
    app = create_app(settings)
except SettingError as error:
    sys.exit(f"cannot start: {error}")
