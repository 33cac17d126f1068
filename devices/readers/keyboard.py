"""Keyboard layouts, and keys -> text. Pure: times are passed in. Key codes are those of the Linux kernel."""

from __future__ import annotations

from devices.reads import fault, scanned

_ROWS = (range(2, 14), range(16, 28), range(30, 41), (41, 43), range(44, 54), (86,))

# per layout, one string per row of `_ROWS`: plain, with Shift, with AltGr. A blank is no character.
_LAYOUTS = {
    "us": (
        ("1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "`\\", "zxcvbnm,./", "<"),
        ("!@#$%^&*()_+", "QWERTYUIOP{}", 'ASDFGHJKL:"', "~|", "ZXCVBNM<>?", ">"),
        (),
    ),
    "it": (
        ("1234567890'ì", "qwertyuiopè+", "asdfghjklòà", "\\ù", "zxcvbnm,.-", "<"),
        ('!"£$%&/()=?^', "QWERTYUIOPé*", "ASDFGHJKLç°", "|§", "ZXCVBNM;:_", ">"),
        ("          `~", "  €       []", "         @#", "  ", "          ", " "),
    ),
}
LAYOUTS = tuple(_LAYOUTS)

# the numeric block types the same in both layouts
_BLOCK = dict(zip((71, 72, 73, 75, 76, 77, 79, 80, 81, 82, 55, 74, 78, 98), "7894561230*-+/", strict=True))
_SPACE = 57
_ENDS = frozenset((28, 96, 15))  # Enter, the block's Enter, Tab
_SHIFTS, _ALTGR = frozenset((42, 54)), 100


def characters(layout: str) -> dict[tuple[int, bool, bool], str]:
    """(key code, Shift, AltGr) -> character."""
    found: dict[tuple[int, bool, bool], str] = {(_SPACE, shift, False): " " for shift in (False, True)}
    found |= {(code, shift, False): text for code, text in _BLOCK.items() for shift in (False, True)}
    for rows, (shift, altgr) in zip(
        _LAYOUTS[layout], ((False, False), (True, False), (False, True)), strict=True
    ):
        for codes, row in zip(_ROWS, rows, strict=bool(rows)):
            found |= {
                (code, shift, altgr): text for code, text in zip(codes, row, strict=True) if text != " "
            }
    if layout == "it":  # Shift and AltGr together
        found |= {(26, True, True): "{", (27, True, True): "}"}
    return found


class Keys:
    """Key presses in, reads' fields out. `at` is the event's own time, `now` a monotonic second; a scan that
    breaks a rule is refused as a whole, up to its end or to the next silence."""

    def __init__(self, layout: str, max_length: int, gap_seconds: float) -> None:
        self._characters = characters(layout)
        self._max_length = max_length
        self._gap = gap_seconds
        self._held: set[int] = set()
        self._at = self._heard = 0.0
        self._text: list[str] = []
        self._problem: str | None = None
        self._begun = False

    def press(self, code: int, value: int, at: float, now: float) -> list[dict[str, object]]:
        """A key event: `value` 1 down, 0 up, 2 repeating (which no scanner does)."""
        found: list[dict[str, object]] = []
        if self._begun and at - self._at > self._gap:
            found = [fault(self._problem or "wedge-key-gap")]
            self._restart()
        self._at, self._heard = at, now
        if code in _SHIFTS or code == _ALTGR:
            (self._held.add if value else self._held.discard)(code)
        elif value == 1:
            found += self._end() if code in _ENDS else self._type(code)
        return found

    def dropped(self, now: float) -> None:
        """The kernel's buffer ran over: keys are missing, and which ones are held is unknown."""
        self._held.clear()
        self._problem, self._begun, self._heard = "wedge-dropped", True, now

    def silence(self, now: float) -> list[dict[str, object]]:
        """What is to be said when no key came until `now`: a scan that was never finished."""
        if not self._begun or now - self._heard <= self._gap:
            return []
        slug = self._problem or "wedge-no-terminator"
        self._restart()
        return [fault(slug)]

    def _restart(self) -> None:
        self._text, self._problem, self._begun = [], None, False

    def _type(self, code: int) -> list[dict[str, object]]:
        self._begun = True
        typed = self._characters.get((code, bool(self._held & _SHIFTS), _ALTGR in self._held))
        if typed is None:
            self._problem = self._problem or "wedge-unmapped-key"
        elif len(self._text) >= self._max_length:
            self._problem = self._problem or "wedge-over-length"
        elif self._problem is None:
            self._text.append(typed)
        return []

    def _end(self) -> list[dict[str, object]]:
        begun, slug, text = self._begun, self._problem, "".join(self._text)
        self._restart()
        if not begun:
            return []
        return [fault(slug) if slug else scanned(text)]
