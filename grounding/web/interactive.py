"""One request of an annotator, and the words back: everything of it but the queue.

The page shows none of our errors, so whatever happens is told in the config's status area. What
stands on the page already, and how much of an answer is wanted, is settled here and not in the
job, so that the same question has the same answer and is put to the model once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.jobs.store import Outcome
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.controls.base import Region
from grounding.labelstudio.interactive.commands import is_forget
from grounding.labelstudio.interactive.context import read_request
from grounding.labelstudio.interactive.existing import (
    Page,
    drop_existing,
    group_regions,
    read_page,
    with_new_ids,
)
from grounding.labelstudio.interactive.intent import Intent
from grounding.labelstudio.interactive.limits import apply_limits, read_limits
from grounding.labelstudio.interactive.status import explain_failure, summarize, write_status
from grounding.labelstudio.places import Result

FORGOTTEN = "the prompt is forgotten"
ONLY_NOT_HERE = "click on what you want first; a click with Alt says what you do not want"


@dataclass(frozen=True, slots=True)
class InteractiveRequest:
    """What an annotator asked under a config, for the model version `version`."""

    config: LabelConfig
    version: str
    sent: Sequence[Result]
    wish: Intent
    context: Mapping[str, Any]

    @classmethod
    def read(cls, context: object, config: LabelConfig, version: str) -> InteractiveRequest:
        """Return what `context` asks; `RequestError` `context_invalid` where it cannot be read."""
        request = read_request(context, config)
        return cls(config, version, request.results, request.intent, request.reduced)

    @property
    def forgets(self) -> bool:
        """Whether it only asks to be offered the last prompt no more."""
        return self.wish.typed and is_forget(self.wish.phrase or "")

    @property
    def asks(self) -> bool:
        """Whether there is anything to put to the model."""
        return bool(self.wish.controls) and not self.forgets

    @property
    def prompt(self) -> str | None:
        """The prompt to keep for the next task, empty to forget it; None where none was typed."""
        area = self.config.memory()
        if area is None or not self.wish.typed or self.wish.from_name != area.name:
            return None
        return "" if self.forgets else self.wish.phrase or ""

    def said(self, word: str) -> dict[str, Any]:
        """Return an entry without a region that says `word`; with an empty one, nothing."""
        spoken = write_status(self.config, word) if word else []
        return {"result": spoken, "model_version": self.version}

    def idle(self) -> str:
        """Return the word for a request that asks nothing: most of those are none of ours."""
        if self.forgets:
            return FORGOTTEN
        return ONLY_NOT_HERE if any(r.get("is_positive") is False for r in self.sent) else ""

    def page(self, task: object) -> Page:
        """Return what is on the page of the annotator who asks about `task`."""
        return read_page(task if isinstance(task, Mapping) else {}, self.sent)

    def answer(self, page: Page, outcome: Outcome | None, late: str) -> tuple[dict[str, Any], str]:
        """Return the entry for a task, and what it says of itself.

        `outcome` is what came of the task's job, or None where it is not finished: `late` says
        why.
        """
        if outcome is None:
            return self.said(late), late
        if outcome.prediction is None:
            word = explain_failure(outcome.code, outcome.reason)
            return self.said(word), word
        result, word = self._fitted(outcome.prediction["result"], page)
        told = {"result": result + write_status(self.config, word), "model_version": self.version}
        return {**outcome.prediction, **told}, word

    def _fitted(self, result: Sequence[Region], page: Page) -> tuple[list[Region], str]:
        fresh = drop_existing(with_new_ids(result), page, self.config)
        within = apply_limits(fresh, read_limits(page.results))
        left_out = {
            "stand already": len(group_regions(result)) - len(group_regions(fresh)),
            "below the score threshold": within.too_low,
            "beyond max_regions": within.too_many,
        }
        return within.result, summarize(len(group_regions(within.result)), left_out)
