"""The test houses: private real servers, a scripted old server, a recording sink, popgate itself, and a raw client.

Every house binds an address of its own, logs into a folder of its own and ends what it started.  Nothing here sleeps
to wait for a state: a house waits for a line of output, a byte or an end of file, with a deadline after which it
shows what it saw.
"""
