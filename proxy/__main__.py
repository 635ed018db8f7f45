"""`python -m proxy` is `popgate`: both begin here.

What a command is made of takes a third of a second to import.  Ctrl-C in it is told by the exit code alone, as later
(cli/__init__.py).
"""

import sys


def main() -> int:
    """Run one command; return the exit code."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
