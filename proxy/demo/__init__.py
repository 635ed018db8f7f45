"""`popgate demo`: a sample appliance, the real gate in front of it, and the story played out on the screen.

`play` is all that the command line needs.  `appliance` is also a fast stand-in for a mail server in tests.
"""

from .story import play

__all__ = ["play"]
