"""Folders of pictures: what is read, and that every bad one is refused by name."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.datasets import folder
from repro.datasets.arrays import ImageArrays
from repro.datasets.folder import listing_sha256
from repro.errors import DataError


def read_folder(path: Path, *, image_size: int | None) -> ImageArrays:
    """Read with a scratch folder that nothing else has used; its mapped files outlive it."""
    with tempfile.TemporaryDirectory() as scratch:
        return folder.read_folder(path, image_size=image_size, scratch=Path(scratch) / "decoding")


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (6, 6), value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([value, *path.name.encode()])
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode=None).save(path)
    return path


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    root = tmp_path / "flowers"
    for part in ("train", "test"):
        for name in ("rose", "aster"):
            for number in range(3):
                picture(root / part / name / f"{part}{number}.png")
    return root


def test_classes_are_sorted_names_and_pixels_are_those_of_the_files(flowers: Path) -> None:
    data = read_folder(flowers, image_size=None)
    assert data.class_names == ("aster", "rose")
    assert data.train.images.shape == (6, 6, 6, 3)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(data.test.images[4], np.asarray(Image.open(flowers / "test" / "rose" / "test1.png")))


def test_hidden_files_are_passed_over(flowers: Path) -> None:
    (flowers / "train" / ".DS_Store").write_bytes(b"x")
    (flowers / "train" / "rose" / "._a.png").write_bytes(b"x")
    assert len(read_folder(flowers, image_size=None).train.labels) == 6


def test_only_grey_pictures_give_one_channel(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            picture(tmp_path / part / name / "0.png", "L")
    assert read_folder(tmp_path, image_size=None).train.images.shape == (2, 6, 6, 1)
    picture(tmp_path / "test" / "a" / "1.png", "RGB")
    data = read_folder(tmp_path, image_size=None)
    assert data.train.images.shape == (2, 6, 6, 3)
    assert np.array_equal(data.train.images[..., 0], data.train.images[..., 2])


def test_palettes_transparency_and_jpeg_become_rgb(flowers: Path) -> None:
    picture(flowers / "train" / "rose" / "alpha.png", "RGBA")
    Image.open(flowers / "train" / "rose" / "train0.png").quantize(8).save(
        flowers / "train" / "rose" / "palette.gif", transparency=0
    )
    Image.open(flowers / "train" / "rose" / "train0.png").save(flowers / "train" / "rose" / "photo.jpg")
    data = read_folder(flowers, image_size=None)
    assert data.train.images.shape == (9, 6, 6, 3)
    assert np.array_equal(data.train.images[3], np.asarray(Image.open(flowers / "train" / "rose" / "alpha.png"))[..., :3])


def test_image_size_box_resizes(flowers: Path) -> None:
    picture(flowers / "train" / "rose" / "wide.png", size=(12, 8))
    data = read_folder(flowers, image_size=4)
    assert data.train.images.shape == (7, 4, 4, 3)
    wide = np.asarray(Image.open(flowers / "train" / "rose" / "wide.png")).astype(float)
    means = wide.reshape(4, 2, 4, 3, 3).mean(axis=(1, 3))
    assert np.abs(data.train.images[6] - means).max() <= 1


def test_pictures_are_turned_as_their_camera_says(flowers: Path) -> None:
    path = flowers / "train" / "aster" / "train0.png"
    upright = np.asarray(Image.open(path))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter
    Image.fromarray(upright).save(path, exif=exif)
    assert np.array_equal(read_folder(flowers, image_size=None).train.images[0], np.rot90(upright, -1))


def test_different_sizes_are_listed_with_the_remedy(flowers: Path) -> None:
    picture(flowers / "test" / "rose" / "wide.png", size=(12, 8))
    with pytest.raises(DataError, match=r"6x6 \(12\), 12x8 \(1\)") as caught:
        read_folder(flowers, image_size=None)
    assert "image_size" in caught.value.remedy


def test_equal_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            picture(tmp_path / part / name / "0.png", size=(6, 4))
    with pytest.raises(DataError, match="6x4"):
        read_folder(tmp_path, image_size=None)


def test_the_layout_of_imagenet_is_read_with_its_odd_files(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for wnid in ("n01440764", "n01443537"):
            (tmp_path / part / wnid).mkdir(parents=True)
            Image.new("RGB", (8, 6), (200, 10, 10)).save(tmp_path / part / wnid / f"{wnid}_1.JPEG")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "train" / "n01440764" / "n01440764_2.JPEG", format="JPEG")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "train" / "n01440764" / "n01440764_3.JPEG", format="PNG")
    Image.new("L", (8, 8), 77).save(tmp_path / "train" / "n01440764" / "n01440764_4.JPEG")
    data = read_folder(tmp_path, image_size=4)
    assert (data.class_names, data.train.images.shape) == (("n01440764", "n01443537"), (5, 4, 4, 3))
    assert data.test.images.shape == (2, 4, 4, 3)
    red, small, grey = data.train.images[1:4, 0, 0].tolist()
    assert red[0] > 200 and max(red[1:]) < 60
    assert (small, grey) == ([1, 2, 3], [77, 77, 77])


def test_a_test_and_a_val_folder_are_one_too_many(flowers: Path) -> None:
    (flowers / "val").mkdir()
    with pytest.raises(DataError, match="both a folder 'test' and a folder 'val'"):
        read_folder(flowers, image_size=6)
    (flowers / "val").rename(flowers / ".val")
    assert len(read_folder(flowers, image_size=6).test.images) == 6


def test_validation_pictures_that_are_not_sorted_into_classes_are_refused(flowers: Path) -> None:
    (flowers / "test").rename(flowers / ".test")
    for number in range(7):
        picture(flowers / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    with pytest.raises(DataError, match=r"val holds 7 files directly, not in class folders: .*val_00000000\.JPEG") as caught:
        read_folder(flowers, image_size=6)
    assert "Sort them into class folders val/<class>/<picture>" in caught.value.remedy


def test_classes_that_only_the_val_folder_has_are_told(flowers: Path) -> None:
    (flowers / "test").rename(flowers / "val")
    picture(flowers / "val" / "tulip" / "0.png")
    with pytest.raises(DataError, match="only in val: tulip"):
        read_folder(flowers, image_size=6)


def test_the_first_of_several_broken_pictures_is_named(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.datasets.listing.PICTURES_PER_CHUNK", 1)
    for where in ("test/rose/test0.png", "train/rose/train1.png", "train/rose/train2.png"):
        path = picture(flowers / where, size=(60, 60))
        path.write_bytes(path.read_bytes()[:2000])
    for _ in range(5):
        with pytest.raises(DataError, match=r"train1\.png cannot be decoded"):
            read_folder(flowers, image_size=6)


def truncate(root: Path) -> None:
    path = picture(root / "train" / "rose" / "broken.png", size=(60, 60))
    path.write_bytes(path.read_bytes()[:2000])


def sixteen_bits(root: Path) -> None:
    Image.fromarray(np.full((6, 6), 60000, np.uint16)).save(root / "test" / "rose" / "deep.png")


def remove_test(root: Path) -> None:
    (root / "test").rename(root / "validation")


def empty_class(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "tulip").mkdir()


def single_class(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "rose").rename(root / part / ".rose")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train" / "rose" / "notes.txt").write_text("hello"), r"not pictures.*notes\.txt"),
        (lambda root: (root / "train" / "rose" / "empty.png").write_bytes(b""), r"not pictures.*empty\.png"),
        (lambda root: (root / "train" / "rose" / "deeper").mkdir(), r"not pictures.*deeper"),
        (lambda root: (root / "train" / "notes.txt").write_text("hello"), r"outside any class: .*notes\.txt"),
        (truncate, r"broken\.png cannot be decoded"),
        (sixteen_bits, r"8 bits.*deep\.png"),
        (remove_test, r"no folder 'test'; it holds .*train.*validation"),
        (empty_class, r"tulip is empty"),
        (single_class, r"1 class"),
        (lambda root: picture(root / "test" / "tulip" / "0.png"), r"only in test: tulip"),
        (lambda root: picture(root / "train" / "tulip" / "0.png"), r"only in train: tulip"),
    ],
)
def test_bad_folders_are_refused_by_name(flowers: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    spoil(flowers)
    with pytest.raises(DataError, match=message):
        read_folder(flowers, image_size=60)


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        read_folder(tmp_path / "absent", image_size=None)


def test_every_damaged_byte_is_refused_or_read_but_never_a_traceback(flowers: Path) -> None:
    path = flowers / "train" / "rose" / "train0.png"
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_folder(flowers, image_size=6)
        except DataError as error:
            refused += 1
            assert "train0.png" in error.message
    assert refused > len(content) / 3 / 2


def test_the_listing_changes_with_names_sizes_and_times(flowers: Path) -> None:
    before = listing_sha256(flowers)
    assert listing_sha256(flowers) == before
    picture(flowers / "train" / "rose" / "new.png")
    assert listing_sha256(flowers) != before
