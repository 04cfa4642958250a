"""The words for actions on a screen: what labels mean by them, and which label a model's word is.

Labels are people's own words ("Tap", "right click", 「长按」); a model has those that it learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grounding.labelstudio.config.interface import Control, Label, ModelTask
from grounding.labelstudio.config.xml import quote
from grounding.labelstudio.data import fold
from grounding.labelstudio.labels import match
from grounding.queries import ACTIONS, PLACELESS, Screen

_CLICK = ("tap", "touch", "press", "singleclick", "singletap", "点击", "单击", "轻点")
WORDS: dict[str, tuple[str, ...]] = {
    "click": ("click", "leftclick", *_CLICK),
    "left_click": ("leftclick", "click", *_CLICK),
    "right_click": ("rightclick", "contextclick", "右键", "右击", "右键单击", "右键点击"),
    "middle_click": ("middleclick", "中键", "中键点击"),
    "double_click": ("doubleclick", "doubletap", "dblclick", "双击"),
    "triple_click": ("tripleclick", "tripletap", "三击"),
    "long_press": ("longpress", "longclick", "longtap", "pressandhold", "hold", "长按"),
    "swipe": ("swipe", "slide", "scroll", "drag", "滑动", "滚动"),
    "left_click_drag": ("leftclickdrag", "drag", "draganddrop", "swipe", "拖动", "拖拽"),
    "mouse_move": ("mousemove", "hover", "moveto", "move", "移动", "悬停"),
    "scroll": ("scroll", "scrollup", "scrolldown", "swipe", "滚动", "滑动"),
    "hscroll": ("hscroll", "scroll", "swipe", "滚动"),
    "type": ("type", "input", "typetext", "inputtext", "entertext", "write", "输入"),
    "key": ("key", "hotkey", "keypress", "presskey", "shortcut", "按键", "快捷键"),
    "system_button": ("systembutton", "pressbutton", "系统按键"),
    "open": ("open", "openapp", "launch", "打开"),
    "wait": ("wait", "等待"),
    "answer": ("answer", "reply", "回答"),
    "terminate": ("terminate", "finish", "finished", "done", "complete", "stop", "终止", "完成"),
}
"""Each action and the labels for it, folded, the nearest first."""

MEANT = {"click", "tap", "leftclick", "rightclick", "middleclick", "doubleclick", "tripleclick"}
MEANT |= {"doubletap", "longpress", "longclick", "longtap", "swipe", "leftclickdrag", "mousemove"}
MEANT |= {"点击", "单击", "长按", "双击", "滑动", "右键单击"}
"""Labels that mean nothing but what is done on a screen; "open" may be a door."""

_TOUCH = {"tap", "touch", "swipe", "slide", "singletap", "doubletap", "滑动", "轻点"}
_TOUCH |= {*WORDS["long_press"], *WORDS["system_button"], *WORDS["open"]}
_MOUSE = {"leftclick", "drag", "scroll", "hotkey", "shortcut", "拖动", "拖拽", "快捷键"}
_MOUSE |= {w for a in ("right_click", "middle_click", "mouse_move") for w in WORDS[a]}
_MOUSE |= {"doubleclick", "tripleclick", "leftclickdrag", "draganddrop", "hscroll"}

LEAST = 2
"""Labels for actions that make points those of an agent."""


_ALL = {word for words in WORDS.values() for word in words}


def is_action(label: Label) -> bool:
    """Say whether a label is a word for an action."""
    return any(fold(word) in _ALL for word in label.words)


def act(labels: Sequence[Label]) -> bool:
    """Say whether labels are those of an agent: two or more actions, one of them no other thing."""
    words = [label for label in labels if is_action(label)]
    return len(words) >= LEAST and any(_is_meant(label) for label in words)


def _is_meant(label: Label) -> bool:
    return any(fold(word) in MEANT for word in label.words)


def list_only_actions(labels: Sequence[Label]) -> bool:
    """Say whether labels are actions and nothing else."""
    return len(labels) >= LEAST and all(map(is_action, labels))


def find_screen(labels: Sequence[Label], wanted: Screen | None = None) -> Screen | None:
    """Return the kind of screen that the labels' words belong to; None where they leave it open."""
    words = {fold(word) for label in labels for word in label.words}
    touched, moused = len(words & _TOUCH), len(words & _MOUSE)
    if wanted or touched == moused:
        return wanted
    return Screen.MOBILE if touched > moused else Screen.COMPUTER


def list_actions(labels: Sequence[Label], screen: Screen, *, told: bool = False) -> tuple[str, ...]:
    """Return the actions of a screen that the labels are for, and the one that says "none".

    Labels that are no actions, such as "target", are for where to click. With `told`, there is a
    text for actions without a place, so that all of these are allowed too.
    """
    wanted = {name for label in labels for word in label.words if (name := _find(word, screen))}
    wanted = wanted or {ACTIONS[screen][0]}
    wanted |= PLACELESS if told else set()
    return tuple(one for one in ACTIONS[screen] if one in wanted or one == "terminate")


def _find(word: str, screen: Screen) -> str | None:
    """Return the action of a screen that a word is nearest to."""
    folded = fold(word)
    found = [(WORDS[one].index(folded), one) for one in ACTIONS[screen] if folded in WORDS[one]]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def match_action(word: str, labels: Sequence[Label]) -> Label | None:
    """Return the label that an action becomes, None where none fits; the nearest word wins."""
    if label := match(word, labels):
        return label
    names = {fold(text): label for label in reversed(labels) for text in label.words}
    folded = fold(word)
    kinds = [words for words in WORDS.values() if folded in words]
    near = min(kinds, key=lambda words: words.index(folded), default=())
    return next((names[one] for one in near if one in names), None)


def doubts_of_actions(controls: Sequence[Control]) -> Iterator[str]:
    """Yield what to say of points whose labels may be actions, and of what they leave open."""
    for control in controls:
        tag = f'<{control.tag} name="{quote(control.from_name, 20)}">'
        if control.task is not ModelTask.GUI:
            if control.options.zoom:
                yield f'{tag} has model_zoom, which is for model_task="gui"'
            if control.shape and any(map(_is_meant, control.labels)):
                yield f'{tag} has labels for actions; with model_task="gui" they are acted on'
            continue
        here = [c for c in controls if (c.to_name, c.task) == (control.to_name, control.task)]
        labels = [label for one in here for label in one.labels]
        leads = control.shape or not any(one.shape for one in here)
        if leads and find_screen(labels, control.options.screen) is None:
            yield f'{tag}: taken for a phone; model_screen="computer" is for mouse and keyboard'
        others = [label.value for label in control.labels if not is_action(label)]
        if others and len(control.labels) > 1:
            names = ", ".join(quote(name, 20) for name in others)
            yield f"{tag}: no actions, and never given: {names}"
