"""admin/site.py: what each route answers, by aiohttp's own client."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from proxy.admin import site as module
from proxy.admin.site import MAX_BODY, PAGE, POLICY, WATCHERS

from ..support.configuration import loaded
from ..support.figures import samples
from ..support.site import STATUS, TOKEN, Desk

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.test_utils import TestClient

WORKER = STATUS["workers"][0]


def test_metrics() -> None:
    desk = Desk()
    answer = desk.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert samples(answer.text)["popgate_leases"] == 7


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({}, 200, "ok"),
        ({"agent": "ready up 1%"}, 200, "ok"),
        ({"agent": "drain"}, 503, "draining"),
        ({"agent": "down # no mail server answers"}, 503, "no mail server answers"),
        ({"error": "the supervisor does not answer: too slow"}, 503, "the supervisor does not answer: too slow"),
    ],
)
def test_readyz(change: dict[str, Any], code: int, text: str) -> None:
    desk = Desk()
    desk.answers["status"] = STATUS | change
    answer = desk.get("/readyz")
    assert (answer.status, answer.text) == (code, f"{text}\n")


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({}, 200, "ok"),
        ({"agent": "down # no mail server answers"}, 200, "ok"),
        ({"agent": "drain", "draining": True}, 200, "ok"),
        ({"workers": [WORKER, WORKER | {"number": 3, "stalled": True}]}, 503, "the loop of worker 3 stands still"),
        ({"alive": False, "workers": [WORKER | {"ready": False}]}, 503, "no worker is running"),
        ({"error": "gone"}, 503, "gone"),
    ],
)
def test_healthz(change: dict[str, Any], code: int, text: str) -> None:
    desk = Desk()
    desk.answers["status"] = STATUS | change
    answer = desk.get("/healthz")
    assert (answer.status, answer.text) == (code, f"{text}\n")


def test_a_probe_may_ask_by_head() -> None:
    assert Desk().request("HEAD", "/readyz").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    assert Desk().request(method, "/metrics").status == 405


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/page.html", "/../metrics/x", "/%00"])
def test_there_is_nothing_else(path: str) -> None:
    assert Desk().get(path).status == 404


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/readyz", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8110", "127.0.0.1.evil.example", "localhost.evil"])
def test_a_foreign_name_is_refused(path: str, host: str) -> None:
    """DNS rebinding."""
    desk = Desk()
    answer = desk.get(path, headers={"Host": host})
    assert answer.status == 421
    assert "popgate_" not in answer.text
    assert desk.asked == []


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
def test_every_answer_has_the_headers_and_none_lets_another_site_read(path: str) -> None:
    answer = Desk().get(path, headers={"Origin": "http://evil.example"})
    assert answer.headers["Server"] == "popgate"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Connection"] == "close"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_bug_is_in_the_log_and_its_words_are_not_in_the_answer() -> None:
    desk = Desk()
    desk.answers["status"] = RuntimeError("secret")
    answer = desk.get("/readyz?also=secret")
    assert (answer.status, answer.text) == (500, "A bug in popgate; its log says more.\n")
    [words] = desk.log.of("bug")
    assert words["error"] == "RuntimeError"
    assert "secret" not in str(words)


# The page


def test_the_page_brings_all_with_it_and_may_do_nothing_else() -> None:
    answer = Desk().get("/")
    assert answer.status == 200
    assert answer.text == PAGE
    policy = answer.headers["Content-Security-Policy"]
    assert policy == POLICY
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy


def test_nothing_is_fetched_from_elsewhere_and_no_string_becomes_markup() -> None:
    assert set(re.findall(r"(?:https?:)?//[^\s\"'<>)]+", re.sub(r"(?m)(^|[ ;{])//.*$", "", PAGE))) == {
        "http://www.w3.org/2000/svg"  # a name, not an address
    }
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", PAGE)
    assert not re.search(r"<[^>]+ (on[a-z]+|style|src)=", PAGE)
    assert len(re.findall("<script", PAGE)) == len(re.findall("<style", PAGE)) == 1


def events(desk: Desk, many: int) -> list[dict[str, Any]]:
    async def watched(client: TestClient[Any, Any]) -> list[dict[str, Any]]:
        found = []
        async with client.get("/events") as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            while len(found) < many:
                line = await response.content.readline()
                assert line, "the events have ended"
                if line.startswith(b"data: "):
                    found.append(json.loads(line[6:]))
        return found

    return desk.visited(watched)


def test_events_tell_what_there_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE", 0.01)
    desk = Desk()
    found = events(desk, 3)
    assert found[0]["lease_count"] == 7
    assert found[0]["open"] is True
    assert [question["do"] for question in desk.asked] == ["status", "leases"], "once a second, however many events"


def test_so_many_may_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE", 0.01)
    desk = Desk()

    async def crowded(client: TestClient[Any, Any]) -> list[int]:
        watching = [await client.get("/events") for _ in range(WATCHERS)]
        one_more = await client.get("/events")
        statuses = [one_more.status]
        for response in watching:
            response.close()
        until = asyncio.get_running_loop().time() + 10
        while (again := await client.get("/events")).status != 200:  # the server hears of the ends by its writes
            assert asyncio.get_running_loop().time() < until
        again.close()
        return statuses

    assert desk.visited(crowded) == [503]
    assert desk.site.watchers <= 1


def test_the_history() -> None:
    answer = Desk().get("/history")
    found = json.loads(answer.text)
    assert found["every"] == 60
    assert len(found["rows"][0]) == len(found["names"]) + 1


def test_why(tmp_path: Path) -> None:
    desk = Desk(loaded(tmp_path, '[gate]\ntrusted_networks = ["192.0.2.0/24"]\n'))
    desk.answers["why"] = {"leases": [], "past": [], "unleased": [], "remembered": 0, "failures": 0}
    found = json.loads(desk.get("/why?address=%20192.0.2.7").text)
    assert found["address"] == "192.0.2.7"
    assert [one["verdict"] for one in found["verdicts"]] == ["allow"]
    found = json.loads(desk.get("/why?address=198.51.100.1").text)
    assert [one["verdict"] for one in found["verdicts"]] == ["refuse"]
    desk.answers["why"] = {"error": "no worker is running"}
    found = json.loads(desk.get("/why?address=198.51.100.1").text)
    assert [(one["verdict"], one["reasons"]) for one in found["verdicts"]] == [("unknown", ["no worker is running"])]


@pytest.mark.parametrize(
    "address", ["", "x", "192.0.2", "192.0.2.7/24", "fe80::1%25eth0", "<script>", "%00", "1" * 999]
)
def test_why_of_what_is_no_address(address: str) -> None:
    desk = Desk()
    answer = desk.get(f"/why?address={address}")
    assert answer.status == 400
    assert "IP address" in json.loads(answer.text)["error"]
    assert desk.asked == []


# Actions


@pytest.mark.parametrize(
    ("wanted", "question"),
    [
        ({"address": "192.0.2.7"}, {"do": "revoke", "address": "192.0.2.7"}),
        ({"address": "2001:db8::7:1"}, {"do": "revoke", "address": "2001:db8::7:1"}),
        ({"login": "<b>anna"}, {"do": "revoke", "login": "<b>anna"}),
    ],
)
def test_revoke(wanted: dict[str, str], question: dict[str, str]) -> None:
    desk = Desk()
    desk.answers["revoke"] = {"revoked": 2}
    answer = desk.act("/revoke", wanted)
    assert (answer.status, json.loads(answer.text)) == (200, {"revoked": 2})
    assert desk.asked == [question]
    assert desk.log.of("page-action") == [{"by": "127.0.0.1", **question, "error": None}]


def test_drain() -> None:
    desk = Desk()
    desk.answers["drain"] = {"done": "draining"}
    assert desk.act("/drain", {}).status == 200
    assert desk.asked == [{"do": "drain"}]


def test_an_action_that_failed() -> None:
    desk = Desk()
    desk.answers["revoke"] = {"error": "the lease store is down: busy"}
    answer = desk.act("/revoke", {"login": "anna"})
    assert (answer.status, json.loads(answer.text)) == (502, {"error": "the lease store is down: busy"})


@pytest.mark.parametrize("path", ["/revoke", "/drain"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_nothing_is_done_by_another_method(path: str, method: str) -> None:
    desk = Desk()
    answer = desk.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status == 405
    assert desk.asked == []


@pytest.mark.parametrize("path", ["/revoke", "/drain"])
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "\xff"])
def test_nothing_is_done_without_the_token(path: str, token: str) -> None:
    desk = Desk()
    answer = desk.act(path, {"login": "anna"}, token)
    assert answer.status == 403
    assert "popgate status --token" in answer.text
    assert desk.asked == []
    assert desk.log.of("token-refused") == [{"by": "127.0.0.1"}]
    assert TOKEN not in answer.text


@pytest.mark.parametrize("header", [{"Cookie": f"token={TOKEN}"}, {"X-Token": TOKEN}, {"Authorization": "Basic x"}])
def test_the_token_is_nowhere_else(header: dict[str, str]) -> None:
    """What a browser sends by itself to us for another site's page must not do."""
    desk = Desk()
    assert desk.request("POST", f"/drain?token={TOKEN}", json={"token": TOKEN}, headers=header).status == 403
    assert desk.asked == []


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_another_site_may_not_even_with_the_token(origin: str) -> None:
    desk = Desk()
    assert desk.act("/drain", {}, Origin=origin).status == 403
    assert desk.asked == []


def test_our_own_page_may() -> None:
    desk = Desk()
    desk.answers["drain"] = {"done": "draining"}
    assert desk.act("/drain", {}, Host="localhost:8110", Origin="http://localhost:8110").status == 200


@pytest.mark.parametrize(
    "wanted", [{}, {"address": "x"}, {"address": 5}, {"login": ""}, {"login": ["a"]}, [], "x", None]
)
def test_what_is_not_to_be_understood(wanted: Any) -> None:
    desk = Desk()
    assert desk.act("/revoke", wanted).status == 400
    assert desk.asked == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 4000])
def test_what_is_no_json(body: bytes) -> None:
    desk = Desk()
    answer = desk.request("POST", "/revoke", data=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status == 400


def test_a_body_has_a_bound() -> None:
    desk = Desk()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert desk.request("POST", "/revoke", data=b"x" * (MAX_BODY + 1), headers=headers).status == 413
