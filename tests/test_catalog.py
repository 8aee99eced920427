"""The catalogue is whole, and profiles are found by name or path."""

import os
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from repro.catalog import load_catalog, load_profile, shipped_profiles
from repro.errors import ProfileError
from repro.plan import make_plan
from repro.spec import DatasetSource, slug
from repro.workspace import Workspace


@pytest.mark.parametrize("kind", ["dataset", "host", "model", "recipe", "claim"])
def test_every_entry_has_a_name_of_its_own(kind: str) -> None:
    rows = tomllib.loads((resources.files("repro.catalog") / f"{kind}s.toml").read_text(encoding="utf-8"))[kind]
    names = [slug(row.get("name") or row["id"]) for row in rows]
    assert len(names) == len(set(names)) > 0
    assert len(getattr(load_catalog(), f"{kind}s")) == len(rows)


@pytest.mark.parametrize("kind", ["checkpoint", "pair"])
def test_checkpoints_and_pairs_have_names_of_their_own(kind: str) -> None:
    rows = tomllib.loads((resources.files("repro.catalog") / "checkpoints.toml").read_text(encoding="utf-8"))[kind]
    names = [slug(row["name"]) for row in rows]
    assert len(names) == len(set(names)) == len(getattr(load_catalog(), f"{kind}s")) > 0


def test_every_checkpoint_says_what_stands_beside_a_pair_in_the_report() -> None:
    catalog = load_catalog()
    for checkpoint in catalog.checkpoints.values():
        assert checkpoint.title, checkpoint.name
        assert checkpoint.upstream in ("ImageNet-1k", "ImageNet-21k"), checkpoint.name
        assert checkpoint.num_upstream_images > 10**6
        assert checkpoint.upstream_recipe, checkpoint.name
        assert checkpoint.license, checkpoint.name
        assert checkpoint.citation, checkpoint.name
        assert checkpoint.num_parameters, checkpoint.name
        assert checkpoint.forward_macs, checkpoint.name
        assert (checkpoint.imagenet_top1 is None) == (not checkpoint.imagenet_source)
        assert checkpoint.file, checkpoint.name
        for file in checkpoint.file:
            assert file.host in catalog.hosts or file.host.startswith("https://")
            assert file.host != "pytorch" or re.search("-[0-9a-f]{8}[.]pth$", file.name), "the name tells its digest"


def test_pairs_and_published_numbers_name_checkpoints_with_the_same_upstream_data() -> None:
    catalog = load_catalog()
    for pair in catalog.pairs.values():
        members = [catalog.checkpoints[name] for name in (*pair.vit, *pair.cnn)]
        assert {catalog.checkpoints[name].family for name in pair.vit} == {"vit"}
        assert {catalog.checkpoints[name].family for name in pair.cnn} == {"cnn"}
        assert len({member.upstream for member in members}) == 1, pair.name
        assert pair.reason
    for result in catalog.published:
        assert result.model in catalog.checkpoints
        assert result.dataset in catalog.datasets
        assert result.recipe in (None, *catalog.recipes)


def test_every_entry_says_where_it_comes_from() -> None:
    catalog = load_catalog()
    assert all(spec.citation for spec in (*catalog.datasets.values(), *catalog.models.values()))
    assert all(recipe.reason for recipe in catalog.recipes.values())
    assert all(claim.source and claim.published and claim.reason for claim in catalog.claims.values())


def test_every_file_that_is_fetched_has_a_known_host_and_the_official_one_a_digest() -> None:
    catalog = load_catalog()
    fetched = [spec for spec in catalog.datasets.values() if spec.source is DatasetSource.FETCHED]
    assert {spec.name for spec in fetched} == {"cifar10", "cifar100", "tinyimagenet", "tinyimagenet32"}
    for spec in fetched:
        files = [file for distribution in spec.distribution for file in distribution.file]
        assert {file.host for file in files} <= catalog.hosts.keys()
        assert all(file.sha256 and file.md5 and file.size_bytes for file in spec.distribution[0].file)
        assert len(spec.distribution) > 1, "a mirror, for the official hosts are slow or down at times"


def test_every_address_can_be_replaced_through_the_environment() -> None:
    hosts = load_catalog().hosts.values()
    variables = [name for host in hosts for name in (host.mirror_variable, host.endpoint_variable) if name]
    assert len(variables) == len(set(variables)) >= len(hosts)
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in variables)


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_smaller_profile_is_one_that_is_shipped(name: str) -> None:
    assert load_profile(name).smaller in (None, *shipped_profiles())


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_shipped_profile_can_be_planned(name: str, workspace: Workspace) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.description
    plan = make_plan(profile, load_catalog(), {}, workspace)
    assert plan.cells
    assert not plan.unsized


def test_paths_in_a_profile_count_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    text = 'name = "p"\n[[dataset]]\nname = "x"\npath = "../x.npz"\n'
    text += '[[cells]]\ndataset = ["x"]\nsize = [5]\nmodel = ["vit_micro"]\nrecipe = "micro-scratch"\n'
    (tmp_path / "sub" / "p.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    path = load_profile("sub/p.toml").dataset[0].path
    assert path is not None
    assert path.is_absolute()
    assert os.path.normpath(path) == str(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["nosuch", "no/such.toml", "~nobody-of-that-name/x.toml", "x" * 5000, "."])
def test_an_unknown_profile_is_told_with_the_known_ones(name: str) -> None:
    with pytest.raises(ProfileError, match="There is no profile") as caught:
        load_profile(name)
    assert "demo" in caught.value.remedy


def test_broken_toml_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('name = "p"\nseeds = \n')
    with pytest.raises(ProfileError, match=r"p\.toml is not valid TOML: .*line 2"):
        load_profile(str(path))


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(str(path))
