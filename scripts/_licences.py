"""Prints docs/licences.md: the licence of every Python package that is installed beside this Python, as each package states it.

Runs inside the built image (`scripts/image-check --full --licences`), or anywhere else. Standard library only.
"""

from importlib.metadata import Distribution, distributions

HEAD = """\
# Licences of what the image carries

vitrepro itself: Apache-2.0. The image built from `requirements/cuda.lock.txt` carries these Python packages besides, each with
its licence files in `/opt/vitrepro/lib/python3*/site-packages/<package>.dist-info`. The Debian or Ubuntu packages of the base
have theirs in `/usr/share/doc/<package>/copyright`. No data set and no weights are in the image: `fetch` brings them, under the
terms that the report's section on data and weights names.

The packages named `nvidia-*` and `cuda-*` are NVIDIA's, most of them under its own licence, which lets an application carry
parts of the CUDA Toolkit on certain terms. Read it before you publish an image: https://docs.nvidia.com/cuda/eula/.

Made by `scripts/image-check --full --licences`; do not edit.

| package | version | licence |
|---|---|---|"""
LONGEST = 60
"""A `License` field may hold the whole text; then the classifiers say it in a word."""


def licence_of(package: Distribution) -> str:
    """What the package's metadata say: the SPDX expression, a short free text, or the classifiers."""
    metadata = package.metadata
    classified = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License")]
    # "OSI Approved" alone says that there is a licence, not which.
    classified = [name for name in classified if name != "OSI Approved"]
    stated = (metadata.get("License") or "").strip()
    if expression := metadata.get("License-Expression"):
        return expression
    if stated and len(stated) <= LONGEST and "\n" not in stated and stated != "UNKNOWN":
        return stated
    return ", ".join(classified) or (stated.splitlines()[0].strip()[:LONGEST] if stated else "not stated: see its licence file")


def main() -> None:
    """Print the page."""
    rows = {package.metadata["Name"].lower().replace("_", "-").replace(".", "-"): package for package in distributions()}
    print(HEAD)
    for name, package in sorted(rows.items()):
        if name != "vitrepro":
            licence = licence_of(package).replace("|", "/")
            print(f"| {name} | {package.version} | {licence} |")


if __name__ == "__main__":
    main()
