"""Verified, resumable, mirrored, concurrent downloads.

Must not know data sets, nor what the files hold. Read `Downloader.get_all` in `downloader` first, then `Transfer.run` in
`transfer`.
"""

from repro.download.display import LiveTransfers, PlainTransfers, TransferDisplay, make_transfer_display, size_words
from repro.download.downloader import Downloader
from repro.download.hosts import address_of
from repro.download.request import (
    TIMEOUT_VARIABLE,
    Address,
    DownloadCancelled,
    Downloaded,
    DownloadFailed,
    KnownBytes,
    Patience,
    RemoteFile,
    TooSlow,
)

__all__ = [
    "TIMEOUT_VARIABLE",
    "Address",
    "DownloadCancelled",
    "DownloadFailed",
    "Downloaded",
    "Downloader",
    "KnownBytes",
    "LiveTransfers",
    "Patience",
    "PlainTransfers",
    "RemoteFile",
    "TooSlow",
    "TransferDisplay",
    "address_of",
    "make_transfer_display",
    "size_words",
]
