"""Parses one bracketed group, from its opening bracket to its closing one, and repairs it.

Reads JSON, Python literals and the arguments of a call, with the faults that models make: keys
without quotes, quotes inside quotes, lost commas and brackets, full-width punctuation, comments,
dots for "and so on". The parser is iterative with a stack of open groups, and linear in the
length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from grounding.qwen.reading.values import (
    NUMBER,
    Group,
    Key,
    Number,
    String,
    Value,
    Word,
    collect_numbers,
    join_values,
    parse_lone_number,
    parse_number,
    read_marked,
    unescape,
)

MAX_DEPTH = 64
"""Limit of nested brackets; a text with more is no answer."""

OPENERS = {"[": "[", "{": "{", "(": "(", "［": "[", "【": "[", "｛": "{", "（": "("}
CLOSERS = {"]": "[", "}": "{", ")": "(", "］": "[", "】": "[", "｝": "{", "）": "("}
QUOTES = {'"': '"', "'": "'", "“": '”“"', "‘": "’‘'", "「": "」", "`": "`"}
NOT_FINITE = {"nan", "infinity", "inf"}

_PLAIN = r"-?[0-9]{1,12}+(?:\.[0-9]{1,24}+)?+"
# A value between two special tokens or tags, or an unfinished one at the end of the text; a label
# behind which its object is closed lacks its second token.
_MARKED = (
    r"<(?:\|(?:(?:box|quad|point|ref|object_ref)_start|extra_[02])\||box|quad|ref|object_ref)>"
    r"(?!(?<=ref_start\|>)[^<\]}]*+[\]}][^<]*+(?!<\|\w+_end\|>))(?P<marks>[^<]*+)"
    r"(?:(?P<marks_end><\|(?:\w+_end|extra_[13])\|>|</\w++>)|(?:<[^<>]*+)?+\Z)"
)
_STRAY = r"<\|(?:(?:box|quad|point|ref|object_ref)_(?:start|end)|extra_[0-3])\|>"
_AFTER_STRING = r"\s*+(?:[,:}\])]|\Z)"
TOKEN = re.compile(
    rf"""\s*+(?:
    (?P<numbers>[\[(<]\s*+{_PLAIN}(?:\s*+,\s*+{_PLAIN})++\s*+[\])>])
  | "(?P<key>[^"\\\n]*+)"\s*+:
  | "(?P<string>[^"\\\n]*+)"(?={_AFTER_STRING})
  | (?P<marked>{_MARKED})
  | (?P<stray>{_STRAY})
  | (?P<boundary>```|~~~|<(?=[/|A-Za-z]))
  | (?P<open>[\[{{(［｛【（])
  | (?P<close>[\]}})］｝】）])
  | (?P<comma>[,，、;；])
  | (?P<colon>=>|[:：=＝])
  | (?P<quote>["'“‘「`])
  | (?P<comment>//[^\n]*+|\#[^\n]*+|/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/|\Z))
  | (?P<angles>(?:<\s*+\d++\s*+>\s*+)++)
  | (?P<number>{NUMBER}(?![\w.]))
  | (?P<word>[^\s,，、;；:：=＝\[\]{{}}()［］｛｝【】（）"“”<`]++
      (?:[ ]++[^\s,，、;；:：=＝\[\]{{}}()［］｛｝【】（）"“”<`]++)*+)
  | (?P<junk>\S)
  | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
# What may follow the end of a string; a quote followed by anything else is part of the string. In
# an object a comma is followed by the next key, so the comma in "he said "yes", ok" is text.
_KEY = r"""(?:["'“‘][^"'“”:\n]{0,40}["'”’]|\w{1,40}+)\s*+[:：]"""
_END = r"[\]}］｝】]|\Z|```|//|\#"
_AFTER_KEY = re.compile(rf"\s*+(?:[,，、;；:：=＝)）]|{_END}|{_KEY}|[\[{{［｛]|(?<=\s)[\"'“‘])")
_AFTER_ITEM = re.compile(rf"\s*+(?:[,，、;；:：=＝)）]|{_END}|{_KEY})")
_AFTER_FIELD = re.compile(
    rf"\s*+(?:[,，、;；]\s*+(?:[\"'“‘{{｛.…]|{_END}|{_KEY})|{_END}|{_KEY}|[)）])"
)
_COLON = re.compile(r"\s*+[:：=＝]")
_NEXT_KEY = re.compile(rf"\s*+[,，]\s*+{_KEY}")
_CANDIDATES = {
    quote: re.compile(rf"\\.|[{re.escape(ends)}]", re.DOTALL) for quote, ends in QUOTES.items()
}
_DIGITS = re.compile(_PLAIN)
_ANGLE = re.compile(r"\d+")


class Parser:
    """Parses one group of `text` from the bracket at `start`.

    After `parse`, `pos` is the offset behind the group, and `ended` whether the text ended
    inside it.
    """

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.pos = start
        self.stack: list[Group] = []
        self.last = ""
        self.ended = False
        self.repaired = False
        self._open(OPENERS[text[start]], start)
        self.pos = start + 1
        self.group = self.stack[0]

    def parse(self) -> Group:
        """Parse to the end of the group and return it; never raises."""
        while self.stack and (match := TOKEN.match(self.text, self.pos)):
            self.pos = match.end()
            HANDLERS[match.lastgroup or "end"](self, match)
        self.group.repaired = self.repaired
        return self.group

    # Values

    def _add_value(self, value: Value) -> None:
        top = self.stack[-1]
        if self.last == "value":
            self.repaired = True
            self._take_key(top)
        top.entries.append((top.key, value))
        top.key = None
        self.last = "value"

    def _take_key(self, top: Group) -> None:
        """Take a text of an object that a value follows as its key: the colon is lost."""
        if top.opener == "{" and top.entries and top.key is None:
            key, text = top.entries[-1]
            if key is None and isinstance(text, String):
                top.entries.pop()
                self._add_key(text)

    def _on_numbers(self, match: re.Match[str]) -> None:
        start, end = match.span("numbers")
        values = tuple(map(float, _DIGITS.findall(self.text, start, end)))
        self._add_value(Group(self.text[start], start, end, closed=True, numbers=values))

    def _on_key(self, match: re.Match[str]) -> None:
        start, end = match.span("key")
        if self.last == "value":
            self.repaired = True
        self._add_key(String(match["key"], start - 1, end + 1))

    def _on_string(self, match: re.Match[str]) -> None:
        start, end = match.span("string")
        self._add_value(String(match["string"], start - 1, end + 1))

    def _on_number(self, match: re.Match[str]) -> None:
        self._add_value(
            Number(parse_number(match["number"]), match["number"], *match.span("number"))
        )

    def _on_word(self, match: re.Match[str]) -> None:
        text = match["word"]
        if text.lower() in NOT_FINITE:
            return self._add_value(Number(float("nan"), text, *match.span("word")))
        if text.strip(".…") == "":
            self.repaired = True
            return None
        pixels = parse_lone_number(text)
        if pixels is not None:
            return self._add_value(Number(pixels, text, *match.span("word")))
        self._add_value(self._join_number(Word(text, *match.span("word"))))

    def _join_number(self, word: Word) -> Word:
        """Return a word with the number in front of it, as in {date: 1 May}; a key has none."""
        entries = self.stack[-1].entries
        if self.last != "value" or _COLON.match(self.text, self.pos) or entries[-1][0] is None:
            return word
        number = entries[-1][1]
        if not isinstance(number, Number) or self.text[number.end : word.start].strip():
            return word
        self.stack[-1].key = entries.pop()[0]
        self.last = "colon"
        return Word(self.text[number.start : word.end], number.start, word.end)

    def _on_angles(self, match: re.Match[str]) -> None:
        start, end = match.span("angles")
        values = tuple(map(parse_number, _ANGLE.findall(match["angles"])))
        self._add_value(Group("<", start, end, closed=True, numbers=values))

    def _on_quote(self, match: re.Match[str]) -> None:
        start = match.start("quote")
        end, text = self._read_string(start)
        self.pos = end
        self._add_value(String(text, start, end))

    def _on_marked(self, match: re.Match[str]) -> None:
        if not self._needs_marked():
            self._on_boundary(match)
        elif match["marks_end"] is None:
            self._on_end(match)
        else:
            self.repaired = True
            self._add_value(read_marked(match["marks"], *match.span("marked")))

    def _on_stray(self, match: re.Match[str]) -> None:
        """Skip a special token without its counterpart in an object; elsewhere stop there."""
        if any(group.opener == "{" for group in self.stack):
            self.repaired = True
        else:
            self._on_boundary(match)

    def _needs_marked(self) -> bool:
        """Return whether a value between tags belongs to the group, and not to the text behind."""
        if self.last == "value":
            value = self.stack[-1].entries[-1][1]
            return isinstance(value, String | Group) and self.text[value.end - 1] == ">"
        return len(self.stack) > 1 or self.stack[-1].opener == "{"

    # Punctuation

    def _on_comma(self, match: re.Match[str]) -> None:
        self._note_full_width(match)
        self.last = "comma"

    def _on_colon(self, match: re.Match[str]) -> None:
        self._note_full_width(match)
        entries = self.stack[-1].entries
        if entries and entries[-1][0] is None and not isinstance(entries[-1][1], Group):
            key = entries.pop()[1]
            if isinstance(key, Word) and self.stack[-1].opener != "(":
                self.repaired = True
            self._add_key(key)  # type: ignore[arg-type]

    def _add_key(self, key: Key) -> None:
        top = self.stack[-1]
        if top.opener == "[" and top.entries and _is_record(top.entries[-1][1]):
            self.stack.append(top.entries[-1][1])  # type: ignore[arg-type]
            self.repaired = True
        self.stack[-1].key = key
        self.stack[-1].keyed = True
        self.last = "colon"

    def _on_open(self, match: re.Match[str]) -> None:
        self._note_full_width(match)
        start = match.start("open")
        opener = OPENERS[self.text[start]]
        if self._brace_was_lost(opener):
            self.pos = start
            self.repaired = True
            self._pop(closed=True)
            return
        if len(self.stack) == MAX_DEPTH:
            self._stop()
        else:
            self._open(opener, start)

    def _brace_was_lost(self, opener: str) -> bool:
        """Return whether an object begins where the current object needs its next key."""
        top = self.stack[-1]
        waits = top.opener == "{" and top.key is None and bool(top.entries)
        return opener == "{" and waits and all(key is not None for key, _ in top.entries)

    def _open(self, opener: str, start: int) -> None:
        group = Group(opener, start)
        if self.stack:
            self._add_value(group)
        self.stack.append(group)
        self.last = "open"

    def _on_close(self, match: re.Match[str]) -> None:
        self._note_full_width(match)
        opener = CLOSERS[self.text[match.start("close")]]
        if self.last == "comma":
            self.repaired = True
        if self._closes(opener):
            self._pop(closed=True)
        elif self._is_stray(opener):
            self.repaired = True
        elif any(group.opener == opener for group in self.stack):
            self._close_up_to(opener)
        else:
            self.repaired = True

    def _closes(self, opener: str) -> bool:
        top = self.stack[-1].opener
        return top == opener or (top != "{" and opener != "{")

    def _is_stray(self, opener: str) -> bool:
        """Return whether the list of records would end inside one, before its next key."""
        if opener == "{" or self.last != "value" or not self._is_whole():
            return False
        outer = [group.opener for group in self.stack[:-1]]
        return "{" not in outer and bool(_NEXT_KEY.match(self.text, self.pos))

    def _close_up_to(self, opener: str) -> None:
        """Close the nearest group of `opener`, and the groups inside it whose bracket is lost."""
        self.repaired = True
        while self.stack[-1].opener != opener:
            self._pop(closed=self._is_whole())
        self._pop(closed=True)

    def _is_whole(self) -> bool:
        """Return whether the top group lacks only its brace; a list of numbers may lack more."""
        return self.stack[-1].opener == "{" and self.stack[-1].key is None

    def _pop(self, *, closed: bool) -> None:
        group = self.stack.pop()
        group.closed = closed
        group.end = self.pos
        self.last = "value"
        if not group.keyed:
            group.numbers = collect_numbers(group)
            return
        self.repaired |= join_values(group)
        if self.stack:
            self.stack[-1].keyed = True

    # Ends

    def _on_boundary(self, match: re.Match[str]) -> None:
        """Stop in front of a fence or tag.

        Text follows, so closing brackets were lost and not cut, except where a value is missing.
        """
        self.pos = match.start(match.lastgroup or 0)
        self.repaired = True
        while self.stack:
            self.ended |= self._is_interrupted()
            self._pop(closed=self._is_whole())

    def _is_interrupted(self) -> bool:
        """Return whether the top group needs a value, or may need more numbers."""
        top = self.stack[-1]
        return top.key is not None or bool(top.entries and isinstance(top.entries[-1][1], Number))

    def _on_end(self, match: re.Match[str]) -> None:
        self.ended = True
        self._stop()

    def _stop(self) -> None:
        self.pos = len(self.text)
        while self.stack:
            self._pop(closed=False)

    def _on_junk(self, match: re.Match[str]) -> None:
        self.repaired = True

    def _note_full_width(self, match: re.Match[str]) -> None:
        if self.text[match.end() - 1] > "\x7f":
            self.repaired = True

    # Strings

    def _read_string(self, start: int) -> tuple[int, str]:
        """Return the end of the string that opens at `start`, and its text."""
        quote = self.text[start]
        if quote > "\x7f":
            self.repaired = True
        top = self.stack[-1]
        after = _AFTER_ITEM
        if top.opener == "{":
            after = _AFTER_FIELD if top.key else _AFTER_KEY
        for match in _CANDIDATES[quote].finditer(self.text, start + 1):
            if match[0][0] != "\\" and after.match(self.text, match.end()):
                return match.end(), self._decode(start + 1, match.start())
        return len(self.text), self._decode(start + 1, len(self.text))

    def _decode(self, start: int, end: int) -> str:
        raw = self.text[start:end]
        if "\n" in raw:
            self.repaired = True
        if "\\" not in raw:
            return raw
        plain = unescape(raw)
        self.repaired |= plain is None
        return raw if plain is None else plain


def _is_record(value: Value) -> bool:
    return isinstance(value, Group) and value.opener == "{" and value.keyed


HANDLERS: dict[str, Callable[[Parser, re.Match[str]], None]] = {
    "numbers": Parser._on_numbers,
    "key": Parser._on_key,
    "string": Parser._on_string,
    "marked": Parser._on_marked,
    "stray": Parser._on_stray,
    "boundary": Parser._on_boundary,
    "open": Parser._on_open,
    "close": Parser._on_close,
    "comma": Parser._on_comma,
    "colon": Parser._on_colon,
    "quote": Parser._on_quote,
    "comment": Parser._on_junk,
    "angles": Parser._on_angles,
    "number": Parser._on_number,
    "word": Parser._on_word,
    "junk": Parser._on_junk,
    "end": Parser._on_end,
}
