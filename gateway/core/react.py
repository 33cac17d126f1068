"""What the floor hears of an event: `react(event) -> messages`. Pure; nothing personal is in any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.core import events as ev
from gateway.core.codec import canonical, plain, rfc3339
from gateway.core.states import ACKNOWLEDGED, ALERTED, ARRIVED, CLOSED, GREETED, SERVING

STATE_TYPE = "soglia.visit-state.v1"


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for a topic below the store's prefix; after `expires_at` nobody needs it any more."""

    topic: str
    type: str
    data: dict[str, Any]
    at: datetime
    expires_at: datetime | None = None


def react(event: ev.Event, seq: int) -> list[Notice]:
    """The messages that `event`, number `seq` of the log, gives rise to."""
    notices: list[Notice] = []
    if isinstance(event, ev.VisitAlerted):
        notices.append(_alert(event, seq))
    if isinstance(event, ev.VisitAcknowledged | ev.VisitClosed | ev.VisitReassigned):
        notices += [_alert_closed(event, ref) for ref in event.closed]
    if (status := _status(event)) is not None:
        data = {"visit": event.subject, "state": status, "seq": seq}
        notices.append(Notice(f"visits/{event.subject}/state", STATE_TYPE, data, event.at))
    return notices


def envelope(notice: Notice, name: str, store: str) -> bytes:
    """The CloudEvent of a notice, as its MQTT payload; `name` is its id."""
    return canonical(
        {
            "specversion": "1.0",
            "id": name,
            "source": f"soglia/{store}",
            "type": notice.type,
            "time": rfc3339(notice.at),
            "datacontenttype": "application/json",
            "data": notice.data,
        }
    )


def alert_topic(to: str | None) -> str:
    """The topic of a clerk's alerts; of the floor's when `to` is None."""
    return f"clerks/{to}/alerts" if to is not None else "floor/alerts"


def _alert(event: ev.VisitAlerted, seq: int) -> Notice:
    data = {
        "alert": event.alert,
        "visit": event.visit,
        "level": event.level,
        "match": event.match,
        "appointment_start": event.appointment_start,
        "zone": event.zone,
        "flags": event.flags,
        "attempt": event.attempt,
        "expires_at": event.expires_at,
        "seq": seq,
    }
    told = {key: plain(value) for key, value in data.items() if value is not None}
    return Notice(alert_topic(event.to), "soglia.alert.v1", told, event.at, event.expires_at)


def _alert_closed(
    event: ev.VisitAcknowledged | ev.VisitClosed | ev.VisitReassigned, ref: ev.AlertRef
) -> Notice:
    by, reason = _REASONS[type(event)](event)
    data = {"alert": ref.alert, "visit": event.visit, "reason": reason}
    if by is not None:
        data["by"] = by
    return Notice(alert_topic(ref.to), "soglia.alert-closed.v1", data, event.at)


_REASONS: dict[type[ev.Event], Callable[[Any], tuple[str | None, str]]] = {
    ev.VisitAcknowledged: lambda event: (event.clerk, "taken"),
    ev.VisitClosed: lambda event: (event.by, event.reason),
    ev.VisitReassigned: lambda event: (event.from_clerk, "reassigned"),
}


def _status(event: ev.Event) -> str | None:
    if isinstance(event, ev.VisitAlerted):
        # The first alert is the clerk's or follows an escalation; a later one shows nothing new outside.
        return ALERTED if event.attempt == 1 and event.level == "clerk" else None
    return _STATUS.get(type(event))


_STATUS: dict[type[ev.Event], str] = {
    ev.VisitOpened: ARRIVED,
    ev.VisitEscalated: ALERTED,
    ev.VisitAcknowledged: ACKNOWLEDGED,
    ev.VisitGreeted: GREETED,
    ev.VisitServing: SERVING,
    ev.VisitReassigned: ALERTED,
    ev.VisitClosed: CLOSED,
}
