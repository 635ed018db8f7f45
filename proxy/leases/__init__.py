"""Lease stores: who has logged in from where, and for how long that still counts (rules G1, G4, G5, G7, G8, N8).

`base` is the interface, `memory`, `sqlite` and `redis` are the stores; `runtime.py` chooses and makes one.  Nothing
here decides who may relay (that is `gate/policy.py`) and nothing here logs.
"""
