"""Base45 against its RFC, and check-in tokens: what holds, and every way in which one does not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cwt import COSE, COSEKey
from hypothesis import given
from hypothesis import strategies as st

from devices.decoders import Trust, base45, tokens
from gateway.core.errors import DecodeError

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TRUST = Trust("milano-01", {"k1": KEY.public_key()}, frozenset({"soglia"}))
JTI = bytes(range(16))
NOW = int(AT.timestamp())
CLAIMS = {1: "soglia", 2: "a-9", 3: "milano-01", 4: NOW + 3600, 6: NOW - 60, 7: JTI}


def token(**changes: object) -> str:
    told = {"key": KEY, "kid": "k1", "store": "milano-01", "appointment": "a-9", "token_id": JTI}
    told |= {"issued_at": AT - timedelta(minutes=1), "expires_at": AT + timedelta(hours=1), **changes}
    return tokens.mint(**told)  # type: ignore[arg-type]  # the test's own table


def signed(claims: object, protected: dict[int, object] | None = None, **unprotected: object) -> str:
    """A token around any claims and headers, signed with the right key by hand (RFC 9052, 4.4)."""
    header = cbor2.dumps({1: -8, 4: b"k1"} if protected is None else protected)
    payload = cbor2.dumps(claims)
    signature = KEY.sign(cbor2.dumps(["Signature1", header, b"", payload]))
    loose = {int(name[1:]): value for name, value in unprotected.items()}
    return base45.encode(cbor2.dumps(cbor2.CBORTag(18, [header, loose, payload, signature])))


def reason(text: str, trust: Trust = TRUST, at: datetime = AT) -> str:
    with pytest.raises(DecodeError) as caught:
        tokens.verify(text, trust, at)
    return caught.value.reason


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"AB", "BB8"),
        (b"Hello!!", "%69 VD92EX0"),
        (b"base-45", "UJCLQE7W581"),
        (b"ietf!", "QED8WEX0"),
        (b"", ""),
    ],
)
def test_base45_has_the_vectors_of_rfc_9285(octets: bytes, text: str) -> None:
    assert base45.encode(octets) == text
    assert base45.decode(text) == octets


@pytest.mark.parametrize("text", ["GGW", ":::", "::", "0", "BB80", "bb8", "BB\n", "ÄB8"])
def test_base45_refuses_what_no_encoder_writes(text: str) -> None:
    with pytest.raises(ValueError, match=r"group|alphabet"):
        base45.decode(text)


@given(st.binary(max_size=300))
def test_base45_round_trips(octets: bytes) -> None:
    assert base45.decode(base45.encode(octets)) == octets


def test_a_minted_token_holds() -> None:
    claims = tokens.verify(token(), TRUST, AT)
    assert claims == tokens.TokenClaims("a-9", JTI.hex(), AT + timedelta(hours=1), "k1")


def test_a_token_fits_the_alphanumeric_mode_of_a_small_qr_code() -> None:
    text = token()
    assert tokens.looks_like_token(text)
    assert len(text) <= 224  # version 8, error correction M: 221; L: 279


def test_a_token_of_the_plain_cwt_library_holds_with_its_key_id_unprotected() -> None:
    parameters = {1: 1, -1: 6, 2: b"k1", 3: -8, 4: [1]}
    parameters |= {-2: KEY.public_key().public_bytes_raw(), -4: KEY.private_bytes_raw()}
    cose = COSE(alg_auto_inclusion=True, kid_auto_inclusion=True)
    octets = cose.encode_and_sign(cbor2.dumps(CLAIMS), COSEKey.new(parameters))
    assert isinstance(octets, bytes)
    assert tokens.verify(base45.encode(octets), TRUST, AT).key_id == "k1"


def test_the_hand_signed_token_of_these_tests_holds() -> None:
    assert tokens.verify(signed(CLAIMS), TRUST, AT).appointment == "a-9"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (CLAIMS | {3: "roma-02"}, "token-foreign-store"),
        (CLAIMS | {3: ["milano-01"]}, "token-foreign-store"),
        ({k: v for k, v in CLAIMS.items() if k != 3}, "token-foreign-store"),
        (CLAIMS | {1: "evil"}, "token-foreign-store"),
        (CLAIMS | {1: ["soglia"]}, "token-foreign-store"),
        ({k: v for k, v in CLAIMS.items() if k != 4}, "token-no-expiry"),
        (CLAIMS | {4: "never"}, "token-no-expiry"),
        (CLAIMS | {4: True}, "token-no-expiry"),
        (CLAIMS | {4: 10**30}, "token-no-expiry"),
        (CLAIMS | {4: float("nan")}, "token-no-expiry"),
        (CLAIMS | {4: NOW}, "token-expired"),
        (CLAIMS | {6: NOW + 61}, "token-issued-in-future"),
        ({k: v for k, v in CLAIMS.items() if k != 6}, "token-malformed"),
        ({k: v for k, v in CLAIMS.items() if k != 7}, "token-no-id"),
        (CLAIMS | {7: JTI[:15]}, "token-no-id"),
        (CLAIMS | {7: "0" * 32}, "token-no-id"),
        (CLAIMS | {2: "an appointment"}, "token-malformed"),
        (CLAIMS | {2: 9}, "token-malformed"),
        ([1, 2, 3], "token-malformed"),
    ],
)
def test_claims_that_do_not_hold_are_refused(claims: object, expected: str) -> None:
    assert reason(signed(claims)) == expected


def test_times_hold_to_the_second() -> None:
    assert tokens.verify(signed(CLAIMS | {6: NOW + 60}), TRUST, AT)
    assert tokens.verify(signed(CLAIMS | {4: NOW + 1}), TRUST, AT)


def test_without_a_list_of_issuers_any_issuer_will_do() -> None:
    assert tokens.verify(signed(CLAIMS | {1: "partner"}), Trust("milano-01", TRUST.keys), AT)


@pytest.mark.parametrize(
    ("protected", "loose", "expected"),
    [
        ({4: b"k1"}, {}, "token-algorithm"),
        ({1: 0, 4: b"k1"}, {}, "token-algorithm"),
        ({1: None, 4: b"k1"}, {}, "token-algorithm"),
        ({1: "none", 4: b"k1"}, {}, "token-algorithm"),
        ({1: -8.0, 4: b"k1"}, {}, "token-algorithm"),
        ({1: 5, 4: b"k1"}, {}, "token-algorithm"),  # HMAC 256/256: the public key as a shared secret
        ({1: -7, 4: b"k1"}, {}, "token-algorithm"),  # ES256
        ({4: b"k1"}, {"_1": -8}, "token-algorithm"),  # where nobody signed it
        ({1: -8, 4: b"k1"}, {"_1": 5}, "token-algorithm"),
        ({1: -8}, {}, "token-unknown-key"),
        ({1: -8, 4: "k1"}, {}, "token-unknown-key"),
        ({1: -8, 4: b"k2"}, {}, "token-unknown-key"),
        ({1: -8, 4: b"\xff"}, {}, "token-unknown-key"),
        ({1: -8, 4: b"k1", 2: [99], 99: 1}, {}, "token-malformed"),  # a critical extension
    ],
)
def test_headers_that_do_not_hold_are_refused(
    protected: dict[int, object], loose: dict[str, object], expected: str
) -> None:
    assert reason(signed(CLAIMS, protected, **loose)) == expected


def test_another_keys_signature_is_refused() -> None:
    assert reason(token(key=OTHER)) == "token-signature"


def test_an_hmac_with_the_public_key_is_refused() -> None:
    key = COSEKey.from_symmetric_key(KEY.public_key().public_bytes_raw(), alg="HS256", kid="k1")
    octets = COSE(alg_auto_inclusion=True, kid_auto_inclusion=True).encode_and_mac(cbor2.dumps(CLAIMS), key)
    assert isinstance(octets, bytes)
    assert reason(base45.encode(octets)) == "token-malformed"


@pytest.mark.parametrize("at", range(0, 130, 7))
def test_a_flipped_bit_anywhere_is_refused(at: int) -> None:
    octets = bytearray(base45.decode(token()))
    octets[at] ^= 1
    assert reason(base45.encode(bytes(octets))).startswith("token-")


@pytest.mark.parametrize(
    "octets",
    [b"", b"\xd2\x84", b"\xd2\x84" + b"\x81" * 600, b"\xd2\x84\xd8\x23\x41\x28\xa0\x40\x40", b"\xa0" * 40]
    + [
        cbor2.dumps(cbor2.CBORTag(18, value))
        for value in ([], [b"", {}, b""], [b"\xff", {}, b"", b""], [b"\x01", {}, b"", b""])
    ],
)
def test_what_is_no_cose_sign1_is_malformed(octets: bytes) -> None:
    assert reason(base45.encode(octets)) == "token-malformed"


def test_what_is_no_base45_or_too_long_is_refused() -> None:
    assert reason("~" * 80) == "token-malformed"
    assert reason("0" * 1025) == "token-oversize"


@given(st.binary(max_size=200))
def test_any_envelope_is_a_token_or_a_decode_error(octets: bytes) -> None:
    assert reason(base45.encode(b"\xd2\x84" + octets)).startswith("token-")


@pytest.mark.parametrize(
    "changes",
    [{"token_id": b"short"}, {"appointment": "an appointment"}, {"expires_at": AT - timedelta(hours=1)}],
)
def test_mint_refuses_what_verify_would(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a token needs"):
        token(**changes)


def test_verifying_takes_well_below_a_millisecond() -> None:
    text, best = token(), 1.0
    for _ in range(20):
        started = time.perf_counter()
        tokens.verify(text, TRUST, AT)
        best = min(best, time.perf_counter() - started)
    assert best < 0.001
