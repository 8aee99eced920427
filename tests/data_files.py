"""Writes images in the published layouts of CIFAR-10, CIFAR-100 and Tiny ImageNet, for tests and local servers.

`write_distribution` writes any format under its published file names; `members_of` gives what an archive holds, to be written
by `write_tar_gz`, `write_zip` or, unpacked, by `write_tree`.
"""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from repro.datasets.arrays import Part
from repro.datasets.class_names import CIFAR10, CIFAR100
from repro.spec.distributions import DataFormat

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
SUPERCLASS_NAMES = tuple(SUPERCLASSES)
SUPERCLASS_OF = {name: top for top, names in SUPERCLASSES.items() for name in names.split()}
"""Name of the superclass of each class of CIFAR-100."""
WNIDS = ("n01443537", "n01629819", "n01641577", "n01644900")
"""The first classes of Tiny ImageNet, in the order of labels."""
FILE_NAMES = {
    DataFormat.CIFAR10_BINARY: ("cifar-10-binary.tar.gz",),
    DataFormat.CIFAR10_PYTHON: ("cifar-10-python.tar.gz",),
    DataFormat.CIFAR10_PNG: ("cifar10.tgz",),
    DataFormat.CIFAR10_PARQUET: ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
    DataFormat.CIFAR100_BINARY: ("cifar-100-binary.tar.gz",),
    DataFormat.CIFAR100_PYTHON: ("cifar-100-python.tar.gz",),
    DataFormat.CIFAR100_PNG: ("cifar100.tgz",),
    DataFormat.CIFAR100_PARQUET: ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
    DataFormat.TINY_IMAGENET_ZIP: ("tiny-imagenet-200.zip",),
    DataFormat.TINY_IMAGENET_PARQUET: (
        "train-00000-of-00001-1359597a978bc4fa.parquet",
        "valid-00000-of-00001-70d52db3c749a935.parquet",
    ),
}
"""The published names of each format's files."""


def random_part(num_images: int, seed: int, *, num_classes: int, side: int = 32) -> Part:
    """Noise with labels 0, 1, 2 … in turn, so that every class is there."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num_images, side, side, 3), dtype=np.uint8)
    return Part(images=images, labels=np.arange(num_images, dtype=np.int64) % num_classes)


def shuffled(part: Part, seed: int) -> Part:
    """The same images in another order."""
    order = np.random.default_rng(seed).permutation(len(part.labels))
    return Part(images=part.images[order], labels=part.labels[order])


def write_distribution(data_format: DataFormat, folder: Path, train: Part, test: Part) -> dict[str, Path]:
    """Write both parts in a format below a folder; the files by their published names, in the distribution's order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in FILE_NAMES[data_format]}
    paths = list(files.values())
    match data_format:
        case DataFormat.CIFAR10_PARQUET | DataFormat.CIFAR100_PARQUET | DataFormat.TINY_IMAGENET_PARQUET:
            for path, part in zip(paths, (train, test), strict=True):
                write_parquet(path, part, data_format)
        case DataFormat.TINY_IMAGENET_ZIP:
            write_zip(paths[0], members_of(data_format, train, test))
        case _:
            write_tar_gz(paths[0], members_of(data_format, train, test))
    return files


def members_of(data_format: DataFormat, train: Part, test: Part) -> dict[str, bytes]:
    """What the archive of a format holds, by name."""
    match data_format:
        case DataFormat.CIFAR10_BINARY:
            files = {f"cifar-10-batches-bin/{name}.bin": cifar10_records(part) for name, part in batches(train, test).items()}
            return {**files, "cifar-10-batches-bin/batches.meta.txt": "\n".join([*CIFAR10, "", ""]).encode()}
        case DataFormat.CIFAR100_BINARY:
            files = {f"cifar-100-binary/{name}.bin": cifar100_records(part) for name, part in named(train, test).items()}
            return {**files, "cifar-100-binary/fine_label_names.txt": "\n".join([*CIFAR100, ""]).encode()}
        case DataFormat.CIFAR10_PYTHON:
            files = {f"cifar-10-batches-py/{name}": cifar10_pickle(part, name) for name, part in batches(train, test).items()}
            meta = {"num_cases_per_batch": 10000, "label_names": list(CIFAR10), "num_vis": 3072}
            return {
                **files,
                "cifar-10-batches-py/batches.meta": python2_pickle(meta),
                "cifar-10-batches-py/readme.html": b"<p>",
            }
        case DataFormat.CIFAR100_PYTHON:
            files = {f"cifar-100-python/{name}": cifar100_pickle(part, name) for name, part in named(train, test).items()}
            meta = {"fine_label_names": list(CIFAR100), "coarse_label_names": list(SUPERCLASS_NAMES)}
            return {**files, "cifar-100-python/meta": python2_pickle(meta)}
        case DataFormat.CIFAR10_PNG:
            return {
                f"cifar10/{name}/{CIFAR10[label]}/{place:05d}_{CIFAR10[label]}.png": png(image)
                for name, part in named(train, test).items()
                for place, (image, label) in enumerate(zip(part.images, part.labels, strict=True))
            } | {"cifar10/labels.txt": "\n".join(CIFAR10).encode()}
        case DataFormat.CIFAR100_PNG:
            return {
                f"cifar100/{name}/{SUPERCLASS_OF[CIFAR100[label]]}/{CIFAR100[label]}/{place:05d}.png": png(image)
                for name, part in named(train, test).items()
                for place, (image, label) in enumerate(zip(part.images, part.labels, strict=True))
            }
        case DataFormat.TINY_IMAGENET_ZIP:
            return tiny_imagenet_members(train, test)
    raise AssertionError(data_format)


def named(train: Part, test: Part) -> dict[str, Part]:
    return {"train": train, "test": test}


def batches(train: Part, test: Part) -> dict[str, Part]:
    """The five training batches and the test batch of CIFAR-10."""
    places = np.array_split(np.arange(len(train.labels)), 5)
    training = {
        f"data_batch_{number}": Part(images=train.images[chosen], labels=train.labels[chosen])
        for number, chosen in enumerate(places, start=1)
    }
    return {**training, "test_batch": test}


def planes(part: Part) -> np.ndarray:
    """Rows of planes R, G, B: uint8 (N, 3072)."""
    return np.ascontiguousarray(part.images.transpose(0, 3, 1, 2)).reshape(len(part.images), -1)


def superclass_labels(labels: np.ndarray) -> np.ndarray:
    return np.array([SUPERCLASS_NAMES.index(SUPERCLASS_OF[CIFAR100[label]]) for label in labels], dtype=np.int64)


def cifar10_records(part: Part) -> bytes:
    return np.concatenate([part.labels.astype(np.uint8)[:, None], planes(part)], axis=1).tobytes()


def cifar100_records(part: Part) -> bytes:
    both = np.stack([superclass_labels(part.labels), part.labels], axis=1).astype(np.uint8)
    return np.concatenate([both, planes(part)], axis=1).tobytes()


def cifar10_pickle(part: Part, name: str) -> bytes:
    entries = {
        "batch_label": name.replace("_", " "),
        "labels": part.labels.tolist(),
        "data": planes(part),
        "filenames": [f"{place}.png" for place in range(len(part.labels))],
    }
    return python2_pickle(entries)


def cifar100_pickle(part: Part, name: str) -> bytes:
    entries = {
        "filenames": [f"{place}.png" for place in range(len(part.labels))],
        "batch_label": f"{name} batch 1 of 1",
        "fine_labels": part.labels.tolist(),
        "coarse_labels": superclass_labels(part.labels).tolist(),
        "data": planes(part),
    }
    return python2_pickle(entries)


def python2_pickle(value: object) -> bytes:
    """What Python 2's cPickle writes for it with protocol 2: texts are byte strings, which Python 3 cannot write any more."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: object) -> bytes:
    match value:
        case str():
            raw = value.encode()
            return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else _binstring(raw)
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(_python2, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
        case np.ndarray():
            new = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            lengths = b"(" + b"".join(map(_python2, value.shape)) + b"t"
            byte_type = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            return new + b"(K\x01" + lengths + byte_type + b"\x89" + _binstring(value.tobytes()) + b"tb"
    raise AssertionError(value)


def _binstring(raw: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(raw)) + raw


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    """A JPEG of the picture, grey if its channels are equal, as in Tiny ImageNet."""
    buffer = io.BytesIO()
    is_grey = bool((image == image[..., :1]).all())
    Image.fromarray(image[..., 0] if is_grey else image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def tiny_imagenet_members(train: Part, test: Part) -> dict[str, bytes]:
    top = "tiny-imagenet-200"
    wnids = WNIDS[: int(train.labels.max()) + 1]
    # The official list is in no order.
    members = {f"{top}/wnids.txt": "".join(f"{wnid}\n" for wnid in wnids[::-1]).encode()}
    members[f"{top}/words.txt"] = "".join(f"{wnid}\tthing, {wnid}\n" for wnid in wnids).encode()
    for place, (image, label) in enumerate(zip(train.images, train.labels, strict=True)):
        members[f"{top}/train/{wnids[label]}/images/{wnids[label]}_{place}.JPEG"] = jpeg(image)
    for wnid in wnids:
        members[f"{top}/train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t62\t62\n".encode()
    lines = []
    for place, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        members[f"{top}/val/images/val_{place}.JPEG"] = jpeg(image)
        lines.append(f"val_{place}.JPEG\t{wnids[label]}\t0\t32\t44\t62\n")
    members[f"{top}/val/val_annotations.txt"] = "".join(lines).encode()
    members[f"{top}/test/images/test_0.JPEG"] = jpeg(test.images[0])
    return members


def write_parquet(
    path: Path,
    part: Part,
    data_format: DataFormat,
    *,
    class_names: tuple[str, ...] | None = None,
    with_names: bool = True,
    row_group_size: int = 100,
) -> None:
    """Write one part as the `datasets` library does; `class_names` in the order of the labels, the published ones if None."""
    pictures: list[bytes]
    columns: dict[str, Any]
    match data_format:
        case DataFormat.CIFAR10_PARQUET:
            image, names, pictures = "img", {"label": CIFAR10}, [png(one) for one in part.images]
            columns = {"label": part.labels}
        case DataFormat.CIFAR100_PARQUET:
            # The published note has this spelling.
            spelled = tuple("cra" if name == "crab" else name for name in CIFAR100)
            image, names, pictures = "img", {"fine_label": spelled, "coarse_label": SUPERCLASS_NAMES}, [*map(png, part.images)]
            columns = {"fine_label": part.labels, "coarse_label": superclass_labels(part.labels)}
        case _:
            image, names, pictures = "image", {"label": WNIDS}, [jpeg(one) for one in part.images]
            columns = {"label": part.labels}
    if class_names is not None:
        names = {**names, next(iter(names)): class_names}
    picture_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    arrays = {image: pyarrow.array([{"bytes": raw, "path": None} for raw in pictures], type=picture_type)}
    arrays |= {name: pyarrow.array(values, type=pyarrow.int64()) for name, values in columns.items()}
    table = pyarrow.table(arrays)
    if with_names:
        features: dict[str, Any] = {image: {"_type": "Image"}}
        features |= {name: {"names": list(given), "_type": "ClassLabel"} for name, given in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path, row_group_size=row_group_size)


def write_tar_gz(path: Path, members: Mapping[str, bytes]) -> None:
    """A .tar.gz with folders and files, in the order given."""
    with tarfile.open(path, "w:gz") as tar:
        for folder in sorted({name.rpartition("/")[0] for name in members} - {""}):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, raw in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """A .zip with folders and files, in the order given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in members} - {""}):
            archive.writestr(zipfile.ZipInfo(f"{folder}/"), b"")
        for name, raw in members.items():
            archive.writestr(name, raw)


def write_tree(folder: Path, members: Mapping[str, bytes]) -> Path:
    """What the archive unpacks to, below a folder; the folder."""
    for name, raw in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    return folder
