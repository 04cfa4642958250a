"""Key frames: the few boxes of a track from which the page makes all others.

Between two key frames the page moves each side of a box evenly from frame to frame. A key frame
that this would give anyway is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grounding.geometry import KeyFrame, between

LOSS = 0.02
"""How far below 1 the IoU of a box with the page's own may be where its key frame is left out."""


def thin(keys: Sequence[KeyFrame], loss: float = LOSS) -> list[KeyFrame]:
    """Return the key frames, in order, that show every one of `keys` with an IoU of 1 - `loss`.

    The first and the last stay, and so does each at which the track ends or begins again. Of the
    others, that which the page would miss by most stays, then the same on each side of it. So what
    is thinned once stays as it is.
    """
    return [key for run in _runs(keys) for key in _thin(run, loss)]


def _runs(keys: Sequence[KeyFrame]) -> Iterator[Sequence[KeyFrame]]:
    """Yield the key frames in runs, each up to where the track is seen no more."""
    start = 0
    for at, key in enumerate(keys):
        if not key.enabled or at == len(keys) - 1:
            yield keys[start : at + 1]
            start = at + 1


def _thin(keys: Sequence[KeyFrame], loss: float) -> list[KeyFrame]:
    kept = {0, len(keys) - 1}
    waiting = [(0, len(keys) - 1)]
    while waiting:
        first, last = waiting.pop()
        ends = keys[first], keys[last]
        missed = [(*_miss(*ends, keys[at]), -at) for at in range(first + 1, last)]
        worst, _, at = max(missed, default=(0.0, 0.0, 0))
        if worst > loss:
            kept.add(-at)
            waiting += [(first, -at), (-at, last)]
    return [keys[at] for at in sorted(kept)]


def _miss(first: KeyFrame, last: KeyFrame, key: KeyFrame) -> tuple[float, float]:
    """Return by how much the page would miss a key frame: in IoU, then in distance."""
    box = between(first, last, key.frame)
    return 1 - box.iou(key.box), box.center.apart(key.box.center, key.box.frame)
