"""`make bench`, or `python -m tests.bench [ROW …] [--quick] [--peer] [--json FILE]`.

Rows: alerts (with sustained reads), peer, ble, directory (bulk load, memory, match), log (start, pull, replay).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import alerts, directory, journal, machine, peer, shop
from tests.bench.table import Row, as_json, as_text, not_run

ROWS = ("alerts", "peer", "ble", "directory", "log")
_QUICK = {"mosquitto": alerts.Plan(1_000, 2_000, 3), "embedded": alerts.Plan(500, 1_000, 1)}
_FULL = {"mosquitto": alerts.Plan(10_000, 10_000, 5), "embedded": alerts.Plan(3_000, 5_000, 3)}
_BEGAN = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    chosen = _parser().parse_args(arguments)
    unknown = set(chosen.rows) - set(ROWS)
    if unknown:
        raise SystemExit(f"there is no row {', '.join(sorted(unknown))}: choose from {', '.join(ROWS)}")
    folder = Path(tempfile.mkdtemp(prefix="soglia-bench-", dir=chosen.dir))
    try:
        told = machine.describe(folder)
        print("  ".join(f"{key}: {value}" for key, value in told.items()), flush=True)
        rows = list(_measured(chosen, folder))
    finally:
        shutil.rmtree(folder)
    print("\n" + as_text(rows))
    chosen.json.write_text(json.dumps(as_json(rows, told), indent=2, ensure_ascii=False) + "\n", "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all without")
    parser.add_argument("--quick", action="store_true", help="less of everything: three minutes, not twenty")
    parser.add_argument("--peer", action="store_true", help="fetch ThingsBoard's gateway and measure it too")
    parser.add_argument("--broker", choices=tuple(_FULL), action="append", help="only this one")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE")
    parser.add_argument("--dir", type=Path, help="where to measure: on the disk that counts")
    return parser


def _measured(chosen: argparse.Namespace, folder: Path) -> Iterator[Row]:
    wanted = chosen.rows or ROWS
    if "alerts" in wanted:
        plans = _QUICK if chosen.quick else _FULL
        for broker in chosen.broker or plans:
            template = shop.make(folder / f"template-{broker}", plans[broker].visitors)
            yield from alerts.rows(broker, plans[broker], template, folder, _say)
    if "peer" in wanted:
        yield peer.row(chosen.peer, folder / "peer", _say)
    if "ble" in wanted:
        yield not_run("BLE adverts through decoder and presence", "not yet: BLE is not in this release")
    if "directory" in wanted:
        yield from directory.rows(100_000 if chosen.quick else 1_000_000, folder / "directory", _say)
    if "log" in wanted:
        yield from journal.rows(120_000 if chosen.quick else 1_000_000, folder / "log", _say)


def _say(line: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.0f} s  {line}", flush=True)


if __name__ == "__main__":
    main()
