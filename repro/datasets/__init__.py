"""Data sets: from a source (made here, or a user's own) to uint8 arrays on disk, subsets, and device batches.

Only `device` and `streaming` need torch, and nothing here imports them; matplotlib, scipy and scikit-learn are imported when
images are made. Must not know models or training. Read `prepare` in `pack` first, then `training_subset` in `subsets`.
"""

from repro.datasets.located import Located, missing_bytes
from repro.datasets.manifest import Manifest
from repro.datasets.pack import Pack, intact_manifest, load_pack, pack_bytes, prepare, read_manifest
from repro.datasets.subsets import dev_split, training_subset

__all__ = [
    "Located",
    "Manifest",
    "Pack",
    "dev_split",
    "intact_manifest",
    "load_pack",
    "missing_bytes",
    "pack_bytes",
    "prepare",
    "read_manifest",
    "training_subset",
]
