"""Which projects the operator's page shows: some at a time, those at work first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from grounding.jobs.operating.overview import rank_projects
from grounding.jobs.store import JobStore

SHOWN_PROJECTS = 50
"""Projects on one page: with more, neither people nor browsers see anything in it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The projects `names` of a page, of `total` that are known or that have the number `find`.

    `number` counts pages from 1, and `first` projects.
    """

    names: Sequence[str] = ()
    total: int = 0
    number: int = 1
    find: str = ""

    @classmethod
    def of(cls, store: JobStore, words: Mapping[str, str]) -> Listing:
        """Return what an address asks for: one project to `cancel` or to `find`, or a `page`."""
        if asked := words.get("cancel"):
            return cls([asked], 1)
        find = words.get("find", "").strip()
        names = rank_projects(store)
        if find:
            names = [name for name in names if find in (name, name.partition(".")[0])]
        last = max(1, -(-len(names) // SHOWN_PROJECTS))
        number = min(_number(words.get("page", "")), last)
        start = (number - 1) * SHOWN_PROJECTS
        return cls(names[start : start + SHOWN_PROJECTS], len(names), number, find)

    @property
    def first(self) -> int:
        """The number of the first project on the page."""
        return (self.number - 1) * SHOWN_PROJECTS + 1

    @property
    def last(self) -> int:
        """The number of the last project on the page."""
        return self.first + len(self.names) - 1

    @property
    def address(self) -> str:
        """The address of this page, relative to that of the first."""
        return self.page(self.number)

    def page(self, number: int) -> str:
        """Return the address of another page of this listing."""
        words = {"find": self.find, "page": str(number) if number > 1 else ""}
        query = urlencode({name: word for name, word in words.items() if word})
        return f"./?{query}" if query else "./"


def _number(word: str) -> int:
    """Return a page's number; 1 for what is none."""
    return max(1, int(word)) if word.isascii() and word.isdigit() and len(word) < 10 else 1
