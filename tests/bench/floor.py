"""The floor: the least program in Python that keeps our promise on the same broker. Run as a process of its own.

Paho in on one connection with manual acknowledgement, one durable group commit (SQLite, WAL, FULL), paho out on
another; TCP_NODELAY on both; one alert per scan. It matches nobody, decides nothing and sends no receipts.

    python -m tests.bench.floor PORT USERNAME PASSWORD READS-TOPIC ALERTS-TOPIC DATABASE
"""

from __future__ import annotations

import json
import queue
import socket
import sys
import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.shell.log_file import sqlite3

_GROUP = 500
_PADDING = "x" * 200  # an alert of ours has about 450 bytes


def main(port: int, username: str, password: str, reads: str, alerts: str, path: str) -> None:
    """Serve until the process is ended."""
    waiting: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    ingest = _client("bench-floor-in", username, password, clean=False)
    outgoing = _client("bench-floor-out", username, password, clean=True)
    subscribed = threading.Event()
    ingest.on_message = lambda client, userdata, message: waiting.put(message)
    ingest.on_subscribe = lambda *_: subscribed.set()
    ingest.on_connect = lambda client, *_: _subscribe(client, reads)
    for client in (ingest, outgoing):
        client.connect("127.0.0.1", port)
        client.loop_start()
    subscribed.wait()
    print("ready", flush=True)
    _serve(waiting, ingest, outgoing, alerts, path)


def _serve(
    waiting: queue.SimpleQueue[paho.MQTTMessage],
    ingest: paho.Client,
    outgoing: paho.Client,
    topic: str,
    path: str,
) -> None:
    db: Any = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE IF NOT EXISTS reads (id TEXT PRIMARY KEY, body BLOB NOT NULL)")
    while True:
        group = [waiting.get()]
        while len(group) < _GROUP and not waiting.empty():
            group.append(waiting.get())
        ids = [json.loads(message.payload)["id"] for message in group]
        db.execute("BEGIN IMMEDIATE")
        rows = [(name, message.payload) for name, message in zip(ids, group, strict=True)]
        db.executemany("INSERT OR IGNORE INTO reads VALUES (?, ?)", rows)
        db.execute("COMMIT")
        for name, message in zip(ids, group, strict=True):
            outgoing.publish(topic, f'{{"padding":"{_PADDING}","visit":"{name}"}}', 1)
            ingest.ack(message.mid, message.qos)


def _subscribe(client: paho.Client, topic: str) -> None:
    client.subscribe(topic, 1)


def _client(client_id: str, username: str, password: str, clean: bool) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, manual_ack=not clean)
    client.username_pw_set(username, password)
    client.max_inflight_messages_set(1000)
    client.on_socket_open = _no_delay
    return client


def _no_delay(client: paho.Client, userdata: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
