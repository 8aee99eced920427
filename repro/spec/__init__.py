"""What a study consists of: frozen, validated descriptions of data sets, models, recipes, cells, profiles and claims.

A user writes some of these (a profile file), the catalogue holds the rest. They carry no behaviour beyond validation,
resolution of defaults, and the fingerprint. Must not know torch, the disk, or how anything is computed.
Read `Profile` in `matrix` first, then `Cell`.
"""

from repro.spec.base import Family, Spec, alternatives, parse, slug
from repro.spec.checkpoints import (
    CheckpointSpec,
    FamilyPrefix,
    InputSpec,
    PairSpec,
    PublishedResult,
    library_of,
)
from repro.spec.claims import Claim, Measure, Scope
from repro.spec.containers import ContainerImage, is_covered, version_numbers
from repro.spec.distributions import DataFile, DataFormat, Distribution, HostSpec
from repro.spec.matrix import (
    CONVERGENCE_FACTOR,
    CONVERGENCE_SUFFIX,
    FROM_FILE,
    SEARCH_FRACTION,
    TRAINING_SEMANTICS,
    Cell,
    CellBlock,
    Profile,
    Role,
    UpstreamInit,
    WeightsInit,
    parse_init,
)
from repro.spec.parts import DatasetSource, DatasetSpec, ModelSpec
from repro.spec.recipes import FamilyTuning, Recipe, RecipePatch, StepsAt
from repro.spec.references import ReferenceArm, ReferenceRun

__all__ = [
    "CONVERGENCE_FACTOR",
    "CONVERGENCE_SUFFIX",
    "FROM_FILE",
    "SEARCH_FRACTION",
    "TRAINING_SEMANTICS",
    "Cell",
    "CellBlock",
    "CheckpointSpec",
    "Claim",
    "ContainerImage",
    "DataFile",
    "DataFormat",
    "DatasetSource",
    "DatasetSpec",
    "Distribution",
    "Family",
    "FamilyPrefix",
    "FamilyTuning",
    "HostSpec",
    "InputSpec",
    "Measure",
    "ModelSpec",
    "PairSpec",
    "Profile",
    "PublishedResult",
    "Recipe",
    "RecipePatch",
    "ReferenceArm",
    "ReferenceRun",
    "Role",
    "Scope",
    "Spec",
    "StepsAt",
    "UpstreamInit",
    "WeightsInit",
    "alternatives",
    "is_covered",
    "library_of",
    "parse",
    "parse_init",
    "slug",
    "version_numbers",
]
