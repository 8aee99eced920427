"""Holds a home to itself: report against records, records against files and data, arms against published references.

Everything is recomputed from what lies deepest: predictions and records give the numbers, digests the files. Must not know
options, pages or torch; changes nothing. Read `Verification` in `comparisons` first, then `verify_report` in `reports`.
"""

from repro.verification.cells import FoundCells, read_cells
from repro.verification.comparisons import Comparison, Part, Verification
from repro.verification.packs import Labels, check_downloads, check_packs, check_weights
from repro.verification.references import hold_references
from repro.verification.reports import StoredReport, read_report, reported_profile, verify_report

__all__ = [
    "Comparison",
    "FoundCells",
    "Labels",
    "Part",
    "StoredReport",
    "Verification",
    "check_downloads",
    "check_packs",
    "check_weights",
    "hold_references",
    "read_cells",
    "read_report",
    "reported_profile",
    "verify_report",
]
