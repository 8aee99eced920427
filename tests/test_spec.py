"""Specs: what a user may write, how a mistake is told, and what a fingerprint counts."""

import re
import tomllib

import pytest
from pydantic import ValidationError

from repro.errors import ProfileError
from repro.spec import (
    Cell,
    CheckpointSpec,
    DataFile,
    DataFormat,
    DatasetSpec,
    Distribution,
    FamilyTuning,
    ModelSpec,
    Profile,
    Recipe,
    RecipePatch,
    Role,
    UpstreamInit,
    WeightsInit,
    parse,
    parse_init,
    slug,
)

GOOD = """
name = "mine"
[recipe.short]
base = "micro-scratch"
steps = 10
[[dataset]]
name = "own"
path = "own.npz"
[[cells]]
dataset = ["digits"]
size = [1.0, 1, 50]
model = ["vit_micro"]
recipe = "short"
"""


def told(text: str) -> ProfileError:
    """The error that a profile file with this text gives."""
    with pytest.raises(ProfileError) as caught:
        parse(Profile, tomllib.loads(text), origin="mine.toml")
    return caught.value


def test_a_good_profile_is_read_with_its_defaults() -> None:
    profile = parse(Profile, tomllib.loads(GOOD), origin="mine.toml")
    assert profile.seeds == 3
    assert profile.cells[0].init == ("scratch",)
    assert profile.recipe["short"].steps == 10


def test_a_fraction_and_a_number_of_images_stay_what_they_are() -> None:
    sizes = parse(Profile, tomllib.loads(GOOD), origin="mine.toml").cells[0].size
    assert sizes == (1.0, 1, 50)
    assert [type(size) for size in sizes] == [float, int, int]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "mine"\n', "", ("name: Field required",)),
        ("steps = 10", "steps = 0", ("recipe.short.steps: Input should be greater than or equal to 1 (given: 0)",)),
        ("steps = 10", "stepz = 10", ("recipe.short.stepz: There is no such field", "did you mean 'steps'?", "(given: 10)")),
        ("steps = 10", 'optimizer = "adam"', ("recipe.short.optimizer: Input should be 'adamw' or 'sgd' (given: 'adam')",)),
        ("steps = 10", "vit = { lrr = 1.0 }", ("recipe.short.vit.lrr", "known here: optimizer, lr, weight_decay")),
        ("steps = 10", "lr = nan", ("recipe.short.lr", "(given: nan)")),
        ("steps = 10", "lr = inf", ("recipe.short.lr", "(given: inf)")),
        ("1.0, 1, 50", "1.5", ("cells.0.size.0: Input should be a fraction above 0 and up to 1.0, or a whole number",)),
        ("1.0, 1, 50", "0", ("cells.0.size.0: ", "(given: 0)")),
        ("1.0, 1, 50", '"all"', ("cells.0.size.0: ", "(given: 'all')")),
        ("1.0, 1, 50", "", ("cells.0.size: Tuple should have at least 1 item",)),
        ('["vit_micro"]', '"vit_micro"', ("cells.0.model: Input should be a list", "(given: 'vit_micro')")),
        (
            'recipe = "short"',
            'recipe = "short"\ninit = ["warm"]',
            ("cells.0.init.0: Input should be 'scratch', 'pretrained', 'file:PATH'", "'warm'"),
        ),
        ('recipe = "short"', 'recipe = "short"\ninit = ["upstream:glyphs@200"]', ("cells.0: ", "needs an upstream_recipe")),
        ('path = "own.npz"', 'path = "own.npz"\nsource = "zip"', ("dataset.0.source: Input should be 'digits', 'glyphs'",)),
    ],
)
def test_an_error_names_file_field_value_and_what_is_legal(old: str, new: str, expected: tuple[str, ...]) -> None:
    assert GOOD.count(old) == 1
    error = told(GOOD.replace(old, new))
    assert error.message.startswith("mine.toml is not a valid profile:")
    for words in expected:
        assert words in error.message
    assert "Top-level fields are: name, description, seeds" in error.remedy


def test_all_errors_are_told_at_once_and_each_once() -> None:
    lines = told(GOOD.replace("1.0, 1, 50", "1.5").replace("steps = 10", "steps = 0\nlr = -1.0")).message.splitlines()[1:]
    assert [line.strip().partition(":")[0] for line in lines] == ["recipe.short.lr", "recipe.short.steps", "cells.0.size.0"]


def test_a_long_value_is_cut_in_the_message() -> None:
    line = told(GOOD.replace('name = "mine"', f'name = "{"x" * 500}"')).message.splitlines()[1]
    assert "name: String should have at most 100 characters" in line
    assert len(line) < 200


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"family": "vit", "patch_size": 2, "width": 9, "depth": 1, "num_heads": 2}, "num_heads 2 does not divide width 9"),
        ({"family": "vit", "patch_size": 2, "width": 8, "depth": 1}, "a vit needs"),
        ({"family": "cnn", "stage_widths": (4, 8), "stage_depths": (1,)}, "a cnn needs"),
        ({"family": "cnn", "stage_widths": (4,), "stage_depths": (1,), "width": 8}, "a cnn needs"),
    ],
)
def test_a_model_has_the_fields_of_its_family(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProfileError, match=complaint):
        parse(ModelSpec, {"name": "m", **fields}, origin="mine.toml")


def test_init_has_two_forms() -> None:
    assert parse_init("scratch") is None
    assert parse_init("upstream:my data@2000") == UpstreamInit(dataset="my data", num_images=2000)


@pytest.mark.parametrize(
    "text", ["", "Scratch", "upstream:glyphs", "upstream:@5", "upstream:x@0", "upstream:x@2000_", f"upstream:{'x' * 101}@5"]
)
def test_any_other_init_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="upstream:DATASET@NUM_IMAGES"):
        parse_init(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vit_micro", "vit_micro"),
        ("../../etc", "_etc"),
        ("a b/c", "a_b_c"),
        ("", "_"),
        ("..", "_"),
        ("plain+4x", "plain+4x"),
        ("größe", "gr_e"),
    ],
)
def test_a_slug_is_safe_in_a_path(text: str, expected: str) -> None:
    assert slug(text) == expected


HOSTILE = ("../../../tmp/x", "a\nb", "\x00", "x" * 100, "🦜", "-rf", "a.b.c")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_cell_id_is_one_path_component_whatever_the_names(name: str) -> None:
    cell = toy_cell(
        dataset=DatasetSpec(name=name),
        upstream=UpstreamInit(dataset=name, num_images=1234),
        recipe=toy_recipe(name=name),
    )
    assert set(cell.id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
    assert cell.id.count(".") == 5, "the names' own dots must not look like parts"
    assert cell.id.endswith(".s1")
    assert "1234" in cell.id, "a long name must not push the number of upstream images out"


def test_upstream_data_sets_whose_names_end_in_digits_are_told_apart() -> None:
    ids = [toy_cell(upstream=UpstreamInit(dataset=name, num_images=n)).id for name, n in (("tiny32", 1000), ("tiny3", 21000))]
    assert ids == ["d.n20.m.tiny32-1000.r.s1", "d.n20.m.tiny3-21000.r.s1"]


def toy_recipe(**fields: object) -> Recipe:
    return Recipe.model_validate({"name": "r", "lr": 0.1, "batch_size": 4, "steps": 10, **fields})


def recipe_as_written(**fields: object) -> Recipe:
    return parse(Recipe, {"name": "r", "lr": 0.1, "batch_size": 4, "steps": 10, **fields}, origin="recipes.toml")


def toy_cell(**fields: object) -> Cell:
    defaults = {
        "dataset": DatasetSpec(name="d"),
        "num_train_images": 20,
        "model": ModelSpec(name="m", family="cnn", stage_widths=(4,), stage_depths=(1,)),
        "upstream": None,
        "upstream_recipe": None,
        "recipe": toy_recipe(),
        "seed": 1,
        "role": Role.STUDY,
    }
    return Cell.model_validate(defaults | fields)


def fingerprint(cell: Cell, *, data_sha256: str = "a", upstream_fingerprint: str | None = None) -> str:
    return cell.fingerprint(data_sha256=data_sha256, upstream_fingerprint=upstream_fingerprint)


CHANGES: dict[str, object] = {
    "optimizer": "sgd",
    "lr": 0.2,
    "lr_grid": (0.1, 0.2),
    "nesterov": False,
    "micro_batch": 2,
    "image_size": 64,
    "crop_min_area": 0.5,
    "trains": "head",
    "momentum": 0.8,
    "adam_beta2": 0.99,
    "weight_decay": 0.1,
    "batch_size": 8,
    "steps": 11,
    "warmup_steps": 2,
    "label_smoothing": 0.1,
    "clip_norm": 1.0,
    "flip": True,
    "crop_padding": 1,
    "trivial_augment": True,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
    "mix_probability": 0.5,
    "erase_probability": 0.25,
    "dev_fraction": 0.1,
    "divergence_factor": 5.0,
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_recipe_that_trains_counts(field: str) -> None:
    assert fingerprint(toy_cell(recipe=toy_recipe(**{field: CHANGES[field]}))) != fingerprint(toy_cell())


def test_the_penalty_of_least_squares_counts() -> None:
    few_shot = {"steps": 1, "trains": "head"}
    cells = [toy_cell(recipe=toy_recipe(**few_shot, ridge_penalty=penalty)) for penalty in (1.0, 2.0)]
    assert len({fingerprint(cell) for cell in cells}) == 2


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"lr_grid": [0.1]}, "lr_grid must name two or more rates in ascending order"),
        ({"lr_grid": [0.2, 0.1]}, "lr_grid must name two or more rates in ascending order"),
        ({"lr_grid": [0.1, 0.1]}, "lr_grid must name two or more rates in ascending order"),
        ({"micro_batch": 3}, "micro_batch 3 must divide batch_size 4"),
        ({"ridge_penalty": 1.0}, "ridge_penalty needs trains = 'head', steps = 1"),
        ({"ridge_penalty": 1.0, "steps": 1}, "ridge_penalty needs trains = 'head', steps = 1"),
        ({"crop_min_area": 0.0}, "crop_min_area"),
        ({"trains": "body"}, "Input should be 'all' or 'head'"),
    ],
)
def test_fields_that_do_not_go_together_are_told(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(complaint)):
        recipe_as_written(**fields)


def test_a_rate_of_its_own_takes_the_bases_grid_away() -> None:
    base = toy_recipe(lr_grid=(0.1, 0.2))
    assert RecipePatch(base="r", lr=0.3).on_top_of(base, name="mine").lr_grid == ()
    assert RecipePatch(base="r", clip_norm=1.0).on_top_of(base, name="mine").lr_grid == (0.1, 0.2)


def model_as_written(**fields: object) -> ModelSpec:
    return parse(ModelSpec, {"name": "m", "family": "vit", **fields}, origin="models.toml")


def test_a_librarys_architecture_needs_a_family_only() -> None:
    assert model_as_written(name="timm/vit_tiny_patch16_224").library_name == "timm/vit_tiny_patch16_224"
    small = model_as_written(name="small", architecture="timm/vit_tiny_patch16_224", patch_size=4, depth=2)
    assert (small.library_name, small.patch_size, small.width) == ("timm/vit_tiny_patch16_224", 4, None)
    in_house = model_as_written(patch_size=4, width=8, depth=1, num_heads=1)
    assert in_house.library_name is None


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"architecture": "keras/vit"}, "architecture 'keras/vit' begins with none of timm/, torchvision/"),
        ({"name": "timm/x", "stage_widths": [4], "stage_depths": [1]}, "dimensions of the other family given for a vit"),
        ({"name": "timm/x", "family": "cnn", "patch_size": 4}, "dimensions of the other family given for a cnn"),
        ({"name": "torchvision/vit_b_16", "depth": 2}, "dimensions can be given for timm's architectures only"),
        ({"architecture": None}, "a vit needs patch_size, width, depth, num_heads"),
    ],
)
def test_a_model_that_does_not_fit_together_is_told(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(complaint)):
        model_as_written(**fields)


@pytest.mark.parametrize("text", ["scratch", "pretrained", "file:a b/c.pth", "upstream:glyphs@2000"])
def test_an_init_reads_as_it_was_written(text: str) -> None:
    parsed = parse_init(text)
    if isinstance(parsed, UpstreamInit):
        assert toy_cell(upstream=parsed).init == text
    elif isinstance(parsed, WeightsInit):
        assert toy_cell(weights=CheckpointSpec(name="m", family="cnn", path=parsed.path)).init == text
    else:
        assert toy_cell().init == text


@pytest.mark.parametrize("text", ["", "file:", "Pretrained", "pretrained:x", "upstream:x", "upstream:x@0"])
def test_what_is_no_init_is_told_with_all_that_are(text: str) -> None:
    with pytest.raises(ValueError, match="'scratch', 'pretrained', 'file:PATH'"):
        parse_init(text)


def test_no_field_of_the_recipe_is_forgotten_here() -> None:
    assert set(Recipe.model_fields) == {*CHANGES, "select", "steps_at", "ridge_penalty", "vit", "cnn", "name", "reason"}


def test_a_field_that_is_left_at_its_default_does_not_count() -> None:
    # So that a field which a later version adds leaves the cells of earlier ones finished.
    plain = toy_cell()
    spelt_out = toy_cell(recipe=Recipe.model_validate(toy_recipe().model_dump()))
    assert fingerprint(spelt_out) == fingerprint(plain)
    assert fingerprint(plain) == "7cbc64674542f00893d55e969be0ba0294d049d76d9a05cefd01331747904ff1"


STEPS_AT = [
    {"up_to_images": 10, "steps": 3, "warmup_steps": 1},
    {"up_to_images": 100, "steps": 5, "warmup_steps": 2},
]


@pytest.mark.parametrize(("num_images", "steps"), [(1, (3, 1)), (10, (3, 1)), (11, (5, 2)), (100, (5, 2)), (101, (10, 0))])
def test_steps_follow_the_size_of_the_training_set(num_images: int, steps: tuple[int, int]) -> None:
    settled = recipe_as_written(steps_at=STEPS_AT).for_size(num_images)
    assert (settled.steps, settled.warmup_steps) == steps
    assert settled.steps_at == (), "a cell's recipe is settled, so that sizes it does not have do not count in its fingerprint"


@pytest.mark.parametrize(
    ("steps_at", "complaint"),
    [
        (STEPS_AT[::-1], "ascending order"),
        ([STEPS_AT[0], STEPS_AT[0]], "each once"),
        ([{"up_to_images": 10, "steps": 3, "warmup_steps": 3}], "must be fewer than steps 3"),
    ],
)
def test_steps_that_make_no_sense_are_refused(steps_at: list[dict[str, int]], complaint: str) -> None:
    with pytest.raises(ProfileError, match=complaint):
        recipe_as_written(steps_at=steps_at)


def test_steps_of_ones_own_hold_at_every_size() -> None:
    base = recipe_as_written(steps_at=STEPS_AT)
    assert RecipePatch(base="r", steps=7).on_top_of(base, name="mine").for_size(5).steps == 7
    assert RecipePatch(base="r", lr=0.5).on_top_of(base, name="mine").for_size(5).steps == 3
    own = parse(RecipePatch, {"base": "r", "steps": 7, "steps_at": STEPS_AT[:1]}, origin="mine.toml")
    assert own.on_top_of(base, name="mine").for_size(5).steps == 3


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.bin", "a/../../x", "https://host/x", "a\\b", ""])
def test_a_data_file_lies_below_its_host(path: str) -> None:
    with pytest.raises(ValidationError):
        DataFile(host="toronto", path=path)


def test_the_files_of_a_distribution_have_names_of_their_own() -> None:
    files = tuple(DataFile(host="huggingface", path=f"{part}/data.parquet") for part in ("train", "test"))
    with pytest.raises(ValidationError, match="have one name"):
        Distribution(format=DataFormat.CIFAR10_PARQUET, file=files)


def test_selection_on_the_dev_split_counts() -> None:
    held_out = toy_cell(recipe=toy_recipe(dev_fraction=0.1))
    assert fingerprint(held_out) != fingerprint(toy_cell(recipe=toy_recipe(dev_fraction=0.1, select="best_dev")))


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 2},
        {"num_train_images": 21},
        {"dataset": DatasetSpec(name="d", flip_keeps_label=False)},
        {"model": ModelSpec(name="m", family="cnn", stage_widths=(5,), stage_depths=(1,))},
        {"model": ModelSpec(name="m", family="cnn", stage_widths=(4,), stage_depths=(2,))},
        {"model": ModelSpec(name="m", family="vit", patch_size=2, width=8, depth=1, num_heads=2)},
    ],
)
def test_what_else_trains_counts(changed: dict[str, object]) -> None:
    assert fingerprint(toy_cell(**changed)) != fingerprint(toy_cell())


def test_the_data_and_the_upstream_count() -> None:
    cell = toy_cell()
    assert len({fingerprint(cell), fingerprint(cell, data_sha256="b"), fingerprint(cell, upstream_fingerprint="c")}) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": DatasetSpec(name="other", title="t", citation="c", license="l", num_classes=3)},
        {"model": ModelSpec(name="other", family="cnn", stage_widths=(4,), stage_depths=(1,), citation="c")},
        {"recipe": toy_recipe(name="other", reason="why")},
        {"role": Role.UPSTREAM},
    ],
)
def test_names_and_words_do_not_count(changed: dict[str, object]) -> None:
    assert fingerprint(toy_cell(**changed)) == fingerprint(toy_cell())


def test_a_family_trains_by_its_own_overrides_only() -> None:
    recipe = toy_recipe(vit=FamilyTuning(lr=0.5, weight_decay=0.3), cnn=FamilyTuning(optimizer="sgd"))
    vit, cnn = recipe.for_family("vit"), recipe.for_family("cnn")
    assert (vit.lr, vit.weight_decay, vit.optimizer) == (0.5, 0.3, "adamw")
    assert (cnn.lr, cnn.weight_decay, cnn.optimizer) == (0.1, 0.0, "sgd")
    assert vit.vit == vit.cnn == FamilyTuning()


def test_tuning_one_family_leaves_the_other_familys_cells_alone() -> None:
    tuned, plain = toy_recipe(vit=FamilyTuning(lr=0.5)), toy_recipe()
    assert fingerprint(toy_cell(recipe=tuned.for_family("cnn"))) == fingerprint(toy_cell(recipe=plain.for_family("cnn")))
    assert fingerprint(toy_cell(recipe=tuned.for_family("vit"))) != fingerprint(toy_cell(recipe=plain.for_family("vit")))
