"""Every transcript in tests/transcripts, whole, octet by octet and in random pieces (tests/support/play.py).

A transcript that holds a rule of docs/rules.md carries its number in its file name, and so in the name of its test.
"""

from __future__ import annotations

import pytest

from ..support.play import play
from ..support.transcript import Transcript, transcripts


@pytest.mark.parametrize("transcript", transcripts("smtp"), ids=lambda transcript: transcript.name)
def test_smtp(transcript: Transcript) -> None:
    play(transcript)


@pytest.mark.parametrize("transcript", transcripts("pop3"), ids=lambda transcript: transcript.name)
def test_pop3(transcript: Transcript) -> None:
    play(transcript)
