"""`python -m proxy` is `popgate`."""

import sys

from .cli import main

sys.exit(main())
