"""A mark for tests that compile training steps on this machine's CPU."""

import pytest

from repro.hardware import lacks_for_compiling

needs_a_compiler = pytest.mark.skipif(lacks_for_compiling("cpu") != "", reason=lacks_for_compiling("cpu") or "all is there")
