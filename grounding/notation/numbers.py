"""Reads numbers as people print them; what may mean two is none, unless it is looked for.

"RM 1,234.50"   1234.5      "12,50 €"   12.5      "20 to 25"   None
"seventeen"     17          "十二个"     12
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod

MAX_CHARS = 100
"""A longer text is no number, no date and no time of day."""

MOST = 1e15
"""Above this a float no longer tells two whole numbers apart, and a loop wrote the digits."""

_DASHES = dict.fromkeys(range(0x2010, 0x2016), "-") | {ord("−"): "-"}
_RAISED = re.compile(r"(?<![^\W\d_])[¹²³⁰⁴-⁹₀-₉①-⓿❶-➓⒈-⒛]+")

_PLAIN = re.compile(r"[-+]?\d+(?:\.\d+)?[eE][-+]?\d+")
_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}([ '’_])\d{3}(?:\1\d{3})*(?!\d)")
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")
_THOUSANDS = re.compile(
    r"[-+]?(?:(?:[1-9]\d{0,3}|0\d\d)(?:[.,]\d{3})+|[1-9]\d?(?:[.,]\d\d)+[.,]\d{3})"
)
_LAKHS = re.compile(r"(?:₹|\bRs\.?|\bINR)\s?[1-9]\d?(,)\d\d(?:,\d\d)*,\d{3}(?![\d,])")
"""A sum in rupees has groups of two before the last three; elsewhere that may be a list."""

_CURRENCIES = dict.fromkeys(map(ord, "₹₩₱₫₺₽₦฿"), "$")
_GLUED = re.compile(r"\bRs\.?(?=\d)|^x(?=\d+$)", re.IGNORECASE)
"""What stands before a number without a space between: Rs.500, and x2 for two."""
_WHOLE = re.compile(r"(?<=\d)[.,]-{1,2}(?!\d)")
_VULGAR = re.compile(r"(?<!\d)(\d{0,9})\s?([¼-¾⅐-⅞])")
_MIXED = re.compile(r"(?<![\d/.,])(\d{1,9})\s+(\d)/([2-9]|1[06])(?![\d/.,])")

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_LARGE = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: n for n, word in enumerate(_SMALL.split())} | {
    word: 10 * n for n, word in enumerate(_LARGE.split(), start=2)
}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SCALES |= {"trillion": 10**12}
_SHORT_SCALES = {"tsd": 10**3, "tausend": 10**3, "lakh": 10**5, "crore": 10**7}
_SHORT_SCALES |= dict.fromkeys(("mio", "mln", "millionen"), 10**6)
_SHORT_SCALES |= dict.fromkeys(("bn", "mrd", "milliard", "milliarde", "milliarden"), 10**9)
_HAN_SCALES = {"十": 10, "百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_TIMES = _SCALES | _SHORT_SCALES | _HAN_SCALES | {"k": 10**3}

_SCALE_WORD = rf"(?:{'|'.join((*_SCALES, *_SHORT_SCALES))})s?\b"
_HAN_SCALE = f"[{''.join(_HAN_SCALES)}]"
_SCALE = re.compile(rf"(?i:k\b|\s?{_SCALE_WORD}(?:\s{_SCALE_WORD}){{0,2}}|\s?{_HAN_SCALE}{{1,3}})")
_NUMERAL = re.compile(
    r"(?:(?<![\w.,-])|(?<=\b[A-Z])|(?<=\b[A-Z]{2})|(?<=\b[A-Z]{3})|(?<=\b[A-Z]{2}[$£€]))"
    rf"((?:(?<![A-Z])[-+])?\d[\d.,]*+|[-+]?\.\d+)({_SCALE.pattern})?"
)
"""A number in digits, and the words that multiply it."""

_NUMBER_WORD = rf"\b(?:{'|'.join((*_WORDS, *_SCALES))})\b"
_NUMBER_WORDS = re.compile(rf"{_NUMBER_WORD}(?:(?:[\s-]+|\s+and\s+){_NUMBER_WORD})*")

_UNCLEAR = re.compile(
    r"\d(?:[.,]?\s+|\s*(?:-|~|to|bis|至|到|x|×|\*|/|⁄|:)\s*)\d|^-(?!\.?\d)|\d\s?-$|"
    r"[<>≤≥±√]\s?\d|\+/?-|\d\s?\+(?!\d)|^(?:[$£€¥]|(?-i:[A-Z]{2,3}))\s*-\s|"
    r"[$£€¥][\d.,\s]*m\b|^[A-Z]{3}\s?[\d.,]+m\b|[$£€¥][\d.,]+(?-i:T)\b|"
    r"\d\s?(?-i:M)(?![\w-])|(?<![.,]\d)\d\s?(?-i:T)(?![\w-])|(?<!,\d)\d\s?(?-i:B)(?![\w-])|"
    r"^\([^()]*\)\s*-(?!\.?\d)|^(?!.*(?:[$£€¥]|RM|USD|EUR)).*\d(?-i:K)\b|"
    rf"千[克米瓦卡帕伏赫焦字]|\d\s?{_HAN_SCALE}*[零一二三四五六七八九两〇多余几]",
    re.IGNORECASE,
)
"""Two numbers, a bullet or a minus, a bound, metres or millions, kilograms or thousands.

T behind cents, and B behind a comma and cents, are codes of a tax; K without a currency is of gold
or of a picture.
"""

BOUND = re.compile(
    r"\b(?:more|fewer|less|greater) than\b|\bat (?:least|most)\b|"
    r"\b(?:up to|over|under|above|below|nearly|almost)\s+"
    r"(?=\d|[a-z]+(?:ty|teen)\b|(?:a |one )?(?:dozen|hundred|thousand)\b)|"
    r"\d\s*(?:\+(?!\s*\d)|or (?:more|fewer|less|so)\b)|"
    r"超过|至少|最多|不少于|不超过|多于|少于|不止|以上|以下|[0-9十百千万]多|近百",
    re.IGNORECASE,
)
"""Words that say more or less than the number beside them."""

_UNREAD = re.compile(
    rf"\d|{_HAN_SCALE}|半|\b(?:{'|'.join(_SHORT_SCALES)}|mill?|mn|hundert|dutzend|"
    rf"half|halves|quarters?|thirds|fourths|(?:fif|six|seven|eigh|nin|ten)ths|"
    rf"(?:one|an?)[\s-](?:third|fourth|(?:fif|six|seven|eigh|nin|ten)th)|"
    rf"(?:hundred|thousand|million|billion)ths?)\b|"
    rf"\bpoint\s+{_NUMBER_WORD}|{_NUMBER_WORD}\s+point\b|"
    rf"\b(?:few|several|couple|some|many)\s+(?:of\s+)?(?:{'|'.join(_SCALES)})\b",
    re.IGNORECASE,
)
"""What would change a number, or is one more, beside the numbers that were read."""

_UNIT = re.compile(r"\b(?:[cdkm]?m|ft|in|yd)[23]\b")
_MINUS = re.compile(
    rf"-(?=[$£€¥]|[A-Z]{{2,3}}\s?\d|{_NUMBER_WORD})|(?:minus|negative)\s|负", re.IGNORECASE
)
_INSIDE = rf"[^()]*(?:[\d-]|(?i:minus|negative|less|{_NUMBER_WORD}))"
_OPENED = re.compile(rf"(?:[^\w(]|[A-Z]{{2,3}}\b|\((?!{_INSIDE})[^()]*\))*\((?={_INSIDE})")
"""Brackets around a number or a minus at the beginning; those around a unit change nothing."""

_SIGN = r"\s?[$£€¥]?\s?"
_ACCOUNT = re.compile(rf"(?=.*(?:[$£€¥]|[.,]\d\d\b)){_SIGN}\({_SIGN}\d[\d.,]*{_SIGN}\){_SIGN}")
"""A negative number in brackets, as accounts have it: with cents or with a sign of currency."""

_CHEMICAL = re.compile(r"\b[A-Z][a-z]+[A-Z]\d[a-z]?\b")
"""A digit of a name as in SpO2 and HbA1c."""

_ONE = re.compile(
    r"\bone[\s-](?:time|way|off|size)\b(?!\s+(?:or|to|and)\b)(?=.*\d)|(?<=[.,]\d\d )for one$",
    re.IGNORECASE,
)
"""A "one" that counts nothing, beside a number in digits."""

_HAN = {han: n for n, han in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_HAN_DIGIT = "[零一二三四五六七八九两〇]"
_COUNTED = "[个只条张件座棵朵位名匹台把辆头颗枚根支瓶盒本页次元块圆人岁天]"
"""Words between a number and what it counts, and units that stand alone."""
_HAN_RUNS = "[零一二三四五六七八九两〇十百千万萬亿億]+"
_HAN_ONES = "[一二三四五六七八九两]"
_HAN_SECTION = re.compile(
    rf"(?:({_HAN_ONES})千)?(?:([零〇])?({_HAN_ONES})百)?"
    rf"(?:([零〇])?({_HAN_ONES})?(十))?(?:([零〇])?({_HAN_ONES}))?"
)
_HAN_WHOLE = re.compile(
    r"(?:(?P<hundred_millions>[^亿億]+)[亿億])?(?:(?P<ten_thousands>[^亿億万萬]+)[万萬])?"
    r"(?P<ones>[^亿億万萬]*)"
)
_HAN_NUMBER = re.compile(rf"({_HAN_RUNS})(?:点({_HAN_DIGIT}+))?{_COUNTED}?")


def normalize(text: str) -> str:
    """Return a text in NFKC with one kind of dash, and raised digits apart from others: 3.99¹.

    Those of a unit stay where they are: m² is m2.
    """
    apart = _RAISED.sub(r"  \g<0>  ", text)
    return unicodedata.normalize("NFKC", apart).translate(_DASHES)


def parse_number(text: str) -> float | None:
    """Return the one number in `text`, with or without a unit, in digits or as a word.

    A point or a comma before the last digits is a decimal sign, unless it separates a group of
    three: then a comma separates thousands, and a point does where there are several. Words may
    stand beside the number, but no second one and none such as "at least"; k, million and 万
    multiply it.
    """
    text = normalize(_VULGAR.sub(_to_decimals, text[: MAX_CHARS + 1])).strip()
    text = _GROUPS.sub(_join, _MIXED.sub(_to_decimals, _WHOLE.sub(",00", text)))
    text = _GLUED.sub(r"\g<0> ", _LAKHS.sub(_join, text).translate(_CURRENCIES))
    text = _ONE.sub("", _CHEMICAL.sub("", text)).strip()
    if len(text) > MAX_CHARS:
        return None
    if _PLAIN.fullmatch(text):
        return float(text) if abs(float(text)) < MOST else None
    account = bool(_ACCOUNT.fullmatch(text))
    minus = _MINUS.match(text)
    text = text[minus.end() :] if minus else text
    if _UNCLEAR.search(text) or BOUND.search(text) or (_OPENED.match(text) and not account):
        return None
    number = _read_one(text)
    if number is None or abs(number) >= MOST or (minus and number < 0):
        return None
    return -number if minus or account else number


def _read_one(text: str) -> float | None:
    """Return the only number of a text; in digits and in words it may stand there twice."""
    if (han := _parse_han(text)) is not None:
        return float(han)
    numerals = [_scale(*one.groups()) for one in _NUMERAL.finditer(text)]
    rest = _NUMERAL.sub("#", text)
    named = list(_read_words(rest))
    clear = max(len(numerals), len(named)) == 1 == len({*numerals, *named})
    return (numerals or named)[0] if clear and not _UNREAD.search(_UNIT.sub("", rest)) else None


def _join(found: re.Match[str]) -> str:
    return found[0].replace(found[1], "")


def _to_decimals(found: re.Match[str]) -> str:
    """Return ½, 2½ and 1 1/2 as 0.5, 2.5 and 1.5."""
    whole, *parts = found.groups()
    share = unicodedata.numeric(parts[0]) if len(parts) == 1 else int(parts[0]) / int(parts[1])
    return found[0] if share >= 1 else repr(int(whole or 0) + share)


def _scale(numeral: str, scale: str | None) -> float | None:
    number = _to_float(numeral)
    return None if number is None else number * _multiply(scale)


def _multiply(scale: str | None) -> int:
    """Return what "million" and "hundred thousand" multiply by; nothing is 1."""
    parts = _SCALE_PART.findall((scale or "").lower())
    return prod(_TIMES.get(part) or _TIMES[part.rstrip("s")] for part in parts)


_SCALE_PART = re.compile(rf"[a-z]+|{_HAN_SCALE}")


def _read_words(text: str) -> Iterator[float]:
    """Yield the numbers of each run of number words: one, unless several stand side by side."""
    for run in _NUMBER_WORDS.findall(text.casefold()):
        yield from _read_run(_WORD.findall(run.replace(" and ", " ")))


_WORD = re.compile(r"[a-z]+")


def _read_run(words: Sequence[str]) -> Iterator[float]:
    """Yield the numbers of these words: one ends where the next word cannot go on with it.

    Scales of a thousand and more go on with a smaller one, so that a number has an end.
    """
    total, part, last = 0, 0, MOST
    for at, word in enumerate(words):
        times = _SCALES.get(word, 0)
        if at and not (_goes_on(part, word) if times < 1000 else part and times < last):
            yield float(total + part)
            total, part, last = 0, 0, MOST
        if times >= 1000:
            total, part, last = total + (part or 1) * times, 0, times
        else:
            part = (part or 1) * times if times else part + _WORDS[word]
    yield float(total + part)


def _goes_on(part: int, word: str) -> bool:
    """Say whether a word below a thousand continues a number below a thousand."""
    if word in _SCALES:
        return 0 < part < 100
    units = part % 100
    return not units or (units >= 20 and not units % 10 and 0 < _WORDS[word] < 10)


def _parse_han(text: str) -> float | None:
    """Return the number in "十二个" and "三点五", with or without a counting word."""
    found = _HAN_NUMBER.fullmatch(text)
    whole = _parse_han_whole(found[1]) if found else None
    if found is None or whole is None or not found[2]:
        return whole
    return float(f"{whole}." + "".join(str(_HAN[digit]) for digit in found[2]))


def _parse_han_whole(text: str) -> int | None:
    """Return a number in Han as people write it: each place that is skipped needs its 零."""
    if text in ("零", "〇"):
        return 0
    found = _HAN_WHOLE.fullmatch(text)
    total, higher = 0, False
    for part, scale in zip(found.groups() if found else (), (10**8, 10**4, 1), strict=False):
        gap = bool(part) and higher and part[0] in "零〇"
        section = _parse_han_section(part[gap:]) if part else None
        if part and (not section or (higher and gap != (section < 1000))):
            return None
        total, higher = total + (section or 0) * scale, higher or bool(part)
    return total or None


def _parse_han_section(text: str) -> int | None:
    """Return a number below ten thousand in Han."""
    found = _HAN_SECTION.fullmatch(text)
    if found is None or not text:
        return None
    thousands, gap2, hundreds, gap1, tens, ten, gap0, ones = found.groups()
    total, last = 0, 0
    places = ((1000, None, thousands), (100, gap2, hundreds), (10, gap1, ten), (1, gap0, ones))
    for scale, gap, digit in places:
        if digit is None:
            continue
        if bool(gap) != bool(last and last > 10 * scale):
            return None
        total += scale * (_HAN[tens] if tens else 1) if scale == 10 else scale * _HAN[digit]
        last = scale
    return total


def _to_float(part: str) -> float | None:
    part = part if part.startswith(".") else part.strip(".,")
    marks = [mark for mark in part if mark in ".,"]
    if len(set(marks)) == 2:
        whole = _THOUSANDS.fullmatch(part[: part.rindex(marks[-1])])
        return _decimal(part, marks[-1]) if whole and marks.count(marks[-1]) == 1 else None
    if len(marks) > 1 or marks == [","]:
        grouped = _GROUPED.fullmatch(part)
        if grouped:
            return _decimal(part.replace(grouped[1], ""), "")
        return _decimal(part, ",") if marks == [","] else None
    return _decimal(part, ".")


def _decimal(part: str, sign: str) -> float | None:
    """Return the number whose decimal sign is `sign`; the other sign separates thousands."""
    other = {".": ",", ",": "."}.get(sign, "")
    plain = part.replace(other, "") if other else part
    try:
        return float(plain.replace(sign, ".") if sign else plain)
    except ValueError:
        return None


# Numbers in a text

_LOOSE = re.compile(r"(?<!\d)[.,]\d+|\d[\d.,]*")
_IN_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:[ '’_]\d{3})+(?!\d)(?:[.,]\d+)?")
_HAN_RUN = re.compile(f"(?:{_HAN_DIGIT}|十)+")
_HAN_LONG_RUN = re.compile(rf"{_HAN_RUNS}(?:点{_HAN_DIGIT}+)?")
_POWER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?e[-+]?\d{1,3}(?!\w)")
_PLAIN_DIGITS = re.compile(r"\d++(?:\.\d++)?+|\.\d++")
_DIGITS = re.compile(r"\d+")


def find_numbers(text: str) -> Iterator[float]:
    """Yield each number that a text may mean, without its sign: 1,234 is one of two.

    Numbers that stand side by side, as in a table, are each one, and 17 000 is one more. What
    `parse_number` reads in a text is among them.
    """
    text = normalize(_VULGAR.sub(_to_decimals, text)).casefold()
    for one in {text, _MIXED.sub(_to_decimals, text)}:
        for found in chain(_LOOSE.finditer(one), _IN_GROUPS.finditer(one)):
            scale = _SCALE.match(one, found.end())
            for number in _find_forms(found[0]):
                yield from {number, number * _multiply(scale[0] if scale else None)}
    yield from (float(found[0]) for found in _POWER.finditer(text))
    yield from _read_words(text)
    runs = chain(_HAN_RUN.findall(text), _HAN_LONG_RUN.findall(text))
    named = (_parse_han(run) for run in runs)
    yield from (float(number) for number in named if number is not None)


def _find_forms(numeral: str) -> Iterator[float]:
    """Yield what a numeral may mean: with either decimal sign, or as a list as in 5,7,9."""
    digits = numeral.rstrip(".,").translate(_NO_GAPS)
    for form in {digits.replace(",", ""), digits.replace(".", "").replace(",", ".")}:
        if _PLAIN_DIGITS.fullmatch(form):
            yield float(form)
    if _to_float(digits) is None:
        yield from map(float, _DIGITS.findall(digits))


_NO_GAPS = str.maketrans("", "", " '’_")
