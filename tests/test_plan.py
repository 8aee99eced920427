"""From profiles to cells: expansion, order, state on disk, and every way in which a profile can be wrong."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import spine

from repro.catalog import load_catalog, load_profile
from repro.errors import ProfileError
from repro.plan import DataFacts, Plan, PlannedCell, make_plan, resolve_recipes
from repro.records import FAILURE, PREDICTIONS, RECORD, CellStatus, Failure, read_record, write_failure
from repro.spec import CONVERGENCE_SUFFIX, FamilyTuning, Role
from repro.workspace import Workspace

BLOCK = """
[[cells]]
dataset = ["digits"]
size = [50]
model = ["vit_micro"]
recipe = "micro-scratch"
"""
UPSTREAM = """
[[cells]]
dataset = ["digits"]
size = [50]
model = ["vit_micro", "resnet_micro"]
init = ["upstream:glyphs@200", "upstream:glyphs@2000"]
recipe = "micro-finetune"
upstream_recipe = "micro-upstream"
"""
DIGITS = spine.FACTS["digits"]


def plan_of(
    text: str, workspace: Workspace, facts: Mapping[str, DataFacts] = MappingProxyType(spine.FACTS), head: str = "seeds = 1\n"
) -> Plan:
    path = workspace.home / "p.toml"
    path.write_text(f'name = "p"\n{head}{text}', encoding="utf-8")
    return make_plan(load_profile(str(path)), load_catalog(), facts, workspace)


def ids(plan: Plan) -> list[str]:
    return [entry.cell.id for entry in plan.cells]


def told(text: str, workspace: Workspace, facts: Mapping[str, DataFacts] = MappingProxyType(spine.FACTS)) -> str:
    """Message and remedy of the error that the profile gives."""
    with pytest.raises(ProfileError) as caught:
        plan_of(text, workspace, facts)
    return f"{caught.value.message} {caught.value.remedy}"


def test_a_block_is_the_product_of_its_lists(workspace: Workspace) -> None:
    text = BLOCK.replace("[50]", "[50, 0.5, 1.0]").replace('["vit_micro"]', '["vit_micro", "resnet_micro"]')
    found = plan_of(text, workspace, head="seeds = 2\n")
    expected = {
        f"digits.n{size}.{model}.scratch.micro-scratch.s{seed}"
        for size in (50, 598, 1197)
        for model in ("vit_micro", "resnet_micro")
        for seed in (1, 2)
    }
    assert set(ids(found)) == expected
    assert len(found.cells) == len(expected)


def test_one_point_zero_is_all_and_one_is_a_single_image(workspace: Workspace) -> None:
    assert ids(plan_of(BLOCK.replace("[50]", "[1.0]"), workspace)) == ["digits.n1197.vit_micro.scratch.micro-scratch.s1"]
    assert "size 1 of data set 'digits' means 1 images" in told(BLOCK.replace("[50]", "[1]"), workspace)


def test_sizes_that_mean_the_same_number_are_one_cell(workspace: Workspace) -> None:
    assert len(plan_of(BLOCK.replace("[50]", "[1.0, 1197, 0.9999]"), workspace).cells) == 1


@pytest.mark.parametrize("size", ["9", "1198", "0.001"])
@pytest.mark.parametrize("facts", [spine.FACTS, {}], ids=["fetched", "not fetched"])
def test_a_size_that_cannot_be_is_an_error_with_the_range(size: str, facts: dict[str, DataFacts], workspace: Workspace) -> None:
    error = told(BLOCK.replace("[50]", f"[50, {size}]"), workspace, facts)
    assert f"cells.0.size: size {size} of data set 'digits'" in error
    assert "10 (one per class) to 1197 images" in error


def test_an_upstream_size_that_cannot_be_is_an_error(workspace: Workspace) -> None:
    assert "cells.0.init: size 64001 of data set 'glyphs'" in told(UPSTREAM.replace("@2000", "@64001"), workspace)
    assert "45 (one per class)" in told(UPSTREAM.replace('@200"', '@44"'), workspace)


def test_an_upstream_cell_stands_once_for_each_size_model_and_seed(workspace: Workspace) -> None:
    found = plan_of(UPSTREAM.replace("[50]", "[50, 400]"), workspace, head="seeds = 2\n")
    above = [entry for entry in found.cells if entry.is_upstream]
    assert len(above) == 2 * 2 * 2
    assert all(entry.cell.role is Role.UPSTREAM and entry.cell.dataset.name == "glyphs" for entry in above)
    assert len(found.cells) == 8 + 2 * 8


def test_upstream_and_fine_tuning_are_paired_by_seed_model_and_recipe(workspace: Workspace) -> None:
    found = plan_of(UPSTREAM, workspace, head="seeds = 3\n")
    by_id = {entry.cell.id: entry for entry in found.cells}
    below = [entry for entry in found.cells if entry.upstream_id]
    assert len(below) == 12
    for entry in below:
        assert entry.upstream_id
        above = by_id[entry.upstream_id]
        assert (above.cell.seed, above.cell.model) == (entry.cell.seed, entry.cell.model)
        assert entry.cell.upstream is not None
        assert above.cell.num_train_images == entry.cell.upstream.num_images
        assert entry.upstream_fingerprint == above.fingerprint
        assert above.cell.recipe == entry.cell.upstream_recipe


def test_the_order_is_seed_by_seed_then_upstream_then_the_longest_first(workspace: Workspace) -> None:
    text = BLOCK.replace("[50]", "[50]\nconvergence_check_at = [50]") + UPSTREAM
    found = plan_of(text, workspace, head="seeds = 2\n").cells
    assert [entry.cell.seed for entry in found] == sorted(entry.cell.seed for entry in found)
    first_seed = [entry for entry in found if entry.cell.seed == 1]
    kinds = [entry.is_upstream for entry in first_seed]
    assert kinds == sorted(kinds, reverse=True)
    lengths = [entry.cell.recipe.steps * entry.cell.recipe.batch_size for entry in first_seed if not entry.is_upstream]
    assert lengths == sorted(lengths, reverse=True)
    assert first_seed[kinds.index(False)].cell.role is Role.CONVERGENCE_CHECK
    places = {entry.cell.id: place for place, entry in enumerate(found)}
    assert all(places[entry.upstream_id] < places[entry.cell.id] for entry in found if entry.upstream_id)


def test_a_convergence_check_is_seed_one_with_four_times_the_schedule(workspace: Workspace) -> None:
    text = BLOCK.replace("[50]", "[50, 1.0]\nconvergence_check_at = [1.0]")
    found = plan_of(text, workspace, head="seeds = 2\n")
    (check,) = [entry.cell for entry in found.cells if entry.cell.role is Role.CONVERGENCE_CHECK]
    (plain,) = [entry.cell for entry in found.cells if entry.cell.id == "digits.n1197.vit_micro.scratch.micro-scratch.s1"]
    assert check.id == "digits.n1197.vit_micro.scratch.micro-scratch+4x.s1"
    assert check.recipe.name.endswith(CONVERGENCE_SUFFIX)
    assert check.recipe.steps == 4 * plain.recipe.steps
    assert check.recipe.warmup_steps == 4 * plain.recipe.warmup_steps
    fields = {"name", "steps", "warmup_steps"}
    assert check.recipe.model_dump(exclude=fields) == plain.recipe.model_dump(exclude=fields)


def test_steps_follow_the_size_upstream_and_in_checks_too(workspace: Workspace) -> None:
    recipe = """
[recipe.sized]
base = "micro-scratch"
steps_at = [{ up_to_images = 100, steps = 30, warmup_steps = 3 }]
[recipe.up]
base = "micro-upstream"
steps_at = [{ up_to_images = 500, steps = 40, warmup_steps = 4 }]
"""
    text = UPSTREAM.replace("[50]", "[50, 200]\nconvergence_check_at = [50]").replace('"micro-finetune"', '"sized"')
    found = plan_of(recipe + text.replace('"micro-upstream"', '"up"'), workspace)
    steps = {
        (entry.cell.num_train_images, entry.cell.role): (entry.cell.recipe.steps, entry.cell.recipe.warmup_steps)
        for entry in found.cells
        if entry.cell.model.name == "vit_micro"
    }
    assert steps == {
        (50, Role.STUDY): (30, 3),
        (200, Role.STUDY): (800, 80),
        (50, Role.CONVERGENCE_CHECK): (120, 12),
        (200, Role.UPSTREAM): (40, 4),
        (2000, Role.UPSTREAM): (600, 60),
    }
    assert all(not entry.cell.recipe.steps_at for entry in found.cells)


def test_seeds_begin_where_the_profile_says(workspace: Workspace) -> None:
    checked = BLOCK.replace("size = [50]", "size = [50]\nconvergence_check_at = [50]")
    found = plan_of(checked, workspace, head="seeds = 2\nfirst_seed = 101\n")
    assert sorted((entry.cell.seed, entry.cell.role.value) for entry in found.cells) == [
        (101, "convergence-check"),
        (101, "study"),
        (102, "study"),
    ]


def test_a_check_at_a_size_that_the_block_lacks_is_an_error(workspace: Workspace) -> None:
    assert "cells.0.convergence_check_at names [60]" in told(BLOCK + "convergence_check_at = [60]", workspace)


def test_the_families_train_by_their_own_tuning(workspace: Workspace) -> None:
    text = '[recipe.mine]\nbase = "micro-scratch"\nlr = 0.1\nvit = { lr = 0.5 }\ncnn = { optimizer = "sgd" }\n'
    text += BLOCK.replace("micro-scratch", "mine").replace('["vit_micro"]', '["vit_micro", "resnet_micro"]')
    recipes = {entry.cell.model.family: entry.cell.recipe for entry in plan_of(text, workspace).cells}
    assert (recipes["vit"].lr, recipes["vit"].optimizer) == (0.5, "adamw")
    assert (recipes["cnn"].lr, recipes["cnn"].optimizer) == (0.1, "sgd")


# Recipes


def recipes_of(text: str, workspace: Workspace) -> dict[str, tuple[int, float, FamilyTuning]]:
    path = workspace.home / "p.toml"
    path.write_text(f'name = "p"\n{text}{BLOCK}', encoding="utf-8")
    found = resolve_recipes(load_profile(str(path)), load_catalog())
    return {name: (recipe.steps, recipe.lr, recipe.vit) for name, recipe in found.items()}


def test_a_chain_of_bases_is_followed(workspace: Workspace) -> None:
    text = '[recipe.c]\nbase = "b"\nlr = 0.5\n[recipe.b]\nbase = "a"\n'
    text += '[recipe.a]\nbase = "micro-scratch"\nsteps = 99999\nlr = 0.25\n'
    found = recipes_of(text, workspace)
    assert found["a"][:2] == found["b"][:2] == (99999, 0.25)
    assert found["c"][:2] == (99999, 0.5)


def test_a_familys_table_is_changed_field_by_field(workspace: Workspace) -> None:
    text = '[recipe.a]\nbase = "micro-scratch"\nvit = { lr = 0.5, weight_decay = 0.1 }\n'
    text += '[recipe.b]\nbase = "a"\nvit = { lr = 0.25 }\n'
    assert recipes_of(text, workspace)["b"][2] == FamilyTuning(lr=0.25, weight_decay=0.1)


def test_a_recipe_may_stand_in_for_one_of_the_catalogue(workspace: Workspace) -> None:
    text = '[recipe.micro-scratch]\nbase = "micro-scratch"\nsteps = 77777\n[recipe.b]\nbase = "micro-scratch"\n'
    found = recipes_of(text, workspace)
    assert found["micro-scratch"][0] == found["b"][0] == 77777


@pytest.mark.parametrize(
    ("text", "circle"),
    [
        ('[recipe.a]\nbase = "b"\n[recipe.b]\nbase = "c"\n[recipe.c]\nbase = "a"\n', "a → b → c → a"),
        ('[recipe.a]\nbase = "a"\n', "a → a"),
    ],
)
def test_a_circle_is_an_error(text: str, circle: str, workspace: Workspace) -> None:
    assert f"in a circle: {circle}" in told(text + BLOCK, workspace)


def test_a_missing_base_is_an_error_with_the_nearest_name(workspace: Workspace) -> None:
    error = told('[recipe.a]\nbase = "micro-scrach"\n' + BLOCK, workspace)
    assert "recipe.a.base: there is no recipe 'micro-scrach'" in error
    assert "did you mean 'micro-scratch'?" in error


def test_a_patch_that_does_not_fit_its_base_is_an_error(workspace: Workspace) -> None:
    error = told('[recipe.a]\nbase = "micro-scratch"\nsteps = 1\n' + BLOCK, workspace)
    assert "recipe.a on top of 'micro-scratch' is not valid" in error
    assert "must be fewer than steps 1." in error


# Names


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('["digits"]', '["digitz"]', "cells.0.dataset: there is no data set 'digitz'"),
        ('["vit_micro"]', '["vit_mikro"]', "cells.0.model: there is no model 'vit_mikro'"),
        ('"micro-scratch"', '"micro-scrtch"', "cells.0.recipe: there is no recipe 'micro-scrtch'"),
        (
            "[50]",
            '[50]\ninit = ["upstream:gliphs@200"]\nupstream_recipe = "micro-upstream"',
            "cells.0.init: there is no data set",
        ),
        ("[50]", '[50]\ninit = ["upstream:glyphs@200"]\nupstream_recipe = "up"', "cells.0.upstream_recipe: there is no recipe"),
    ],
)
def test_an_unknown_name_is_told_with_its_place(old: str, new: str, expected: str, workspace: Workspace) -> None:
    error = told(BLOCK.replace(old, new), workspace)
    assert expected in error
    assert "known here: " in error


def test_an_unknown_claim_is_told(workspace: Workspace) -> None:
    with pytest.raises(ProfileError, match="claims: there is no claim 'nosuch'"):
        plan_of(BLOCK, workspace, head='claims = ["nosuch"]\n')


CNN = 'family = "cnn"\nstage_widths = [4]\nstage_depths = [1]\n'


@pytest.mark.parametrize(
    ("text", "kind", "twins"),
    [
        ('[[dataset]]\nname = "a b"\npath = "x"\n[[dataset]]\nname = "a/b"\npath = "y"\n', "data set", "'a/b' 'a b'"),
        ('[[dataset]]\nname = "a"\npath = "x"\n[[dataset]]\nname = "a"\npath = "y"\n', "data set", "'a' 'a'"),
        ('[[dataset]]\nname = "digits"\npath = "x"\n', "data set", "'digits' 'digits'"),
        (f'[[model]]\nname = "a b"\n{CNN}[[model]]\nname = "a?b"\n{CNN}', "model", "'a?b' 'a b'"),
        (f'[[model]]\nname = "vit_micro"\n{CNN}', "model", "'vit_micro' 'vit_micro'"),
        ('[recipe."a b"]\nbase = "micro-scratch"\n[recipe."a:b"]\nbase = "micro-scratch"\n', "recipe", "'a:b' 'a b'"),
    ],
)
def test_names_that_are_one_on_disk_are_refused(text: str, kind: str, twins: str, workspace: Workspace) -> None:
    error = told(text + BLOCK, workspace)
    mine, other = twins.split("' '")
    assert f"The {kind} {mine}' of the profile has the same name on disk as '{other}" in error


def test_two_different_cells_with_one_id_are_refused(workspace: Workspace) -> None:
    other = UPSTREAM.replace('"micro-upstream"', '"micro-scratch"')
    error = told(UPSTREAM + other, workspace)
    assert "cells.1: two different cells share the id" in error
    assert "they differ in upstream_recipe" in error


def test_the_same_cell_in_two_blocks_stands_once(workspace: Workspace) -> None:
    assert len(plan_of(BLOCK + BLOCK, workspace).cells) == 1


def test_a_cell_of_the_study_that_others_start_from_is_both(workspace: Workspace) -> None:
    study = BLOCK.replace("digits", "glyphs").replace("50", "200").replace("micro-scratch", "micro-upstream")
    for text in (study + UPSTREAM, UPSTREAM + study):
        (both,) = [entry for entry in plan_of(text, workspace).cells if entry.cell.id.startswith("glyphs.n200.vit_micro.")]
        assert both.cell.role is Role.STUDY
        assert both.is_upstream


# What does not fit


def test_patches_must_fit_the_images_before_and_after_fetching(workspace: Workspace) -> None:
    text = '[[model]]\nname = "v3"\nfamily = "vit"\npatch_size = 3\nwidth = 8\ndepth = 1\nnum_heads = 1\n'
    text += BLOCK.replace("vit_micro", "v3")
    for facts in (spine.FACTS, {}):
        assert "v3 cuts patches of 3 px, which do not fit the 8 px images of 'digits'" in told(text, workspace, facts)


@pytest.mark.parametrize(("field", "value"), [("image_size", 16), ("num_channels", 3)])
def test_upstream_images_must_have_the_shape_of_the_others(field: str, value: int, workspace: Workspace) -> None:
    facts = {**spine.FACTS, "glyphs": replace(spine.FACTS["glyphs"], **{field: value})}
    assert f"upstream 'glyphs' has {field} {value}, 'digits' has {field} {getattr(DIGITS, field)}" in told(
        UPSTREAM, workspace, facts
    )


def test_a_data_set_of_ones_own_before_and_after_it_is_fetched(workspace: Workspace) -> None:
    text = '[[dataset]]\nname = "own"\npath = "own.npz"\n' + BLOCK.replace("digits", "own").replace("[50]", "[50, 0.5]")
    before = plan_of(text, workspace, {})
    assert before.unsized == ("own",)
    assert [(entry.cell.num_train_images, entry.status) for entry in before.cells] == [(50, CellStatus.UNFETCHED)]
    assert before.cells[0].reason == "data set own is not fetched"
    after = plan_of(text, workspace, {"own": replace(DIGITS, num_train_images=300)})
    assert after.unsized == ()
    assert sorted(entry.cell.num_train_images for entry in after.cells) == [50, 150]
    assert {entry.status for entry in after.cells} == {CellStatus.PENDING}


def test_a_data_set_without_path_is_refused(workspace: Workspace) -> None:
    assert "Data set 'own' has no path" in told('[[dataset]]\nname = "own"\n' + BLOCK, workspace)


# State


def states(plan: Plan) -> dict[str, tuple[CellStatus, str]]:
    return {entry.cell.id: (entry.status, entry.reason) for entry in plan.cells}


def test_unfetched_data_are_named_for_both_ends(workspace: Workspace) -> None:
    found = states(plan_of(UPSTREAM, workspace, {"digits": DIGITS}))
    assert {status for status, _ in found.values()} == {CellStatus.UNFETCHED}
    assert {reason for _, reason in found.values()} == {"data set glyphs is not fetched"}


def test_a_failed_cell_is_failed_and_what_starts_from_it_blocked(workspace: Workspace) -> None:
    before = plan_of(UPSTREAM, workspace)
    failed = next(entry for entry in before.cells if entry.is_upstream)
    fail(failed, workspace)
    found = states(plan_of(UPSTREAM, workspace))
    assert found[failed.cell.id] == (CellStatus.FAILED, "it broke")
    blocked = [cell_id for cell_id, (status, _) in found.items() if status is CellStatus.BLOCKED]
    assert blocked == [entry.cell.id for entry in before.cells if entry.upstream_id == failed.cell.id]
    assert found[blocked[0]][1] == f"its upstream cell {failed.cell.id} failed"


def fail(entry: PlannedCell, workspace: Workspace) -> None:
    assert entry.fingerprint
    failure = Failure(
        cell_id=entry.cell.id,
        fingerprint=entry.fingerprint,
        kind="E",
        message="it broke",
        remedy="mend it",
        traceback="",
        failed_at="2020-01-01T00:00:00+00:00",
    )
    write_failure(workspace.run_dir(entry.cell.id, entry.fingerprint), failure)


CELL = "dots.n12.tiny_vit.scratch.plain.s1"


def state_of(cell_id: str, profile: Path, home: Path) -> PlannedCell:
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    return next(entry for entry in context.plan().cells if entry.cell.id == cell_id)


def test_a_finished_cell_is_done_with_its_record(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    entry = state_of(CELL, profile, home)
    assert entry.status is CellStatus.DONE
    assert entry.record == read_record(spine.cell_dir(home, CELL))


def test_a_failure_beside_a_record_does_not_count(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    (spine.cell_dir(home, CELL) / FAILURE).write_text("{")
    assert state_of(CELL, profile, home).status is CellStatus.DONE


@pytest.mark.parametrize("name", [RECORD, PREDICTIONS])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_cell_is_pending_and_the_file_is_named(name: str, damage: str, tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    path = spine.cell_dir(home, CELL) / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:20] if damage == "cut" else content.replace(b'"fingerprint":"', b'"fingerprint":"0')[::-1])
    entry = state_of(CELL, profile, home)
    assert entry.status is CellStatus.PENDING
    assert entry.record is None
    assert (str(path.relative_to(home)) in entry.reason) == (not (name == RECORD and damage == "gone"))


def test_a_record_of_another_cell_does_not_count(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    path = spine.cell_dir(home, CELL) / RECORD
    other = spine.cell_dir(home, "dots.n12.tiny_vit.scratch.plain.s2") / RECORD
    path.write_bytes(other.read_bytes())
    entry = state_of(CELL, profile, home)
    assert entry.status is CellStatus.PENDING
    assert "it belongs to the cell with fingerprint" in entry.reason


def test_ten_thousand_cells_are_planned(workspace: Workspace) -> None:
    text = BLOCK.replace("[50]", "[50, 100, 200, 400, 1.0]").replace('["vit_micro"]', '["vit_micro", "resnet_micro"]')
    found = plan_of(text, workspace, head="seeds = 1000\n")
    assert len({entry.fingerprint for entry in found.cells}) == 10_000


def test_a_long_id_still_makes_a_folder(workspace: Workspace) -> None:
    long = "x" * 100
    text = f'[recipe.{long}]\nbase = "micro-finetune"\n[[model]]\nname = "{long}"\n{CNN}'
    text += UPSTREAM.replace('"micro-finetune"', f'"{long}"').replace('"vit_micro", "resnet_micro"', f'"{long}"')
    entry = plan_of(text, workspace).cells[-1]
    fail(entry, workspace)
    assert states(plan_of(text, workspace))[entry.cell.id][0] is CellStatus.FAILED
