"""The configuration: every problem at once, each with its key, its line and what to do."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import settings, toml_lines
from gateway.core.model import Rules
from gateway.settings import ConfigError

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
KEY = "FtaYhQ8rS7BbJm0eVQk9gGHFbXzC3pSvJq1nq3m3h2k"

SMALL = """
[store]
id = "milano-01"
time_zone = "Europe/Rome"
[data]
dir = "data"
"""


TYPES = ("camera", "replay", "serial")


def check_reader(table: Mapping[str, object]) -> Iterator[str]:
    """Stands for the device registry: every type needs a `path` that is text, and knows nothing else."""
    assert table["type"] in TYPES
    if not isinstance(table.get("path"), str):
        yield "path: must be of type str" if "path" in table else "path: missing (the device)"
    yield from (f"{key}: unknown key" for key in table if key not in ("id", "type", "zone", "path"))


def load(folder: Path, text: str) -> settings.Settings:
    file = folder / "store.toml"
    file.write_text(text, "utf-8")
    return settings.load(file, check_reader, TYPES)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [line.replace(str(folder), "FOLDER") for line in caught.value.lines("store.toml")]


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def test_every_problem_of_a_bad_file_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "not-a-folder", "")
    write(tmp_path / "open.secret", "hunter2", 0o644)
    write(tmp_path / "empty.secret", "\n")
    write(tmp_path / "good.secret", "hunter2")
    write(tmp_path / "short-keys.json", '{"2026-a": "aGVsbG8"}')
    found = problems(tmp_path, (GOLDEN / "bad-store.toml").read_text("utf-8"))
    assert "\n".join(found) + "\n" == (GOLDEN / "bad-store.txt").read_text("utf-8")
    assert not [line for line in found if "hunter2" in line or "@" in line], "no secret, no address"


def test_a_small_file_gives_the_contract_s_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, SMALL)
    assert settings.rules(found) == Rules(store="milano-01", time_zone="Europe/Rome")
    assert (found.store.name, found.store.locale, found.store.opening) == ("milano-01", "it", {})
    assert found.data_dir == tmp_path / "data"
    assert not found.data_dir.exists(), "checking a file creates nothing"
    assert (found.broker.url, found.broker.host, found.broker.port) == (None, "127.0.0.1", 0)
    assert found.broker.websocket_port is None
    assert (found.api.host, found.api.port) == ("127.0.0.1", 0)
    assert (found.calcom, found.platform, found.zones, found.readers, found.calendars) == (
        None,
        None,
        (),
        (),
        (),
    )
    assert found.log_level == "info"


def test_everything_that_is_written_is_in_the_settings(tmp_path: Path) -> None:
    for name in ("broker.secret", "calcom.secret", "platform.secret", "key.pem"):
        write(tmp_path / name, "hunter2\n")
    for name in ("ca.pem", "cert.pem", "marco.ics"):
        write(tmp_path / name, "x", 0o644)
    write(tmp_path / "keys.json", f'{{"2026-a": "{KEY}"}}', 0o644)
    found = load(
        tmp_path,
        SMALL
        + """
[broker]
url = "mqtts://broker.example:8883"
username = "gateway"
password_file = "broker.secret"
ca_file = "ca.pem"
[api]
host = "0.0.0.0"
port = 8443
public_url = "https://Soglia.Bottega.example/"
tls_cert_file = "cert.pem"
tls_key_file = "key.pem"
[matching]
window_minutes = 20
[escalation]
delivered_seconds = 0.5
[retention]
[[zones]]
id = "door"
name = "Ingresso"
doorway = true
adjacent = ["shoes"]
[[zones]]
id = "shoes"
[[readers]]
id = "door-qr"
type = "serial"
zone = "door"
path = "/dev/ttyACM0"
[store.opening]
mon = ["10:00", "13:00", "15:30", "19:30"]
sun = []
[[calendars]]
path = "marco.ics"
clerk = "marco"
[[calendars]]
url = "webcal://calendar.example/giulia.ics"
clerk = "giulia"
every_seconds = 60
[webhooks.calcom]
secret_file = "calcom.secret"
clerks = { "marco@bottega.example" = "marco" }
[platform]
url = "https://platform.example/"
token_file = "platform.secret"
[tokens]
trusted_keys_file = "keys.json"
hosts = ["Bottega.example"]
[log]
level = "debug"
""",
    )
    assert found.broker.url == "mqtts://broker.example:8883"
    assert found.broker.password_file is not None
    assert settings.secret(found.broker.password_file) == "hunter2"
    assert found.api.public_url == "https://Soglia.Bottega.example"
    assert found.rules.window == timedelta(minutes=20)
    assert found.rules.delivered == timedelta(milliseconds=500)
    assert found.store.opening == {0: ((time(10), time(13)), (time(15, 30), time(19, 30)))}
    door, shoes = found.zones
    assert (door.name, door.doorway, door.adjacent) == ("Ingresso", True, frozenset({"shoes"}))
    assert not shoes.doorway
    assert shoes.adjacent == {"door"}, "a door opens both ways"
    assert found.readers == (settings.Reader("door-qr", "serial", "door", {"path": "/dev/ttyACM0"}),)
    assert [each.every for each in found.calendars] == [timedelta(minutes=5), timedelta(minutes=1)]
    assert found.calendars[0].path == tmp_path / "marco.ics"
    assert found.calcom is not None
    assert found.calcom.clerks == {"marco@bottega.example": "marco"}
    assert found.platform is not None
    assert found.platform.url == "https://platform.example"
    assert list(found.tokens.trusted_keys) == ["2026-a"]
    assert len(found.tokens.trusted_keys["2026-a"]) == 32
    assert found.tokens.hosts == {"bottega.example", "soglia.bottega.example"}
    assert found.log_level == "debug"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[store]\nid = 'a\n", "store.toml:3  is not TOML: expected"),
        ("[store]\nid = 'a'\nid = 'b'\n", "store.toml:3  is not TOML: cannot overwrite a value"),
        ("[store]\nid = [1,\n", "store.toml:3  is not TOML: invalid value"),
    ],
)
def test_a_syntax_error_names_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(expected)


def test_what_is_no_text_file_is_said_plainly(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    with pytest.raises(ConfigError, match="there is no such file; start from"):
        settings.load(file, check_reader)
    file.write_bytes(b"# ok\n[store]\nname = '\xe8'\n")
    with pytest.raises(ConfigError, match=r"store.toml:3  is not UTF-8 text"):
        settings.load(file, check_reader)
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.load(tmp_path, check_reader)


def test_what_is_missing_is_named_though_it_has_no_line(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [
        'store.toml  store.id  is missing; add id = "…"',
        'store.toml  store.time_zone  is missing; add time_zone = "…"',
        'store.toml  data.dir  is missing; add dir = "…"',
    ]


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        (
            '[zones]\nid = "door"',
            "7  zones  must be a list of tables, not a table; write [[zones]] with two brackets",
        ),
        ("[[api]]\nport = 1", "7  api  must be a table, not a list; write [api] once"),
        ("[api]\nport = true", "8  api.port  must be a whole number, not true or false"),
        ("[api]\nport = -1", "8  api.port  there is no port -1"),
        ("[api]\nport = 1\n[broker]\nport = 1", "10  broker.port  port 1 is already api.port"),
        ('[api]\npublic_url = "https://a b"', "8  api.public_url  is not an address we can use"),
        ('[api]\npublic_url = "https://a:99999"', "8  api.public_url  is not an address we can use"),
        ('[api]\nhost = "300.1.1.1"', '8  api.host  "300.1.1.1" is not an address to listen on'),
        ('[broker]\nusername = "x"', "8  broker.username  is only for a broker elsewhere"),
        ('[broker]\nurl = "mqtt://b"\nport = 1', "9  broker.port  is only for the embedded broker"),
        (
            '[broker]\nurl = "mqtt://b"\nusername = "x"',
            "9  broker.username  has no password; add password_file",
        ),
        ('[broker]\nurl = "mqtt://b"\nca_file = "ca"', "9  broker.ca_file  is not used without TLS"),
        (
            '[tokens]\ntrusted_keys_file = "ca"',
            "8  tokens.trusted_keys_file  FOLDER/ca does not hold public keys",
        ),
        ('[tokens]\ntrusted_keys_file = "sub"', "8  tokens.trusted_keys_file  FOLDER/sub is not a file"),
        (
            "[matching]\nlate_minutes = 2000-01-01",
            "8  matching.late_minutes  must be a number, not a date or time",
        ),
        ("[matching]\nlate_minutes = inf", "8  matching.late_minutes  inf is out of range"),
        ("[log]\nlevel = ''", "8  log.level  is empty"),
        (
            "[[zones]]\nid = 'a'\nadjacent = ['b']",
            '9  zones[0].adjacent  there is no zone "b"; zones here: a',
        ),
        ("[webhooks.calcom]", "7  webhooks.calcom.secret_file  is missing"),
    ],
)
def test_one_problem_at_a_time(tmp_path: Path, addition: str, expected: str) -> None:
    write(tmp_path / "ca", "[]")
    (tmp_path / "sub").mkdir()
    (found,) = problems(tmp_path, SMALL + addition)
    assert found.startswith(f"store.toml:{expected}")


READER = """
[[zones]]
id = "door"
[[readers]]
id = "r"
zone = "door"
"""


def test_a_reader_s_table_is_judged_whole_with_its_path_resolved(tmp_path: Path) -> None:
    write(tmp_path / "script.ndjson", "")
    seen: list[Mapping[str, object]] = []

    def note(table: Mapping[str, object]) -> list[str]:
        seen.append(table)
        return []

    write(tmp_path / "store.toml", SMALL + READER + 'type = "anything"\npath = "script.ndjson"\n')
    (reader,) = settings.load(tmp_path / "store.toml", note).readers
    path = str(tmp_path / "script.ndjson")
    assert seen == [{"id": "r", "type": "anything", "zone": "door", "path": path}] == [reader.table]
    (elsewhere,) = load(tmp_path, SMALL + READER + 'type = "serial"\npath = "usb:054c"\n').readers
    assert elsewhere.options == {"path": "usb:054c"}


def test_a_reader_that_publishes_by_itself_has_no_options(tmp_path: Path) -> None:
    (reader,) = load(tmp_path, SMALL + READER + 'type = "mqtt"\n').readers
    assert (reader.type, reader.options) == ("mqtt", {})
    (found,) = problems(tmp_path, SMALL + READER + 'type = "mqtt"\npath = "x"\n')
    assert found.startswith("store.toml:14  readers[0].path  is not a known key")


def test_the_example_is_valid_and_says_every_key(tmp_path: Path) -> None:
    example = (ROOT / "config" / "store.example.toml").read_text("utf-8")
    assert load(tmp_path, example).store.id == "milano-01"
    whole = re.sub(r"^# (?=[a-z_]+ = |\[)", "", example, flags=re.MULTILINE)
    for name in re.findall(r'^\w+_file = "([^"]+)"', whole, flags=re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, f'{{"2026-a": "{KEY}"}}')
    (tmp_path / "calendars").mkdir()
    write(tmp_path / "calendars" / "sara.ics", "x")
    whole = re.sub(
        r'^(url = "embedded"|host = "127.0.0.1"\nport = 0 .*|websocket_port = .*)\n',
        "",
        whole,
        flags=re.MULTILINE,
    )
    found = load(tmp_path, whole.replace("[broker]", '[broker]\nurl = "mqtts://broker.example"'))
    assert found.calcom
    assert found.platform
    assert found.tokens.trusted_keys
    assert found.broker.password_file


TABLES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text("ab[]{}#,.=\"'\\\n", max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text('abz.-"[é ', min_size=1, max_size=4), inner, max_size=3),
    ),
    max_leaves=12,
)


def toml(value: object, broken_over_lines: bool) -> str:
    gap = "\n  " if broken_over_lines else " "
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{toml(k, False)} = {toml(v, broken_over_lines)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(f"{gap}{toml(each, broken_over_lines)} # ]\n" for each in value) + "]"
    if isinstance(value, str):
        return '"' + re.sub(r'["\\\n]', lambda m: {"\n": "\\n"}.get(m[0], "\\" + m[0]), value) + '"'
    return str(value).lower()


def paths(value: object, path: str) -> Iterator[str]:
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield toml_lines.join(path, key)
        yield from paths(inner, toml_lines.join(path, key))


@given(st.dictionaries(st.text('abz.-"[é ', min_size=1, max_size=4), TABLES, max_size=4), st.booleans())
def test_every_key_path_that_tomllib_finds_has_a_line(values: dict[str, object], broken: bool) -> None:
    text = "".join(
        f"# {n}\n{toml(k, False)} = {toml(v, broken)}\n" for n, (k, v) in enumerate(values.items())
    )
    text += "[[last]]\n[last.inner]\nx = 1\n[[last]]\ny.z = '''\n''' # [[\n"
    parsed = tomllib.loads(text)
    found = toml_lines.lines(text)
    assert set(paths(parsed, "")) == set(found)
    for key in values:
        line = text.split("\n")[found[toml_lines.join("", key)] - 1]
        assert line.startswith(toml(key, False))


def test_lines_of_headers_arrays_and_quoted_keys() -> None:
    text = """a = [
  { b = 1 },
  { c = [[1], [2]] }, ]
"x.y" = '''
[[no]]
'''
[[r]]
[r.s]
t = 1
[[r]]
u.v = 2026-01-01 10:00:00
w = 1.5e3 # [z]"""
    tomllib.loads(text)
    found = toml_lines.lines(text)
    assert [f"{line} {path}" for path, line in found.items()] == [
        *("1 a", "2 a[0]", "2 a[0].b", "3 a[1]", "3 a[1].c", "3 a[1].c[0]", "3 a[1].c[0][0]"),
        *("3 a[1].c[1]", "3 a[1].c[1][0]", '4 "x.y"', "7 r", "7 r[0]", "8 r[0].s", "9 r[0].s.t", "10 r[1]"),
        *("11 r[1].u", "11 r[1].u.v", "12 r[1].w"),
    ]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for a while (the saved id brings us back)."""
    ours = os.getuid()
    if ours == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if ours == 0:
            os.setresuid(0, 0, 0)


def test_a_data_folder_that_may_not_be_written() -> None:
    with TemporaryDirectory(prefix="soglia-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # pytest's own folders are closed to others
        (folder / "shut").mkdir(mode=0o500)
        (folder / "store.toml").write_text(SMALL.replace('"data"', '"shut/data"'), "utf-8")
        with as_nobody(), pytest.raises(ConfigError) as caught:
            settings.load(folder / "store.toml", check_reader, TYPES)
        (found,) = [line.replace(name, "FOLDER") for line in caught.value.lines("store.toml")]
    assert found.startswith("store.toml:6  data.dir  soglia may not write in FOLDER/shut")
