"""How numbers look in the report: one rounding for all, intervals as '0.62 (0.56 to 0.67)', a dash for the unknown."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

UNKNOWN = "–"
_MOST_DIGITS = 9
_KEPT_SPACE = "\N{NO-BREAK SPACE}"


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """'0.62'; a minus as in print; no '-0.00'."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def telling(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """The same, but with as many digits as a small number needs: a column of '0.000' would say nothing."""
    if value and math.isfinite(value) and abs(value) < 0.5 * 10**-digits:
        digits = min(_MOST_DIGITS, -math.floor(math.log10(abs(value))))
    return number(value, digits, signed)


class Estimate(Protocol):
    """A number with its interval, as `common.handoffs.estimates.Interval` is one."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    def times(self, factor: float) -> "Estimate": ...


def interval(estimate: Estimate | None, digits: int = 2, signed: bool = False) -> str:
    """'0.62 (0.56 to 0.67)'; the value alone where it has no interval."""
    if estimate is None:
        return UNKNOWN
    return " ".join(filter(None, [number(estimate.value, digits, signed), bounds(estimate, digits, signed)]))


def bounds(estimate: Estimate, digits: int = 2, signed: bool = False) -> str:
    """'(0.56 to 0.67)', or nothing where there is no interval."""
    if estimate.low is None or estimate.high is None or estimate.value is None:
        return ""
    return f"({number(estimate.low, digits, signed)} to {number(estimate.high, digits, signed)})"


def with_bounds(estimate: Estimate, spec: str = ".3f", unit: str = "") -> str:
    """'-12.0 points (-16.1 to -8.0)' with a keyboard's characters alone, as logs and documents hold it."""
    value, low, high = (format(each, spec) for each in (estimate.value, estimate.low, estimate.high))
    return f"{value}{unit} ({low} to {high})"


def percent(estimate: Estimate | None, signed: bool = False, unit: str = " %") -> str:
    """'56.1 % (51.1 to 61.0)' of a share with its interval."""
    if estimate is None or estimate.value is None:
        return UNKNOWN
    value = number(100 * estimate.value, 1, signed) + unit
    return " ".join(filter(None, [value, bounds(estimate.times(100), 1, signed)]))


def points(change: Estimate | None) -> str:
    """'+4.1 points (+1.0 to +7.2)' of the change of a share."""
    return percent(change, signed=True, unit=" points")


def p_value(p: float | None) -> str:
    """'< 0.001', '0.031', '0.31'."""
    if p is None:
        return UNKNOWN
    if p < 0.001:
        return "< 0.001"
    return number(p, 3 if p < 0.1 else 2)


def p_words(p: float | None) -> str:
    """'p = 0.031', 'p < 0.001'."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def count(n: int | float | None) -> str:
    """'16,384'; pass rates add up to numbers that are not whole."""
    if n is None:
        return UNKNOWN
    return f"{n:,}" if float(n).is_integer() is False else f"{round(n):,}"


def plural(n: int, noun: str) -> str:
    """'1 problem', '1,234 problems'."""
    return f"{count(n)} {noun}" + "s" * (n != 1)


def listed(words: list[str]) -> str:
    """'a, b and c'."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def duration(seconds: float) -> str:
    """'12 s', '2 min 5 s', '1 h 23 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def direction_words(name: str) -> str:
    """'predict-incorrect'."""
    return name.replace("_", "-")


def latent_words(latent: Any) -> str:
    """'layer 3, latent 1207'."""
    return f"layer {latent.layer}, latent {latent.latent}"


def names_of_latents(named: Iterable[tuple[str, Any]]) -> dict[tuple[int, int], list[str]]:
    """By layer and number, the directions that a latent was selected for; `named` has names with latents."""
    names: dict[tuple[int, int], list[str]] = {}
    for name, latent in named:
        known = names.setdefault((latent.layer, latent.latent), [])
        known += [name] if name not in known else []
    return names


def roles_words(latents: Sequence[Any]) -> str:
    """'2 latents, each in two roles' of the latents of several directions; nothing where each has one of its own."""
    roles = Counter((each.layer, each.latent) for each in latents)
    shared = sum(n > 1 for n in roles.values())
    if not shared:
        return ""
    if {*roles.values()} == {2} and len(roles) > 1:
        return f"{plural(len(roles), 'latent')}, each in two roles"
    if len(roles) == 1:
        return f"one latent in {count(len(latents))} roles"
    return f"{plural(len(roles), 'latent')}, {count(shared)} of them in several roles"


def any_value(value: Any) -> str:
    """A value whose kind is not known beforehand, as tables of later phases hold it."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value).replace("-", "\N{MINUS SIGN}")
    if isinstance(value, float):
        return telling(value, 2 if abs(value) >= 1 else 3)
    if hasattr(value, "low"):
        return interval(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {any_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(any_value, value))
    return str(value)


def typeset(words: str) -> str:
    """Words as in print: minus signs before numbers, and no line break inside '(0.56 to 0.67)' or before '%'.

    Directions have one name on the whole page: see `direction_words`.
    """
    named = re.sub(r"\b([Pp]redict|[Ss]teer)_(correct|incorrect)\b", r"\1-\2", words)
    named = re.sub(r"\b([Mm]ean)_difference\b", r"\1-difference", named)
    with_minus = re.sub(r"(?<![\w.)\]-])-(?=[\d.])", "\N{MINUS SIGN}", named)
    whole = re.sub(r"\((\S+) to (\S+)\)", rf"(\1{_KEPT_SPACE}to{_KEPT_SPACE}\2)", with_minus)
    return re.sub(r"(?<=\d) (?=%)", _KEPT_SPACE, whole)


def left_out_words(counts: dict[str, int]) -> str:
    """'3 not run; 1 unsupported'."""
    return "; ".join(f"{count(n)} {reason.replace('_', ' ')}" for reason, n in counts.items() if n)


def title_of(name: str) -> str:
    """A file's or setting's name as words: 'by_layer' -> 'By layer'."""
    return sentence_case(re.sub(r"[_-]+", " ", name).strip())


def sentence_case(words: str) -> str:
    """A capital at the beginning, except where a letter stands for a number: 'p, Holm' stays."""
    return words if re.match(r"[a-z]\b", words) else words[:1].upper() + words[1:]
