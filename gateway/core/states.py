"""The life of a visit: theory first, then the table.

    expected ─▶ arrived ─▶ alerted ─▶ acknowledged ─▶ greeted ─▶ serving ─▶ closed

`expected` is a state of the appointment; a visit begins as `arrived`. The gateway itself takes a visit from
arrived to alerted, and closes the ones that everybody forgot; every other step is a clerk's. A visit belongs to
the clerk whose `coming` (or `greeted`) was first; from then on nobody else can move it, but she may pass it on.
`delivered` moves nothing: it says that a tablet shows the alert, which stops the alert's repetition.

An action that has no entry for the visit's status is refused, and then nothing has changed.
"""

from __future__ import annotations

from gateway.core.model import Proof
from gateway.core.state import Visit

ARRIVED, ALERTED, ACKNOWLEDGED, GREETED, SERVING, CLOSED = STATUSES = (
    "arrived",
    "alerted",
    "acknowledged",
    "greeted",
    "serving",
    "closed",
)

# action -> {status it is possible in -> status it leads to}
ACTIONS: dict[str, dict[str, str]] = {
    "delivered": {status: status for status in STATUSES},
    "coming": {ARRIVED: ACKNOWLEDGED, ALERTED: ACKNOWLEDGED},
    "greeted": {ARRIVED: GREETED, ALERTED: GREETED, ACKNOWLEDGED: GREETED},
    "serving": {ACKNOWLEDGED: SERVING, GREETED: SERVING},
    "done": {ACKNOWLEDGED: CLOSED, GREETED: CLOSED, SERVING: CLOSED},
    "not_here": {ARRIVED: CLOSED, ALERTED: CLOSED, ACKNOWLEDGED: CLOSED},
    "pass": {ALERTED: ALERTED, ACKNOWLEDGED: ALERTED, GREETED: ALERTED, SERVING: ALERTED},
    "refuse": {ALERTED: ALERTED, ACKNOWLEDGED: ALERTED},
}

# What a clerk reads when an action is not possible: status -> (reason, sentence)
IMPOSSIBLE: dict[str, tuple[str, str]] = {
    ARRIVED: ("not-taken", "Nobody has taken this visit yet: say coming first."),
    ALERTED: ("not-taken", "Nobody has taken this visit yet: say coming first."),
    ACKNOWLEDGED: ("already-coming", "This visit has been taken already."),
    GREETED: ("already-greeted", "The visitor has been greeted already."),
    SERVING: ("already-serving", "The visitor is being served already."),
    CLOSED: ("visit-closed", "This visit is over."),
}


def may_open_dossier(visit: Visit, clerk: str) -> str | None:
    """Why `clerk` may not open the visitor's dossier now (`not-assigned`, `confirmation-required`), or None.

    An expected visitor's opens with `coming`. Where the match is only known or ambiguous, or rests on a hint, the
    clerk must first have seen the person: it opens with `greeted`.
    """
    if visit.assigned is None:
        return "confirmation-required"
    if visit.assigned != clerk:
        return "not-assigned"
    sure = visit.match == "expected" and visit.proof in (Proof.PROVEN, Proof.HELD)
    return None if sure or visit.greeted_at is not None else "confirmation-required"
