"""From what the finished cells say to the results of a profile: what `report` writes and `verify` recomputes.

Must not know pages, stages or options. Read `reckon` first.
"""

from collections.abc import Sequence

from repro.analysis.assemble import assemble
from repro.analysis.results import Results
from repro.catalog import Catalog
from repro.datasets import read_manifest
from repro.errors import CorruptFile
from repro.evidence import Evidence
from repro.plan import datasets_of
from repro.spec import Profile
from repro.workspace import Workspace


def reckon(
    profile: Profile,
    evidence: Evidence,
    *,
    catalog: Catalog,
    workspace: Workspace,
    unsized: Sequence[str],
    generated_at: str,
) -> Results:
    """All results of a profile; `unsized` names data sets whose cells cannot be listed, `generated_at` is UTC, ISO 8601."""
    claims = profile.claims or tuple(catalog.claims)
    results = assemble(
        profile,
        evidence.outcomes,
        {cell_id: labels == predicted for cell_id, (labels, predicted) in evidence.predictions.items()},
        [catalog.claims[claim] for claim in claims],
        # A profile's own pair takes the place of a shipped one of the same name.
        pairs=(catalog.pairs | {pair.name: pair for pair in profile.pair}).values(),
        generated_at=generated_at,
    )
    warnings = [*results.warnings, *_leaks(profile, catalog, workspace), *evidence.problems]
    if unsized:
        warnings.append(f"Cells of {', '.join(unsized)} are missing here: the data are not fetched, so sizes are unknown.")
    return results.model_copy(update={"warnings": tuple(warnings)})


def _leaks(profile: Profile, catalog: Catalog, workspace: Workspace) -> list[str]:
    lines = []
    for name, spec in datasets_of(profile, catalog).items():
        try:
            manifest = read_manifest(workspace, spec)
        except CorruptFile as error:
            lines.append(error.message)
            continue
        if manifest is not None and manifest.num_test_images_in_train:
            count, total = manifest.num_test_images_in_train, manifest.num_test
            lines.append(f"{count} of the {total} test images of {name} also stand in its training part.")
    return lines
