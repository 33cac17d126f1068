"""The platform's side of the log: repeatable pulls, and an acknowledgement apart from them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.core.chain import Sealed
from gateway.core.errors import LogError, Refused
from gateway.shell.keys import SigningKey
from gateway.shell.log import EventLog
from sync import batch
from sync.batch import Cursor

FOLLOWER = "platform"
"""The name of the platform's cursor in the log."""

MAX_EVENTS = 5000
MAX_BYTES = 4 * 1024 * 1024
_FIRST_READ = 500


class Outbox:
    """Batches of `log`, signed with `signing`. `submit_cursor(FOLLOWER, seq)` moves the durable cursor and
    gives a future of the acknowledged seq that resolves after the commit."""

    def __init__(
        self,
        log: EventLog,
        cursor_key: bytes,
        signing: SigningKey,
        submit_cursor: Callable[[str, int], Future[int]],
    ) -> None:
        self._log = log
        self._cursor_key = cursor_key
        self._signing = signing
        self._submit_cursor = submit_cursor
        self._acknowledged = log.cursor(FOLLOWER)
        self._lock = threading.Lock()

    @property
    def acknowledged(self) -> int:
        """The seq up to which the platform has said it keeps everything."""
        return self._acknowledged

    def pull(self, after: str | None, limit: int) -> dict[str, Any]:
        """The batch after the cursor `after` (None: from the log's beginning), of up to `limit` events and
        about 4 MB. The same place and length always hold the same events.

        Raises:
            Refused: `cursor-invalid`, `cursor-of-another-epoch`, or `limit-invalid` outside 1 to 5000.
            LogError: the log is not contiguous any more.
        """
        if not 1 <= limit <= MAX_EVENTS:
            raise Refused("limit-invalid", f"The limit must be from 1 to {MAX_EVENTS}.")
        seq = 0 if after is None else self._decode(after).seq
        events = self._events(seq, limit)
        last = events[-1].seq if events else seq
        return batch.build(
            store=self._log.store,
            epoch=self._log.epoch,
            events=events,
            after=(seq, "" if events else self._log.hash_at(seq)),
            following=self._encode(last) if events or after is None else after,
            # Read after the events, so that it is never below the last of them.
            high_water=self._log.head[0],
            sign=self._signing.private.sign,
            key_id=self._signing.key_id,
        )

    def acknowledge(self, cursor: str) -> Future[int]:
        """Everything up to `cursor` is safe with the platform. An older cursor changes nothing.

        The future resolves to the acknowledged seq, after the commit.

        Raises:
            Refused: `cursor-invalid` or `cursor-of-another-epoch`.
        """
        seq = self._decode(cursor).seq
        done: Future[int] = Future()
        done.set_running_or_notify_cancel()  # a client that hangs up cannot take it back
        if seq <= self._acknowledged:
            done.set_result(self._acknowledged)
            return done

        def committed(moved: Future[int]) -> None:
            if moved.cancelled():
                done.set_exception(LogError("log-closed", "The gateway is stopping: acknowledge again."))
                return
            if (error := moved.exception()) is not None:
                done.set_exception(error)
                return
            with self._lock:
                self._acknowledged = max(self._acknowledged, moved.result())
                acknowledged = self._acknowledged
            done.set_result(acknowledged)

        self._submit_cursor(FOLLOWER, seq).add_done_callback(committed)
        return done

    def keys(self) -> Mapping[str, Any]:
        """The public key that verifies the batches."""
        raw = self._signing.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {
            "keys": [
                {
                    "key_id": self._signing.key_id,
                    "algorithm": "Ed25519",
                    "public_key": batch.base64url(raw),
                }
            ]
        }

    def _decode(self, text: str) -> Cursor:
        cursor = Cursor.decode(text, self._cursor_key, store=self._log.store, epoch=self._log.epoch)
        if cursor.seq > self._log.head[0]:
            # Only a log that was rolled back under its epoch can have given it.
            raise Refused("cursor-invalid", "The cursor is beyond the newest event: pull without one.")
        return cursor

    def _encode(self, seq: int) -> str:
        return Cursor(self._log.store, self._log.epoch, seq).encode(self._cursor_key)

    def _events(self, after: int, limit: int) -> list[Sealed]:
        """Up to `limit` events and 4 MB, at least one if there is one, each following the one before."""
        events: list[Sealed] = []
        size, seq, digest = 0, after, None
        while len(events) < limit:
            # Small steps at first: a batch must not bring far more than 4 MB into memory.
            step = self._log.read(seq, min(limit - len(events), max(_FIRST_READ, len(events))))
            for one in step:
                size += len(one.body)
                if events and size > MAX_BYTES:
                    return events
                if digest is not None and (one.prev_hash, one.seq) != (digest, seq + 1):
                    raise LogError(
                        "log-broken", f"Event {one.seq} does not follow {seq}: run `soglia verify`."
                    )
                events.append(one)
                seq, digest = one.seq, one.hash
            if not step:
                break
        return events
