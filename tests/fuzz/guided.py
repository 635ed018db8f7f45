"""One target under atheris: `python -m tests.fuzz.guided TARGET CORPUS... -libfuzzer_flags`; started by __main__.py."""

from __future__ import annotations

import importlib
import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

_NAME = sys.argv.pop(1)
with atheris.instrument_imports(include=["proxy"]):
    _TARGET = importlib.import_module(f"{__package__}.{_NAME}")

atheris.Setup(sys.argv, _TARGET.one_input)
atheris.Fuzz()
