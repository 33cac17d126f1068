"""The demo store: its files fit the rest of the code, and its day happens around now."""

import json
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices import registry
from devices.decoders import Trust, decode, tokens
from devices.readers import replay
from devices.reads import mint as mint_read
from gateway import settings, showcase
from gateway.core.errors import DecodeError, Refused
from gateway.core.model import Proof
from gateway.shell import records
from gateway.shell.lock import DataDir

NOW = datetime(2026, 11, 22, 11, 30, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()
ROOT = Path(__file__).resolve().parents[2]


def sign(appointment: str, *, expired: bool) -> str:
    issued = NOW - timedelta(days=3)
    until = NOW + timedelta(hours=-1 if expired else 2)
    return tokens.mint(KEY, "k", "milano-01", appointment, issued, until, f"{appointment:>16}".encode())


def of_kind(kind: str, now: datetime = NOW) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in showcase.records(now) if each["kind"] == kind}


def check_digit(digits: str) -> int:
    """GS1's: weights 3 and 1 from the right."""
    return -sum(int(each) * (3, 1)[n % 2] for n, each in enumerate(reversed(digits))) % 10


def templates(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (key for key in value if key.startswith("$"))
        for each in value.values():
            yield from templates(each)
    elif isinstance(value, list):
        for each in value:
            yield from templates(each)


def test_every_record_is_accepted_by_the_directory_s_schema() -> None:
    found = list(showcase.records(NOW))
    for each in found:
        record, _ = records.parse_line(json.dumps(each).encode())
        assert record.version == int(NOW.timestamp())
        assert not list(templates(each))
    kinds = Counter(each["kind"] for each in found)
    assert kinds == {"clerk": 6, "visitor": 10, "appointment": 8, "product": 12}
    assert len({(each["kind"], each["id"]) for each in found}) == len(found)


def test_a_later_start_has_higher_versions() -> None:
    later = NOW + timedelta(seconds=1)
    assert of_kind("clerk", later)["marco"]["version"] > of_kind("clerk")["marco"]["version"]


def test_everything_that_is_named_exists() -> None:
    clerks, visitors, products = of_kind("clerk"), of_kind("visitor"), of_kind("product")
    zones = {zone["id"] for zone in tomllib.loads((showcase.folder() / "store.toml").read_text())["zones"]}
    assert {clerk["zone"] for clerk in clerks.values()} <= zones
    for each in of_kind("appointment").values():
        assert each["visitor"] in visitors
        assert each["service"] in clerks[each["clerk"]]["skills"]
        assert each["language"] == visitors[each["visitor"]]["language"]
        assert each["store"] == "milano-01"
        assert re.fullmatch(r"[A-Z0-9]{6}", each["code"])
    for visitor in visitors.values():
        for step in visitor["touchpoints"]:
            assert step.get("product", "sku-1") in products
            assert step.get("clerk", "marco") in clerks
            if "size" in step:
                variants = products[step["product"]]["variants"]
                assert (step["size"], step["colour"]) in {(v["size"], v["colour"]) for v in variants}


def test_the_day_happens_around_now() -> None:
    for clerk in of_kind("clerk").values():
        (shift,) = clerk["shifts"]
        on = datetime.fromisoformat(shift["start"]) <= NOW < datetime.fromisoformat(shift["end"])
        assert on == (clerk["id"] != "davide")
    starts = {key: datetime.fromisoformat(each["start"]) for key, each in of_kind("appointment").items()}
    assert starts["a-1"] == NOW + timedelta(minutes=4)
    assert all(abs(start - NOW) <= timedelta(hours=3) for start in starts.values())
    for visitor in of_kind("visitor").values():
        assert all(datetime.fromisoformat(step["at"]) < NOW for step in visitor["touchpoints"])


def test_the_history_is_rich_and_not_everybody_consents() -> None:
    visitors = of_kind("visitor").values()
    steps = [step for visitor in visitors for step in visitor["touchpoints"]]
    assert {"site", "instagram", "facebook", "whatsapp", "chat", "e-mail", "voice", "store"} <= {
        step["channel"] for step in steps
    }
    assert any(step["channel"] == "whatsapp" and step["answered"] is False for step in steps)
    kinds = {each["kind"] for visitor in visitors for each in visitor["credentials"]}
    assert kinds == {"nfc-uid", "loyalty", "ibeacon"}
    consents = [c["granted"] for v in visitors for c in v["consent"] if c["purpose"] == "history"]
    assert Counter(consents) == {True: 9, False: 1}


def test_every_gtin_has_its_check_digit_and_is_used_once() -> None:
    products = of_kind("product").values()
    gtins = [each["gtin"] for each in products] + [v["gtin"] for each in products for v in each["variants"]]
    assert check_digit("629104150021") == 3, "the GS1 manual's own example"
    for gtin in gtins:
        assert re.fullmatch(r"\d{13,14}", gtin)
        assert int(gtin[-1]) == check_digit(gtin[:-1])
    assert len({gtin.zfill(14) for gtin in gtins}) == len(gtins)
    for product in products:
        assert product["stock"]["quantity"] == sum(variant["stock"] for variant in product["variants"])


@pytest.fixture
def store(tmp_path: Path) -> settings.Settings:
    file = showcase.copy_to(tmp_path / ".demo")
    return settings.load(file, registry.check, registry.types())


def arrivals(store: settings.Settings) -> list[tuple[float, str, str]]:
    """When, at which reader, and the credential or the reason of the refusal."""
    trust = Trust("milano-01", {"k": KEY.public_key()}, hosts=store.tokens.hosts)
    found = []
    for reader in store.readers:
        at = 0.0
        for step in replay.parse(Path(str(reader.options["path"])).read_text()):
            at += step.after
            try:
                first, *_ = decode(mint_read(reader.id, step.technology, step.fields), trust, NOW)
                found.append((at, reader.id, f"{first.kind} {first.value} {first.proof}"))
            except DecodeError as error:
                found.append((at, reader.id, error.reason))
    return sorted(found)


def test_the_scripts_play_an_arrival_every_twenty_seconds(store: settings.Settings) -> None:
    showcase.write_scripts(store.folder, sign)
    found = arrivals(store)
    times = [at for at, _, _ in found]
    assert times[0] == 4
    assert {later - sooner for sooner, later in pairwise(times)} == {20}
    assert found == [
        (4, "door-qr", "appointment a-1 proven"),
        (24, "door-nfc", "nfc-uid 04C13D52AA6F81 hint"),
        (44, "door-qr", "booking-code K7Q2MX held"),
        (64, "door-qr", "booking-code ZZ99ZZ held"),
        (84, "door-nfc", "booking-code P4R8TW held"),
        (104, "door-qr", "token-expired"),
        (124, "counter-qr", "loyalty LC-2041-7781 held"),
        (144, "door-qr", "appointment a-6 proven"),
        (164, "door-nfc", "nfc-uid 04B5F3187D2C86 hint"),
    ]


def test_who_arrives_is_in_the_directory_but_for_one_code(store: settings.Settings) -> None:
    showcase.write_scripts(store.folder, sign)
    visitors = of_kind("visitor").values()
    known = {f"{c['kind']} {c['value']}" for visitor in visitors for c in visitor["credentials"]}
    known |= {f"booking-code {each['code']}" for each in of_kind("appointment").values()}
    known |= {f"appointment {each}" for each in of_kind("appointment")}
    said = [what.rpartition(" ")[0] for _, _, what in arrivals(store) if what.endswith(tuple(Proof))]
    assert [each for each in said if each not in known] == ["booking-code ZZ99ZZ"]


def test_without_a_mint_the_scripts_are_not_played_as_if_they_were_good(store: settings.Settings) -> None:
    _, _, first = arrivals(store)[0]
    assert first not in ("appointment a-1 proven", "token-expired")


def test_the_demo_s_settings(store: settings.Settings, tmp_path: Path) -> None:
    assert (store.store.id, store.broker.url, store.api.port) == ("milano-01", None, 0)
    assert [zone.id for zone in store.zones] == ["door", "shoes", "bags", "counter", "fitting"]
    assert store.data_dir == tmp_path / ".demo" / showcase.DATA


def test_the_example_s_readers_are_valid_for_the_readers_there_are() -> None:
    found = settings.load(ROOT / "config" / "store.example.toml", registry.check, registry.types())
    assert [reader.type for reader in found.readers] == ["serial", "camera"]


def test_a_fresh_copy_forgets_but_never_under_a_running_demo(tmp_path: Path) -> None:
    kept = tmp_path / showcase.DATA / "log.db"
    kept.parent.mkdir()
    kept.touch()
    showcase.copy_to(tmp_path, fresh=False)
    assert kept.exists()
    with DataDir.hold(kept.parent), pytest.raises(Refused, match="is using"):
        showcase.copy_to(tmp_path)
    assert kept.exists()
    showcase.copy_to(tmp_path)
    assert not kept.exists()


def test_the_files_are_found_in_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert showcase.folder() == ROOT / "config" / "demo"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    places = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert places["config/demo"] == "gateway/demo"
    shutil.copytree(showcase.folder(), tmp_path / "gateway" / "demo")
    monkeypatch.setattr(showcase, "__file__", str(tmp_path / "gateway" / "showcase.py"))
    assert showcase.folder() == tmp_path / "gateway" / "demo"
    assert len(list(showcase.records(NOW))) == 36
