"""The processes of one node: what the supervisor and its workers are made of, share and tell each other.

Their lives: workers.py, worker_context.py, channel.py, sessions.py, privileges.py.  Where they listen: sockets.py,
activation.py, service_sockets.py, unix.py.  Who asks them: control.py, worker_queries.py, tracing.py, agent.py,
notify.py, status.py.  What is looked after in the meantime: certificate_watch.py, store_watch.py, rotation.py.  What
`check` tries beforehand: access_check.py.
"""
