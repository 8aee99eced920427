"""Pictures become arrays in order, only if their headers show what is expected."""

import io
import zlib

import numpy as np
import pytest
from data_files import jpeg, png, random_part
from PIL import Image, ImageFile

from repro.datasets.encoded import PictureForm, decode_pictures, resize_images
from repro.errors import DataError

FORM = PictureForm(side=32, modes=frozenset({"RGB"}), image_size=None)
GREY_TOO = PictureForm(side=32, modes=frozenset({"RGB", "L"}), image_size=None)


def test_thousands_of_pictures_keep_their_order() -> None:
    images = random_part(1700, 1, num_classes=2).images
    assert np.array_equal(decode_pictures([("x", png(image)) for image in images], FORM), images)


def test_grey_becomes_rgb_where_it_is_legal() -> None:
    grey = np.repeat(random_part(1, 1, num_classes=2).images[..., :1], 3, axis=-1)
    raw = jpeg(grey[0])
    assert Image.open(io.BytesIO(raw)).mode == "L"
    images = decode_pictures([("x", raw)], GREY_TOO)
    assert images.shape == (1, 32, 32, 3)
    assert np.array_equal(images[..., 0], images[..., 2])
    with pytest.raises(DataError, match="picture 3 is a picture of 32x32 pixels in mode L, not 32x32 in RGB"):
        decode_pictures([("picture 3", raw)], FORM)


def test_the_first_of_several_bad_pictures_is_told() -> None:
    good = png(random_part(1, 1, num_classes=2).images[0])
    pictures = [(f"picture {place}", good if place < 700 else b"nothing") for place in range(2000)]
    with pytest.raises(DataError, match="picture 700 cannot be decoded"):
        decode_pictures(pictures, FORM)


def test_a_picture_of_another_size_is_not_decoded() -> None:
    raw = bytearray(png(np.zeros((32, 32, 3), np.uint8)))
    raw[16:24] = (20_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    # Pillow warns of so many pixels; with warnings as errors it is a decoding error or a wrong size.
    with pytest.raises((DataError, Image.DecompressionBombWarning)):
        decode_pictures([("x", bytes(raw))], FORM)
    with pytest.raises(DataError, match="x is a picture of 16x32 pixels in mode RGB, not 32x32 in RGB"):
        decode_pictures([("x", png(np.zeros((32, 16, 3), np.uint8)))], FORM)


@pytest.mark.parametrize(
    "raw", [b"", b"GIF89a", png(np.zeros((32, 32, 3), np.uint8))[:60], jpeg(np.zeros((32, 32, 3)).astype("u1"))[:200]]
)
def test_what_is_no_whole_picture_is_told(raw: bytes) -> None:
    with pytest.raises(DataError, match="x cannot be decoded"):
        decode_pictures([("x", raw)], GREY_TOO)


def test_other_sizes_are_box_resized() -> None:
    images = random_part(2, 1, num_classes=2).images
    assert resize_images(images, None) is images
    assert resize_images(images, 32) is images
    quarter = images.astype(np.int64).reshape(2, 8, 4, 8, 4, 3).sum(axis=(2, 4))
    assert np.array_equal(resize_images(images, 8), (quarter + 8) // 16)
    assert resize_images(images, 20).shape == (2, 20, 20, 3)
    assert np.array_equal(resize_images(images, 64), images.repeat(2, axis=1).repeat(2, axis=2))
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    assert (resize_images(flat, 20) == 77).all()


def test_a_cut_picture_is_refused_whatever_another_library_has_told_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as importing WeasyPrint does
    whole = png(random_part(1, 1, num_classes=2).images[0])
    with pytest.raises(DataError, match="x cannot be decoded"):
        decode_pictures([("x", whole[: len(whole) // 2])], FORM)
