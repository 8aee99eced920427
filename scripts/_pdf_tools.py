"""Prints the Debian names of the system packages for the PDF report and its tests that this machine lacks; exit code 1 if any.

Knows nothing of the package; runs on any Python 3. The one table is `LIBRARIES`.
"""

import ctypes
import shutil
import sys

LIBRARIES = {
    "libpango-1.0-0": "libpango-1.0.so.0",
    "libpangoft2-1.0-0": "libpangoft2-1.0.so.0",
    "libharfbuzz-subset0": "libharfbuzz-subset.so.0",
}


def loads(library: str) -> bool:
    """Whether the system finds the shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


missing = [package for package, library in LIBRARIES.items() if not loads(library)]
if shutil.which("pdftoppm") is None:
    missing.append("poppler-utils")
print(*missing)
sys.exit(1 if missing else 0)
