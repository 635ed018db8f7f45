"""leases/in_flight_usage.py: what is under way is seen, once."""

from __future__ import annotations

from proxy.leases.base import Lease
from proxy.leases.in_flight_usage import InFlightUsage

HOME = bytes([192, 0, 2, 7])
AL = (HOME, "al", "pop3")


def lease(messages: int, recipients: int, login: str = "al") -> Lease:
    return Lease(HOME, login, "pop3", 0.0, 100.0, 100.0, messages, recipients)


def used(found: list[Lease], charged: InFlightUsage) -> list[tuple[int, int]]:
    return [(one.messages, one.recipients) for one in charged.shown(found)]


def test_G11_a_charge_counts_before_it_can_be_read_and_once_when_it_can() -> None:
    charged = InFlightUsage()
    charged.add(AL, 1, 3, [lease(4, 5)])
    assert used([lease(4, 5), lease(4, 5, "bo")], charged) == [(5, 8), (4, 5)]
    assert used([lease(5, 8)], charged) == [(5, 8)], "it is in the file, and the loop has not heard of it"
    charged.completed(AL)
    assert used([lease(5, 8)], charged) == [(5, 8)]


def test_G11_charges_side_by_side_add_up() -> None:
    charged = InFlightUsage()
    charged.add(AL, 1, 1, [lease(0, 0)])
    charged.add(AL, 1, 1, [lease(1, 1)])  # the first is in the file
    assert used([lease(1, 1)], charged) == [(2, 2)]
    charged.completed(AL)
    assert used([lease(1, 1)], charged) == [(2, 2)], "the second is still under way"
    charged.completed(AL)
    assert used([lease(2, 2)], charged) == [(2, 2)]


def test_G11_what_other_workers_charged_counts_when_it_can_be_read() -> None:
    charged = InFlightUsage()
    charged.add(AL, 1, 1, [lease(0, 0)])
    assert used([lease(7, 7)], charged) == [(7, 7)]


def test_G11_a_charge_that_failed_is_lost() -> None:
    charged = InFlightUsage()
    charged.add(AL, 1, 1, [])  # nothing could be read
    assert used([lease(2, 2)], charged) == [(2, 2)]
    charged.completed(AL)
    assert charged.shown([]) == []


def test_G11_nothing_is_made_up_where_nothing_is_under_way() -> None:
    found = [lease(1, 1)]
    assert InFlightUsage().shown(found) is found
