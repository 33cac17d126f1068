"""What a clerk may do with a visit. The first `coming` wins; whoever comes later hears who has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from gateway.core import events as ev
from gateway.core.alerting import alert, climb, ladder, open_alerts
from gateway.core.commands import ClerkAction
from gateway.core.decision import Decision, accepted, refused
from gateway.core.model import Rules
from gateway.core.state import State, Visit
from gateway.core.states import ACTIONS, IMPOSSIBLE

_SLUG = re.compile(r"[a-z][a-z_-]{0,39}")  # no digits: a telephone number is no reason


def act(state: State, command: ClerkAction, rules: Rules) -> Decision:
    """Decide a clerk's action by the table in `states.py`."""
    if command.action not in ACTIONS:
        known = ", ".join(ACTIONS)
        return refused("unknown-action", f"There is no action {command.action[:40]!r}: use one of {known}.")
    if (visit := state.visits.get(command.visit)) is None:
        return refused("unknown-visit", "There is no such visit, or it was too long ago.")
    if command.action != "delivered" and visit.open and visit.assigned not in (None, command.clerk):
        return refused("taken", f"{visit.assigned} has taken this visit.")
    if visit.status not in ACTIONS[command.action]:
        return refused(*IMPOSSIBLE[visit.status])
    return _HANDLERS[command.action](state, visit, command, rules)


def _delivered(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    shown = [
        a
        for a in visit.alerts
        if a.redeliver_at is not None and a.to in (None, command.clerk) and command.alert in (None, a.alert)
    ]
    return accepted(
        *(ev.AlertDelivered(at=command.at, visit=visit.id, alert=a.alert, clerk=command.clerk) for a in shown)
    )


def _coming(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    return accepted(_taken(visit, command))


def _greeted(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    greeted = ev.VisitGreeted(at=command.at, visit=visit.id, clerk=command.clerk)
    return accepted(greeted) if visit.assigned else accepted(_taken(visit, command), greeted)


def _serving(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    return accepted(ev.VisitServing(at=command.at, visit=visit.id, clerk=command.clerk))


def _done(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    return accepted(_closed(visit, command, "done", rules))


def _not_here(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    return accepted(_closed(visit, command, "not-here", rules))


def _pass(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    if command.to is None or not command.reason:
        return refused("incomplete", "Say to whom the visit goes and why: `to` and `reason`.")
    if command.to == command.clerk:
        return refused("pass-to-self", "A visit cannot be passed to oneself.")
    duty = state.clerks.get(command.to)
    if duty is None or duty.duty != "on":
        return refused("clerk-not-available", f"{command.to} is not on shift now.")
    moved = _reassigned(visit, command, command.to, rules)
    return accepted(moved, alert(_bare(visit, command.clerk), "clerk", command.to, command.at, rules))


def _refuse(state: State, visit: Visit, command: ClerkAction, rules: Rules) -> Decision:
    if not command.reason:
        return refused("incomplete", "Say why: `reason`.")
    moved = _reassigned(visit, command, None, rules)
    bare = _bare(visit, command.clerk)
    return accepted(moved, *climb(state, bare, "backup", "refused", command.at, rules))


_HANDLERS: dict[str, Callable[[State, Visit, ClerkAction, Rules], Decision]] = {
    "delivered": _delivered,
    "coming": _coming,
    "greeted": _greeted,
    "serving": _serving,
    "done": _done,
    "not_here": _not_here,
    "pass": _pass,
    "refuse": _refuse,
}


def _taken(visit: Visit, command: ClerkAction) -> ev.VisitAcknowledged:
    closed = open_alerts(visit, but=command.clerk)
    return ev.VisitAcknowledged(at=command.at, visit=visit.id, clerk=command.clerk, closed=closed)


def _closed(visit: Visit, command: ClerkAction, reason: str, rules: Rules) -> ev.VisitClosed:
    return ev.VisitClosed(
        at=command.at,
        visit=visit.id,
        reason=reason,
        by=command.clerk,
        outcome=_slug(command.outcome) if command.outcome else None,
        closed=open_alerts(visit, but=visit.assigned or command.clerk),
        # Whom nobody found at the door may come to it again at once: that is a new arrival.
        rescan_until=command.at if reason == "not-here" else command.at + rules.rescan,
        forget_at=command.at + rules.remember,
    )


def _reassigned(visit: Visit, command: ClerkAction, to: str | None, rules: Rules) -> ev.VisitReassigned:
    return ev.VisitReassigned(
        at=command.at,
        visit=visit.id,
        from_clerk=command.clerk,
        to=to,
        reason=_slug(command.reason or "none"),
        closed=open_alerts(visit),
        **ladder(command.at, rules),
    )


def _bare(visit: Visit, refuser: str) -> Visit:
    """The visit as `VisitReassigned` leaves it, for choosing the next clerk."""
    return replace(visit, alerts=(), refused_by=(*visit.refused_by, refuser), clerk=None)


def _slug(text: str) -> str:
    """A slug is logged as it is. Free text may name a person and would stay in the log for ever: it is not."""
    return text if _SLUG.fullmatch(text) else "in-words"
