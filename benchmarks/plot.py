"""Draws what `make bench` measured: bench-output/results.png.

On the left each ratio is a bar, with its goal as a line across; on the right the cost of a task
beside the model stands over the number of tasks in a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from benchmarks import results

GOALS: Mapping[str, tuple[float, str]] = {
    "cookbook_ratio_shapes": (2, "at least"),
    "cookbook_ratio_28_layers": (4, "at least"),
    "steps_ratio": (2.5, "at least"),
    "tokens_per_step": (1.6, "at least"),
    "tokens_per_step_lists": (1.9, "at least"),
    "ten_labels_ratio": (3, "at most"),
    "second_question_ratio": (0.5, "at most"),
    "interactive_under_load_ratio": (1.8, "at most"),
}
"""The medians that have a goal."""

SIZE = 1400, 520
LEFT, TOP, ROW, LONGEST = 330, 60, 52, 330
"""Where the bars begin, their distance, and the length of the longest one."""

INK, FAINT, REACHED, MISSED, GOAL = "#222222", "#bbbbbb", "#3b7a57", "#b5533c", "#1f4e9c"


def draw(found: Mapping[str, Any]) -> Image.Image:
    """Return the picture of the results."""
    picture = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(picture)
    pen.text((20, 20), f"{found.get('date', '')}, {found.get('machine', '')}", INK, _font(18))
    _draw_ratios(pen, found)
    _draw_tasks(pen, found.get("ms_per_task", {}))
    return picture


def is_reached(name: str, value: float) -> bool:
    """Say whether a median reaches its goal."""
    goal, kind = GOALS[name]
    return value >= goal if kind == "at least" else value <= goal


def _draw_ratios(pen: ImageDraw.ImageDraw, found: Mapping[str, Any]) -> None:
    known = [name for name in GOALS if name in found]
    most = max((max(found[name], GOALS[name][0]) for name in known), default=1)
    for number, name in enumerate(known):
        value, (goal, kind) = found[name], GOALS[name]
        top = TOP + ROW * number
        end, line = (LEFT + LONGEST * one / most for one in (value, goal))
        pen.text((20, top + 2), name.replace("_", " "), INK, _font(16))
        pen.rectangle((LEFT, top, end, top + 22), REACHED if is_reached(name, value) else MISSED)
        pen.line((line, top - 5, line, top + 27), GOAL, 3)
        pen.text((LEFT, top + 24), f"{value:g}, wanted {kind} {goal:g}", INK, _font(13))


def _draw_tasks(pen: ImageDraw.ImageDraw, costs: Mapping[str, float]) -> None:
    left, bottom, step, height = 780, 440, 110, 340
    pen.text((left, TOP - 5), "ms a task beside the model, by tasks in a request", INK, _font(16))
    most = max(costs.values(), default=1)
    places = [
        (left + step * number, bottom - height * cost / most)
        for number, cost in enumerate(costs.values())
    ]
    pen.line((left - 10, bottom, left + step * 5, bottom), FAINT, 2)
    if len(places) > 1:
        pen.line(places, GOAL, 3)
    for (x, y), (size, cost) in zip(places, costs.items(), strict=True):
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), GOAL)
        pen.text((x + 8, y - 20), f"{cost:.1f}", INK, _font(14))
        pen.text((x - 10, bottom + 10), f"{int(size):,}", INK, _font(14))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def main() -> None:
    """Write the picture of what bench-output/results.json has."""
    file = results.OUTPUT / "results.png"
    draw(results.read()).save(file)
    print(f"{file} shows these figures")


if __name__ == "__main__":
    main()
