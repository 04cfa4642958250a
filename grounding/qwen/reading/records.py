"""Reads bracketed groups: JSON objects and lists, Python literals, arguments of calls.

The count of numbers decides the shape: four are a box, two a point, whatever the key. The key
decides the rest: it is the label itself ("left eye": [...]), names a place ("bbox_2d"), wraps
records ("objects"), or holds no place at all ("color"). Matches follow the order of the text.
Only closed groups count, so that a cut answer yields no match that the whole answer lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from grounding.qwen.reading.fields import (
    Field,
    Name,
    Role,
    classify_key,
    convert_corner_and_size,
    is_constant,
    list_fields,
    list_labels,
    read_axes,
    read_label,
    read_scores,
)
from grounding.qwen.reading.lenient_json import Parser
from grounding.qwen.reading.matches import Matches, Note, Place, is_absent, merge_spans
from grounding.qwen.reading.sentences import says_none
from grounding.qwen.reading.values import (
    PLACE_SIZES,
    Group,
    Key,
    Number,
    String,
    Value,
    join_pairs,
    parse_lone_number,
    read_keyed_places,
    read_places,
)

Numbers = tuple[float, ...]
Children = list[tuple[Group, Name | None]]

DIGITS = "0123456789"
UNRANKED = 1_000
"""Above the rank of every label key."""


def read_group(group: Group, out: Matches, name: Name | None = None) -> None:
    """Add every place in `group` to `out`; `name` labels places without their own label."""
    waiting: Children = [(group, name)]
    while waiting and not out.full:
        current, label = waiting.pop()
        if any(key for key, _ in current.entries):
            records = [_Record(part, label, out) for part in _split_record(current)]
            children = [child for record in records for child in record.read()]
        else:
            children = _read_list(current, label, out)
        waiting += reversed(children)


def _split_record(group: Group) -> list[Group]:
    """Return a group as one or more records: a new one begins where a key is repeated.

    Models write {"name": "a", "bbox": [...], "name": "b", "bbox": [...]} for two objects. Without
    a second name, both boxes belong to one record. A record that another follows is complete.
    """
    if len({key.text.rstrip(DIGITS) for key, _ in group.entries if key}) == len(group.entries):
        return [group]
    keys = [_strip_index(key) if key else None for key, _ in group.entries]
    counts = Counter(keys)
    repeated = [key for key in keys if key and counts[key] > 1]
    roles = {classify_key(key).role for key in repeated}
    whole = roles & {Role.PLACE, Role.AXIS} and not roles <= {Role.PLACE, Role.AXIS}
    if not whole and not (repeated and _is_cut_behind_a_record(group, keys)):
        return [group]
    starts = [index for index, key in enumerate(keys) if key == repeated[0]]
    starts[0] = 0
    parts = [group.entries[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    return [
        replace(
            group,
            start=part[0][1].start,
            closed=group.closed or part is not parts[-1],
            entries=part,
        )
        for part in parts
    ]


def _is_cut_behind_a_record(group: Group, keys: list[str | None]) -> bool:
    """Return whether a text ends inside the record behind a whole one.

    The first key is then there twice, and both a name and a place stand before the second one.
    """
    if group.closed or keys.count(keys[0]) < 2:
        return False
    roles = {classify_key(key).role for key in keys[: keys.index(keys[0], 1)] if key}
    return Role.LABEL in roles and bool(roles & {Role.PLACE, Role.AXIS})


def _strip_index(key: Key) -> str:
    """Return a key in folded form; for a place or label without its number: bbox_2 is bbox."""
    meaning = classify_key(key.text)
    numbered = meaning.role in (Role.LABEL, Role.PLACE)
    return meaning.folded.rstrip(DIGITS) if numbered else meaning.folded


def _read_list(group: Group, name: Name | None, out: Matches) -> Children:
    if group.numbers:
        _add_if_closed(group, group.numbers, name, out)
        return []
    named = _read_named_list(group)
    if named:
        _add_if_closed(group, named[0], named[1], out)
        return []
    return [(value, name) for _, value in group.entries if isinstance(value, Group)]


def _add_if_closed(group: Group, numbers: Numbers, name: Name | None, out: Matches) -> None:
    if group.closed:
        out.add(numbers, (group.start, group.end), label=name.text if name else None)


def _read_named_list(group: Group) -> tuple[Numbers, Name] | None:
    """Return the place and label in ["cat", 10, 20, 110, 120] or ["cat", [10, 20, 110, 120]]."""
    if not 2 <= len(group.entries) <= 6:
        return None
    names = list_labels(group)
    rest = [value for _, value in group.entries if not isinstance(value, String)]
    numbers = tuple(v.value for v in rest if isinstance(v, Number))
    if len(rest) == 1 and isinstance(rest[0], Group):
        numbers, rest = rest[0].numbers, []
    if len(names) != 1 or len(numbers) not in PLACE_SIZES or len(rest) not in (0, len(numbers)):
        return None
    return numbers, Name(names[0])


@dataclass(slots=True)
class _Record:
    """Reads one group with keys: its own places, and the groups inside it (its children)."""

    group: Group
    name: Name | None
    out: Matches
    fields: list[Field] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    outlines: list[Place] = field(default_factory=list)
    children: Children = field(default_factory=list)
    rank: int = UNRANKED
    text: str | None = None
    scores: list[float] = field(default_factory=list)

    def read(self) -> Children:
        """Add the record's own places to the matches, and return its children.

        The record's label is theirs too, unless it belongs to a place of the record itself.
        """
        self.fields = list_fields(self.group)
        for item in self.fields:
            READERS[item.role](self, item)
        if self.group.closed:
            self._add_matches()
        shared = None if self.places else self.name
        return [(child, name or shared) for child, name in self.children]

    # One method for each role of a key

    def read_label(self, item: Field) -> None:
        """Take a label, or read the records under a key such as "objects"."""
        text = read_label(item.value)
        if text is None:
            self.read_wrapper(item)
        elif item.rank < self.rank:
            self.name, self.rank = Name(text, item.span), item.rank

    def read_text(self, item: Field) -> None:
        """Take content (OCR, a description); records inside it are read like others."""
        if isinstance(item.value, Group):
            self._descend(item.value)
        elif not is_constant(item.value):
            self.text = self.text or item.value.text.strip() or None

    def read_score(self, item: Field) -> None:
        """Take the scores that the model wrote."""
        self.scores = self.scores or read_scores(item.value)

    def read_place(self, item: Field) -> None:
        """Take the places under a key for places, else read the records inside it."""
        places = self._read_places(item)
        if item.polygon:
            self.outlines += places
        else:
            self.places += places
        is_cut = item.polygon and isinstance(item.value, Group) and not item.value.closed
        if not places and not is_cut:
            self._descend(item.value)

    def read_wrapper(self, item: Field) -> None:
        """Read the records inside a wrapper; its key is no label."""
        if isinstance(item.value, String):
            self._unpack(item.value)
        else:
            self._descend(item.value)

    def read_other(self, item: Field) -> None:
        """Read the records under any other key; the key is their label."""
        span = item.span if isinstance(item.value, Group) and item.value.opener == "{" else None
        self._descend(item.value, Name(item.name, span))

    def read_attribute(self, item: Field) -> None:
        """Ignore a value, whatever it looks like; a text with its place is of a form's field."""
        if _list_roles(item.value) >= {Role.PLACE, Role.TEXT}:
            self.read_other(item)

    def read_presence(self, item: Field) -> None:
        """Read what is found under a key such as "detected" or "total"; ignore a number there."""
        if Role.PLACE in _list_roles(item.value):
            self.read_other(item)
        else:
            self.read_wrapper(item)

    def skip(self, item: Field) -> None:
        """Leave an axis to the place that it is a part of."""

    def _descend(self, value: Value, name: Name | None = None) -> None:
        if isinstance(value, Group) and value.keyed:
            self.children.append((value, name))

    def _unpack(self, value: String) -> None:
        """Read JSON that was written as a string; its matches get the span of the string."""
        text = value.text.lstrip()
        if text.startswith(("{", "[")):
            inner = Matches()
            read_group(Parser(text, 0).parse(), inner)
            self.out.merge_at(inner, (value.start, value.end))

    # Places

    def _read_places(self, item: Field) -> list[Place]:
        places = (
            self._read_axes(item.value)
            or self._read_vertices(item)
            or read_places(item.value, corners=item.corners, polygon=item.polygon)
        )
        if not places and _is_malformed(item.value):
            self.out.reject()
        if item.sizes:
            self.out.warnings.add(Note.XYWH)
            return [(convert_corner_and_size(n) if len(n) == 4 else n, span) for n, span in places]
        return places

    def _read_vertices(self, item: Field) -> list[Place]:
        """Return the box in a list of points such as {"x": 10, "y": 20}."""
        if not isinstance(item.value, Group) or not (item.corners or item.polygon):
            return []
        inner = [value for _, value in item.value.entries]
        vertices = [place for value in inner for place in self._read_axes(value)]
        if len(vertices) < 2 or len(vertices) < len(inner):
            return []
        return join_pairs(vertices, item.polygon)

    def _read_axes(self, value: Value) -> list[Place]:
        if not isinstance(value, Group) or value.numbers or not value.keyed:
            return []
        axes = {item.folded: item.value for item in list_fields(value) if item.role is Role.AXIS}
        numbers = read_axes(axes, self.out) if axes and value.closed else None
        return [(numbers, (value.start, value.end))] if numbers else []

    def _read_own_axes(self) -> list[Place]:
        """Return the place in keys such as x and y of the record itself."""
        axes = {item.folded: item for item in self.fields if item.role is Role.AXIS}
        values = {word: item.value for word, item in axes.items()}
        numbers = read_axes(values, self.out) if axes else None
        spans = [item.span for item in axes.values()]
        return [(numbers, (min(spans)[0], max(end for _, end in spans)))] if numbers else []

    def _read_arguments(self) -> list[Place]:
        """Return the places without a key: click(700, 88, clicks=2), {"label": "a", [1, 2]}."""
        bare = [value for key, value in self.group.entries if key is None]
        lists = [v for v in bare if isinstance(v, Group) and v.closed and v.numbers]
        if lists and self.group.opener == "{":
            return [(value.numbers, (value.start, value.end)) for value in lists]
        numbers = tuple(value.value for value in bare if isinstance(value, Number))
        if self.group.opener != "(" or len(numbers) not in (2, 4):
            return []
        return [(numbers, (bare[0].start, bare[-1].end))]

    # Adding matches

    def _add_matches(self) -> None:
        places = self.places or self._read_own_axes() or self.outlines or self._read_arguments()
        if places:
            self._add_places(places)
        else:
            self._add_keyed()

    def _add_places(self, places: list[Place]) -> None:
        name, count = self._read_call_name() or self.name, len(places)
        label = name.text if name else None
        labels = pair_labels(self.fields, count) or [label] * count
        for (numbers, span), label, score in zip(
            places, labels, self._pair_scores(count), strict=True
        ):
            near = merge_spans(span, name.span) if name and name.span and count == 1 else span
            self.out.add(numbers, near, label=label, text=self.text, score=score)

    def _pair_scores(self, count: int) -> list[float | None]:
        if len(self.scores) == count:
            return [*self.scores]
        return [self.scores[0] if len(self.scores) == 1 else None] * count

    def _add_keyed(self) -> None:
        """Add the places of {"left eye": [...]}: where no key names a place, keys are labels."""
        for item in self.fields:
            if item.role in UNNAMED:
                label = self.name.text if self.name else None
            elif item.role in KEYED:
                label = item.name
            else:
                continue
            places = read_keyed_places(item.value)
            for numbers, span in places:
                self.out.add(numbers, item.span if len(places) == 1 else span, label=label)

    def _read_call_name(self) -> Name | None:
        """Return the function's name of a call: in an agent's answer, the action is the label."""
        called = self.group.name
        if called and classify_key(called).role in (Role.OTHER, Role.LABEL):
            return Name(called, (self.group.start - len(called), self.group.end))
        return None


UNNAMED = {Role.WRAPPER, Role.LABEL}
KEYED = {Role.OTHER, Role.AXIS}
DECIDING = {Role.PLACE, Role.WRAPPER, Role.PRESENCE}
READERS = {
    Role.PLACE: _Record.read_place,
    Role.WRAPPER: _Record.read_wrapper,
    Role.LABEL: _Record.read_label,
    Role.TEXT: _Record.read_text,
    Role.OTHER: _Record.read_other,
    Role.AXIS: _Record.skip,
    Role.SCORE: _Record.read_score,
    Role.PRESENCE: _Record.read_presence,
    Role.ATTRIBUTE: _Record.read_attribute,
}


def _list_roles(value: Value) -> set[Role]:
    """Return the roles of the keys of an object; none of any other value."""
    keys = (key for key, _ in value.entries) if isinstance(value, Group) else ()
    return {classify_key(key.text).role for key in keys if key}


def _is_malformed(value: Value) -> bool:
    if isinstance(value, Group):
        return value.closed and bool(value.entries) and not value.keyed
    return any(character.isdigit() for character in value.text)


def pair_labels(fields: list[Field], count: int) -> Sequence[str | None]:
    """Return `count` labels where the record has a list of as many, else none."""
    if count > 1:
        for item in fields:
            labels = list_labels(item.value)
            if item.role is Role.LABEL and len(labels) == count:
                return labels
    return ()


def means_none(group: Group) -> bool:
    """Return whether a group says that nothing is there: [], {"bbox_2d": null}, [-1, -1].

    The keys for places, wrappers and presence decide. Without such keys, all values under keys
    of no known meaning must be empty, else all lists.
    """
    if group.numbers:
        return is_absent(group.numbers)
    if not any(key for key, _ in group.entries):
        return all(_is_empty(value) for _, value in group.entries)
    fields = list_fields(group)
    deciding = [item for item in fields if item.role in DECIDING]
    deciding = deciding or [item for item in fields if item.role in KEYED]
    deciding = deciding or [item for item in fields if isinstance(item.value, Group)]
    return bool(deciding) and all(_is_empty(item.value) for item in deciding)


def _is_empty(value: Value) -> bool:
    if isinstance(value, Group):
        return value.closed and means_none(value)
    number = parse_lone_number(value.text)
    if number is not None:
        return is_absent((number,))
    return value.text.lower() in ("", "false") or says_none(value.text)
