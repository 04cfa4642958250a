"""Groups of values: JSON objects and lists, Python literals, the arguments of calls.

Shape decides: four numbers are a box and two are a point, whatever the key. The key says the
rest: whether it is itself the label ("left eye": [...]), names a place ("bbox_2d"), wraps
("objects"), or holds what is no place at all ("color"). Everything is taken in the order of
the text and only from closed groups, so a cut answer yields nothing that the whole would not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from grounding.qwen.reading.axes import corner_and_size, place_on_axes
from grounding.qwen.reading.fields import (
    Field,
    Name,
    fields_of,
    labels_of,
    scores_in,
    spoken,
)
from grounding.qwen.reading.lenient_json import Parser
from grounding.qwen.reading.matches import Matches, Note, Place, hull
from grounding.qwen.reading.sentences import says_none
from grounding.qwen.reading.values import PLACE_SIZES, Group, Number, String, Value, number_lists
from grounding.qwen.reading.vocabulary import Role, meaning

Numbers = tuple[float, ...]
Children = list[tuple[Group, Name | None]]

UNRANKED = 1_000
"""Beyond the rank of any label key."""


def read_group(group: Group, out: Matches, name: Name | None = None) -> None:
    """Add every place in `group` to `out`; `name` labels those without a label of their own."""
    waiting: Children = [(group, name)]
    while waiting and not out.full:
        current, label = waiting.pop()
        if any(key for key, _ in current.entries):
            children = _Record(current, label, out).read()
        else:
            children = _read_list(current, label, out)
        waiting += reversed(children)


def _read_list(group: Group, name: Name | None, out: Matches) -> Children:
    if group.numbers:
        _add_if_closed(group, group.numbers, name, out)
        return []
    named = _named_list(group)
    if named:
        _add_if_closed(group, named[0], named[1], out)
        return []
    return [(value, name) for _, value in group.entries if isinstance(value, Group)]


def _add_if_closed(group: Group, numbers: Numbers, name: Name | None, out: Matches) -> None:
    if group.closed:
        out.add(numbers, (group.start, group.end), label=name.text if name else None)


def _named_list(group: Group) -> tuple[Numbers, Name] | None:
    """Return what ["cat", 10, 20, 110, 120] and ["cat", [10, 20, 110, 120]] say."""
    if not 2 <= len(group.entries) <= 6:
        return None
    names = labels_of(group)
    rest = [value for _, value in group.entries if not isinstance(value, String)]
    numbers = tuple(v.value for v in rest if isinstance(v, Number))
    if len(rest) == 1 and isinstance(rest[0], Group):
        numbers, rest = rest[0].numbers, []
    if len(names) != 1 or len(numbers) not in PLACE_SIZES or len(rest) not in (0, len(numbers)):
        return None
    return numbers, Name(names[0])


@dataclass(slots=True)
class _Record:
    """A group with keys, being read: its own places, and the groups within that follow it."""

    group: Group
    name: Name | None
    out: Matches
    fields: list[Field] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    children: Children = field(default_factory=list)
    rank: int = UNRANKED
    text: str | None = None
    scores: list[float] = field(default_factory=list)

    def read(self) -> Children:
        """Add the record's own places to the finds, and return the groups within."""
        self.fields = fields_of(self.group)
        for item in self.fields:
            READERS[item.role](self, item)
        if self.group.closed:
            self._emit()
        return self.children

    # What the keys hold

    def on_label(self, item: Field) -> None:
        """A key that holds the label, or the records that carry one."""
        text = spoken(item.value)
        if text is None:
            self.on_wrapper(item)
        elif item.rank < self.rank:
            self.name, self.rank = Name(text, item.span), item.rank

    def on_text(self, item: Field) -> None:
        """A key that holds content; where that is records, they are read as any other."""
        if isinstance(item.value, String):
            self.text = self.text or item.value.text.strip()
        else:
            self._descend(item.value)

    def on_score(self, item: Field) -> None:
        """A key that holds how sure the model says it is."""
        self.scores = self.scores or scores_in(item.value)

    def on_place(self, item: Field) -> None:
        """A key that names a place: its value is one or several, or holds records."""
        places = self._places_in(item)
        self.places += places
        if not places:
            self._descend(item.value)

    def on_wrapper(self, item: Field) -> None:
        """A key that says nothing: the records within are read as if it weren't there."""
        if isinstance(item.value, String):
            self._unpack(item.value)
        else:
            self._descend(item.value)

    def on_other(self, item: Field) -> None:
        """A key that is itself the label of the records it holds."""
        span = item.span if isinstance(item.value, Group) and item.value.opener == "{" else None
        self._descend(item.value, Name(item.key.text.strip(), span))

    def on_attribute(self, item: Field) -> None:
        """A key whose value is no place, whatever it looks like."""

    def _descend(self, value: Value, name: Name | None = None) -> None:
        if isinstance(value, Group) and value.keyed:
            # A record with a place of its own keeps its label to itself.
            self.children.append((value, name or (None if self.places else self.name)))

    def _unpack(self, value: String) -> None:
        """Read JSON that was written as a string; all its finds stand where the string stands."""
        text = value.text.lstrip()
        if text.startswith(("{", "[")):
            inner = Matches()
            read_group(Parser(text, 0).parse(), inner)
            self.out.take(inner, (value.start, value.end))

    # Places

    def _places_in(self, item: Field) -> list[Place]:
        places = self._on_axes(item.value) or places_in(item.value, corners=item.corners)
        if not places and _is_malformed(item.value):
            self.out.drop()
        if item.sizes:
            self.out.warnings.add(Note.XYWH)
            return [(corner_and_size(n) if len(n) == 4 else n, span) for n, span in places]
        return places

    def _on_axes(self, value: Value) -> list[Place]:
        if not isinstance(value, Group) or value.numbers or not value.keyed:
            return []
        axes = {item.folded: item.value for item in fields_of(value) if item.role is Role.AXIS}
        numbers = place_on_axes(axes, self.out) if axes and value.closed else None
        return [(numbers, (value.start, value.end))] if numbers else []

    def _own_axes(self) -> list[Place]:
        """Return the place that x, y and their like among the record's own keys give."""
        axes = {item.folded: item for item in self.fields if item.role is Role.AXIS}
        values = {word: item.value for word, item in axes.items()}
        numbers = place_on_axes(values, self.out) if axes else None
        spans = [item.span for item in axes.values()]
        return [(numbers, (min(spans)[0], max(end for _, end in spans)))] if numbers else []

    def _arguments(self) -> list[Place]:
        """Return the place in the bare arguments of a call: click(700, 88, clicks=2)."""
        bare = [value for key, value in self.group.entries if key is None]
        numbers = tuple(value.value for value in bare if isinstance(value, Number))
        if self.group.opener != "(" or len(numbers) not in (2, 4):
            return []
        return [(numbers, (bare[0].start, bare[-1].end))]

    # Emission

    def _emit(self) -> None:
        places = self.places or self._own_axes() or self._arguments()
        if places:
            self._emit_places(places)
        else:
            self._emit_keyed()

    def _emit_places(self, places: list[Place]) -> None:
        name, count = self._called() or self.name, len(places)
        label = name.text if name else None
        labels = several_labels(self.fields, count) or [label] * count
        for (numbers, span), label, score in zip(places, labels, self._scores(count), strict=True):
            near = hull(span, name.span) if name and name.span and count == 1 else span
            self.out.add(numbers, near, label=label, text=self.text, score=score)

    def _scores(self, count: int) -> list[float | None]:
        if len(self.scores) == count:
            return [*self.scores]
        return [self.scores[0] if len(self.scores) == 1 else None] * count

    def _emit_keyed(self) -> None:
        """Take {"left eye": [...]}: where no key names a place, the keys are the labels."""
        for item in self.fields:
            if item.role in UNNAMED:
                label = self.name.text if self.name else None
            elif item.role in KEYED:
                label = item.key.text.strip()
            else:
                continue
            places = keyed_places(item.value)
            for numbers, span in places:
                self.out.add(numbers, item.span if len(places) == 1 else span, label=label)

    def _called(self) -> Name | None:
        """Return the name of the call: in an agent's answer, the action is the label."""
        called = self.group.name
        if called and meaning(called).role in (Role.OTHER, Role.LABEL):
            return Name(called, (self.group.start - len(called), self.group.end))
        return None


UNNAMED = {Role.WRAPPER, Role.LABEL}
KEYED = {Role.OTHER, Role.AXIS}
DECIDING = {Role.PLACE, Role.WRAPPER, Role.PRESENCE}
READERS = {
    Role.PLACE: _Record.on_place,
    Role.WRAPPER: _Record.on_wrapper,
    Role.LABEL: _Record.on_label,
    Role.TEXT: _Record.on_text,
    Role.OTHER: _Record.on_other,
    Role.AXIS: _Record.on_attribute,
    Role.SCORE: _Record.on_score,
    Role.PRESENCE: _Record.on_attribute,
    Role.ATTRIBUTE: _Record.on_attribute,
}

NESTED = ("[[", "[(", "((", "([")
"""How a list of pairs begins; pairs without a list round them are corners."""


def places_in(value: Value, *, corners: bool) -> list[Place]:
    """Return the places that a value is or lists; with `corners`, two pairs are one box."""
    if isinstance(value, String):
        span = value.start, value.end
        corners = corners or not value.text.lstrip().startswith(NESTED)
        return [(numbers, span) for numbers in number_lists(value.text, corners=corners) or []]
    if not isinstance(value, Group) or value.keyed:
        return []
    lists = _closed_lists(value)
    if corners and [len(numbers) for numbers, _ in lists] == [2, 2]:
        (a, (start, _)), (b, (_, end)) = lists
        return [(a + b, (start, end))]
    return lists


def _closed_lists(group: Group) -> list[Place]:
    lists: list[Place] = []
    waiting = [group]
    while waiting:
        current = waiting.pop()
        if current.numbers and current.closed:
            lists.append((current.numbers, (current.start, current.end)))
        waiting += [v for _, v in reversed(current.entries) if isinstance(v, Group)]
    return lists


def keyed_places(value: Value) -> list[Place]:
    """Return the places under a key that may be anything; a string must have brackets."""
    if isinstance(value, String) and value.text.lstrip()[:1] not in tuple("([<"):
        return []
    return places_in(value, corners=False)


def _is_malformed(value: Value) -> bool:
    if isinstance(value, Group):
        return value.closed and bool(value.entries) and not value.keyed
    return any(character.isdigit() for character in value.text)


def several_labels(fields: list[Field], count: int) -> Sequence[str | None]:
    """Return one label for each of `count` places, where the record lists as many."""
    if count > 1:
        for item in fields:
            labels = labels_of(item.value)
            if item.role is Role.LABEL and len(labels) == count:
                return labels
    return ()


def means_none(group: Group) -> bool:
    """Say whether a group without a place says that there is none: [], {"bbox_2d": null}.

    Keys that name places or presence decide; without them, every value has to be empty.
    """
    if not any(key for key, _ in group.entries):
        return not group.numbers and all(_is_empty(value) for _, value in group.entries)
    fields = fields_of(group)
    deciding = [item for item in fields if item.role in DECIDING]
    deciding = deciding or [item for item in fields if item.role in KEYED]
    return bool(deciding) and all(_is_empty(item.value) for item in deciding)


def _is_empty(value: Value) -> bool:
    if isinstance(value, Group):
        return value.closed and means_none(value)
    if isinstance(value, Number):
        return value.value == 0
    return value.text.lower() in ("", "false") or says_none(value.text)
