"""Reads -> credentials: texts, addresses, NFC taps, EPCs and faults; and nothing but credentials or DecodeError."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import ndef
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from devices.decoders import Trust, decode, tokens
from devices.decoders.faults import FAULTS
from devices.decoders.ndef import first_uri
from gateway.core.errors import DecodeError
from gateway.core.model import Credential, Proof, Read, SingleUse, Technology

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HOSTS = frozenset({"shop.example", "box.example:8443"})
TRUST = Trust("milano-01", {"k1": KEY.public_key()}, hosts=HOSTS)
UNTIL = AT + timedelta(hours=1)
TOKEN = tokens.mint(KEY, "k1", "milano-01", "a-9", AT, UNTIL, bytes(16))
PROVEN = Credential("appointment", "a-9", Proof.PROVEN, SingleUse("00" * 16, UNTIL))
CODE = Credential("booking-code", "K7Q2MX", Proof.HELD)
UID = Credential("nfc-uid", "04A1B2C3D4E580", Proof.HINT)
SAMPLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "nfc" / "ndef"


def read(technology: Technology, **data: object) -> tuple[Credential, ...]:
    return decode(Read("r1", "door", technology, data), TRUST, AT)


def qr(payload: object, **more: object) -> tuple[Credential, ...]:
    return read(Technology.QR, payload=payload, **more)


def reason(technology: Technology, **data: object) -> str:
    with pytest.raises(DecodeError) as caught:
        read(technology, **data)
    return caught.value.reason


def message(*records: ndef.Record) -> str:
    return base64.b64encode(b"".join(ndef.message_encoder(list(records)))).decode()


def uri(address: str) -> str:
    return message(ndef.UriRecord(address))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TOKEN, (PROVEN,)),
        (f"https://shop.example/hello/{quote(TOKEN, safe='')}", (PROVEN,)),
        ("https://shop.example/hello/k7q2mx", (CODE,)),
        ("HTTPS://Shop.Example:443/hello/K7Q2MX?utm_source=mail#top", (CODE,)),
        ("https://box.example:8443/hello/K7Q2MX", (CODE,)),
        ("K7Q2MX", (CODE, Credential("loyalty", "K7Q2MX", Proof.HELD))),
        ("k7q2mx", (CODE, Credential("loyalty", "k7q2mx", Proof.HELD))),
        ("8012345678905", (Credential("loyalty", "8012345678905", Proof.HELD),)),
        ("ABC", (Credential("loyalty", "ABC", Proof.HELD),)),
        ("L-" + "7" * 57, (Credential("loyalty", "L-" + "7" * 57, Proof.HELD),)),
        ("card-" + "x" * 59, (Credential("loyalty", "card-" + "x" * 59, Proof.HELD),)),
    ],
)
def test_texts(text: str, expected: tuple[Credential, ...]) -> None:
    assert qr(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "qr-empty"),
        ("A" * 2049, "qr-oversize"),
        ("K7Q2\x00MX", "qr-control-character"),
        ("K7Q2MX\n", "qr-control-character"),
        ("K7Q2MX\x1d", "qr-control-character"),
        ("card-" + "x" * 60, "qr-unknown-code"),
        ("Caffè", "qr-unknown-code"),
        ("WIFI:S:guest;;", "qr-unknown-code"),
        ("javascript:alert(1)", "qr-unknown-code"),
        ("Z" * 60, "token-malformed"),
        ("http://shop.example/hello/K7Q2MX", "url-not-https"),
        ("ftp://shop.example/hello/K7Q2MX", "url-not-https"),
        ("https://evil.example/hello/K7Q2MX", "url-foreign-host"),
        ("https://shop.example.evil.example/hello/K7Q2MX", "url-foreign-host"),
        ("https://shop.example./hello/K7Q2MX", "url-foreign-host"),
        ("https://shop.example:8443/hello/K7Q2MX", "url-foreign-host"),
        ("https://shop.example@evil.example/hello/K7Q2MX", "url-foreign-host"),
        ("https://me:pw@shop.example/hello/K7Q2MX", "url-foreign-host"),
        ("https://evil.example\\@shop.example/hello/K7Q2MX", "url-foreign-host"),
        ("https:///hello/K7Q2MX", "url-foreign-host"),
        ("https://shop.example/", "url-unknown-path"),
        ("https://shop.example/hello/", "url-unknown-path"),
        ("https://shop.example/hello/a/b", "url-unknown-path"),
        ("https://shop.example/hellooo/K7Q2MX", "url-unknown-path"),
        ("https://shop.example/x/hello/K7Q2MX", "url-unknown-path"),
        ("https://[::1/hello/K7Q2MX", "url-malformed"),
        ("https://shop.example:port/hello/K7Q2MX", "url-malformed"),
        ("https://shop.example/hello/K7%2", "url-malformed"),
        ("https://shop.example/hello/%ff%fe", "url-malformed"),
        ("https://shop.example/hello/not-a-code", "qr-unknown-code"),
        ("https://shop.example/hello/K7Q2%00MX", "qr-unknown-code"),
    ],
)
def test_texts_that_are_refused(text: str, expected: str) -> None:
    assert reason(Technology.QR, payload=text) == expected


def test_an_expired_token_in_an_address_says_so() -> None:
    with pytest.raises(DecodeError, match="token-expired"):
        decode(Read("r", "door", Technology.QR, {"payload": TOKEN}), TRUST, UNTIL)


@pytest.mark.parametrize("symbology", ["]Q1", "]Q2", "]C0", "]E0", "]z0"])
def test_symbologies_that_are_ours(symbology: str) -> None:
    assert qr("K7Q2MX", symbology=symbology)[0] == CODE


@pytest.mark.parametrize("symbology", ["]Q3", "]C1", "]d2", "]e0", "", "Q1", "]Q"])
def test_symbologies_that_are_not(symbology: str) -> None:
    assert reason(Technology.QR, payload="K7Q2MX", symbology=symbology) == "qr-symbology"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"uid": "04a1b2c3d4e580"}, (UID,)),
        ({"uid": "04A1B2C3"}, (Credential("nfc-uid", "04A1B2C3", Proof.HINT),)),
        ({"uid": "04" * 10}, (Credential("nfc-uid", "04" * 10, Proof.HINT),)),
        ({"uid": "04a1b2c3d4e580", "ndef": uri("https://shop.example/hello/k7q2mx")}, (CODE, UID)),
        (
            {"uid": "04a1b2c3d4e580", "ndef": uri(f"https://shop.example/hello/{quote(TOKEN, safe='')}")},
            (PROVEN, UID),
        ),
        ({"uid": "08a1b2c3", "ndef": uri("https://shop.example/hello/K7Q2MX")}, (CODE,)),
        ({"ndef": uri("https://shop.example/hello/K7Q2MX")}, (CODE,)),
        (
            {"ndef": message(ndef.TextRecord("hi"), ndef.UriRecord("https://shop.example/hello/K7Q2MX"))},
            (CODE,),
        ),
        ({"ndef": message(ndef.SmartposterRecord("https://shop.example/hello/K7Q2MX"))}, (CODE,)),
        # a card whose content is not ours is still that card
        ({"uid": "04a1b2c3d4e580", "ndef": uri("https://google.com/?q=1")}, (UID,)),
        ({"uid": "04a1b2c3d4e580", "ndef": message(ndef.TextRecord("hi"))}, (UID,)),
        ({"uid": "04a1b2c3d4e580", "ndef": ""}, (UID,)),
        ({"uid": "04a1b2c3d4e580", "ndef": "0QEB"}, (UID,)),
    ],
)
def test_taps(data: dict[str, object], expected: tuple[Credential, ...]) -> None:
    assert read(Technology.NFC, **data) == expected


def test_percent_signs_and_equals_signs_of_a_tag_arrive_as_they_are() -> None:
    octets = base64.b64decode(uri("https://shop.example/hello/K7?picc=EF96&cmac=94EE"))
    assert first_uri(octets) == "https://shop.example/hello/K7?picc=EF96&cmac=94EE"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "nfc-empty"),
        ({"uid": "08a1b2c3"}, "nfc-random-uid"),
        ({"uid": "08a1b2c3", "ndef": uri("https://evil.example/hello/K7Q2MX")}, "url-foreign-host"),
        ({"uid": "08a1b2c3", "ndef": uri("http://shop.example/hello/K7Q2MX")}, "url-not-https"),
        ({"uid": "08a1b2c3", "ndef": uri("tel:112")}, "url-not-https"),
        ({"uid": "04a1b2"}, "nfc-uid-length"),
        ({"uid": ""}, "nfc-uid-length"),
        ({"uid": "04a1b2c3d4", "ndef": uri("https://shop.example/hello/K7Q2MX")}, "nfc-uid-length"),
        ({"uid": "04a"}, "read-field-not-hex"),
        ({"uid": "zz"}, "read-field-not-hex"),
        ({"uid": "04 a1"}, "read-field-not-hex"),
        ({"uid": "é" * 8}, "read-field-not-hex"),
        ({"uid": 4}, "read-field-type"),
        ({"ndef": ["0QEB"]}, "read-field-type"),
        ({"ndef": "0QE"}, "read-field-not-base64"),
        ({"ndef": "0Q\nEB"}, "read-field-not-base64"),
        ({"ndef": "A" * 20_000}, "read-field-oversize"),
        ({"ndef": ""}, "ndef-empty"),
        ({"ndef": "0AAA"}, "ndef-empty"),
        ({"ndef": message(ndef.TextRecord("hi"))}, "ndef-no-uri"),
        ({"ndef": base64.b64encode(b"\xd1\x01\x02U\x00a\x00").decode()}, "ndef-malformed"),
        ({"ndef": base64.b64encode(b"\xd1\x01\x09U\x00a").decode()}, "ndef-malformed"),
        ({"ndef": base64.b64encode(b"\xd1\x01\x03U\x00\xff\xfe").decode()}, "ndef-malformed"),
        ({"ndef": base64.b64encode(b"\x00" * 9000).decode()}, "ndef-oversize"),
    ],
)
def test_taps_that_are_refused(data: dict[str, object], expected: str) -> None:
    assert reason(Technology.NFC, **data) == expected


def test_tags_of_the_rfid_gate() -> None:
    assert read(Technology.RFID, epc="3074257bf7194e4000001a85", antenna=1, rssi=-60) == (
        Credential("epc", "3074257BF7194E4000001A85", Proof.HINT),
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "read-field-missing"),
        ({"epc": ""}, "epc-length"),
        ({"epc": "30742"}, "read-field-not-hex"),
        ({"epc": "307425"}, "epc-length"),
        ({"epc": "30" * 64}, "epc-length"),
        ({"epc": 30}, "read-field-type"),
    ],
)
def test_tags_that_are_refused(data: dict[str, object], expected: str) -> None:
    assert reason(Technology.RFID, **data) == expected


def test_ble_is_refused_in_this_release() -> None:
    assert reason(Technology.BLE, address="C0:FF:EE", rssi=-60, advertisement="") == "ble-not-enrolled"


@pytest.mark.parametrize("technology", [Technology.QR, Technology.NFC])
@pytest.mark.parametrize("slug", FAULTS)
def test_a_fault_is_refused_with_its_own_reason(slug: str, technology: Technology) -> None:
    assert reason(technology, fault=slug) == slug


@pytest.mark.parametrize("slug", ["made-up", "", None, 7, ["serial-nul"]])
def test_only_known_faults_have_a_name(slug: object) -> None:
    assert reason(Technology.QR, fault=slug, payload="K7Q2MX") == "read-fault-unknown"


@pytest.mark.parametrize("payload", [None, 7, b"K7Q2MX", ["K7Q2MX"], {}])
def test_a_payload_must_be_text(payload: object) -> None:
    assert reason(Technology.QR, payload=payload) in ("read-field-type", "read-field-missing")


def test_errors_never_repeat_what_was_scanned() -> None:
    for text in (
        "sekrit-" + "x" * 70,
        "https://sekrit.example/hello/x",
        "https://shop.example/hello/sekrit-1",
    ):
        with pytest.raises(DecodeError) as caught:
            qr(text)
        assert "sekrit" not in str(caught.value)


def test_the_samples_of_ndeflib_decode_or_are_refused() -> None:
    path = SAMPLES / "ndef-messages.json"
    if not path.exists():
        pytest.skip("shared/data/nfc/ndef/ndef-messages.json is absent")
    cases = json.loads(path.read_text())["cases"]
    assert len(cases) >= 20
    for case in cases:
        try:
            found = "uri" if first_uri(bytes.fromhex(case["message_hex"])) else ""
        except DecodeError as error:
            found = error.reason
        kinds = [record["type"] for record in case.get("records", [])]
        if "urn:nfc:wkt:U" in kinds or "urn:nfc:wkt:Sp" in kinds:
            assert found == "uri"
        elif "error" in case:
            assert found == "ndef-malformed"
        else:
            assert found in ("ndef-no-uri", "ndef-empty")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.just("k"), SCALARS)
HOSTILE = (
    JSON
    | st.text(alphabet="0123456789abcdefABCDEF", max_size=40)
    | st.binary(max_size=80).map(lambda octets: base64.b64encode(octets).decode())
    | st.text(max_size=60).map("https://shop.example/hello/".__add__)
    | st.text(alphabet="/@:[]%?#.\\a", max_size=30).map("https://".__add__)
    | st.text(alphabet="0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:", min_size=60, max_size=90)
)
FIELDS = st.sampled_from(["payload", "symbology", "uid", "ndef", "epc", "fault", "address"])


@given(st.sampled_from(Technology), st.dictionaries(FIELDS, HOSTILE, max_size=3))
@example(Technology.QR, {"payload": "https://\u2100.example/hello/x"})
def test_any_read_gives_credentials_or_a_decode_error(
    technology: Technology, data: dict[str, object]
) -> None:
    try:
        found = read(technology, **data)
    except DecodeError:
        return
    assert found
    assert all(isinstance(credential, Credential) for credential in found)


@given(st.binary(max_size=120))
def test_any_ndef_message_gives_an_address_or_a_decode_error(octets: bytes) -> None:
    try:
        found = first_uri(octets)
    except DecodeError:
        return
    assert isinstance(found, str)


@given(st.sampled_from([b"U", b"Sp", b"T", b"Hs", b"Di"]), st.binary(max_size=60))
def test_any_known_record_gives_an_address_or_a_decode_error(kind: bytes, payload: bytes) -> None:
    octets = b"\xd1" + bytes([len(kind), len(payload)]) + kind + payload
    try:
        found = first_uri(octets)
    except DecodeError:
        return
    assert isinstance(found, str)
