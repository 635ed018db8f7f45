"""What popgate says to servers itself, as an ordinary client: for health probes, the self-test and mode "shadow".

Streams of asyncio, one question and one awaited answer at a time; sessions of popgate's clients are session/ and net/.
"""
