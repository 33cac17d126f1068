"""How the gateway is: what `/readyz` says in words, and `/metrics` in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateway.api.services import Health
from gateway.shell.engine import Engine
from gateway.shell.follower import NAME as FLOOR
from gateway.shell.follower import FloorFollower
from gateway.shell.intake import Intake
from gateway.shell.mqtt import MqttBroker
from gateway.shell.watch import Sample, prometheus
from gateway.stores import Stores


@dataclass(frozen=True)
class Vitals:
    """Looks at the parts whenever it is asked; keeps nothing. `acknowledged` is the platform's cursor, `reads` the
    local readers' counts."""

    stores: Stores
    engine: Engine
    broker: MqttBroker
    follower: FloorFollower
    intake: Intake
    acknowledged: Callable[[], int]
    reads: Callable[[], Mapping[str, int]]

    def health(self) -> Health:
        """Ready: the log takes commands and the broker is reached. A lost reader is told, and does not count."""
        failed, linked, error = self.engine.failed, self.broker.connected, self.broker.last_error
        lost = self.engine.state.readers
        checks = {
            "log": failed.detail if failed else "ok",
            "broker": "ok" if linked else f"not connected: {error.detail if error else 'connecting'}",
            "rules": f"{self.engine.rule_failures} commands had no answer: report it"
            if self.engine.rule_failures
            else "ok",
            "clock": "ok" if self.stores.clock.trusted else "the wall clock is behind the log: set it",
            "readers": "; ".join(f"{name}: {why}" for name, why in lost.items()) or "ok",
        }
        return Health(ready=failed is None and linked, checks=checks)

    def metrics(self) -> str:
        """Prometheus' text."""
        return prometheus(self._samples())

    def _samples(self) -> Iterator[Sample]:
        head, engine = self.stores.log.head[0], self.engine
        yield Sample("soglia_log_events_total", "counter", "Events in the log.", head)
        yield Sample("soglia_commits_total", "counter", "Groups committed since the start.", engine.groups)
        seconds = engine.commit_seconds
        yield Sample("soglia_commit_seconds_total", "counter", "Time spent committing.", seconds)
        failures = engine.rule_failures
        yield Sample("soglia_rule_failures_total", "counter", "Commands that a rule failed on.", failures)
        yield Sample("soglia_inbox_items", "gauge", "Commands that wait for the engine.", engine.queued)
        waiting = len(engine.state.open_visits())
        yield Sample("soglia_visits_open", "gauge", "Visits that are not closed.", waiting)
        yield Sample(
            "soglia_broker_connected", "gauge", "1 while the broker is reached.", self.broker.connected
        )
        yield Sample(
            "soglia_clock_trusted", "gauge", "1 while the wall clock agrees.", self.stores.clock.trusted
        )
        sent = self.follower.published
        yield Sample("soglia_notices_total", "counter", "Notices published since the start.", sent)
        passed = self.intake.passed_over
        yield Sample("soglia_adverts_passed_over_total", "counter", "BLE adverts of nobody enrolled.", passed)
        for name, seq in {FLOOR: self.follower.cursor, "platform": self.acknowledged()}.items():
            text = "Events that a follower has not dealt with."
            yield Sample("soglia_follower_lag_events", "gauge", text, head - seq, {"follower": name})
        for name, count in self.reads().items():
            text = "Reads of a local reader since the start."
            yield Sample("soglia_reader_reads_total", "counter", text, count, {"reader": name})
