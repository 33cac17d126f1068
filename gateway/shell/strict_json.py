"""JSON from strangers: one object in UTF-8 that can be stored and written again as it came.

What the standard parser would let pass is refused: duplicate keys, NaN and infinities, integers beyond
2^63-1, NUL, half surrogate pairs, nesting beyond 32 levels and lines beyond 256 KB.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final

from gateway.core.model import is_id

MAX_LINE: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**63 - 1


class Problem(ValueError):
    """What came cannot be accepted; the text is the sentence for its sender and repeats no value."""


def load_object(line: bytes) -> dict[str, Any]:
    """The object that `line` is.

    Raises:
        Problem: with the sentence for its sender.
    """
    if len(line) > MAX_LINE:
        raise Problem(f"longer than {MAX_LINE} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"not UTF-8 at byte {error.start}") from None
    try:
        body = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Problem(f"not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise Problem(f"nested deeper than {MAX_DEPTH} levels") from None
    if not isinstance(body, dict):
        raise Problem("not a JSON object")
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(body)
    if "\\u0000" in text or "\\ud" in text or "\\uD" in text:
        _check_text(body)
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        again, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise Problem(f"{again if is_id(again) else 'a field'}: given twice")
    return built


def _no_constant(name: str) -> float:
    raise Problem(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Problem("a number is too large to be held")
    return number


def _small(text: str) -> int:
    if len(text) > 20 or abs(number := int(text)) > MAX_INTEGER:
        raise Problem("an integer is larger than 2^63-1")
    return number


def _check_depth(body: object) -> None:
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise Problem(f"nested deeper than {MAX_DEPTH} levels")


def _check_text(body: object) -> None:
    waiting = [body]
    while waiting:
        node = waiting.pop()
        strings = [node] if isinstance(node, str) else list(node) if isinstance(node, dict) else []
        for text in strings:
            if "\x00" in text:
                raise Problem("a text contains a NUL character")
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise Problem("a text contains half a surrogate pair")
        waiting.extend(_children(node))


def _children(node: object) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_small
)
