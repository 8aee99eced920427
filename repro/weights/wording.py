"""The errors that end the fetching of one checkpoint: what was tried, what each place answered, what to do.

Must not know how anything is fetched. Read `cannot_be_had` first.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from repro.download import KnownBytes, address_of
from repro.errors import DataError, WeightsUnavailable
from repro.spec import CheckpointSpec, DataFile, HostSpec

REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


def cannot_be_had(
    checkpoint: CheckpointSpec,
    reasons: Sequence[str],
    statuses: Mapping[DataFile, int | None],
    hosts: Mapping[str, HostSpec],
) -> WeightsUnavailable:
    """No place has given the right file; `reasons` says of each why, `statuses` with which HTTP status it refused, if so."""
    told = "\n".join(f"  {reason}" for reason in reasons) or "  no place is known where they lie"
    message = f"The weights of {checkpoint.name} cannot be had:\n{told}"
    if not statuses:
        return WeightsUnavailable(message, remedy="Say in a [[checkpoint]] of the profile where the right file lies.")
    variables = [hosts[file.host].mirror_variable for file in statuses if file.host in hosts]
    mirrors = f"name a mirror by {', '.join(dict.fromkeys(variables))}, or " if variables else ""
    later = f"Try again later (what has come is kept and resumed), {mirrors}{_by_hand(checkpoint, statuses)}"
    return WeightsUnavailable(message, remedy=" ".join([*_hints(statuses, hosts), later]))


def missing_offline(
    checkpoint: CheckpointSpec,
    files: Mapping[DataFile, KnownBytes],
    complaints: Sequence[str],
    hosts: Mapping[str, HostSpec],
) -> WeightsUnavailable:
    """Nothing on this machine has them, and the network must not be asked."""
    ways = "\nor\n".join(f"  {_described(file, known, hosts)}" for file, known in files.items())
    told = "".join(f"\n{line}" for line in complaints)
    return WeightsUnavailable(
        f"The weights of {checkpoint.name} are not in the home, and --offline forbids the network.{told}\nMissing:\n{ways}",
        remedy=f"Leave out --offline, or {_by_hand(checkpoint, files)}",
    )


def unusable_file(checkpoint: CheckpointSpec, path: Path, reason: str) -> WeightsUnavailable:
    """A file of the user's is not there, or not what it should be."""
    return WeightsUnavailable(
        f"{path} cannot be used as weights of {checkpoint.model}: {reason}",
        remedy="Correct the file, or the path or the model in the profile; a path counts from the profile's folder.",
    )


def _by_hand(checkpoint: CheckpointSpec, files: Iterable[DataFile]) -> str:
    names = " or ".join(dict.fromkeys(file.name for file in files))
    return f"get {names} elsewhere, put it into DIR/{checkpoint.key}/, and give --from DIR."


def _hints(statuses: Mapping[DataFile, int | None], hosts: Mapping[str, HostSpec]) -> list[str]:
    """What the statuses suggest."""
    hints = []
    for file, status in statuses.items():
        host = hosts.get(file.host)
        # A mirror is never given the token.
        is_asked = host is not None and not os.environ.get(host.mirror_variable)
        if status in REFUSED and host is not None and is_asked and host.token_variable:
            hints.append(
                f"The {host.title} may want to know who asks: accept the model's terms on its page, and give a token that "
                f"may read it in {host.token_variable}."
            )
        if status == HTTPStatus.NOT_FOUND:
            hints.append(f"Look whether {file.path} is right: it may have been renamed or removed.")
    return list(dict.fromkeys(hints))


def _described(file: DataFile, known: KnownBytes, hosts: Mapping[str, HostSpec]) -> str:
    try:
        url = address_of(file, hosts).url
    except DataError as error:
        url = f"{file.path} ({error.message})"
    facts = [f"{known.size_bytes:,} bytes"] if known.size_bytes else []
    if known.sha256:
        facts.append(f"sha256 {known.sha256}")
    elif known.md5:
        facts.append(f"md5 {known.md5}")
    elif known.sha256_prefix:
        facts.append(f"sha256 beginning with {known.sha256_prefix}")
    return f"{url} ({', '.join(facts) or 'no size or digest is published'})"
