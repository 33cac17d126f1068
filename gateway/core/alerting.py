"""Who is alerted, who next, and when: the escalation of a visit that nobody has taken.

    clerk ──(backup_at)──▶ backup ──(pool_at)──▶ pool ──(manager_at)──▶ manager

Each rung alerts in addition to the ones before; a rung with nobody to alert falls through to the next at once.
An alert that no tablet has shown after `delivered` is repeated once; the backup rung repeats the clerk's as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.core import events as ev
from gateway.core.assigning import next_clerk, on_duty, on_duty_with_role
from gateway.core.model import Rules, derived
from gateway.core.state import Alerted, State, Visit


def ladder(start: datetime, rules: Rules) -> dict[str, datetime]:
    """The deadlines of a visit whose waiting begins at `start`, as fields of its event."""
    return {
        "backup_at": start + rules.backup,
        "pool_at": start + rules.pool,
        "manager_at": start + rules.manager,
    }


def first_alerts(state: State, visit: Visit, at: datetime, rules: Rules) -> list[ev.Event]:
    """The alert that a new visit raises: its clerk's, or the next best when she is off shift."""
    if visit.clerk is not None:
        if on_duty(state, visit.clerk):
            return [alert(visit, "clerk", visit.clerk, at, rules)]
        return climb(state, visit, "backup", "clerk-off-shift", at, rules)
    if (chosen := next_clerk(state, visit)) is not None:
        return [alert(visit, "clerk", chosen, at, rules)]
    return climb(state, visit, "pool", "nobody-free", at, rules)


def climb(state: State, visit: Visit, level: str, reason: str, at: datetime, rules: Rules) -> list[ev.Event]:
    """Take the visit up to `level`: the escalation and its alerts."""
    again: list[ev.Event] = []
    called: Sequence[str | None] = (None,)  # the floor
    if level == "backup":
        again = [
            repeat(visit, a, at, rules) for a in visit.alerts if a.to is not None and on_duty(state, a.to)
        ]
        chosen = next_clerk(state, visit)
        level, called = ("backup", [chosen]) if chosen is not None else ("pool", called)
    elif level == "manager":
        called = on_duty_with_role(state, "manager") or called
    escalated = ev.VisitEscalated(at=at, visit=visit.id, level=level, reason=reason)
    return [escalated, *again, *(alert(visit, level, to, at, rules) for to in called)]


def overdue(state: State, visit: Visit, at: datetime, rules: Rules) -> list[ev.Event]:
    """What a visit that waits is due at `at`: the highest rung reached, and the alerts no tablet has shown."""
    unseen = [a for a in visit.alerts if a.redeliver_at is not None and a.redeliver_at <= at]
    again: list[ev.Event] = [repeat(visit, a, at, rules, once=True) for a in unseen]
    reached = [step.level for step in visit.ladder if step.at <= at]
    if not reached:
        return again
    up = climb(state, visit, reached[-1], "no-acknowledgement", at, rules)
    return up if reached[-1] == "backup" else [*up, *again]  # that rung has repeated them itself


def alert(visit: Visit, level: str, to: str | None, at: datetime, rules: Rules) -> ev.VisitAlerted:
    """A new alert of `visit`; its id follows from the visit, the level, the addressee and the round."""
    name = derived("alert", f"{visit.id}/{level}/{to or ''}/{len(visit.refused_by)}")
    return _alerted(visit, name, level, to, 1, at, rules, rules.delivered)


def repeat(visit: Visit, again: Alerted, at: datetime, rules: Rules, once: bool = False) -> ev.VisitAlerted:
    """The same alert with `attempt` raised; `once` says that it will not be repeated for lack of a tablet."""
    wait = None if once else rules.delivered
    return _alerted(visit, again.alert, again.level, again.to, again.attempt + 1, at, rules, wait)


def open_alerts(visit: Visit, but: str | None = None) -> tuple[ev.AlertRef, ...]:
    """The visit's alerts, as references, except those that went to `but` alone."""
    return tuple(ev.AlertRef(alert=a.alert, to=a.to) for a in visit.alerts if but is None or a.to != but)


def _alerted(
    visit: Visit,
    name: str,
    level: str,
    to: str | None,
    attempt: int,
    at: datetime,
    rules: Rules,
    wait: timedelta | None,
) -> ev.VisitAlerted:
    return ev.VisitAlerted(
        at=at,
        visit=visit.id,
        alert=name,
        level=level,
        to=to,
        attempt=attempt,
        match=visit.match,
        zone=visit.zone,
        appointment_start=visit.appointment_start,
        flags=visit.flags,
        redeliver_at=at + wait if wait is not None and to is not None else None,
        expires_at=at + rules.alert_life,
    )
