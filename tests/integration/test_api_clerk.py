"""The clerk's routes and the reads, against the real engine: what is answered, audited and shown to whom."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.rigs.fake_services import STORE, Shop, people, served


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.put_records(*people(shop.now()))
    yield shop
    shop.close()


@pytest.fixture
def url(shop: Shop) -> Iterator[str]:
    with served(shop) as server:
        yield server.url


class As:
    """A caller: `get`, `post` and `put` below /api/v1."""

    def __init__(self, url: str, shop: Shop, scope: str) -> None:
        self._url = f"{url}/api/v1"
        self._headers = {"authorization": f"Bearer {shop.token(scope)}"}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self._url + path, headers=self._headers, timeout=30)

    def post(self, path: str, **body: object) -> httpx.Response:
        return httpx.post(self._url + path, headers=self._headers, json=body, timeout=30)

    def put(self, path: str, **body: object) -> httpx.Response:
        return httpx.put(self._url + path, headers=self._headers, json=body, timeout=30)

    def upload(self, picture: bytes, **fields: str) -> httpx.Response:
        files = {"picture": ("p.png", picture, "image/png")}
        return httpx.post(f"{self._url}/reads", headers=self._headers, files=files, data=fields, timeout=30)


@pytest.fixture
def marco(url: str, shop: Shop) -> As:
    return As(url, shop, "clerk:marco")


@pytest.fixture
def giulia(url: str, shop: Shop) -> As:
    return As(url, shop, "clerk:giulia")


def arrived(shop: Shop) -> str:
    shop.scan("K7Q2MX")
    (visit,) = shop.visits()
    return visit


def test_a_visit_has_what_the_contract_says_and_what_the_page_needs(shop: Shop, marco: As) -> None:
    name = arrived(shop)
    body = marco.get("/visits?open=true").json()
    (visit,) = body["visits"]
    assert visit == marco.get(f"/visits/{name}").json()
    assert visit["visit"] == name
    assert visit["state"] == "alerted"
    assert visit["match"] == "expected"
    assert visit["reasons"] == ["named-by-code", "in-window"]
    assert visit["assignment"]["clerk"] == "marco"
    assert visit["assignment"]["taken_by"] is None
    assert visit["seq"] == body["seq"] == shop.log.head[0]
    assert visit["why"] == "Gave the booking code, expected about now."
    assert (visit["service"], visit["zone"], visit["zone_name"]) == ("fitting", "door", "Door")
    assert [alert["to"] for alert in visit["alerts"]] == ["marco"]


def test_names_are_shown_as_far_as_each_caller_needs_them(
    shop: Shop, url: str, marco: As, giulia: As
) -> None:
    name = arrived(shop)
    operator = As(url, shop, "operator")
    assert marco.get(f"/visits/{name}").json()["name"] == "Anna"
    assert marco.post(f"/visits/{name}/commands", id="1", action="coming").status_code == 200
    assert marco.get(f"/visits/{name}").json()["name"] == "Anna Bianchi"
    assert giulia.get(f"/visits/{name}").json()["name"] == "Anna"
    for_it = operator.get(f"/visits/{name}")
    assert for_it.json()["name"] is None
    for secret in ("Anna", "Bianchi", "Marco Rossi"):
        assert secret not in for_it.text


def test_a_repeat_is_answered_with_the_first_receipt_and_status(shop: Shop, marco: As) -> None:
    path = f"/visits/{arrived(shop)}/commands"
    first = marco.post(path, id="c1", action="coming")
    assert first.json() == {"command": "c1", "outcome": "accepted", "seq": shop.log.head[0]}
    again = marco.post(path, id="c1", action="coming")
    assert again.status_code == 200
    assert again.json() == {**first.json(), "outcome": "repeated", "first": {"outcome": "accepted"}}

    refused = marco.post(path, id="c2", action="coming")
    assert (refused.status_code, refused.json()["reason"]) == (409, "already-coming")
    assert refused.json()["command"] == "c2"
    marco.post(path, id="c3", action="greeted")
    repeated = marco.post(path, id="c2", action="coming")
    assert repeated.status_code == 409
    assert repeated.json()["outcome"] == "repeated"
    assert repeated.json()["first"] == {"outcome": "refused", "reason": "already-coming"}

    other = marco.post(path, id="c1", action="done")
    assert (other.status_code, other.json()["reason"]) == (409, "id-reused")


def test_the_same_id_is_another_command_at_another_visit(shop: Shop, marco: As) -> None:
    name = arrived(shop)
    assert marco.post(f"/visits/{name}/commands", id="c1", action="coming", visit=name).status_code == 200
    assert marco.post(f"/visits/{name}/commands", id="c1", action="coming").json()["outcome"] == "repeated"
    elsewhere = marco.post("/visits/visit-0/commands", id="c1", action="coming")
    assert elsewhere.json()["reason"] == "id-reused"
    mixed = marco.post("/visits/visit-0/commands", id="c2", action="coming", visit=name)
    assert (mixed.status_code, mixed.json()["reason"]) == (422, "malformed")


def test_refusals_have_a_status_by_their_reason(shop: Shop, marco: As, giulia: As) -> None:
    name = arrived(shop)
    unknown = marco.post("/visits/visit-0/commands", id="c1", action="coming")
    assert (unknown.status_code, unknown.json()["reason"]) == (404, "unknown-visit")
    assert marco.get("/visits/visit-0").status_code == 404
    giulia.post(f"/visits/{name}/commands", id="g1", action="coming")
    taken = marco.post(f"/visits/{name}/commands", id="c2", action="coming")
    assert (taken.status_code, taken.json()["reason"]) == (409, "taken")
    assert "giulia" in taken.json()["detail"]
    undo = giulia.post(f"/visits/{name}/commands", id="g2", action="undo")
    assert (undo.status_code, undo.json()["reason"]) == (422, "unknown-action")
    dance = giulia.post(f"/visits/{name}/commands", id="g3", action="dance")
    assert (dance.status_code, dance.json()["reason"]) == (422, "malformed")


def test_the_dossier_opens_with_coming_and_every_view_is_audited(shop: Shop, marco: As, giulia: As) -> None:
    name = arrived(shop)
    shut = marco.get(f"/visits/{name}/dossier")
    assert (shut.status_code, shut.json()["reason"]) == (403, "confirmation-required")
    assert "Bianchi" not in shut.text
    assert shop.directory.audit_rows() == []

    marco.post(f"/visits/{name}/commands", id="1", action="coming")
    dossier = marco.get(f"/visits/{name}/dossier").json()
    assert dossier["visitor"]["name"] == "Anna Bianchi"
    assert dossier["history"] == "shown"
    (touch,) = dossier["touchpoints"]
    assert (touch["size"], touch["colour"]) == ("38", "red")
    assert touch["in_store"] == {
        "name": "Décolleté Brera",
        "price": {"amount": "129.00", "currency": "EUR"},
        "stock": 2,
        "price_differs": True,
    }
    assert "credentials" not in str(dossier)
    (row,) = shop.directory.audit_rows()
    assert (row.who, row.action, row.whose, row.why) == ("clerk:marco", "dossier", "v-17", name)

    other = giulia.get(f"/visits/{name}/dossier")
    assert (other.status_code, other.json()["reason"]) == (403, "not-assigned")
    assert len(shop.directory.audit_rows()) == 1


def test_a_hint_opens_the_dossier_only_after_greeting_and_history_needs_consent(
    shop: Shop, marco: As
) -> None:
    shop.tap("04C13D52AA6F81")
    (name,) = shop.visits()
    marco.post(f"/visits/{name}/commands", id="1", action="coming")
    assert marco.get(f"/visits/{name}/dossier").json()["reason"] == "confirmation-required"
    marco.post(f"/visits/{name}/commands", id="2", action="greeted")
    dossier = marco.get(f"/visits/{name}/dossier").json()
    assert dossier["history"] == "no-consent"
    assert dossier["touchpoints"] == []
    assert dossier["visitor"]["name"] == "<b>Luca</b> Ferrari"


def test_somebody_who_came_without_a_read(shop: Shop, marco: As, giulia: As) -> None:
    opened = marco.post("/visits", id="w1", visitor="v-17")
    assert opened.status_code == 201
    name = opened.json()["visit"]
    assert opened.headers["location"] == f"/api/v1/visits/{name}"
    visit = marco.get(f"/visits/{name}").json()
    assert (visit["match"], visit["zone"], visit["name"]) == ("expected", "shoes", "Anna")
    assert marco.post("/visits", id="w1", visitor="v-17").status_code == 201
    twice = marco.post("/visits", id="w2", visitor="v-17")
    assert (twice.status_code, twice.json()["reason"]) == (409, "already-here")

    walk_in = giulia.post("/visits", id="w1").json()["visit"]  # another clerk's id is another command
    assert giulia.get(f"/visits/{walk_in}").json()["match"] == "unknown"
    assert giulia.get(f"/visits/{walk_in}").json()["name"] is None
    nobody = marco.post("/visits", id="w3", visitor="v-0")
    assert (nobody.status_code, nobody.json()["reason"]) == (404, "unknown-visitor")
    nowhere = marco.post("/visits", id="w4", zone="moon")
    assert (nowhere.status_code, nowhere.json()["detail"]) == (422, "zone: one of door, shoes, bags")


def test_agenda_and_name_search(shop: Shop, marco: As) -> None:
    (planned,) = marco.get("/agenda").json()["appointments"]
    assert (planned["appointment"], planned["name"], planned["visit"]) == ("a-9", "Anna", None)
    name = arrived(shop)
    assert marco.get("/agenda").json()["appointments"][0]["visit"] == name

    assert marco.get("/visitors?name=bian").json()["visitors"] == [
        {"visitor": "v-17", "name": "Anna Bianchi", "language": "it"}
    ]
    assert marco.get("/visitors?name=zzz").json() == {"visitors": []}
    rows = [(row.who, row.action, row.whose) for row in shop.directory.audit_rows()]
    assert rows == [("clerk:marco", "search", None), ("clerk:marco", "search", "v-17")]
    assert marco.get("/visitors?name=a").status_code == 422


def test_a_clerk_takes_a_break(shop: Shop, url: str, marco: As) -> None:
    assert marco.put("/clerks/me/status", status="paused", id="s1").json()["command"] == "s1"
    assert shop.engine.state.clerks["marco"].duty == "paused"
    for written in ("off shift", "off_shift", "off-shift", "available"):
        assert marco.put("/clerks/me/status", status=written).json()["outcome"] == "accepted"
    assert marco.put("/clerks/me/status", status="asleep").status_code == 422
    assert shop.engine.state.clerks["marco"].duty == "on"
    stranger = As(url, shop, "clerk:nobody").put("/clerks/me/status", status="paused")
    assert (stranger.status_code, stranger.json()["reason"]) == (409, "unknown-clerk")


def read(reader: str, name: str = "r1", code: str = "K7Q2MX") -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": name,
        "source": f"soglia/{STORE}/readers/{reader}",
        "type": "soglia.read.v1",
        "time": "2026-11-22T10:02:03.456Z",
        "data": {"technology": "qr", "payload": code, "symbology": "]Q1"},
    }


def test_a_read_over_http_is_a_read(shop: Shop, url: str) -> None:
    door = As(url, shop, "reader:door-1")
    first = door.post("/reads", **read("door-1"))
    assert first.status_code == 200
    assert first.json() == {"read": "r1", "outcome": "accepted", "seq": shop.log.head[0]}
    assert door.post("/reads", **read("door-1")).json()["outcome"] == "repeated"
    assert door.post("/reads", **read("door-1", code="OTHER1")).json()["reason"] == "id-reused"
    assert len(shop.visits()) == 1
    refused = door.post("/reads", **read("door-1", "r2", "NOBODY"))
    assert (refused.status_code, refused.json()["read"]) == (409, "r2")
    assert refused.json()["outcome"] == "refused"


@pytest.mark.parametrize("scope", ["reader:door-2", "kiosk:kiosk-1", "clerk:marco"])
def test_nobody_sends_anothers_reads(shop: Shop, url: str, scope: str) -> None:
    answer = As(url, shop, scope).post("/reads", **read("door-1"))
    assert (answer.status_code, answer.json()["reason"]) == (403, "foreign-source")
    assert shop.visits() == []


@pytest.mark.parametrize(("scope", "reader"), [("kiosk:kiosk-1", "kiosk-1"), ("clerk:marco", "tablet:marco")])
def test_kiosks_and_tablets_are_readers_by_their_own_id(
    shop: Shop, url: str, scope: str, reader: str
) -> None:
    assert As(url, shop, scope).post("/reads", **read(reader)).status_code == 200
    (visit,) = shop.engine.state.open_visits()
    assert [sighting.reader for sighting in visit.sightings] == [reader]


def test_a_malformed_read_is_a_422(shop: Shop, url: str) -> None:
    door = As(url, shop, "reader:door-1")
    for wrong in ({"type": "other"}, {"id": "a b"}, {"data": {"technology": "smell"}}, {"time": "noon"}):
        answer = door.post("/reads", **{**read("door-1"), **wrong})
        assert answer.status_code == 422, wrong
        assert answer.json()["detail"]


def test_a_picture_is_decoded_into_a_read(shop: Shop, marco: As) -> None:
    answer = marco.upload(b"picture:K7Q2MX", id="p1")
    assert (answer.status_code, answer.json()["read"]) == (200, "p1")
    assert len(shop.visits()) == 1
    assert marco.upload(b"picture:K7Q2MX").json()["outcome"] == "accepted"  # an id minted here: another read
    for picture, reason in (
        (b"noise", "not-a-picture"),
        (b"picture:", "no-code"),
        (b"picture:A,B", "several-codes"),
    ):
        refused = marco.upload(picture)
        assert (refused.status_code, refused.json()["reason"]) == (422, reason)
    assert marco.upload(b"picture:A", id="a b").status_code == 422
