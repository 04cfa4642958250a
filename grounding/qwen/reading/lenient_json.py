"""One bracketed group, from its opening bracket to its closing one, mended on the way.

Reads JSON, Python literals and the arguments of a call, and what models make of them: keys
without quotes, quotes within quotes, lost commas and brackets, full-width punctuation,
comments, dots for "and so on". Tokens are taken one by one and open groups kept on a stack,
so depth costs nothing and no character is looked at more than a few times.
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
    lone_number,
    number,
)

MAX_DEPTH = 64
"""Open brackets within brackets beyond which a text is no answer."""

OPENERS = {"[": "[", "{": "{", "(": "(", "［": "[", "【": "[", "｛": "{", "（": "("}
CLOSERS = {"]": "[", "}": "{", ")": "(", "］": "[", "】": "[", "｝": "{", "）": "("}
QUOTES = {'"': '"', "'": "'", "“": '”“"', "‘": "’‘'", "「": "」", "`": "`"}
CONSTANTS = {"null", "none", "true", "false", "nan", "infinity", "inf"}
NOT_FINITE = {"nan", "infinity", "inf"}

_PLAIN = r"-?[0-9]{1,12}+(?:\.[0-9]{1,24}+)?+"
_AFTER_STRING = r"\s*+(?:[,:}\])]|\Z)"
TOKEN = re.compile(
    rf"""\s*+(?:
    (?P<numbers>[\[(]\s*+{_PLAIN}(?:\s*+,\s*+{_PLAIN})++\s*+[\])])
  | "(?P<key>[^"\\\n]*+)"\s*+:
  | "(?P<string>[^"\\\n]*+)"(?={_AFTER_STRING})
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
# What may follow a string that is over; any other quote stands within it. In an object, a comma
# is followed by the next key, so the comma after the word in "he said "yes", ok" ends nothing.
_KEY = r"""(?:["'“‘][^"'“”:\n]{0,40}["'”’]|\w{1,40}+)\s*+[:：]"""
_END = r"[\]}］｝】]|\Z|```|//|\#"
_AFTER_ITEM = re.compile(rf"\s*+(?:[,，、;；:：=＝)）]|{_END}|{_KEY})")
_AFTER_FIELD = re.compile(
    rf"\s*+(?:[,，、;；]\s*+(?:[\"'“‘{{｛.…]|{_END}|{_KEY})|{_END}|{_KEY}|[)）])"
)
_CANDIDATES = {
    quote: re.compile(rf"\\.|[{re.escape(ends)}]", re.DOTALL) for quote, ends in QUOTES.items()
}
_DIGITS = re.compile(_PLAIN)
_ANGLE = re.compile(r"\d+")


class Parser:
    """Reads one group of `text` from the bracket at `start`.

    `pos` is then where the group ended, and `ended` says that it ended too early.
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
        """Read to the end of the group and return it; never raises."""
        while self.stack and (match := TOKEN.match(self.text, self.pos)):
            self.pos = match.end()
            HANDLERS[match.lastgroup or "end"](self, match)
        self.group.repaired = self.repaired
        return self.group

    # Values

    def _value(self, value: Value) -> None:
        if self.last == "value":
            self.repaired = True
        top = self.stack[-1]
        top.entries.append((top.key, value))
        top.key = None
        self.last = "value"

    def _on_numbers(self, match: re.Match[str]) -> None:
        start, end = match.span("numbers")
        values = tuple(map(float, _DIGITS.findall(self.text, start, end)))
        self._value(Group(self.text[start], start, end, closed=True, numbers=values))

    def _on_key(self, match: re.Match[str]) -> None:
        start, end = match.span("key")
        if self.last == "value":
            self.repaired = True
        self._key(String(match["key"], start - 1, end + 1))

    def _on_string(self, match: re.Match[str]) -> None:
        start, end = match.span("string")
        self._value(String(match["string"], start - 1, end + 1))

    def _on_number(self, match: re.Match[str]) -> None:
        self._value(Number(number(match["number"]), match["number"], *match.span("number")))

    def _on_word(self, match: re.Match[str]) -> None:
        text = match["word"]
        if text.lower() in NOT_FINITE:
            return self._value(Number(float("nan"), text, *match.span("word")))
        if text.strip(".…") == "":
            self.repaired = True
            return None
        pixels = lone_number(text)
        if pixels is not None:
            return self._value(Number(pixels, text, *match.span("word")))
        self._value(Word(text, *match.span("word")))

    def _on_angles(self, match: re.Match[str]) -> None:
        start, end = match.span("angles")
        values = tuple(map(number, _ANGLE.findall(match["angles"])))
        self._value(Group("<", start, end, closed=True, numbers=values))

    def _on_quote(self, match: re.Match[str]) -> None:
        start = match.start("quote")
        end, text = self._string_from(start)
        self.pos = end
        self._value(String(text, start, end))

    # Punctuation

    def _on_comma(self, match: re.Match[str]) -> None:
        self._full_width(match)
        self.last = "comma"

    def _on_colon(self, match: re.Match[str]) -> None:
        self._full_width(match)
        entries = self.stack[-1].entries
        if entries and entries[-1][0] is None and not isinstance(entries[-1][1], Group):
            key = entries.pop()[1]
            if isinstance(key, Word) and self.stack[-1].opener != "(":
                self.repaired = True
            self._key(key)  # type: ignore[arg-type]

    def _key(self, key: Key) -> None:
        self.stack[-1].key = key
        self.stack[-1].keyed = True
        self.last = "colon"

    def _on_open(self, match: re.Match[str]) -> None:
        self._full_width(match)
        start = match.start("open")
        opener = OPENERS[self.text[start]]
        if self._brace_was_lost(opener):
            self.pos = start
            self.repaired = True
            self._pop(closed=True)
            return
        if len(self.stack) == MAX_DEPTH:
            self._leave()
        else:
            self._open(opener, start)

    def _brace_was_lost(self, opener: str) -> bool:
        """Say whether an object begins where the current object waits for its next key."""
        top = self.stack[-1]
        waits = top.opener == "{" and top.key is None and bool(top.entries)
        return opener == "{" and waits and all(key is not None for key, _ in top.entries)

    def _open(self, opener: str, start: int) -> None:
        group = Group(opener, start)
        if self.stack:
            self._value(group)
        self.stack.append(group)
        self.last = "open"

    def _on_close(self, match: re.Match[str]) -> None:
        self._full_width(match)
        opener = CLOSERS[self.text[match.start("close")]]
        if self.last == "comma":
            self.repaired = True
        if self._closes(opener):
            self._pop(closed=True)
        elif any(group.opener == opener for group in self.stack):
            self._close_up_to(opener)
        else:
            self.repaired = True

    def _closes(self, opener: str) -> bool:
        top = self.stack[-1].opener
        return top == opener or (top != "{" and opener != "{")

    def _close_up_to(self, opener: str) -> None:
        """Close the nearest group that `opener` began; what is open within has lost its bracket."""
        self.repaired = True
        while self.stack[-1].opener != opener:
            self._pop(closed=self._is_whole())
        self._pop(closed=True)

    def _is_whole(self) -> bool:
        """Say whether the top group lacks only its brace; a list of numbers may lack more."""
        return self.stack[-1].opener == "{" and self.stack[-1].key is None

    def _pop(self, *, closed: bool) -> None:
        group = self.stack.pop()
        group.closed = closed
        group.end = self.pos
        self.last = "value"
        if not group.keyed:
            group.numbers = _bare_numbers(group)
        elif self.stack:
            self.stack[-1].keyed = True

    # Ends

    def _on_boundary(self, match: re.Match[str]) -> None:
        """Stop before a fence or tag.

        The text goes on, so brackets were lost, not cut; but half a value is half an answer.
        """
        self.pos = match.start("boundary")
        self.repaired = True
        while self.stack:
            self.ended |= self._is_interrupted()
            self._pop(closed=self._is_whole())

    def _is_interrupted(self) -> bool:
        """Say whether the top group waits for a value, or for more numbers."""
        top = self.stack[-1]
        return top.key is not None or bool(top.entries and isinstance(top.entries[-1][1], Number))

    def _on_end(self, match: re.Match[str]) -> None:
        self.ended = True
        self._leave()

    def _leave(self) -> None:
        self.pos = len(self.text)
        while self.stack:
            self._pop(closed=False)

    def _on_nothing(self, match: re.Match[str]) -> None:
        self.repaired = True

    def _full_width(self, match: re.Match[str]) -> None:
        if self.text[match.end() - 1] > "\x7f":
            self.repaired = True

    # Strings

    def _string_from(self, start: int) -> tuple[int, str]:
        """Return where the string that opens at `start` ends, and what it says."""
        quote = self.text[start]
        if quote > "\x7f":
            self.repaired = True
        top = self.stack[-1]
        after = _AFTER_FIELD if top.opener == "{" and top.key else _AFTER_ITEM
        for match in _CANDIDATES[quote].finditer(self.text, start + 1):
            if match[0][0] != "\\" and after.match(self.text, match.end()):
                return match.end(), self._said(start + 1, match.start())
        return len(self.text), self._said(start + 1, len(self.text))

    def _said(self, start: int, end: int) -> str:
        raw = self.text[start:end]
        if "\n" in raw:
            self.repaired = True
        if "\\" not in raw:
            return raw
        plain = unescaped(raw)
        self.repaired |= plain is None
        return raw if plain is None else plain


_CODE = r"u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"\\({_CODE}|.)", re.DOTALL)
_LEGAL = re.compile(rf"""(?:[^\\]++|\\(?:["'\\/bfnrt]|{_CODE}))*+""")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescaped(raw: str) -> str | None:
    """Return `raw` with its escapes resolved, or None where one of them is illegal."""
    if not _LEGAL.fullmatch(raw):
        return None
    text = _ESCAPE.sub(lambda m: _resolved(m[1]), raw)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _resolved(code: str) -> str:
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _LETTERS.get(code, code)


def _bare_numbers(group: Group) -> tuple[float, ...]:
    """Return the values of a list of numbers, quoted ones included, or nothing for other groups."""
    values: list[float] = []
    for key, entry in group.entries:
        value = _as_number(entry)
        if key is not None or value is None:
            return ()
        values.append(value)
    return tuple(values)


def _as_number(value: Value) -> float | None:
    if isinstance(value, Number):
        return value.value
    return lone_number(value.text) if isinstance(value, String) else None


HANDLERS: dict[str, Callable[[Parser, re.Match[str]], None]] = {
    "numbers": Parser._on_numbers,
    "key": Parser._on_key,
    "string": Parser._on_string,
    "boundary": Parser._on_boundary,
    "open": Parser._on_open,
    "close": Parser._on_close,
    "comma": Parser._on_comma,
    "colon": Parser._on_colon,
    "quote": Parser._on_quote,
    "comment": Parser._on_nothing,
    "angles": Parser._on_angles,
    "number": Parser._on_number,
    "word": Parser._on_word,
    "junk": Parser._on_nothing,
    "end": Parser._on_end,
}
