"""The benchmark, scripts/bench: popgate beside the proxies that this machine has, and popgate beside a bigger popgate.

    workloads   what is measured
    peers       popgate, HAProxy, nginx, Perdition: how each is configured and started
    load.c      the clients, upstream.c the mail server behind the proxies; C, so that they are never the slow part
    programs    builds and runs these two
    machine     cores, CPU seconds, memory, versions
    measure     one workload through one proxy; medians of rounds
    lookups     what a look-up costs, and how often Redis is asked
    goals       what must be reached, beside what was measured
    growth      what sessions and leases cost as they become more
    page, plot  the results as Markdown and SVG

Nothing here says how fast anything must be: no test depends on a time (test_bench.py holds that it runs, and that it
counts rightly).
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


class BenchError(Exception):
    """Something that the user has to do first; one line, with the command."""
