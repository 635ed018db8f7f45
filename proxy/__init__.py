"""popgate: a transparent POP3/SMTP proxy that opens SMTP relaying to addresses that have just logged in by POP3.

Read in this order: `session/` (what is said to whom, without I/O), `net/link/link.py` (how bytes get there),
`gate/policy.py` (who may relay), `worker.py` and `supervisor.py` (processes).  A floor imports only from floors below
it.
"""

__version__ = "0.1.0"
