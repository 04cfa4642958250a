"""The sample pictures and films over HTTP: what the tasks of `examples/` show.

The browser and the worker fetch them without a password, like any picture on the web.
"""

from __future__ import annotations

from pathlib import Path

from flask import Response, send_from_directory

from grounding import demo

PREFIX = "/examples/"
PICTURES = Path(demo.__file__).parent / "pictures"
FILMS = PICTURES.with_name("films")


def send_picture(name: str) -> Response:
    """Return one sample picture or film, or 404; any page may draw it."""
    response = send_from_directory(FILMS if name.endswith(".mp4") else PICTURES, name)
    # Label Studio's page has another origin, and reads the pixels of what it shows.
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response
