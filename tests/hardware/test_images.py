"""Which container image serves which driver and GPU, by the catalogue."""

import pytest

from repro.catalog import load_catalog
from repro.spec import is_covered, version_numbers


@pytest.mark.parametrize(
    ("capability", "archs", "covered"),
    [
        ((8, 0), ("sm_80",), True),
        ((8, 9), ("sm_80", "sm_86"), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80",), False),
        ((9, 0), ("sm_80", "compute_80"), True),
        ((7, 5), ("compute_80",), False),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((12, 1), ("sm_120",), True),
        ((10, 3), ("sm_100f",), False),
        ((10, 0), ("sm_120",), False),
        ((9, 0), ("nonsense", "sm_90"), True),
    ],
)
def test_code_runs_on_its_own_major_version_from_its_minor_on(
    capability: tuple[int, int], archs: tuple[str, ...], covered: bool
) -> None:
    assert is_covered(capability, archs) is covered


def test_versions_are_compared_by_their_numbers() -> None:
    assert version_numbers("535.161.08") == (535, 161, 8)
    assert version_numbers("525.60.13") < version_numbers("525.125.06") < version_numbers("580")
    assert version_numbers("580.65.06") >= version_numbers("580")


def test_the_images_are_those_of_the_lock_files() -> None:
    from spine import ROOT

    images = load_catalog().images
    assert [image.lock for image in images] == ["cuda", "cuda128"]
    for image in images:
        lock = ROOT / "requirements" / f"{image.lock}.in"
        if lock.exists():
            text = lock.read_text()
            assert f"torch=={image.torch}\n" in text
            assert f"torchvision=={image.torchvision}\n" in text


def test_an_old_driver_is_served_by_the_older_image() -> None:
    new, old = load_catalog().images
    assert not new.serves(driver="535.161.08", capability=(8, 0))
    assert old.serves(driver="535.161.08", capability=(8, 0))
    assert new.serves(driver="580.65.06", capability=(9, 0))
    assert old.serves(driver="580.65.06", capability=None)
    assert not old.serves(driver="470.57.02", capability=None)
