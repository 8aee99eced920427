"""From what the finished cells say to the results of a profile: what `report` writes and `verify` recomputes.

Must not know pages, stages or options. Read `reckon` first.
"""

from collections.abc import Mapping, Sequence

from repro.analysis.assemble import assemble
from repro.analysis.results import Results
from repro.catalog import Catalog
from repro.datasets import Manifest, read_manifest
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
    problems: Sequence[str],
    generated_at: str,
) -> Results:
    """All results of a profile.

    `unsized` names data sets whose cells cannot be listed, `problems` what could not be read beside the evidence (of learning
    curves), `generated_at` is UTC, ISO 8601.
    """
    manifests, damaged = _manifests(profile, catalog, workspace)
    claims = profile.claims or tuple(catalog.claims)
    results = assemble(
        profile,
        evidence.outcomes,
        {cell_id: labels == predicted for cell_id, (labels, predicted) in evidence.predictions.items()},
        [catalog.claims[claim] for claim in claims],
        # A profile's own pair takes the place of a shipped one of the same name.
        pairs=(catalog.pairs | {pair.name: pair for pair in profile.pair}).values(),
        answers=evidence.predictions,
        class_names={name: manifest.class_names for name, manifest in manifests.items()},
        generated_at=generated_at,
    )
    warnings = [*results.warnings, *damaged, *_leaks(manifests), *evidence.problems, *problems]
    if unsized:
        warnings.append(f"Cells of {', '.join(unsized)} are missing here: the data are not fetched, so sizes are unknown.")
    return results.model_copy(update={"warnings": tuple(warnings)})


def _manifests(profile: Profile, catalog: Catalog, workspace: Workspace) -> tuple[dict[str, Manifest], list[str]]:
    """The manifests of the data sets that are there, by name, and what is wrong with others."""
    found, damaged = {}, []
    for name, spec in datasets_of(profile, catalog).items():
        try:
            manifest = read_manifest(workspace, spec)
        except CorruptFile as error:
            damaged.append(error.message)
            continue
        if manifest is not None:
            found[name] = manifest
    return found, damaged


def _leaks(manifests: Mapping[str, Manifest]) -> list[str]:
    return [
        f"{manifest.num_test_images_in_train} of the {manifest.num_test} test images of {name} also stand in its training part."
        for name, manifest in manifests.items()
        if manifest.num_test_images_in_train
    ]
