"""The web server's entry: `gunicorn _wsgi:app`."""

import sys

from grounding.errors import SettingError
from grounding.server import create_app

try:
    app = create_app()
except SettingError as error:
    sys.exit(f"cannot start: {error}")
