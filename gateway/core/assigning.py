"""Which clerk, and who next. Walk-ins go to the free clerk with the right skill and language, least busy, then
longest without an assignment (peer: MyTime); nobody is offered a visit she has refused."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.core.state import Duty, State, Visit

_NEVER = datetime.min.replace(tzinfo=UTC)


def on_duty(state: State, clerk: str) -> bool:
    """Whether `clerk` may be alerted. A clerk the roster does not know counts as present."""
    duty = state.clerks.get(clerk)
    return duty is None or duty.duty == "on"


def next_clerk(state: State, visit: Visit) -> str | None:
    """The best clerk on duty who has not been alerted for `visit` and has not refused it; None if there is none."""
    tried = {visit.clerk, *visit.refused_by, *(a.to for a in visit.alerts)}
    free = [d for d in state.clerks.values() if d.duty == "on" and "clerk" in d.clerk.roles]
    ranked = sorted((d for d in free if d.clerk.id not in tried), key=lambda d: _rank(d, visit))
    return ranked[0].clerk.id if ranked else None


def on_duty_with_role(state: State, role: str) -> list[str]:
    """The clerks on duty who have `role`, in the order of their ids."""
    return [d.clerk.id for d in state.clerks.values() if d.duty == "on" and role in d.clerk.roles]


def _rank(duty: Duty, visit: Visit) -> tuple[bool, bool, int, datetime, str]:
    lacks_skill = visit.service is not None and visit.service not in duty.clerk.skills
    lacks_language = visit.language is not None and visit.language not in duty.clerk.languages
    idle_since = duty.last_assigned or _NEVER
    return (lacks_skill, lacks_language, len(duty.visits), idle_since, duty.clerk.id)


def roster_says(duty: Duty, at: datetime) -> str:
    """`on` or `off`, by the roster alone, at the instant `at`."""
    shifts = duty.clerk.shifts
    if shifts is None:
        return "on"
    return "on" if any(s.start <= at < s.end for s in shifts) else "off"
