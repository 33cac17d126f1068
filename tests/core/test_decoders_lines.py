"""The pure parts of the scanners: lines, keys, layouts, repeats, and how long a lost reader waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.decoders.faults import FAULTS
from devices.readers.keyboard import LAYOUTS, Keys, characters
from devices.readers.serial import Framing, Lines
from devices.reads import Repeats, fault, mint, scanned
from devices.supervisor import Backoff
from gateway.core.model import Technology, is_id

ENTER, LEFT_SHIFT, ALTGR, KEY_A, KEY_5, LEFT_CTRL = 28, 42, 100, 30, 6, 29


def text(payload: str) -> dict[str, object]:
    return {"payload": payload}


@pytest.mark.parametrize(
    ("framing", "octets", "expected"),
    [
        (Framing(), b"K7Q2MX\r\n", [text("K7Q2MX")]),
        (Framing(), b"K7Q2MX\r", [text("K7Q2MX")]),
        (Framing(), b"ONE1\nTWO2\r\n\r\nTHREE\r", [text("ONE1"), text("TWO2"), text("THREE")]),
        (Framing(), b"]Q1K7Q2MX\n", [{"payload": "K7Q2MX", "symbology": "]Q1"}]),
        (Framing(), "perchè\n".encode(), [text("perchè")]),
        (Framing(encoding="latin-1"), b"perch\xe8\n", [text("perchè")]),
        (Framing(prefix=b"\x02", suffix=b"\x03"), b"\x02K7\rQ2\x03\x02AB\x03", [text("K7\rQ2"), text("AB")]),
        (Framing(prefix=b"\x02"), b"K7Q2MX\n", [fault("serial-no-prefix")]),
        (Framing(), b"K7\x00Q2\n", [fault("serial-nul")]),
        (Framing(), b"K7\xff\xfe\n", [fault("serial-encoding")]),
        (Framing(encoding="ascii"), "perchè\n".encode(), [fault("serial-encoding")]),
        (
            Framing(max_length=4),
            b"ABCD\nABCDE\nEF\n",
            [text("ABCD"), fault("serial-over-length"), text("EF")],
        ),
        (Framing(max_length=4), b"A" * 1000 + b"\nEF\n", [fault("serial-over-length"), text("EF")]),
        (
            Framing(max_length=4, suffix=b"##"),
            b"A" * 50 + b"##EF##",
            [fault("serial-over-length"), text("EF")],
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_lines(framing: Framing, octets: bytes, expected: list[dict[str, object]], size: int) -> None:
    lines = Lines(framing)
    found = [line for at in range(0, len(octets), size) for line in lines.feed(octets[at : at + size], 0.0)]
    assert found == expected
    assert lines.silence(60.0) == []


@pytest.mark.parametrize(
    ("octets", "slug"), [(b"K7Q2", "serial-no-terminator"), (b"A" * 3000, "serial-over-length")]
)
def test_a_line_that_never_ends_is_refused_once_and_forgotten(octets: bytes, slug: str) -> None:
    lines = Lines(Framing(line_seconds=0.5))
    assert lines.feed(octets, 10.0) == []
    assert lines.silence(10.4) == []
    assert lines.silence(10.5) == [fault(slug)]
    assert lines.silence(20.0) == []
    assert lines.feed(b"K7Q2MX\n", 30.0) == [text("K7Q2MX")]


def test_the_rest_of_a_torn_line_is_not_glued_to_the_next_scan() -> None:
    lines = Lines(Framing())
    lines.feed(b"K7", 10.0)
    assert lines.feed(b"Q2MX\n", 11.0) == [fault("serial-no-terminator"), text("Q2MX")]


@given(st.lists(st.binary(max_size=30)))
def test_lines_never_grow_and_never_raise(chunks: list[bytes]) -> None:
    lines = Lines(Framing(max_length=16))
    for at, chunk in enumerate(chunks):
        for found in lines.feed(chunk, float(at % 3)):
            assert set(found) <= {"payload", "symbology", "fault"}
        assert len(lines._buffer) <= 17


def press(keys: Keys, *codes: int, at: float = 0.0) -> list[dict[str, object]]:
    """Strokes; a negative code is a key that is let go later (held)."""
    return [found for code in codes for value in (1, 0) for found in keys.press(code, value, at, at)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_has_every_character_of_our_codes(layout: str) -> None:
    needed = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz $%*+-./:]?=&#_@")
    assert needed <= set(characters(layout).values())


def test_the_same_keys_are_other_characters_in_another_layout() -> None:
    chords = [(26, False, False), (8, True, False), (12, False, False), (53, False, False)]
    assert [characters("us")[chord] for chord in chords] == ["[", "&", "-", "/"]
    assert [characters("it")[chord] for chord in chords] == ["è", "/", "'", "-"]


def test_a_scan_ends_with_enter_and_shift_holds_while_it_is_down() -> None:
    keys = Keys("us", 10, 0.25)
    keys.press(LEFT_SHIFT, 1, 0.0, 0.0)
    assert press(keys, KEY_A) == []
    keys.press(LEFT_SHIFT, 0, 0.0, 0.0)
    assert press(keys, KEY_A, KEY_5, ENTER) == [text("Aa5")]
    assert press(keys, ENTER) == []


def test_altgr_types_the_italian_signs() -> None:
    keys = Keys("it", 10, 0.25)
    keys.press(ALTGR, 1, 0.0, 0.0)
    press(keys, 27)
    keys.press(ALTGR, 0, 0.0, 0.0)
    assert press(keys, KEY_A, ENTER) == [text("]a")]


def test_a_key_that_repeats_by_itself_is_typed_once() -> None:
    keys = Keys("us", 10, 0.25)
    for value in (1, 2, 2, 0):
        keys.press(KEY_A, value, 0.0, 0.0)
    assert press(keys, ENTER) == [text("a")]


def test_keys_that_break_a_rule_refuse_the_whole_scan() -> None:
    keys = Keys("us", 3, 0.25)
    assert press(keys, KEY_A, LEFT_CTRL, KEY_A, ENTER) == [fault("wedge-unmapped-key")]
    assert press(keys, KEY_A, KEY_A, KEY_A, KEY_A, ENTER) == [fault("wedge-over-length")]
    press(keys, KEY_A)
    keys.dropped(0.0)
    assert press(keys, KEY_A, ENTER) == [fault("wedge-dropped")]
    assert press(keys, KEY_A, ENTER) == [text("a")]


def test_a_pause_between_keys_tears_the_scan() -> None:
    keys = Keys("us", 10, 0.25)
    press(keys, KEY_A, at=1.0)
    assert press(keys, KEY_5, at=1.25) == []
    assert press(keys, KEY_A, at=1.6) == [fault("wedge-key-gap")]
    assert press(keys, ENTER, at=1.7) == [text("a")]


def test_a_scan_without_enter_is_refused_when_silence_follows() -> None:
    keys = Keys("us", 10, 0.25)
    press(keys, KEY_A, at=1.0)
    assert keys.silence(1.2) == []
    assert keys.silence(1.3) == [fault("wedge-no-terminator")]
    assert keys.silence(9.0) == []


def test_shift_is_forgotten_when_the_kernel_dropped_its_release() -> None:
    keys = Keys("us", 10, 0.25)
    keys.press(LEFT_SHIFT, 1, 0.0, 0.0)
    keys.dropped(0.0)
    press(keys, ENTER)
    assert press(keys, KEY_A, ENTER) == [text("a")]


def test_a_repeat_is_the_same_scan_within_two_seconds_of_the_last_sight() -> None:
    repeats = Repeats()
    assert not repeats.seen(text("K7Q2MX"), 10.0)
    assert repeats.seen(text("K7Q2MX"), 11.9)
    assert repeats.seen(text("K7Q2MX"), 13.8)  # it never left
    assert not repeats.seen(text("K7Q2MX"), 15.8)
    assert not repeats.seen(text("OTHER"), 15.9)
    assert not repeats.seen(text("K7Q2MX"), 16.0)


def test_ids_are_valid_and_never_the_same() -> None:
    reads = [mint("door", Technology.QR, scanned("K7Q2MX")) for _ in range(100)]
    assert len({read.id for read in reads}) == 100
    assert all(is_id(read.id) for read in reads)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("]Q1K7Q2MX", {"payload": "K7Q2MX", "symbology": "]Q1"}),
        ("]E08012345678905", {"payload": "8012345678905", "symbology": "]E0"}),
        ("K7Q2MX", {"payload": "K7Q2MX"}),
        ("]", {"payload": "]"}),
        ("]??", {"payload": "]??"}),
    ],
)
def test_an_aim_id_in_front_is_taken_off(line: str, expected: dict[str, object]) -> None:
    assert scanned(line) == expected


def test_waiting_doubles_to_ten_seconds_and_starts_again_after_health() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert backoff.after(29.9) == 10
    assert backoff.after(30.0) == 0.25


def test_every_fault_has_a_sentence() -> None:
    assert all(sentence.endswith(".") for sentence in FAULTS.values())
