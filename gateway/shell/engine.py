"""The only loop that changes state.

One thread: take what has queued, decide and evolve command by command on the working state, commit once, then
release the receipts and wake the followers. What queues meanwhile is the next group, so the disk itself sets the
size of a group and nothing ever waits for a timer. A commit that fails ends the process: `on_fatal` is called
with the error, no receipt is released, and whatever had not been acknowledged comes again.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime

from gateway.core import commands as cmd
from gateway.core.decide import decide
from gateway.core.decision import Decision, refused
from gateway.core.errors import LogError, Refused
from gateway.core.evolve import evolve
from gateway.core.model import Rules
from gateway.core.receipts import First, Outcome, Receipt
from gateway.core.state import State, pieces, to_bytes
from gateway.core.timers import CLERK
from gateway.shell.deadlines import Deadlines
from gateway.shell.inbox import CursorMove, Inbox, Submission, Wake
from gateway.shell.log import EventLog, Snapshot, StoredReceipt
from gateway.shell.replay import replay

GROUP = 500  # items decided per commit, at the most
SNAPSHOT_EVERY = 20_000  # events
_SLICE, _PAUSE_SECONDS = 20, 0.002  # of a snapshot's entries: half a millisecond's work at a time
_LONGEST_SLEEP = 1.0  # seconds; also how soon a jump of the clock is noticed

Release = Callable[[], None]

log = logging.getLogger("soglia.engine")


class Engine:
    """Owns the log's write side. `submit` and `move_cursor` may be called from any thread."""

    def __init__(
        self,
        log: EventLog,
        rules: Rules,
        now: Callable[[], datetime],
        body_key: bytes,
        on_fatal: Callable[[LogError], None],
        inbox_size: int = 10_000,
        started: State | None = None,
    ) -> None:
        self._log = log
        self._rules = rules
        self._now = now
        self._body_key = body_key
        self._on_fatal = on_fatal
        self._inbox = Inbox(inbox_size)
        self._working = started if started is not None else replay(log)
        self._committed = (log.head[0], self._working)
        self._deadlines = Deadlines(self._working)
        self._wakes: tuple[Callable[[], None], ...] = ()
        self._wakes_lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._failed: LogError | None = None
        self._lazy: dict[str, int] = {}
        self._lazy_lock = threading.Lock()
        self._seq = log.head[0]
        self._dirty = False
        self._snapshot_seq = saved.seq if (saved := log.snapshot()) else 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.groups = 0
        self.rule_failures = 0
        self.commit_seconds = 0.0

    # -- any thread

    @property
    def state(self) -> State:
        """The committed state."""
        return self._committed[1]

    @property
    def committed(self) -> tuple[int, State]:
        """The committed state and the number of the event it stands at."""
        return self._committed

    @property
    def queued(self) -> int:
        """Items that wait."""
        return len(self._inbox)

    @property
    def failed(self) -> LogError | None:
        """What ended the engine, if anything did."""
        return self._failed

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, command: cmd.Command, said: bytes = b"") -> Future[Receipt]:
        """Queue a command; the future resolves after its commit."""
        submission = Submission(command, said)
        if self._failed is not None or self._stopping.is_set() or not self._inbox.put(submission):
            _turn_away(submission)
        elif self._ended.is_set():  # it ended while we queued
            self._turn_all_away()
        return submission.receipt

    def move_cursor(self, name: str, seq: int) -> Future[int]:
        """Make a cursor durable at once; the future gives the cursor as it then is."""
        move = CursorMove(name, seq)
        self._inbox.put(move)
        if self._ended.is_set():
            self._turn_all_away()
        return move.done

    def note_cursor(self, name: str, seq: int) -> None:
        """Let a follower's cursor ride on the next group's commit; costs no commit of its own."""
        with self._lazy_lock:
            self._lazy[name] = seq

    def on_commit(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after each commit, on the engine's thread; it must not block."""
        with self._wakes_lock:
            self._wakes = (*self._wakes, wake)

        def stop() -> None:
            with self._wakes_lock:
                self._wakes = tuple(w for w in self._wakes if w is not wake)

        return stop

    def stop(self) -> None:
        """Commit all that has queued, save a snapshot, and end the thread."""
        self._stopping.set()
        self._inbox.put(Wake())
        if self._thread.is_alive():
            self._thread.join()

    # -- the engine's thread

    def _run(self) -> None:
        try:
            while not (self._stopping.is_set() and len(self._inbox) == 0):
                self._turn()
            self._note_lazy_cursors()
            if self._seq > self._snapshot_seq:
                self._log.save_snapshot(_snapshot(self._seq, to_bytes(self._working)))
            self._log.commit()
        except LogError as error:
            self._failed = error
            self._on_fatal(error)
        except Exception as error:  # noqa: BLE001 a bug here must stop the gateway, never let it run on half-blind
            self._failed = LogError(
                "engine-failed", f"the engine met something it has no rule for: {error!r}"
            )
            self._failed.__cause__ = error
            self._on_fatal(self._failed)
        finally:
            self._ended.set()
            self._turn_all_away()

    def _turn_all_away(self) -> None:
        """Whoever still waits in the inbox hears that nothing was done."""
        for item in self._inbox.take(0, len(self._inbox) + 1):
            if isinstance(item, Submission | CursorMove):
                _turn_away(item)

    def _turn(self) -> None:
        items = self._inbox.take(self._sleep(), GROUP)
        releases: list[Release] = []
        self._tick(self._now())
        for item in items:
            if isinstance(item, Submission):
                releases.append(self._decide(item))
            elif isinstance(item, CursorMove):
                releases.append(self._cursor(item))
            elif isinstance(item, Snapshot):
                self._log.save_snapshot(item)
                self._dirty = True
        if self._dirty or not items:
            self._note_lazy_cursors()
        if self._dirty:
            self._commit(releases)
        else:
            self._release(releases)
        if not items:
            self._log.idle()

    def _commit(self, releases: list[Release]) -> None:
        changed = self._working is not self._committed[1]
        began = time.perf_counter()
        self._log.commit()
        self.commit_seconds += time.perf_counter() - began
        self._dirty = False
        self.groups += 1
        self._committed = (self._seq, self._working)
        if self._seq - self._snapshot_seq >= SNAPSHOT_EVERY:
            self._write_snapshot_aside(*self._committed)
        if changed:  # first: an alert is waited for, a receipt was never late
            for wake in self._wakes:
                wake()
        self._release(releases)

    def _release(self, releases: list[Release]) -> None:
        for release in releases:
            release()

    def _sleep(self) -> float:
        due = self._deadlines.next(self._working)
        if due is None:
            return _LONGEST_SLEEP
        return max(0.0, min(_LONGEST_SLEEP, (due - self._now()).total_seconds()))

    def _tick(self, at: datetime) -> None:
        subjects = self._deadlines.due(self._working, at)
        if subjects and not self._tick_of(subjects, at):
            for one in subjects:  # so that the one whose rule fails holds back no other
                self._tick_of((one,), at)

    def _tick_of(self, subjects: tuple[str, ...], at: datetime) -> bool:
        """Whether the rules had an answer. A subject they have none for waits for its next event: asking again
        at once, for ever, would help nobody."""
        command = cmd.Tick(id=f"tick:{self._log.epoch}.{self._seq}", at=at, subjects=subjects)
        decision, state = self._ruled(command)
        if decision.outcome is Outcome.REFUSED:
            return False
        if decision.events:  # which also makes the next tick's id a new one
            self._apply(command, b"", decision, state)
        for subject in subjects:  # a shift's end may have put off what a visit was due
            self._deadlines.touch(self._working, subject)
        return True

    def _decide(self, submission: Submission) -> Release:
        command, body_hash = submission.command, self._hash(submission)
        stored = self._log.receipt(command.id)
        if stored is None:
            receipt = self._apply(command, body_hash, *self._ruled(command))
        else:
            receipt = _again(command.id, stored, body_hash)
        return lambda: _resolve(submission.receipt, receipt)

    def _ruled(self, command: cmd.Command) -> tuple[Decision, State]:
        """What the rules say, and the state after it. Where a rule itself fails, nothing happens but a refusal:
        were it to end the process, the same command would come again and end it again."""
        try:
            decision = decide(self._working, command, self._rules)
            state = self._working
            for seq, event in enumerate(decision.events, self._seq + 1):
                state = evolve(state, event, seq)
        except Exception:
            self.rule_failures += 1
            log.exception("a rule failed on %s %s: it is refused", type(command).__name__, command.id)
            return refused(
                "rule-failed", "The gateway has no answer to this: please report it."
            ), self._working
        return decision, state

    def _apply(self, command: cmd.Command, body_hash: bytes, decision: Decision, state: State) -> Receipt:
        first = First(decision.outcome, decision.reason)
        sealed = self._log.append(command.id, body_hash, first, decision.events)
        self._dirty = True
        self._working = state
        for one in sealed:
            self._touch(one.event.subject)
            self._seq = one.seq
        seq = sealed[-1].seq if sealed else None
        return Receipt(command.id, decision.outcome, decision.reason, decision.detail, seq)

    def _touch(self, subject: str) -> None:
        name = subject if subject in self._working.visits else f"{CLERK}{subject}"
        self._deadlines.touch(self._working, name)

    def _cursor(self, move: CursorMove) -> Release:
        self._log.move_cursor(move.name, move.seq)
        self._dirty = True
        return lambda: _resolve(move.done, self._log.cursor(move.name))

    def _note_lazy_cursors(self) -> None:
        with self._lazy_lock:
            noted, self._lazy = self._lazy, {}
        for name, seq in noted.items():
            self._log.move_cursor(name, seq)
            self._dirty = True

    def _write_snapshot_aside(self, seq: int, state: State) -> None:
        """Turn an immutable state into bytes on a thread of its own, a little at a time: all at once it would
        keep the interpreter from the engine for a second."""
        self._snapshot_seq = seq

        def write() -> None:
            text = list[str]()
            for number, piece in enumerate(pieces(state)):
                text.append(piece)
                if number % _SLICE == 0:
                    time.sleep(_PAUSE_SECONDS)
            self._inbox.put(_snapshot(seq, "".join(text).encode()))

        threading.Thread(target=write, name="snapshot", daemon=True).start()

    def _hash(self, submission: Submission) -> bytes:
        # Keyed, and bound to the command's id: not the hash of anybody's card, even to who holds the disk.
        text = submission.command.id.encode() + b"\n" + submission.said
        return hmac.digest(self._body_key, text, "sha256")


def _turn_away(item: Submission | CursorMove) -> None:
    detail = "The gateway cannot take more just now: try again in a moment."
    if isinstance(item, Submission):
        item.receipt.set_result(Receipt(item.command.id, Outcome.REFUSED, "busy", detail))
    else:
        item.done.set_exception(Refused("busy", detail))


def _snapshot(seq: int, text: bytes) -> Snapshot:
    return Snapshot(seq, text, hashlib.sha256(text).hexdigest())


def _again(command_id: str, stored: StoredReceipt, body_hash: bytes) -> Receipt:
    if not hmac.compare_digest(stored.body_hash, body_hash):
        detail = "This id was used before for something else: use a new id for each request."
        return Receipt(command_id, Outcome.REFUSED, "id-reused", detail)
    return Receipt(command_id, Outcome.REPEATED, stored.first.reason, None, stored.seq, stored.first)


def _resolve(future: Future[object] | Future[Receipt] | Future[int], value: object) -> None:
    if not future.done():
        future.set_result(value)  # type: ignore[arg-type]  # each caller pairs the future with its own value
