"""Check-in tokens: what a booking's QR code and the door's `/hello/…` address carry.

A token is exactly base45(CWT): a CWT (RFC 8392) without its own tag, in a tagged COSE_Sign1 (RFC 9052)
signed with EdDSA over Ed25519, with `alg` and `kid` in the protected header. No prefix. Claims:

| claim   | key | what                                                         |
|---------|-----|--------------------------------------------------------------|
| iss     | 1   | who minted it                                                |
| sub     | 2   | the appointment's id                                         |
| aud     | 3   | the store's id                                               |
| exp, iat| 4, 6| seconds since 1970, whole numbers                            |
| cti     | 7   | at least 16 random bytes: the token counts once in the store |

Nothing of a token is believed, not even its store, before the signature holds.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Never

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cwt import COSE, COSEKey
from cwt.cose_key_interface import COSEKeyInterface
from cwt.exceptions import CWTError

from devices.decoders import base45
from devices.decoders.trust import Trust
from gateway.core.errors import DecodeError
from gateway.core.model import is_id

LEEWAY = timedelta(seconds=60)  # how far the minter's clock may be ahead of ours
MAX_LENGTH = 1024  # characters; a token of ours has about 240
MIN_LENGTH = 60
MIN_TOKEN_ID = 16  # bytes

_ISS, _SUB, _AUD, _EXP, _IAT, _CTI = 1, 2, 3, 4, 6, 7
_ALG, _CRIT, _KID, _EDDSA = 1, 2, 4, -8
_SIGN1 = 18
_LOOKS = re.compile(rf"[{re.escape(base45.ALPHABET)}]{{{MIN_LENGTH},}}")


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token that holds says. `token_id` is the cti as lower-case hex."""

    appointment: str
    token_id: str
    expires_at: datetime
    key_id: str


def looks_like_token(text: str) -> bool:
    """Whether `text` is meant as a token: base45 and too long for a booking code or a loyalty number."""
    return _LOOKS.fullmatch(text) is not None


def mint(
    key: Ed25519PrivateKey,
    kid: str,
    store: str,
    appointment: str,
    issued_at: datetime,
    expires_at: datetime,
    token_id: bytes,
    issuer: str = "soglia",
) -> str:
    """A signed token. `token_id` is the caller's randomness: at least 16 bytes, never used twice.

    Raises:
        ValueError: the token id is too short, the appointment is no id, or it expires before it begins.
    """
    if len(token_id) < MIN_TOKEN_ID or not is_id(appointment) or expires_at <= issued_at:
        raise ValueError("a token needs 16 random bytes, an appointment's id, and an expiry after its issue")
    claims = {
        _ISS: issuer,
        _SUB: appointment,
        _AUD: store,
        _EXP: int(expires_at.timestamp()),
        _IAT: int(issued_at.timestamp()),
        _CTI: token_id,
    }
    parameters = {1: 1, -1: 6, 3: _EDDSA, 4: [1]}
    parameters |= {2: kid.encode(), -2: key.public_key().public_bytes_raw(), -4: key.private_bytes_raw()}
    signed = COSE().encode_and_sign(
        cbor2.dumps(claims), COSEKey.new(parameters), protected={_ALG: _EDDSA, _KID: kid.encode()}
    )
    assert isinstance(signed, bytes)  # a CBORTag only where one is asked for
    return base45.encode(signed)


def verify(text: str, trust: Trust, at: datetime) -> TokenClaims:
    """What the token `text` says, once its signature, store, issuer and times hold at `at`.

    Raises:
        DecodeError: token-oversize, token-malformed, token-algorithm, token-unknown-key, token-signature,
            token-foreign-store, token-no-id, token-no-expiry, token-expired, token-issued-in-future.
    """
    if len(text) > MAX_LENGTH:
        raise DecodeError("token-oversize", "The token is too long; scan the code from the booking.")
    envelope = _envelope(text)
    key_id = _key_id(envelope)
    key = trust.keys.get(key_id)
    if key is None:
        raise DecodeError(
            "token-unknown-key", "The token is signed with a key this store does not know; update its keys."
        )
    claims = _signed_claims(envelope, _cose_key(key_id.encode(), key.public_bytes_raw()))
    return _believed(claims, key_id, trust, at)


def _malformed() -> Never:
    raise DecodeError("token-malformed", "This is not a check-in token, or it is damaged; scan it again.")


def _envelope(text: str) -> cbor2.CBORTag:
    try:
        octets = base45.decode(text)
    except ValueError:
        _malformed()
    if octets[:2] != b"\xd2\x84":  # COSE_Sign1: tag 18, array of four
        _malformed()
    loaded = _loads(octets)
    if not isinstance(loaded, cbor2.CBORTag) or loaded.tag != _SIGN1:
        _malformed()
    match loaded.value:
        case [bytes(), dict(), bytes(), bytes()]:
            return loaded
        case _:
            _malformed()


def _key_id(envelope: cbor2.CBORTag) -> str:
    """The signer's key id, from the protected header or, where it has none, the unprotected one. The
    algorithm counts only where it is protected, and only EdDSA counts."""
    protected = _loads(envelope.value[0]) if envelope.value[0] else {}
    if not isinstance(protected, dict) or _CRIT in protected:  # we understand no critical extension
        _malformed()
    algorithm = protected.get(_ALG)
    if algorithm != _EDDSA or isinstance(algorithm, float) or _ALG in envelope.value[1]:
        raise DecodeError("token-algorithm", "The token is not signed with EdDSA; only that is accepted.")
    kid = protected.get(_KID, envelope.value[1].get(_KID))
    if not isinstance(kid, bytes):
        raise DecodeError("token-unknown-key", "The token does not say which key signed it.")
    return kid.decode("utf-8", "replace")


def _signed_claims(envelope: cbor2.CBORTag, key: COSEKeyInterface) -> dict[object, object]:
    try:
        _, _, payload = COSE().decode_with_headers(envelope, key)
    except (CWTError, ValueError, TypeError):
        detail = "The token's signature does not hold; it may be forged."
        raise DecodeError("token-signature", detail) from None
    claims = _loads(payload)
    if not isinstance(claims, dict):
        _malformed()
    return claims


def _believed(claims: dict[object, object], key_id: str, trust: Trust, at: datetime) -> TokenClaims:
    if claims.get(_AUD) != trust.store:
        raise DecodeError("token-foreign-store", "The token is for another store; ask where the booking is.")
    issuer = claims.get(_ISS)
    if trust.issuers is not None and not (isinstance(issuer, str) and issuer in trust.issuers):
        raise DecodeError("token-foreign-store", "The token's issuer is not one this store accepts.")
    token_id, appointment = claims.get(_CTI), claims.get(_SUB)
    if not isinstance(token_id, bytes) or not MIN_TOKEN_ID <= len(token_id) <= 64:
        raise DecodeError("token-no-id", "The token has no id of 16 to 64 bytes, so it could be used twice.")
    if not isinstance(appointment, str) or not is_id(appointment):
        _malformed()
    expires_at = _instant(claims.get(_EXP))
    if expires_at is None:
        raise DecodeError("token-no-expiry", "The token never expires; it is not accepted.")
    issued_at = _instant(claims.get(_IAT))
    if issued_at is None:
        _malformed()
    if issued_at > at + LEEWAY:
        raise DecodeError("token-issued-in-future", "The token is from the future; check the clocks.")
    if expires_at <= at:
        raise DecodeError("token-expired", "The token has expired; open the booking for a new one.")
    return TokenClaims(appointment, token_id.hex(), expires_at, key_id)


def _instant(claim: object) -> datetime | None:
    if not isinstance(claim, int) or isinstance(claim, bool):
        return None
    try:
        return datetime.fromtimestamp(claim, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _loads(octets: bytes) -> object:
    try:
        loaded: object = cbor2.loads(octets)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError):
        _malformed()
    return loaded


@functools.lru_cache(maxsize=64)
def _cose_key(kid: bytes, raw: bytes) -> COSEKeyInterface:
    return COSEKey.new({1: 1, -1: 6, 2: kid, -2: raw, 3: _EDDSA, 4: [2]})
