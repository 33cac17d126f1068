"""Who may call what: tokens, scopes, the page's cookie, and the hosts and origins that are ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.api.app import build
from gateway.api.server import serve
from tests.rigs.fake_services import Shop, people, served, until

ROUTES = [
    ("POST", "/api/v1/reads", {"reader", "kiosk", "clerk"}),
    ("GET", "/api/v1/visits?open=true", {"clerk", "operator"}),
    ("GET", "/api/v1/visits/v-1", {"clerk", "operator"}),
    ("POST", "/api/v1/visits", {"clerk"}),
    ("GET", "/api/v1/agenda", {"clerk"}),
    ("GET", "/api/v1/visitors?name=an", {"clerk"}),
    ("PUT", "/api/v1/clerks/me/status", {"clerk"}),
    ("POST", "/api/v1/visits/v-1/commands", {"clerk"}),
    ("GET", "/api/v1/visits/v-1/dossier", {"clerk"}),
    ("GET", "/api/v1/stream", {"clerk", "kiosk"}),
    ("PUT", "/api/v1/sync/directory", {"platform"}),
    ("GET", "/api/v1/sync/batches", {"platform"}),
    ("GET", "/api/v1/sync/keys", {"platform"}),
    ("POST", "/api/v1/sync/ack", {"platform"}),
    ("GET", "/metrics", {"operator"}),
]
SCOPES = ("platform", "operator", "clerk:marco", "reader:door-1", "kiosk:kiosk-1")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.put_records(*people(shop.now()))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def client(shop: Shop) -> Iterator[httpx.Client]:
    with served(shop) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def tokens(shop: Shop) -> dict[str, str]:
    return {scope: shop.token(scope) for scope in SCOPES}


def ask(client: httpx.Client, method: str, path: str, token: str | None) -> tuple[int, str]:
    """Status and the problem's reason; a stream is left at once."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    with client.stream(method, path, headers=headers) as answer:
        if answer.headers.get("content-type") != "application/problem+json":
            return answer.status_code, ""
        answer.read()
        assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json()["reason"]


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_only_the_named_scopes_may(
    client: httpx.Client, tokens: dict[str, str], method: str, path: str, roles: set[str]
) -> None:
    for scope, token in tokens.items():
        status, reason = ask(client, method, path, token)
        if scope.partition(":")[0] in roles:
            assert reason not in ("scope-insufficient", "token-unknown"), scope
            assert status not in (401, 500), scope
        else:
            assert (status, reason) == (403, "scope-insufficient"), scope


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in ROUTES])
def test_without_a_valid_token_nobody_may(client: httpx.Client, method: str, path: str) -> None:
    assert ask(client, method, path, None) == (401, "token-missing")
    assert ask(client, method, path, "made-up") == (401, "token-unknown")
    assert ask(client, method, path, "x" * 100) == (401, "token-unknown")


def test_an_expired_and_a_revoked_token_are_told_apart(client: httpx.Client, shop: Shop) -> None:
    expiring = shop.token("operator", expires_in=timedelta(milliseconds=50))
    until(lambda: ask(client, "GET", "/metrics", expiring) == (401, "token-expired"))
    revoked = shop.token("operator")
    assert ask(client, "GET", "/metrics", revoked)[0] == 200
    shop.access.revoke(shop.access.list()[-1].id)
    assert ask(client, "GET", "/metrics", revoked) == (401, "token-revoked")


def test_401_says_how_to_authenticate(client: httpx.Client) -> None:
    assert client.get("/metrics").headers["www-authenticate"].startswith("Bearer")
    assert client.get("/metrics", headers={"authorization": "Basic YTpi"}).status_code == 401


def test_health_is_open_and_readiness_tells_details_to_operators_only(
    client: httpx.Client, shop: Shop, tokens: dict[str, str]
) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"ready": True}
    as_operator = {"authorization": f"Bearer {tokens['operator']}"}
    assert client.get("/readyz", headers=as_operator).json()["checks"] == {"log": "writes in 2 ms"}
    as_clerk = {"authorization": f"Bearer {tokens['clerk:marco']}"}
    assert "checks" not in client.get("/readyz", headers=as_clerk).json()
    shop.ready = False
    try:
        assert client.get("/readyz").status_code == 503
    finally:
        shop.ready = True


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_name_is_refused(client: httpx.Client, host: str) -> None:
    answer = client.get("/healthz", headers={"host": host})
    assert (answer.status_code, answer.json()["reason"]) == (421, "host-not-allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8123", "127.0.0.1:1", "[::1]:80", "[::1]"])
def test_our_own_host_names_are_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def sign_in(client: httpx.Client, token: str, origin: str | None = None) -> httpx.Response:
    headers = {"origin": origin or str(client.base_url).rstrip("/")}
    return client.post("/clerk/sign-in", data={"token": token}, headers=headers)


def test_the_cookie_is_kept_from_scripts_and_other_sites(shop: Shop, tokens: dict[str, str]) -> None:
    with served(shop) as server, httpx.Client(base_url=server.url) as browser:
        answer = sign_in(browser, tokens["clerk:marco"])
        assert (answer.status_code, answer.headers["location"]) == (303, "/clerk")
        flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= flags
        assert "secure" not in flags  # over plain HTTP the browser would drop it
        assert browser.get("/clerk").status_code == 200
        assert browser.get("/api/v1/agenda").status_code == 200

        out = browser.post("/clerk/sign-out", headers={"origin": server.url})
        assert out.headers["location"] == "/clerk/sign-in"
        assert browser.get("/clerk").headers["location"] == "/clerk/sign-in"
        assert browser.get("/api/v1/agenda").status_code == 401


def test_a_write_by_cookie_must_come_from_our_own_page(shop: Shop, tokens: dict[str, str]) -> None:
    with served(shop) as server, httpx.Client(base_url=server.url) as browser:
        sign_in(browser, tokens["clerk:marco"])
        body = {"status": "available"}
        for headers in (
            {},
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": server.url, "sec-fetch-site": "cross-site"},
        ):
            answer = browser.put("/api/v1/clerks/me/status", json=body, headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (403, "origin-not-allowed"), headers
        own = browser.put("/api/v1/clerks/me/status", json=body, headers={"origin": server.url})
        assert own.status_code == 200
        bearer = {"authorization": f"Bearer {tokens['clerk:marco']}"}  # no browser adds this by itself
        assert (
            httpx.put(f"{server.url}/api/v1/clerks/me/status", json=body, headers=bearer).status_code == 200
        )


def test_signing_in_needs_a_clerks_token_and_our_own_page(
    client: httpx.Client, tokens: dict[str, str]
) -> None:
    assert sign_in(client, "made-up").status_code == 401
    assert sign_in(client, tokens["platform"]).status_code == 403
    assert sign_in(client, tokens["clerk:marco"], origin="http://evil.example").status_code == 403
    assert not client.cookies


def test_a_platforms_token_is_worth_nothing_in_the_cookie(
    client: httpx.Client, tokens: dict[str, str]
) -> None:
    jar = {"cookie": f"soglia-clerk={tokens['platform']}"}
    assert client.get("/api/v1/sync/keys", headers=jar).status_code == 401


def test_over_https_the_cookie_is_bound_to_the_host(
    shop: Shop, tmp_path: Path, tokens: dict[str, str]
) -> None:
    certificate, key = self_signed(tmp_path)
    server = serve(build(shop.services()), "127.0.0.1", 0, (certificate, key))
    server.start()
    try:
        trust = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=server.url, verify=trust) as browser:
            answer = sign_in(browser, tokens["clerk:marco"])
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-soglia-clerk=")
            assert "Secure" in cookie
            assert "Domain" not in cookie
            assert browser.get("/clerk").status_code == 200
            unbound = {"cookie": f"soglia-clerk={tokens['clerk:marco']}"}
            assert httpx.get(f"{server.url}/api/v1/agenda", headers=unbound, verify=trust).status_code == 401
    finally:
        server.stop()


def test_a_certificate_that_is_not_there_is_heard_of_at_once(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        serve(build(shop.services()), "127.0.0.1", 0, (tmp_path / "none.pem", tmp_path / "none.key"))


def self_signed(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "server.pem", directory / "server.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
