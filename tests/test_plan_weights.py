"""Cells that start from published weights, and the search for their learning rate: expansion, order, state."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import spine

from repro.catalog import load_catalog, load_profile
from repro.errors import ProfileError, TrainingDiverged
from repro.plan import Plan, PlannedCell, WeightsState, chosen_rate, make_plan
from repro.records import CellStatus, Failure, Record, write_failure
from repro.spec import CheckpointSpec, Role
from repro.workspace import Workspace

VIT = "timm/deit_tiny_patch16_224.fb_in1k"
CNN = "torchvision/resnet18.IMAGENET1K_V1"
BLOCK = f"""
[[cells]]
dataset = ["digits"]
size = [50, 1.0]
model = ["{VIT}", "{CNN}"]
init = ["pretrained"]
recipe = "finetune-short"
"""
ID = "digits.n50.timm_deit_tiny_patch16_224_fb_in1k.pretrained.finetune-short.s1"
THERE = WeightsState(digest="a" * 64, problem="")
Look = Callable[[CheckpointSpec], WeightsState | None]


def plan_of(text: str, workspace: Workspace, *, weights: Look = lambda _: THERE, head: str = "seeds = 2\n") -> Plan:
    path = workspace.home / "p.toml"
    path.write_text(f'name = "p"\n{head}{text}', encoding="utf-8")
    return make_plan(load_profile(str(path)), load_catalog(), spine.FACTS, workspace, weights)


def told(text: str, workspace: Workspace) -> str:
    with pytest.raises(ProfileError) as caught:
        plan_of(text, workspace)
    return f"{caught.value.message} {caught.value.remedy}"


def by_id(plan: Plan) -> dict[str, PlannedCell]:
    return {entry.cell.id: entry for entry in plan.cells}


def test_a_rate_is_searched_once_for_each_checkpoint_on_the_full_training_part(workspace: Workspace) -> None:
    plan = plan_of(BLOCK, workspace)
    searches = [entry.cell for entry in plan.cells if entry.cell.role is Role.LR_SEARCH]
    assert len(searches) == 2 * 4, "four rates for either model, whatever the sizes and seeds"
    assert {cell.num_train_images for cell in searches} == {1197}
    assert {cell.recipe.dev_fraction for cell in searches} == {0.02}
    assert {cell.recipe.lr for cell in searches} == {0.001, 0.003, 0.01, 0.03}
    assert all(cell.recipe.steps == 500 and not cell.recipe.lr_grid and cell.seed == 1 for cell in searches)
    study = [entry for entry in plan.cells if entry.cell.role is Role.STUDY]
    assert len(study) == 2 * 2 * 2
    for entry in study:
        assert [search.partition(".n1197.")[2] for search in entry.search_ids] == [
            f"{entry.cell.id.split('.')[2]}.pretrained.finetune-short+lr{rate}.s1"
            for rate in ("0_001", "0_003", "0_01", "0_03")
        ]
        assert entry.needs == entry.search_ids


def test_what_others_need_runs_first_and_the_longer_run_uses_the_same_search(workspace: Workspace) -> None:
    plan = plan_of(BLOCK + "convergence_check_at = [1.0]\n", workspace)
    order = [entry.cell.role for entry in plan.cells if entry.cell.seed == 1]
    assert order == sorted(order, key=lambda role: role is not Role.LR_SEARCH)
    checks = [entry for entry in plan.cells if entry.cell.role is Role.CONVERGENCE_CHECK]
    assert len(checks) == 2
    for check in checks:
        assert check.cell.recipe.steps == 2000
        plain = next(entry for entry in plan.cells if entry.cell.id == check.cell.id.replace("+4x", ""))
        assert check.search_ids == plain.search_ids


def test_a_search_waits_for_the_number_of_images(workspace: Workspace) -> None:
    text = '[[dataset]]\nname = "own"\npath = "own.npz"\n' + BLOCK.replace('["digits"]', '["own"]').replace("[50, 1.0]", "[50]")
    plan = plan_of(text, workspace)
    assert (plan.cells, plan.unsized) == ((), ("own",))


def test_a_rate_of_ones_own_needs_no_search(workspace: Workspace) -> None:
    text = '[recipe.mine]\nbase = "finetune-short"\nlr = 0.02\n' + BLOCK.replace('"finetune-short"', '"mine"')
    plan = plan_of(text, workspace)
    assert {entry.cell.role for entry in plan.cells} == {Role.STUDY}
    assert {(entry.cell.recipe.lr, entry.cell.recipe.lr_grid) for entry in plan.cells} == {(0.02, ())}


def test_the_search_counts_in_the_fingerprint_and_so_do_the_weights(workspace: Workspace) -> None:
    plain = by_id(plan_of(BLOCK, workspace))[ID].fingerprint
    other_weights = by_id(plan_of(BLOCK, workspace, weights=lambda _: replace(THERE, digest="b" * 64)))[ID].fingerprint
    grid = '[recipe.finetune-short]\nbase = "finetune-short"\nlr_grid = [0.001, 0.003]\n'
    other_grid = by_id(plan_of(grid + BLOCK, workspace))[ID].fingerprint
    assert len({plain, other_weights, other_grid}) == 3
    assert plain == by_id(plan_of(BLOCK, workspace))[ID].fingerprint


def test_models_with_the_same_weights_digest_but_other_names_stay_apart(workspace: Workspace) -> None:
    found = by_id(plan_of(BLOCK, workspace))
    assert len({entry.fingerprint for entry in found.values()}) == len(found)


def test_weights_that_were_never_fetched_leave_their_cells_unfetched(workspace: Workspace) -> None:
    plan = plan_of(BLOCK, workspace, weights=lambda one: THERE if one.name == CNN else None)
    states = {(entry.cell.model.name, entry.status, entry.reason) for entry in plan.cells}
    assert states == {(CNN, CellStatus.PENDING, ""), (VIT, CellStatus.UNFETCHED, f"weights {VIT} are not fetched")}


@pytest.mark.parametrize("digest", [None, "a" * 64], ids=["never there", "gone"])
def test_weights_that_cannot_be_had_block_their_cells_and_no_others(digest: str | None, workspace: Workspace) -> None:
    problem = WeightsState(digest=digest, problem="no host has it")
    plan = plan_of(BLOCK, workspace, weights=lambda one: THERE if one.name == CNN else problem)
    states = {(entry.cell.model.name, entry.status, entry.reason) for entry in plan.cells}
    assert states == {(CNN, CellStatus.PENDING, ""), (VIT, CellStatus.BLOCKED, "no host has it")}


def test_a_failed_search_blocks_what_needs_it(workspace: Workspace) -> None:
    entry = by_id(plan_of(BLOCK, workspace))[ID]
    search = by_id(plan_of(BLOCK, workspace))[entry.search_ids[1]]
    assert search.fingerprint
    failure = Failure(
        cell_id=search.cell.id,
        fingerprint=search.fingerprint,
        kind="X",
        message="it broke",
        remedy="mend it",
        traceback="",
        failed_at="2026-01-01T00:00:00+00:00",
    )
    folder = workspace.run_dir(search.cell.id, search.fingerprint)
    folder.mkdir(parents=True)
    write_failure(folder, failure)
    found = by_id(plan_of(BLOCK, workspace))
    assert (found[search.cell.id].status, found[search.cell.id].reason) == (CellStatus.FAILED, "it broke")
    assert found[ID].status is CellStatus.BLOCKED
    assert found[ID].reason == f"the search for its learning rate {search.cell.id} failed"
    assert {found[other].status for other in entry.search_ids if other != search.cell.id} == {CellStatus.PENDING}


def test_a_file_is_weights_for_any_model_counted_from_the_profiles_folder(workspace: Workspace) -> None:
    text = BLOCK.replace('["pretrained"]', '["file:sub/mine.pth"]').replace(f', "{CNN}"', "")
    study = [entry.cell for entry in plan_of(text, workspace).cells if entry.cell.role is Role.STUDY]
    path = workspace.home / "sub" / "mine.pth"
    for cell in study:
        assert cell.weights is not None
        assert (cell.weights.path, cell.weights.model) == (path, VIT)
        assert cell.init == f"file:{path}"
        assert ".file-mine." in cell.id
        assert (cell.upstream_dataset, cell.num_upstream_images) == ("", 0), "nobody knows what it was trained on"


def test_two_files_of_one_name_are_told_apart_or_refused(workspace: Workspace) -> None:
    text = BLOCK.replace('["pretrained"]', '["file:a/mine.pth", "file:b/mine.pth"]')
    assert "two different cells share the id" in told(text, workspace)
    paths = [Path("/a/mine.pth"), Path("/b/mine.pth")]
    keys = {CheckpointSpec(name=VIT, family="vit", path=path).key for path in paths}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("name", "family", "upstream"),
    [
        ("timm/convnext_tiny.fb_in1k", "cnn", "ImageNet-1k"),
        ("timm/vit_small_patch16_224.augreg_in21k", "vit", "ImageNet-21k"),
        ("timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "vit", "ImageNet-21k"),
        ("timm/resnet50.fb_swsl_ig1b_ft_in1k", "cnn", ""),
        ("torchvision/mobilenet_v3_small.IMAGENET1K_V1", "cnn", "ImageNet-1k"),
        ("torchvision/swin_t.IMAGENET1K_V1", "vit", "ImageNet-1k"),
    ],
)
def test_any_name_of_the_libraries_is_one_line(name: str, family: str, upstream: str, workspace: Workspace) -> None:
    plan = plan_of(BLOCK.replace(VIT, name), workspace)
    cell = next(entry.cell for entry in plan.cells if entry.cell.model.name == name)
    assert (cell.model.family, cell.upstream_dataset) == (family, upstream)


def test_a_name_of_unknown_family_is_told_how_to_say_it_and_then_taken(workspace: Workspace) -> None:
    text = BLOCK.replace(VIT, "timm/coatnet_0_rw_224.sw_in1k")
    message = told(text, workspace)
    assert "cells.0.model: the kit cannot tell on which side 'timm/coatnet_0_rw_224.sw_in1k' stands" in message
    assert 'family = "vit" or "cnn"' in message
    plan = plan_of('[[model]]\nname = "timm/coatnet_0_rw_224.sw_in1k"\nfamily = "vit"\n' + text, workspace)
    assert any(entry.cell.model.name.startswith("timm/coatnet") for entry in plan.cells)


def test_an_unknown_name_without_library_is_told_with_near_ones(workspace: Workspace) -> None:
    assert "there is no model 'vit_mikro'" in told(BLOCK.replace(VIT, "vit_mikro"), workspace)
    assert "did you mean 'vit_micro'" in told(BLOCK.replace(VIT, "vit_mikro"), workspace)


def test_an_in_house_model_has_no_published_weights(workspace: Workspace) -> None:
    message = told(BLOCK.replace(VIT, "vit_micro"), workspace)
    assert "cells.0.init: no published weights are known for 'vit_micro'" in message


def test_a_checkpoint_of_ones_own_gives_a_name_its_weights_or_takes_a_shipped_ones_place(workspace: Workspace) -> None:
    own = """
[[checkpoint]]
name = "NAME"
architecture = "timm/deit_tiny_patch16_224.fb_in1k"
family = "vit"
upstream = "My images"
num_upstream_images = 5
[[checkpoint.file]]
host = "https://example.org/weights"
path = "mine-0123abcd.pth"
"""
    for name in ("my-deit", VIT):
        plan = plan_of(own.replace("NAME", name) + BLOCK.replace(VIT, name), workspace)
        cell = next(entry.cell for entry in plan.cells if entry.cell.model.name == name)
        assert cell.model.library_name == VIT
        assert cell.weights
        assert cell.weights.file[0].name == "mine-0123abcd.pth"
        assert (cell.upstream_dataset, cell.num_upstream_images) == ("My images", 5)


def test_a_probe_is_not_trained_longer(workspace: Workspace) -> None:
    text = BLOCK.replace('"finetune-short"', '"few-shot"')
    assert {entry.cell.role for entry in plan_of(text, workspace).cells} == {Role.STUDY}
    assert "fits a head to frozen features" in told(text + "convergence_check_at = [1.0]\n", workspace)


@pytest.mark.parametrize(("recipe", "why"), [("finetune-short", "has a grid of rates"), ("few-shot", "trains the head only")])
def test_what_cannot_pre_train_is_no_upstream_recipe(recipe: str, why: str, workspace: Workspace) -> None:
    text = BLOCK.replace('["pretrained"]', '["upstream:glyphs@200"]') + f'upstream_recipe = "{recipe}"\n'
    message = told(text, workspace)
    assert "cells.0.upstream_recipe" in message
    assert why in message


def test_a_search_from_upstream_weights_starts_from_the_first_seeds(workspace: Workspace) -> None:
    text = """
[recipe.grid]
base = "micro-finetune"
lr_grid = [0.001, 0.01]
[[cells]]
dataset = ["digits"]
size = [50]
model = ["vit_micro"]
init = ["upstream:glyphs@200"]
recipe = "grid"
upstream_recipe = "micro-upstream"
"""
    found = by_id(plan_of(text, workspace))
    upstream = [name for name, entry in found.items() if entry.is_upstream]
    assert len(upstream) == 2
    searches = [entry for entry in found.values() if entry.cell.role is Role.LR_SEARCH]
    assert {entry.upstream_id for entry in searches} == {name for name in upstream if name.endswith(".s1")}
    second = next(entry for entry in found.values() if entry.cell.role is Role.STUDY and entry.cell.seed == 2)
    assert second.needs == (second.upstream_id, *second.search_ids)


def searched(accuracies: dict[float, float | None], workspace: Workspace) -> tuple[PlannedCell, dict[str, PlannedCell]]:
    """A cell whose search has found these dev accuracies, None where training diverged."""
    found = by_id(plan_of(BLOCK, workspace))
    for name in found[ID].search_ids:
        record = Record.model_construct(dev_accuracy=accuracies[found[name].cell.recipe.lr])
        found[name] = replace(found[name], status=CellStatus.DONE, record=record)
    return found[ID], found


def test_the_rate_with_the_best_dev_accuracy_is_chosen_and_the_reason_tells_all(workspace: Workspace) -> None:
    lr, why = chosen_rate(*searched({0.001: 0.5, 0.003: 0.7, 0.01: 0.9, 0.03: 0.2}, workspace))
    assert lr == 0.01
    assert why
    assert why.value == "0.01"
    assert "(0.001: 0.5000, 0.003: 0.7000, 0.01: 0.9000, 0.03: 0.2000)" in why.reason


def test_a_tie_goes_to_the_smaller_rate_and_a_diverged_one_is_never_chosen(workspace: Workspace) -> None:
    assert chosen_rate(*searched({0.001: 0.5, 0.003: 0.9, 0.01: 0.9, 0.03: None}, workspace))[0] == 0.003
    with pytest.raises(TrainingDiverged, match="diverged at every rate of the grid"):
        chosen_rate(*searched(dict.fromkeys((0.001, 0.003, 0.01, 0.03)), workspace))
