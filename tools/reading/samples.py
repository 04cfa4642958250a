"""The film and the screens of the example projects: `python -m tools.reading.samples` draws them.

The reading checkpoint answers them rightly, which the tests hold it to.
"""

from __future__ import annotations

from pathlib import Path

from tools.reading.films import film
from tools.reading.pages import Page, page
from tools.shapes.scenes import encode

DEMO = Path(__file__).parents[2] / "grounding" / "demo"

FILM = film(3)
FILM_FILE = DEMO / "films" / "standing-shapes.mp4"

SCREENS: dict[str, tuple[Page, str]] = {
    f"screen-{number}.png": (drawn, drawn.buttons[0].name)
    for number, drawn in enumerate((page(n, "screen") for n in (1, 4, 0)), 1)
}
"""Each screen with the button that its task wants pressed."""


def main() -> None:
    """Write the files."""
    FILM_FILE.write_bytes(FILM.encode())
    for name, (drawn, _) in SCREENS.items():
        (DEMO / "pictures" / name).write_bytes(encode(drawn.draw(), "PNG", 1))


if __name__ == "__main__":
    main()
