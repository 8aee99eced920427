"""Stage `fetch`: bring every data set of the profile into the home, verified. Read `fetch` first."""

from dataclasses import dataclass

from repro.context import Context
from repro.datasets import prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One data set that is there now."""

    name: str
    """Its name."""
    num_train: int
    """Training images."""
    num_test: int
    """Test images."""
    content_sha256: str
    """Content digest."""


def fetch(context: Context) -> list[Fetched]:
    """Prepare the data sets of the profile that are not there yet (with `--force`: all of them).

    Test images that also stand in the training part are warned of by `prepare`. Raises DataError for one that
    cannot be had or used.
    """
    fetched = []
    for name, spec in context.datasets().items():
        manifest = prepare(context.workspace, spec, source_dir=context.source_dir, force=context.force, log=context.say)
        fetched.append(
            Fetched(name=name, num_train=manifest.num_train, num_test=manifest.num_test, content_sha256=manifest.content_sha256)
        )
    return fetched
