"""The benchmark itself: that it runs, counts and judges. How fast anything is, is no test's business."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import alerts, machine, shop, table, wire
from tests.bench.__main__ import main


def test_a_small_run_over_the_embedded_broker_gives_the_whole_table(tmp_path: Path) -> None:
    plan = alerts.Plan(paced=20, flooded=30, runs=1)
    template = shop.make(tmp_path / "template", plan.visitors)
    said: list[str] = []
    rows = list(alerts.rows("embedded", plan, template, tmp_path, said.append))
    assert [row.what.split(",")[0] for row in rows] == [
        *("read → alert p50", "read → alert p90", "read → alert p99", "matched reads")
    ]
    for row in rows:
        assert row.floor is not None
        assert row.value is not None
        assert row.floor > 0
        assert row.value > 0
        assert row.ratio == pytest.approx(row.value / row.floor)
    assert [row.reached is None for row in rows] == [False, True, False, False]
    assert len(said) == 2
    told = json.loads(json.dumps(table.as_json(rows, machine.describe(tmp_path))))
    assert told["machine"]["cores"] >= 1
    assert [row["what"] for row in told["rows"]] == [row.what for row in rows]


def test_what_cannot_be_measured_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ble", "peer", "--json", str(tmp_path / "bench.json"), "--dir", str(tmp_path)])
    told = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["value"], row["reached"]) for row in told["rows"]] == [(None, None), (None, None)]
    printed = capsys.readouterr().out
    assert "not yet: BLE is not in this release" in printed
    assert "not run: needs the network" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(SystemExit, match="there is no row alarms"):
        main(["alarms"])


def test_a_ratio_is_judged_on_the_right_side_of_its_target() -> None:
    slower = table.beside("p50", 1.0, 1.4, "ms", at_most=1.3)
    assert (slower.ratio, slower.reached, slower.target) == (1.4, False, "≤ 1.3 times")
    assert table.beside("p50", 1.0, 1.3, "ms", at_most=1.3).reached is True
    assert table.beside("reads", 100.0, 79.0, "reads/s", at_least=0.8).reached is False
    assert table.sooner("put", 150.0, 1.0, "ms", at_least=100).reached is True
    assert table.sooner("put", 50.0, 1.0, "ms", at_least=100).reached is False
    assert table.alone("memory", 151.0, "MB", at_most=150).reached is False
    printed = table.as_text([slower, table.not_run("ble", "not yet")])
    assert [line.split()[-1] for line in printed.splitlines()] == ["reached", "NO", "yet"]


def test_percentiles_are_of_the_sorted_values() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [table.percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [51.0, 91.0, 100.0, 100.0]


def test_packets_are_cut_wherever_the_stream_is() -> None:
    long, short = wire._packet(0x32, b"x" * 300), wire._packet(0x40, b"\x00\x01")
    stream = long + short + long
    for cut in range(len(stream)):
        client = object.__new__(wire.Client)
        client._rest = b""
        found = [*client._split(stream[:cut])]
        found += client._split(client._rest + stream[cut:])
        assert found == [(0x32, b"x" * 300), (0x40, b"\x00\x01"), (0x32, b"x" * 300)]
