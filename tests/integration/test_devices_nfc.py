"""The NFC reader on the real nfcpy: real dumps, good cards, hostile cards, and a reader that is unplugged."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import nfc.clf
import pytest

from devices.decoders import Trust, decode
from devices.decoders.ndef import first_uri
from devices.readers import nfc as nfc_reader
from devices.readers.nfc import Field, NfcReader
from devices.readers.tap import FRAMES, SECONDS, GuardedFrontend, read_tap
from gateway.core.errors import DecodeError, ReaderError, Refused
from gateway.core.model import Read, Technology
from gateway.core.receipts import Outcome
from tests.rigs.cards import (
    Card,
    EndlessWaiting,
    Raising,
    Silent,
    Type2,
    Type4,
    ndef_application,
    uri_message,
)
from tests.rigs.nfc_devices import FakeDevice, udp_field
from tests.rigs.watching import running, wait_for

ROOT = Path(__file__).resolve().parents[2]
DUMPS = ROOT / ".." / "shared" / "data" / "nfc" / "dumps"
UID7, UID4 = bytes.fromhex("04A1B2C3D4E580"), bytes.fromhex("1BADF00D")
MESSAGE = uri_message("https://shop.example/hello/K7Q2MX")
NDEF = base64.b64encode(MESSAGE).decode()


def tap(*cards: Card) -> tuple[dict[str, object], FakeDevice]:
    """What one tap gives, without a reader's loop."""
    device = FakeDevice()
    device.cards = list(cards)
    frontend = GuardedFrontend(device, threading.Event())
    return dict(read_tap(frontend, frontend.present())), device


@pytest.mark.parametrize(
    "card",
    [Type2.with_message(UID7, MESSAGE), Type4(UID7, ndef_application(MESSAGE))],
    ids=["NTAG213", "Type4"],
)
def test_a_good_card_gives_its_uid_and_its_message(card: Card) -> None:
    fields, device = tap(card)
    assert fields == {"uid": "04a1b2c3d4e580", "ndef": NDEF}
    assert device.frames < FRAMES / 4


@pytest.mark.parametrize(
    "card",
    [Silent(UID4), Type4(UID7, lambda _: b"\x6d\x00"), Type4(UID7, lambda _: b"")],
    ids=["Classic", "no NDEF", "empty answers"],
)
def test_a_card_without_content_still_gives_its_uid(card: Card) -> None:
    assert tap(card)[0] == {"uid": card.uid.hex()}


HOSTILE: dict[str, tuple[Callable[[], Card], str]] = {
    "NLEN larger than the file": (
        lambda: Type4(UID7, ndef_application(MESSAGE, claimed=9000)),
        "nfc-tap-budget",
    ),
    "empty READ BINARY": (lambda: Type4(UID7, ndef_application(MESSAGE, empty_reads=True)), "nfc-tap-budget"),
    "endless S(WTX)": (lambda: EndlessWaiting(UID7), "nfc-tap-budget"),
    "ATS of one byte": (lambda: Type4(UID7, ndef_application(MESSAGE), ats=b"\x01"), "nfc-tag-malformed"),
    "ATS of two bytes": (
        lambda: Type4(UID7, ndef_application(MESSAGE), ats=b"\x02\x77"),
        "nfc-tag-malformed",
    ),
    "empty ATS": (lambda: Type4(UID7, ndef_application(MESSAGE), ats=b""), "nfc-tag-malformed"),
    "capability file of one byte": (
        lambda: Type4(UID7, ndef_application(MESSAGE, capability=b"\x00\x01")),
        "nfc-tag-malformed",
    ),
    "broken link": (lambda: Raising(UID7, nfc.clf.BrokenLinkError("RFOFF")), "nfc-tag-malformed"),
    "driver's own error": (lambda: Raising(UID7, RuntimeError("unexpected")), "nfc-tag-malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_card_is_a_named_fault_within_the_budget(name: str) -> None:
    make, expected = HOSTILE[name]
    started = time.monotonic()
    fields, device = tap(make())
    assert fields == {"fault": expected}
    assert device.frames <= FRAMES
    assert time.monotonic() - started < SECONDS + 1
    with pytest.raises(DecodeError, match=expected):
        decode(Read("r", "door", Technology.NFC, fields), Trust("s"), datetime.now(UTC))


@pytest.mark.parametrize("name", [name for name in HOSTILE if HOSTILE[name][1] == "nfc-tap-budget"])
def test_negative_control_without_the_budget_the_same_card_never_ends(name: str) -> None:
    code = f"""
import nfc, nfc.tag
from tests.integration.test_devices_nfc import HOSTILE, FakeDevice
device = FakeDevice()
device.cards = [HOSTILE[{name!r}][0]()]
frontend = nfc.ContactlessFrontend()
frontend.device = device
tag = nfc.tag.activate(frontend, frontend.sense(nfc.clf.RemoteTarget("106A"), iterations=1))
print("reading", flush=True)
tag.ndef
print("finished", flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.5)
    finally:
        child.kill()
        rest, _ = child.communicate()
    assert rest == ""
    assert child.returncode == -9


def test_one_long_frame_cannot_outlast_the_budget() -> None:
    asked: list[float] = []

    class Slow(FakeDevice):
        def send_cmd_recv_rsp(self, target: object, data: bytes, timeout: float) -> bytearray:
            asked.append(timeout)
            return super().send_cmd_recv_rsp(target, data, timeout)

    device = Slow()
    # FWI 14: the tag may take 4.9 s a frame, and 59 times that after S(WTX)
    device.cards = [Type4(UID7, ndef_application(MESSAGE), ats=b"\x06\x77\x77\xe1\x02\x80")]
    frontend = GuardedFrontend(device, threading.Event())
    assert read_tap(frontend, frontend.present())["ndef"] == NDEF
    assert max(asked) <= SECONDS


def test_broken_content_is_passed_on_for_the_decoder_to_judge() -> None:
    fields, _ = tap(Type2.with_message(UID7, b"\xd1\x01\x09U\x00"))
    found = decode(Read("r", "door", Technology.NFC, fields), Trust("s"), datetime.now(UTC))
    assert [credential.kind for credential in found] == ["nfc-uid"]


def test_two_cards_are_refused_whichever_kinds() -> None:
    other = Type2.with_message(bytes.fromhex("04FFB2C3D4E580"), MESSAGE)
    assert tap(Type2.with_message(UID7, MESSAGE), other)[0] == {"fault": "nfc-two-cards"}
    assert tap(Type4(UID7, ndef_application(MESSAGE)), other)[0] == {"fault": "nfc-two-cards"}


def test_a_torn_read_is_refused() -> None:
    device = FakeDevice()
    card = Type2.with_message(UID7, MESSAGE)
    device.cards = [card]

    class Pulled(Type2):
        def command(self, frame: bytes) -> bytes | None:
            if frame[0] == 0x30 and frame[1] >= 4:
                device.cards.clear()
            return super().command(frame) if device.cards else None

    device.cards = [Pulled(card.uid, card.memory)]
    frontend = GuardedFrontend(device, threading.Event())
    assert read_tap(frontend, frontend.present()) == {"fault": "nfc-torn-read"}


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("Google.nfc", "https://google.com/?"),
        ("RickRoll.nfc", "https://youtu.be/dQw4w9WgXcQ"),
        ("Call_112.nfc", "tel:112"),
        ("Talking_sasquach.nfc", None),
        ("Flipper_wifi_connect.nfc", None),
        ("Open_Android_flipper.nfc", None),
        ("Empty_NTAG213.nfc", None),
        ("Empty_NTAG216.nfc", None),
    ],
)
def test_real_dumps_are_read_and_none_of_them_opens_our_door(name: str, uri: str | None) -> None:
    path = DUMPS / name
    if not path.exists():
        pytest.skip(f"shared/data/nfc/dumps/{name} is absent")
    card = Type2.from_flipper(path)
    fields, device = tap(card)
    assert fields["uid"] == card.uid.hex()
    assert device.frames < FRAMES / 2
    if uri:
        assert first_uri(base64.b64decode(str(fields["ndef"]))) == uri
    trust = Trust("s", hosts=frozenset({"shop.example"}))
    found = decode(Read("r", "door", Technology.NFC, fields), trust, datetime.now(UTC))
    assert [(credential.kind, credential.value) for credential in found] == [
        ("nfc-uid", card.uid.hex().upper())
    ]


def test_a_type_1_tag_is_refused_and_counted_not_overlooked() -> None:
    class Topaz(FakeDevice):
        def sense_tta(self, target: nfc.clf.RemoteTarget) -> nfc.clf.RemoteTarget:
            rid_res = bytearray.fromhex("1148B2B36D1E")
            return nfc.clf.RemoteTarget("106A", sens_res=bytearray(b"\x00\x0c"), rid_res=rid_res)

    device = Topaz()
    with running(NfcReader("door", "usb", lambda _: device)) as watch:
        assert watch.wait_reads(1) == [{"fault": "nfc-tag-malformed"}]
        wait_for(lambda: device.polls > 10)
    assert len(watch.reads) == 1


def test_a_card_that_stays_is_one_tap_and_lights_the_light_until_it_leaves() -> None:
    device = FakeDevice()
    with running(NfcReader("door", "usb", lambda _: device)) as watch:
        device.cards.append(Type2.with_message(UID7, MESSAGE))
        wait_for(lambda: device.lit)
        time.sleep(0.5)  # some ten polls
        assert len(watch.reads) == 1
        device.cards.clear()
        wait_for(lambda: not device.lit)
        device.cards.append(Type2.with_message(UID7, MESSAGE))
        assert watch.wait_reads(2) == [{"uid": "04a1b2c3d4e580", "ndef": NDEF}] * 2


def test_a_refused_tap_does_not_light_up() -> None:
    device = FakeDevice()
    with running(NfcReader("door", "usb", lambda _: device), Outcome.REFUSED) as watch:
        device.cards.append(Type2.with_message(UID7, MESSAGE))
        watch.wait_reads(1)
        time.sleep(0.3)
        assert not device.lit


def test_after_a_hostile_card_the_next_one_is_read() -> None:
    device = FakeDevice()
    with running(NfcReader("door", "usb", lambda _: device)) as watch:
        device.cards = [EndlessWaiting(UID7)]
        watch.wait_reads(1)
        device.cards = [Type2.with_message(bytes.fromhex("04FFB2C3D4E580"), MESSAGE)]
        assert watch.wait_reads(2)[1] == {"uid": "04ffb2c3d4e580", "ndef": NDEF}


def test_stop_ends_a_hostile_tap_at_once() -> None:
    class Dawdling(EndlessWaiting):
        def command(self, frame: bytes) -> bytes | None:
            time.sleep(0.02)  # 200 frames would take the whole budget
            return super().command(frame)

    device = FakeDevice()
    with running(NfcReader("door", "usb", lambda _: device)) as watch:
        device.cards = [Dawdling(UID7)]
        wait_for(lambda: device.frames > 5)
        started = time.monotonic()
        watch.stop.set()
        watch.join()
        assert time.monotonic() - started < 1
    assert watch.reads == []
    assert device.closed


def test_unplugged_in_the_middle_of_a_tap_is_a_reader_error_not_a_refused_card() -> None:
    device = FakeDevice()
    card = Type2.with_message(UID7, MESSAGE)

    class Cursed(Type2):
        def command(self, frame: bytes) -> bytes | None:
            device.dead = frame[0] == 0x30 or device.dead
            device._check()
            return super().command(frame)

    with running(NfcReader("door", "usb", lambda _: device)) as watch:
        device.cards.append(Cursed(card.uid, card.memory))
        watch.join()
    assert isinstance(watch.error, ReaderError)
    assert watch.error.reason == "nfc-lost"
    assert watch.reads == []
    assert device.closed


def test_cards_over_nfcpys_own_udp_driver() -> None:
    cards: list[Card] = []
    with udp_field(cards) as port:
        reader = nfc_reader.build(
            {"id": "door", "type": "nfc", "path": f"udp:127.0.0.1:{port}", "allow_udp_for_tests": True}
        )
        with running(reader) as watch:
            cards.append(Type2.with_message(UID7, MESSAGE))
            assert watch.wait_reads(1)[0] == {"uid": "04a1b2c3d4e580", "ndef": NDEF}
            cards[:] = [Type4(bytes.fromhex("04DE5F1EACC040"), ndef_application(MESSAGE))]
            assert watch.wait_reads(2)[1] == {"uid": "04de5f1eacc040", "ndef": NDEF}
            cards[:] = [Type4(bytes.fromhex("04BADBADBADBAD"), ndef_application(MESSAGE, claimed=9000))]
            assert watch.wait_reads(3)[2] == {"fault": "nfc-tap-budget"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"path": "udp:127.0.0.1:1"}, "path: udp is for tests only"),
        ({"path": "udp", "allow_udp_for_tests": False}, "path: udp is for tests only"),
        ({"path": "com:1"}, "path: unknown bus"),
        ({"path": 7}, "path: must be of type str"),
        ({"pth": "usb"}, "pth: unknown key"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], problem: str) -> None:
    table = {"id": "door", "type": "nfc", "zone": "door", **settings}
    assert [found for found in nfc_reader.check(table) if found.startswith(problem)]
    with pytest.raises(Refused, match=problem):
        nfc_reader.build(table)


def test_a_phones_changing_uid_is_one_presentation() -> None:
    field = Field()
    assert field.arrived(b"\x08\x01\x02\x03", 0.0)
    assert not field.arrived(b"\x08\x99\x88\x77", 0.1)
    assert field.arrived(UID7, 0.2)
    assert not field.arrived(None, 0.3)
    assert not field.arrived(UID7, 0.4)  # a blink is not a departure
    assert not field.arrived(None, 0.8)
    assert field.empty
    assert field.arrived(UID7, 0.9)


def test_two_cards_stay_refused_until_the_field_is_empty() -> None:
    field = Field()
    assert field.arrived(UID7, 0.0)
    field.several()
    assert not field.arrived(UID4, 0.1)
    assert not field.arrived(None, 0.5)
    assert field.arrived(UID4, 0.6)
