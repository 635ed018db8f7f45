"""The optional compiled build: `POPGATE_COMPILE=1 pip install .` makes C of what every session passes through (mypyc).

Without POPGATE_COMPILE popgate is pure Python: that is the default, what the tests run on, and what is read.  The
source is the same, so compiled and pure modules go together; the compiled ones check the types of what they are given.
It needs a C compiler and Python's headers; mypyc comes from PyPI for the time of the build.

Only modules of the hot path are named, and what belongs to their classes.  Not among them: wire/dots.py, whose work is
done by C already, and where mypyc would copy a body that passes uncopied; net/sockets/tls_records.py, because mypyc 2.4
evaluates the f() of `memoryview[f():]` twice; what keeps weak references, inherits from `str`, or awaits.
"""

import os
import sys
from glob import glob

from setuptools import setup

MYPYC = "mypy>=1.18"
NOT_COMPILED = {"proxy/wire/dots.py", "proxy/net/sockets/tls_records.py"}
FOLDERS = [
    "proxy/wire", "proxy/session/**", "proxy/gate", "proxy/net/sockets", "proxy/net/upstream", "proxy/net/accept",
    "proxy/net/link",
]  # fmt: skip
MODULES = [
    *sorted({path for folder in FOLDERS for path in glob(f"{folder}/[!_]*.py", recursive=True)} - NOT_COMPILED),
    "proxy/net/timers.py", "proxy/shared_memory/connections.py", "proxy/shared_memory/count_sketch.py",
]  # fmt: skip
wanted = os.environ.get("POPGATE_COMPILE") == "1"
asked = {"egg_info", "dist_info"} & set(sys.argv)  # only what the build needs is asked: mypyc has not come yet
modules = []
if wanted and not asked:
    from mypyc.build import mypycify

    options = ["--config-file=", "--ignore-missing-imports"]
    modules = mypycify([*options, *MODULES], group_name="popgate", opt_level="1", debug_level="0")

setup(ext_modules=modules, setup_requires=[MYPYC] if wanted else [])
