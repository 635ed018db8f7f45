"""The processes of one node: what the supervisor and its workers are made of, share and tell each other."""
