"""`inside.npz`: what a cell leaves, that nothing else changes by it, and what is done about every kind of damage."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import spine
import torch
from safetensors.numpy import load_file
from test_cell import CELL, DOWNSTREAM, UPSTREAM, folder_of, job_of, numbers, run_killed_after, run_undisturbed
from torch import Tensor

from repro.cell import run_cell
from repro.cell.inside import leave_inside
from repro.datasets import load_pack
from repro.datasets.streaming import place_images
from repro.errors import CorruptFile
from repro.inside import INSIDE, Inside, is_looked_into, read_inside, write_inside
from repro.messages import Job
from repro.models.vit import VisionTransformer, initialise_vit
from repro.records import LOG, WEIGHTS, read_record
from repro.spec import Role
from repro.workspace import Workspace

CNN_CELL = "dots.n40.tiny_cnn.scratch.plain.s1"


def looking(job: Job) -> Job:
    return job.model_copy(update={"looks_inside": True})


def made_up(
    *, side: int = 4, num_images: int = 3, channels: int = 1, layers: int = 2, heads: int = 3, patch: int = 2
) -> Inside:
    """A file's content from formulas."""
    places_K = np.arange(min(side, 7), dtype=np.int32)
    return Inside(
        patch_size=patch,
        has_class_token=True,
        num_images=num_images,
        filters_FHWC=np.arange(4 * patch * patch * channels, dtype=np.uint8).reshape(4, patch, patch, channels),
        variances_N=np.array([0.6, 0.3, 0.06, 0.04], dtype=np.float32),
        similarities_KKGG=np.zeros((len(places_K), len(places_K), side, side), dtype=np.float16),
        places_K=places_K,
        similarity_same_line=0.4,
        similarity_elsewhere=0.1,
        shuffled_S=np.linspace(-0.5, 0.49, 100, dtype=np.float32),
        distances_LA=np.arange(layers * heads, dtype=np.float32).reshape(layers, heads),
        uniform_distance=3.0,
        rollouts_IGG=np.full((num_images, side, side), 1 / 16, dtype=np.float16),
        images_IHWC=np.zeros((num_images, 8, 8, channels), dtype=np.uint8),
        indices_I=np.arange(num_images, dtype=np.int32),
    )


def test_a_cell_that_is_looked_into_leaves_the_file_and_its_digest(tmp_path: Path) -> None:
    job = looking(job_of(CELL, tmp_path))
    record = run_undisturbed(job)
    assert INSIDE in record.files_sha256
    inside = read_inside(folder_of(job))
    # tiny_vit: 8 x 8 grey pixels, patches of 4, one layer, two heads; 20 test images, of which every third is shown.
    assert (inside.patch_size, inside.num_images) == (4, 20)
    assert inside.distances_LA.shape == (1, 2)
    assert inside.rollouts_IGG.shape == (7, 2, 2)
    x_test = np.load(next((tmp_path / "home" / "data").glob("*/x_test.npy")).parent.parent / "dots" / "x_test.npy")
    assert np.array_equal(inside.images_IHWC.reshape(7, 8, 8), x_test[inside.indices_I].reshape(7, 8, 8))


@pytest.mark.parametrize("cell_id", [CELL, UPSTREAM, DOWNSTREAM])
def test_a_look_changes_no_number_and_no_weight(cell_id: str, tmp_path: Path) -> None:
    found = []
    for name in ("without", "with"):
        if cell_id == DOWNSTREAM:
            run_undisturbed(job_of(UPSTREAM, tmp_path / name, keeps_weights=True))
        job = job_of(cell_id, tmp_path / name, keeps_weights=True).model_copy(update={"looks_inside": name == "with"})
        record = run_undisturbed(job)
        weights = load_file(folder_of(job) / WEIGHTS)
        found.append((numbers(record), record.fingerprint, {key: value.tobytes() for key, value in weights.items()}))
        assert (folder_of(job) / INSIDE).exists() == (name == "with")
    assert found[0] == found[1]


def test_a_look_does_not_disturb_the_cell_that_the_same_worker_runs_next(tmp_path: Path) -> None:
    run_undisturbed(looking(job_of(CELL, tmp_path / "a")))
    after = run_undisturbed(job_of(CNN_CELL, tmp_path / "b"))
    assert after.test_accuracy == spine.outcomes(spine.finished() / "home")[CNN_CELL][0]


def test_a_resumed_cell_leaves_the_same_file(tmp_path: Path) -> None:
    undisturbed, killed = looking(job_of(CELL, tmp_path / "a")), looking(job_of(CELL, tmp_path / "b"))
    run_undisturbed(undisturbed)
    run_killed_after(killed, 6)
    run_undisturbed(killed)
    first, second = read_inside(folder_of(undisturbed)), read_inside(folder_of(killed))
    for field in fields(Inside):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_a_model_of_another_layout_has_a_line_in_the_log_and_no_file(tmp_path: Path) -> None:
    job = looking(job_of(CNN_CELL, tmp_path))
    record = run_undisturbed(job)
    assert INSIDE not in record.files_sha256 and not (folder_of(job) / INSIDE).exists()
    assert "not looked into: ResNet is no known Vision Transformer" in (folder_of(job) / LOG).read_text()


@pytest.mark.parametrize("spoilt", ["a weight", "the images"])
def test_a_look_that_fails_is_a_line_in_the_log(spoilt: str, tmp_path: Path) -> None:
    job = job_of(CELL, tmp_path)
    pack = load_pack(Workspace(home=job.home), job.cell.dataset, trusts_source=True)
    model = VisionTransformer(image_size=8, patch_size=4, num_channels=1, num_classes=3, width=8, depth=1, num_heads=2)
    initialise_vit(model, generator=torch.Generator().manual_seed(1))
    if spoilt == "a weight":
        with torch.no_grad():
            model.blocks[0].attn.qkv.weight.fill_(float("nan"))
    lines: list[str] = []
    images, _ = place_images(pack, part="test", device="cpu", memory_format=torch.contiguous_format, budget_bytes=2**20)
    with images:

        def enlarged(positions_B: Tensor) -> tuple[Tensor, Tensor]:
            x_BCHW, labels_B = images.normalised_batch(positions_B)
            return (x_BCHW.repeat(1, 1, 2, 2) if spoilt == "the images" else x_BCHW), labels_B

        leave_inside(tmp_path, model, images, enlarged, log=lines.append)
    [line] = lines
    assert line.startswith("not looked into: ")
    assert ("distances_LA is not finite" if spoilt == "a weight" else "RuntimeError: The size of tensor") in line
    assert not (tmp_path / INSIDE).exists() and not list(tmp_path.glob("*.tmp"))


def test_what_an_earlier_look_left_goes_with_its_result(tmp_path: Path) -> None:
    job = job_of(CELL, tmp_path)
    run_undisturbed(looking(job))
    record = run_cell(job, progress=lambda step: None)
    assert INSIDE not in record.files_sha256 and not (folder_of(job) / INSIDE).exists()


def test_a_run_looks_into_the_vits_of_every_seed_and_their_checks_and_an_older_record_reads() -> None:
    for cell_id, folder in spine.cell_dirs(spine.finished() / "home").items():
        is_looked_at = "tiny_vit" in cell_id and cell_id.startswith("dots")
        assert (folder / INSIDE).exists() == is_looked_at, cell_id
        record = read_record(folder)
        assert record is not None and (INSIDE in record.files_sha256) == is_looked_at


def test_only_vits_trained_whole_in_the_study_or_its_checks_are_looked_into() -> None:
    fitting = {"role": Role.STUDY, "family": "vit", "is_probe": False}
    assert is_looked_into(**fitting)  # type: ignore[arg-type]
    assert is_looked_into(**(fitting | {"role": Role.CONVERGENCE_CHECK}))  # type: ignore[arg-type]
    for other in ({"role": Role.UPSTREAM}, {"role": Role.LR_SEARCH}, {"family": "cnn"}, {"is_probe": True}):
        assert not is_looked_into(**(fitting | other))  # type: ignore[arg-type]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    inside = made_up()
    write_inside(tmp_path, inside)
    found = read_inside(tmp_path)
    for field in fields(Inside):
        written, read = getattr(inside, field.name), getattr(found, field.name)
        assert type(read) is type(written) and np.array_equal(read, written), field.name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"distances_LA": np.array([[np.nan]], dtype=np.float32)}, "distances_LA is not finite"),
        ({"similarity_elsewhere": float("inf")}, "similarity_elsewhere is not finite"),
        ({"rollouts_IGG": np.zeros((2, 4, 4), dtype=np.float16)}, "rollouts_IGG"),
        ({"rollouts_IGG": np.zeros((3, 4, 4))}, "rollouts_IGG is not of kind float16"),
        ({"images_IHWC": np.zeros((3, 65, 65, 1), dtype=np.uint8)}, "images_IHWC"),
        ({"images_IHWC": np.zeros((3, 8, 8, 4), dtype=np.uint8)}, "images_IHWC"),
        ({"patch_size": "2"}, "patch_size is not of kind int"),
    ],
)
def test_nothing_else_is_written(change: dict[str, object], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=complaint):
        write_inside(tmp_path, replace(made_up(), **change))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "noise", "another file", "a pickle"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / INSIDE
    write_inside(tmp_path, made_up())
    content = path.read_bytes()
    path.unlink()
    if damage == "another file":
        np.savez(tmp_path / "other.npz", labels=np.zeros(3))
        content = (tmp_path / "other.npz").read_bytes()
    if damage == "a pickle":
        arrays = {field.name: np.asarray(getattr(made_up(), field.name)) for field in fields(Inside)}
        np.savez(tmp_path / "other.npz", **(arrays | {"images_IHWC": np.array([{}], dtype=object)}))
        content = (tmp_path / "other.npz").read_bytes()
    spoilt = {"empty": b"", "cut": content[: len(content) // 2], "noise": bytes(range(256)) * 9}
    if damage != "absent":
        path.write_bytes(spoilt.get(damage, content))
    with pytest.raises(CorruptFile, match=INSIDE):
        read_inside(tmp_path)
