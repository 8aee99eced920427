"""Weights of published checkpoints, and files of the user's: found or fetched, verified, inspected, recorded in the home.

Must not know networks: what must be asked of them is handed in. Read `WeightsAcquisition.bring` in `acquisition` first, then
`read_weight_facts` in `facts`.
"""

from repro.weights.acquisition import WeightsAcquisition
from repro.weights.facts import WeightFacts, intact_manifest, read_weight_facts
from repro.weights.manifest import WeightsFailure, WeightsManifest, weights_dir
from repro.weights.networks import Inspected, LibraryWeights, Networks, Wanted
from repro.weights.places import missing_bytes

__all__ = [
    "Inspected",
    "LibraryWeights",
    "Networks",
    "Wanted",
    "WeightFacts",
    "WeightsAcquisition",
    "WeightsFailure",
    "WeightsManifest",
    "intact_manifest",
    "missing_bytes",
    "read_weight_facts",
    "weights_dir",
]
