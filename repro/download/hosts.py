"""From a file and a host's name to the address it is fetched from: the host's own, or the mirror that the environment names.

Must not know what the file holds. Read `address_of` first.
"""

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from repro.download.request import Address
from repro.errors import DataError, UsageError
from repro.spec import DataFile, HostSpec


def address_of(file: DataFile, hosts: Mapping[str, HostSpec]) -> Address:
    """Where to fetch the file: at its host, or at the mirror that the environment names instead.

    Raises DataError for an unknown host, UsageError for an environment variable that holds no address.
    """
    if re.match("https?://", file.host):
        return Address(url=f"{file.host.rstrip('/')}/{file.path}", host=urlsplit(file.host).netloc)
    host = hosts.get(file.host)
    if host is None:
        raise DataError(
            f"There is no host {file.host!r} for {file.name}.",
            remedy=f"Known are {', '.join(hosts)}; or write an address that begins with https://.",
        )
    if mirror := _replacement(host.mirror_variable, host):
        # A token is for the host alone: whoever runs a mirror must not see it.
        return Address(url=f"{mirror}/{file.path}", host=f"{urlsplit(mirror).netloc} (${host.mirror_variable})")
    token = (os.environ.get(host.token_variable) if host.token_variable else None) or None
    if host.endpoint_variable and (endpoint := _replacement(host.endpoint_variable, host)):
        title = f"{urlsplit(endpoint).netloc} (${host.endpoint_variable})"
        return Address(url=f"{endpoint}/{file.path}", host=title, token=token)
    return Address(url=f"{host.url}/{file.path}", host=host.title, token=token)


def _replacement(variable: str, host: HostSpec) -> str | None:
    """The address that the environment gives instead of the host's, without a slash at its end."""
    address = os.environ.get(variable)
    if not address:
        return None
    if not re.fullmatch("https?://[^ ]+", address):
        raise UsageError(
            f"${variable} is {address!r}, which is no address.",
            remedy=f"Give it as http://… or https://…, the mirror's counterpart of {host.url}, or unset it.",
        )
    return address.rstrip("/")
