"""admin/site.py: what each route answers, by aiohttp's own client."""

from __future__ import annotations

from typing import Any

import pytest

from ..support.figures import samples
from ..support.site import STATUS, Desk

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


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/../metrics/x", "/%00"])
def test_there_is_nothing_else(path: str) -> None:
    assert Desk().get(path).status == 404


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
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
