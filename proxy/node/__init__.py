"""The processes of one node: what the supervisor and its workers are made of, share and tell each other.

Their lives: children.py, outfit.py, channel.py, sessions.py, privileges.py.  Where they listen: sockets.py,
activation.py, doorways.py, unix.py.  Who asks them: control.py, inquiries.py, tracing.py, agent.py, notify.py,
conditions.py.  What is looked after meanwhile: certificate_watch.py, store_watch.py, rotation.py.  What `check` tries
beforehand: reach.py.
"""
