"""The web server's entry: `gunicorn _wsgi:app`; and that of `label-studio-ml start .`."""

import sys

from grounding.errors import SettingError
from grounding.logs import set_up_logging
from grounding.settings import Settings
from grounding.web.app import create_app

CANNOT_BOOT = 3
"""Exit status at which gunicorn ends, instead of starting the same process again for ever."""

if __name__ == "__main__":
    from grounding.cli.start import run

    run()
else:
    try:
        settings = Settings.load()
        set_up_logging(settings.log_level)
        app = create_app(settings)
    except SettingError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        sys.exit(CANNOT_BOOT)
