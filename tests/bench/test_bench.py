"""The benchmark itself: that every workload runs through every proxy that is here, and that what it counts is right.

How fast anything is, is held by no test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ..support.needs import need
from ..support.process import Process
from . import FOLDER, ROOT, BenchError, goals, growth, lookups, machine, measure, page, peers, plot, programs
from .measure import Effort, Figures
from .workloads import LOG_IN, WORKLOADS, Counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .programs import Upstream

TINY = Effort(seconds=0.05, warm_up=0.01, held=8)
GREETED = ("<1", ">EHLO client.example", "<1")
BYE = (">QUIT", "<1")
PAIRS = [
    (name, peer)
    for name, workload in WORKLOADS.items()
    for peer in peers.PEERS
    if peer.version() and peer.serves(workload)
]
every_workload = pytest.mark.parametrize("name", WORKLOADS)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    need("cc", "libssl-dev")
    programs.build()
    with programs.upstream() as running:
        yield running


def play(upstream: Upstream, port: str, steps: tuple[str, ...], *options: str) -> programs.Played:
    return programs.play(upstream.host, upstream.port(port), steps, *options, patience=60.0)


# -- the two ends ---------------------------------------------------------


def test_as_many_sessions_as_asked_for(upstream: Upstream) -> None:
    played = play(upstream, "pop3", LOG_IN, "-n", "70", "-p", "16")
    assert (played.sessions, played.failed, played.octets) == (70, 0, 0)


def test_sessions_begin_until_the_time_is_over(upstream: Upstream) -> None:
    played = play(upstream, "pop3", LOG_IN, "-d", "0.05", "-p", "2")
    assert played.sessions >= 2
    assert played.seconds >= 0.05


@pytest.mark.parametrize("kind", "*.")
def test_octets_of_messages_are_counted_with_their_final_dot(upstream: Upstream, kind: str) -> None:
    lines = 7000  # more than one block
    steps = (
        *GREETED,
        ">MAIL FROM:<a@b.example>|RCPT TO:<c@d.example>|DATA",
        "<3",
        f"{kind}{78 * lines + 5}",
        "<1",
        *BYE,
    )
    played = play(upstream, "smtp", steps, "-n", "3")
    assert (played.sessions, played.failed) == (3, 0)
    assert played.octets == 3 * (78 * lines + len(".\r\n"))


def test_a_message_is_received_to_its_final_dot(upstream: Upstream) -> None:
    size = 300 * 1024 // 78 * 78
    steps = ("<1", ">USER a", "<1", ">PASS b", "<1", ">RETR 300", f"@{size}", *BYE)
    played = play(upstream, "pop3", steps, "-n", "2")
    assert (played.sessions, played.failed) == (2, 0)
    assert played.octets == 2 * (size + len(f"+OK {size} octets\r\n.\r\n"))


@pytest.mark.parametrize(("port", "complaint"), [("smtp", "502 5.5.1"), ("pop3", "-ERR")])
def test_a_refusal_is_a_failed_session(upstream: Upstream, port: str, complaint: str) -> None:
    played = play(upstream, port, ("<1", ">XYZZY", "<1", *BYE), "-n", "5")
    assert (played.sessions, played.failed) == (0, 5)
    assert complaint in played.complaint


def test_a_connection_that_ends_early_is_a_failed_session(upstream: Upstream) -> None:
    played = play(upstream, "smtp", (*GREETED, ">QUIT", "<2"), "-n", "4")
    assert (played.sessions, played.failed) == (0, 4)


def test_round_trips_are_counted_until_the_time_is_over(upstream: Upstream) -> None:
    played = play(upstream, "smtp", (*GREETED, ">NOOP", "<1", "~2", *BYE), "-n", "1", "-d", "0.05")
    assert (played.sessions, played.failed) == (1, 0)
    assert played.trips > 1
    assert 0 < played.trip_us < 1e6


def test_sessions_are_held_while_the_block_runs(upstream: Upstream) -> None:
    with programs.hold(upstream.host, upstream.smtp, (*GREETED, "!"), "-n", "30", "-p", "7") as held:
        assert held == 30


def test_sessions_that_are_refused_are_not_held(upstream: Upstream) -> None:
    with programs.hold(upstream.host, upstream.smtp, ("<1", ">XYZZY", "<1", "!"), "-n", "3") as held:
        assert held == 0


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(BenchError, match="apt-get install gcc"):
        programs.build(tmp_path)


# -- workloads through proxies --------------------------------------------


@pytest.mark.e2e
@pytest.mark.parametrize(("name", "peer"), PAIRS, ids=[f"{name}-{peer.name}" for name, peer in PAIRS])
def test_every_workload_runs(name: str, peer: peers.Peer, upstream: Upstream, certificate: Path) -> None:
    workload = WORKLOADS[name].smaller()
    figures = measure.once(workload, peer, upstream, certificate, TINY)
    assert figures.failed == 0, figures.remark
    if workload.counted in (Counted.SESSIONS, Counted.OCTETS):
        assert figures.speed is not None
        assert figures.speed > 0


@pytest.mark.e2e
def test_a_proxy_that_refuses_is_told(upstream: Upstream, certificate: Path) -> None:
    """Else a gate that lets nothing through would be the fastest."""
    nobody = replace(WORKLOADS["smtp-leased"], leased=False)
    figures = measure.once(nobody, peers.Popgate(), upstream, certificate, TINY)
    assert figures.failed > 0
    assert figures.speed is None
    assert "Relay access denied" in figures.remark


def test_a_proxy_that_does_not_start_says_why(upstream: Upstream, tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="no such file"),
        peers.Popgate().run(WORKLOADS["smtp"], upstream, tmp_path / "none.pem"),
    ):
        pass


@pytest.mark.e2e
def test_the_command_writes_a_page_and_a_picture(upstream: Upstream, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    options = ["--quick", "--peers", "direct,popgate,haproxy", "--out", str(tmp_path), "--readme", str(readme)]
    command = [str(ROOT / "scripts" / "bench"), *options, "pop3", "retr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "bench.md").read_text("utf-8")
    assert done.stdout == text + "\n"
    assert "POP3 sessions, leases in memory (`pop3`)" in text
    assert "| popgate |" in text.replace("  ", "")
    assert "bench.svg" in text
    ET.parse(tmp_path / "bench.svg")
    lines = readme.read_text("utf-8").splitlines()
    assert (lines[0], lines[1], lines[-2], lines[-1]) == ("before", page.BEGIN, page.END, "after")
    assert [line.split("|")[1].strip() for line in lines[4:-2]] == [WORKLOADS[name].what for name in ("pop3", "retr")]


@pytest.mark.e2e
def test_growth_writes_a_page_and_a_picture(upstream: Upstream, tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "bench"), "--quick", "--growth", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "growth.md").read_text("utf-8")
    for what in ("look-up, SQLite", "grant, memory", "forgetting, SQLite", "start, SQLite", "memory of the sessions"):
        assert what in text
    assert " at 100 " in text
    ET.parse(tmp_path / "growth.svg")


@pytest.mark.parametrize("arguments", [["nonsense"], ["--peers", "squid"], ["--also", "old=/nowhere"]])
def test_what_is_not_known_is_an_error(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert arguments[-1].partition("=")[0] in done.stderr


@every_workload
def test_a_smaller_workload_moves_less_and_is_the_same_otherwise(name: str) -> None:
    workload = WORKLOADS[name]
    smaller = workload.smaller()
    assert len(smaller.steps) == len(workload.steps)
    assert replace(smaller, steps=workload.steps) == workload
    octets = [int(step[1:]) for step in smaller.steps if step[0] in "*.@"]
    assert all(0 < size <= 1 << 16 for size in octets)


# -- figures ---------------------------------------------------------------


def figures(cost: float | None, speed: float | None = None, failed: int = 0, remark: str = "") -> Figures:
    return Figures(cost, speed, None, failed, remark)


def test_of_several_rounds_the_median_counts_and_failures_add_up() -> None:
    rounds = [figures(9.0, 1.0, 1), figures(2.0, None, 0, "late"), figures(3.0, 5.0, 2)]
    assert measure.medians(rounds) == figures(3.0, 3.0, 3, "late")
    assert measure.medians([figures(None)]) == figures(None)


def test_each_second_round_goes_backwards() -> None:
    order = []

    def one_round(peer: peers.Peer) -> Figures:
        order.append(peer.name)
        return figures(float(len(order)))

    results = measure.through_all(peers.PEERS[:3], 3, one_round)
    names = [peer.name for peer in peers.PEERS[:3]]
    assert order == [*names, *reversed(names), *names]
    assert results[names[0]].cost == 6.0


def test_ratios_are_to_haproxy() -> None:
    workload = WORKLOADS["smtp"]
    results = {
        "smtp": {"haproxy": figures(100.0, 2000.0), "popgate": figures(250.0, 1000.0), "direct": figures(None, 9.0)}
    }
    row = page.ratios([workload], peers.PEERS, results).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")][2:4] == ["2.50", "0.50"]


def test_without_haproxy_there_are_no_ratios() -> None:
    row = page.ratios([WORKLOADS["smtp"]], [peers.Popgate()], {"smtp": {"popgate": figures(250.0)}}).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")][2:4] == ["-", "-"]


def test_details_have_units_and_failures() -> None:
    one = Figures(0.5, 1.5e9, 0.98, 3, "refused: 5|6")
    row = page.details([WORKLOADS["data"]], [peers.Popgate()], {"data": {"popgate": one}}).splitlines()[2]
    cells = [cell.strip() for cell in row.split("|")][1:-1]
    assert cells == ["data", "popgate", "0.50", "s CPU a GB", "1,500", "MB/s", "98%", "3 failed, refused: 5/6"]


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234")])
def test_figures_have_three_digits(value: float | None, text: str) -> None:
    assert page.shown(value) == text


@pytest.mark.parametrize(
    ("points", "power"),
    [
        ([(1, 5.0), (10, 5.0), (100, 5.0)], 0.0),
        ([(1, 5.0), (10, 2.0), (1000, 200.0)], 1.0),
        ([(10, 1.0), (100, 100.0)], 2.0),
        ([(10, 2.0), (100, 1.0)], 0.0),
        ([(10, 0.0), (100, 1.0)], None),
        ([(10, 1.0)], None),
    ],
)
def test_growth_is_the_power_of_the_number(points: list[tuple[int, float]], power: float | None) -> None:
    assert growth.Series("", "", "leases", "", points).power() == (None if power is None else pytest.approx(power))


# -- the machine -----------------------------------------------------------

BUSY = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ntime.sleep(60)"


def test_cpu_and_memory_of_a_child_of_a_child_count() -> None:
    with Process(["sh", "-c", f'{sys.executable} -c "{BUSY}"; true']) as process:
        process.expect("done")
        assert len(machine.tree(process.pid)) == 2
        assert 0.15 < machine.cpu_seconds(process.pid) < 5
        assert machine.memory(process.pid) > 1000
        process.kill()


def test_what_is_gone_has_used_nothing() -> None:
    with Process(["true"]) as process:
        process.wait()
        assert machine.cpu_seconds(process.pid) == 0
        assert machine.memory(process.pid) == 0


def test_a_program_started_on_a_core_stays_there_and_we_come_back() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    with machine.on_core(core):
        said = subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], text=True)
    assert said.strip() == f"{{{core}}}"
    assert os.sched_getaffinity(0) == before


# -- pictures --------------------------------------------------------------


def circles(picture: str) -> list[tuple[str, float, float]]:
    """Colour and place of every dot."""
    found = ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}circle")
    return [(one.attrib["class"], float(one.attrib["cx"]), float(one.attrib["cy"])) for one in found]


def test_a_logarithmic_scale_goes_to_whole_powers() -> None:
    scale = plot.Scale([3.0, 400.0], 0.0, 300.0)
    assert [scale.at(value) for value in (1, 10, 100, 1000)] == [0.0, 100.0, 200.0, 300.0]
    assert scale.ticks() == pytest.approx([1, 10, 100, 1000])
    assert plot.Scale([10.0], 0.0, 9.0).at(10.0) == 0.0


def test_the_axes_have_short_numbers() -> None:
    lines = {"": [(10, 0.01), (1_000_000, 20_000.0)]}
    picture = plot.panels("t", "d", [plot.Panel("p", "u", "leases", lines)])
    words = [one.text for one in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"10", "1k", "100k", "1M", "0.01", "100"} <= set(words)


def test_dots_lie_in_their_row_left_of_one_if_they_cost_less() -> None:
    rows = [plot.Row("a <b>", {"one": 0.5, "two": 2.0}), plot.Row("c", {"two": 1.0})]
    legend, drawn = (
        circles(plot.dots("t", "d", rows, ["one", "two"], "HAProxy"))[:2],
        circles(plot.dots("t", "d", rows, ["one", "two"], "HAProxy"))[2:],
    )
    assert [colour for colour, _, _ in legend] == ["c0", "c1"]
    (_, half, y1), (_, double, y2), (last, same, y3) = drawn
    assert half < same < double
    assert same - half == pytest.approx(double - same, abs=0.2)
    assert y1 == y2 < y3
    assert last == "c1"


def test_what_grows_in_proportion_is_a_straight_line() -> None:
    lines = {"a": [(1, 2.0), (10, 20.0), (100, 200.0)], "": [(1, 5.0), (10, 5.0), (100, 5.0)]}
    picture = plot.panels("t", "d", [plot.Panel("p", "µs", "leases", lines)])
    (one, two, three) = [(x, y) for colour, x, y in circles(picture) if colour == "c0"][:3]
    assert two[0] - one[0] == pytest.approx(three[0] - two[0], abs=0.2)
    assert one[1] - two[1] == pytest.approx(two[1] - three[1], abs=0.2) != 0
    (flat, *rest) = [y for colour, _, y in circles(picture) if colour == "c1"]
    assert rest == [flat, flat]


@pytest.mark.parametrize(
    "picture",
    [
        plot.dots("t", "d", [plot.Row("r", {"n": 1.0})], ["n"], "b"),
        plot.panels("t", "d", [plot.Panel("p", "u", "n", {"": [(1, 1.0)]})]),
    ],
)
def test_pictures_say_what_they_are_and_fetch_nothing(picture: str) -> None:
    names = [element.tag.partition("}")[2] for element in ET.fromstring(picture).iter()]
    assert {"title", "desc", "style"} <= set(names)
    assert not {"image", "script", "use", "foreignObject"} & set(names)


def test_the_sources_are_where_the_compiler_looks() -> None:
    assert {path.name for path in FOLDER.glob("*.[ch]")} == {"load.c", "upstream.c", "dialogue.h", "both.h"}


# -- goals and look-ups ----------------------------------------------------


def test_a_goal_is_a_ratio_to_a_peer_or_to_popgate_with_one_worker() -> None:
    results = {
        "smtp": {
            "popgate": figures(150.0, 900.0),
            "haproxy": figures(100.0, 1000.0),
            "nginx-mail": figures(120.0, 800.0),
        },
        "workers-1": {"popgate": figures(200.0)},
        "workers-2": {"popgate": figures(210.0)},
    }
    measured = {
        (goal.workload, goal.what, goal.against): goals.value(goal, results)
        for goal in goals.GOALS
        if goal.workload in results
    }
    assert measured == {
        ("smtp", "cost", "haproxy"): 1.5,
        ("smtp", "speed", "haproxy"): 0.9,
        ("smtp", "speed", "nginx-mail"): 1.125,
        ("workers-2", "cost", "workers-1"): 1.05,
    }


def test_a_goal_without_its_figures_has_none() -> None:
    everything: dict[str, dict[str, Figures]] = {name: {} for name in WORKLOADS}
    assert {goals.value(goal, everything) for goal in goals.GOALS} == {None}
    everything = {name: {"popgate": figures(None)} for name in WORKLOADS}
    assert {goals.value(goal, everything) for goal in goals.GOALS} == {None}


def test_every_goal_is_of_a_workload_and_a_peer_that_there_are() -> None:
    known = {*WORKLOADS, *(peer.name for peer in peers.PEERS)}
    assert {word for goal in goals.GOALS for word in (goal.workload, goal.against)} <= known


@pytest.mark.parametrize(("cost", "reached"), [(1.0, "aim"), (1.01, "must"), (1.4, "must"), (1.41, "no"), (None, "-")])
def test_of_a_cost_no_more_and_of_a_speed_no_less_is_reached(cost: float | None, reached: str) -> None:
    row = goals.page({}, {"smtp": {"popgate": figures(cost, 750.0), "haproxy": figures(1.0, 1000.0)}}).splitlines()
    assert [cell.strip() for cell in row[2].split("|")][3:-1] == [page.shown(cost), "≤ 1.40", "≤ 1.00", reached]
    assert [cell.strip() for cell in row[3].split("|")][3:-1] == ["0.75", "≥ 0.75", "", "yes"]


def test_the_page_has_the_figures_without_the_bounds() -> None:
    results = {
        "smtp": {"popgate": figures(2.0, 750.0), "haproxy": figures(1.0, 1000.0), "nginx-mail": figures(1.0, 1500.0)},
        "workers-tls": {"popgate": replace(figures(1.0), resumed=0.98)},
    }
    found = [lookups.LookUp("quick", 7.0, 30.0)]
    titles = {"nginx-mail": "nginx mail"}
    rows = [
        [cell.strip() for cell in row.split("|")][1:-1] for row in goals.measured(titles, results, found).splitlines()
    ]
    assert rows[0] == ["workload", "figure", "measured"]
    assert rows[2:] == [
        ["smtp", "speed, nginx mail = 1", "0.50"],
        ["workers-tls", "resumed", "0.98"],
        ["look-up", "quick", "7.00"],
    ]


def test_look_ups_stand_behind_the_goals() -> None:
    found = [lookups.LookUp("quick", 7.0, 30.0), lookups.LookUp("slow", 31.0, 30.0), lookups.LookUp("none", None)]
    rows = [[cell.strip() for cell in row.split("|")][2:-1] for row in goals.page({}, {}, found).splitlines()[2:]]
    assert rows == [
        ["quick", "7.00", "≤ 30.0", "", "yes"],
        ["slow", "31.0", "≤ 30.0", "", "no"],
        ["none", "-", "", "", "-"],
    ]


@pytest.mark.e2e
def test_local_mail_asks_redis_nothing_and_foreign_mail_once(upstream: Upstream, certificate: Path) -> None:
    need("redis-server")
    found = {one.what: one.value for one in lookups.measure(upstream, certificate, 5)}
    assert found["Redis, round trips for a local recipient"] == 0.0
    assert found["Redis, round trips for a foreign recipient"] == 1.0
    assert found["SQLite, median, µs"]


def test_resumed_sessions_are_a_share() -> None:
    rounds = [replace(figures(1.0), resumed=share) for share in (0.9, 1.0, 0.95)]
    assert measure.medians(rounds).resumed == 0.95


def test_the_page_has_the_marks_of_its_table() -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    table = page.table(["what", "popgate"], [["a session", "0.99"]])
    assert table in page.replaced(text, table)
    with pytest.raises(ValueError, match="there is no"):
        page.replaced("nothing", table)
