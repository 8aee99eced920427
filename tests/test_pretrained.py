"""Models whose weights a local mirror serves: one command from an empty home to claims in the report, and all that fails."""

import json
from collections.abc import Iterator
from pathlib import Path

import mirror
import pytest
import spine
from unruly_server import UnrulyServer

from repro.analysis.assemble import read_results_csv
from repro.records import CellStatus, Record
from repro.spec import Role

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[UnrulyServer]:
    with UnrulyServer() as running:
        yield running


def run_all(profile: Path, home: Path, server: UnrulyServer, *options: str) -> tuple[int, str, str]:
    done = spine.vitrepro(
        "all", "--profile", profile, "--home", home, "--device", "cpu", *options, environment=mirror.environment(server)
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def records(home: Path) -> dict[str, Record]:
    found = (path / "record.json" for path in (home / "runs").iterdir())
    return {
        record.cell.id: record for path in found if path.exists() for record in [Record.model_validate_json(path.read_text())]
    }


def states(home: Path) -> dict[str, set[CellStatus]]:
    """States of the cells of each model."""
    found: dict[str, set[CellStatus]] = {}
    for row in read_results_csv((home / "report" / "served" / "results.csv").read_text()):
        found.setdefault(row.model, set()).add(row.status)
    return found


def test_one_command_from_an_empty_home_to_claims(server: UnrulyServer, tmp_path: Path) -> None:
    served = mirror.serve_all(server)
    profile, home = mirror.write_study(tmp_path / "study", served), tmp_path / "home"
    code, out, err = run_all(profile, home, server)
    assert code == 0, err
    results = json.loads((home / "report" / "served" / "results.json").read_text())
    [claim] = results["claims"]
    assert (claim["id"], claim["vit"]) == ("pretrained-vit-ahead", mirror.VIT)
    assert claim["cnn"] == f"{mirror.OLD_CNN} and {mirror.NEW_CNN}"
    assert claim["verdict"] in ("supported", "contradicted", "inconclusive")
    assert len(claim["points"]) == 2
    page = Path(out.strip().splitlines()[-1]).read_text()
    assert "A served ViT against two served ResNets" in page
    found = records(home)
    assert len(found) == mirror.NUM_CELLS
    for record in found.values():
        assert record.weights_sha256
        what = {choice.what for choice in record.choices}
        assert {"normalisation", "micro-batch"} <= what
        if record.cell.role is Role.LR_SEARCH:
            assert record.test_accuracy is None, "no choice is ever made on the test set"
            assert record.dev_accuracy is not None
        else:
            assert "learning rate" in what
            assert record.lr in (0.003, 0.03)
    # Nothing is asked for a second time, and nothing is trained again.
    asked = len(server.requests)
    assert run_all(profile, home, server)[0] == 0
    assert len(server.requests) == asked
    assert records(home) == found
    verified = spine.vitrepro("verify", home, "--profile", profile, "--json")
    assert verified.returncode == 0, verified.stdout
    parts = {part["name"]: part["num_compared"] for part in json.loads(verified.stdout)["parts"]}
    assert parts["weights"] == 2 * 3, "manifest and file of each"
    weights = next((home / "weights").glob("*/*.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"x")
    verified = spine.vitrepro("verify", home, "--profile", profile)
    assert verified.returncode == 4
    assert f"! {weights.relative_to(home)} sha256: expected" in verified.stdout


def test_a_checkpoint_that_is_taken_away_blocks_its_cells_and_the_rest_runs(server: UnrulyServer, tmp_path: Path) -> None:
    served = mirror.serve_all(server)
    profile, home = mirror.write_study(tmp_path / "study", served), tmp_path / "home"
    fetched = spine.vitrepro("fetch", "--profile", profile, "--home", home, "--json", environment=mirror.environment(server))
    assert fetched.returncode == 0, fetched.stderr
    assert {row["name"] for row in json.loads(fetched.stdout)} == {"shapes", mirror.VIT, mirror.OLD_CNN, mirror.NEW_CNN}
    [weights] = (home / "weights").glob("served_vit*/model.safetensors")
    weights.unlink()
    done = spine.vitrepro("run", "--profile", profile, "--home", home, "--device", "cpu")
    assert done.returncode == 3, done.stderr
    assert {record.cell.model.name for record in records(home).values()} == {mirror.OLD_CNN, mirror.NEW_CNN}
    assert len(records(home)) == 2 * 5
    plan = spine.vitrepro("plan", "--profile", profile, "--home", home, "--json")
    blocked = [row for row in json.loads(plan.stdout) if row["status"] == "blocked"]
    assert {row["id"].split(".")[2] for row in blocked} == {"served_vit"}
    assert len(blocked) == 5
    assert all("model.safetensors" in row["reason"] for row in blocked)


def test_weights_that_cannot_be_had_cost_their_own_cells_only(server: UnrulyServer, tmp_path: Path) -> None:
    served = mirror.serve_all(server)
    profile, home = mirror.write_study(tmp_path / "study", served), tmp_path / "home"
    server.serve("timm/test_vit.r160_in1k/resolve/abc/model.safetensors", status_always=403)
    code, _, err = run_all(profile, home, server)
    assert code == 3
    assert err.count("HTTP 403") + err.count("403 Forbidden") >= 1, err
    assert states(home) == {
        mirror.VIT: {CellStatus.BLOCKED},
        mirror.OLD_CNN: {CellStatus.DONE},
        mirror.NEW_CNN: {CellStatus.DONE},
    }
    page = (home / "report" / "served" / "report.html").read_text()
    assert "blocked" in page
    # Once the host lets us, the same command does the rest.
    mirror.serve_all(server)
    assert run_all(profile, home, server)[0] == 0
    assert states(home)[mirror.VIT] == {CellStatus.DONE}


def test_only_picks_a_model_and_fetches_no_other(server: UnrulyServer, tmp_path: Path) -> None:
    served = mirror.serve_all(server)
    profile, home = mirror.write_study(tmp_path / "study", served), tmp_path / "home"
    code, _, err = run_all(profile, home, server, "--only", "*served_vit*")
    assert code == 0, err
    assert {record.cell.model.name for record in records(home).values()} == {mirror.VIT}
    assert {seen.path.partition("/resolve")[0] for seen in server.requests} == {"timm/test_vit.r160_in1k"}
