"""What a clerk may know of the visitor she is about to meet.

Without consent to history, only what the appointment needs. Never a credential, and nothing before
`may_open_dossier` says so: the caller of this file asks first, and writes the audit before showing anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from gateway.api.problems import Problem
from gateway.api.services import Services
from gateway.api.visits import person_name
from gateway.core.state import Visit
from gateway.core.states import may_open_dossier

_APPOINTMENT_FIELDS = ("id", "start", "end", "service", "language", "party_size", "status")
_CLOSED = {
    "confirmation-required": "The dossier opens once you have confirmed: say coming, or greet the visitor first.",
    "not-assigned": "A colleague looks after this visit: the dossier opens for her.",
}
_BEGINNING = datetime.min.replace(tzinfo=UTC)


def open_dossier(services: Services, visit: Visit, clerk: str) -> dict[str, Any]:
    """The dossier, after writing the audit. Reads and writes the directory: call it in a thread.

    Raises:
        Problem: 403 `confirmation-required` or `not-assigned`.
    """
    if (shut := may_open_dossier(visit, clerk)) is not None:
        raise Problem(403, shut, _CLOSED.get(shut, "The dossier may not be opened now."))
    services.directory.audit(
        who=f"clerk:{clerk}", action="dossier", whose=visit.visitor, why=visit.id, at=services.now()
    )
    person = services.directory.body("visitor", visit.visitor) if visit.visitor else None
    booking = services.directory.body("appointment", visit.appointment) if visit.appointment else None
    touchpoints = list((person or {}).get("touchpoints") or [])
    allowed = person is not None and consents(person, "history")
    return {
        "visit": visit.id,
        "visitor": _person(person) if person else None,
        "appointment": {k: booking[k] for k in _APPOINTMENT_FIELDS if k in booking} if booking else None,
        "history": "none" if not touchpoints else "shown" if allowed else "no-consent",
        "touchpoints": [_touchpoint(services, t) for t in _in_order(touchpoints)] if allowed else [],
    }


def consents(person: Mapping[str, Any], purpose: str) -> bool:
    """Whether the visitor's last word on `purpose` was yes. No word is a no."""
    said = [c for c in person.get("consent") or [] if c.get("purpose") == purpose]
    return bool(said) and bool(max(said, key=lambda c: _instant(c.get("at")))["granted"])


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "visitor": person["id"],
        "name": person_name(person, whole=True),
        "given_name": person.get("given_name"),
        "language": person.get("language"),
        "consent": [
            {"purpose": c.get("purpose"), "granted": bool(c.get("granted"))}
            for c in person.get("consent") or []
        ],
    }


def _in_order(touchpoints: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What nobody has answered yet first, then the newest first."""
    newest = sorted(touchpoints, key=lambda t: _instant(t.get("at")), reverse=True)
    return sorted(newest, key=lambda t: t.get("answered") is not False)


def _touchpoint(services: Services, touchpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The touchpoint as it came, with what the store has of the product."""
    product = touchpoint.get("product")
    body = services.directory.body("product", product) if isinstance(product, str) else None
    if body is None:
        return dict(touchpoint)
    variant = _variant(body, touchpoint)
    price = variant.get("price") or body.get("price")
    in_store = {
        "name": body.get("name"),
        "price": price,
        "stock": _stock(body, variant, touchpoint),
        "price_differs": _differs(touchpoint.get("price"), price),
    }
    return {**touchpoint, "in_store": in_store}


def _variant(product: Mapping[str, Any], touchpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The variant of the size and colour she looked at; empty when the catalogue has none."""
    for variant in product.get("variants") or []:
        if all(_same(variant.get(k), touchpoint.get(k)) for k in ("size", "colour") if touchpoint.get(k)):
            assert isinstance(variant, Mapping)
            return variant
    return {}


def _stock(
    product: Mapping[str, Any], variant: Mapping[str, Any], touchpoint: Mapping[str, Any]
) -> int | None:
    """How many are in the store: the variant's own number, or the product's by size, or its only one."""
    stock = variant.get("stock", product.get("stock"))
    if isinstance(stock, Mapping):
        keys = (variant.get("id"), variant.get("sku"), touchpoint.get("size"), "quantity", "available")
        stock = next((stock[k] for k in keys if isinstance(k, str) and k in stock), None)
    return stock if isinstance(stock, int) and not isinstance(stock, bool) else None


def _differs(online: object, store: object) -> bool:
    """Whether two prices in one currency differ; False where that cannot be told."""
    if not isinstance(online, Mapping) or not isinstance(store, Mapping):
        return False
    if online.get("currency") != store.get("currency"):
        return False
    try:
        return Decimal(str(online.get("amount"))) != Decimal(str(store.get("amount")))
    except InvalidOperation:
        return False


def _same(one: object, other: object) -> bool:
    return str(one).casefold() == str(other).casefold()


def _instant(text: object) -> datetime:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return _BEGINNING
    return at if at.tzinfo else at.replace(tzinfo=UTC)
