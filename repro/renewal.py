"""Renews the report while cells still run, in a process of its own, so that an interrupted day leaves a page.

A renewal that fails costs nothing: the final report is written afterwards. Must not know what a report holds. Read
`ReportRenewal` first.
"""

import contextlib
import subprocess
import sys

from repro.context import Context


class ReportRenewal:
    """A context manager: `start` begins a renewal unless one is under way; leaving ends what is."""

    def __init__(self, context: Context, *, enabled: bool) -> None:
        self._context = context
        self._enabled = enabled
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ReportRenewal":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait()

    def start(self, seed: int) -> None:
        """Begin a renewal after `seed`."""
        if not self._enabled or (self._process is not None and self._process.poll() is None):
            return
        context = self._context
        command = [sys.executable, "-m", "repro", "report", "--profile", context.profile_argument]
        command += ["--home", str(context.workspace.home), "--device", "cpu", "--no-pdf"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        if context.verbose:
            context.say(f"seed {seed} is done; the report is being renewed")
