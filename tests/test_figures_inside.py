"""The pictures of a ViT's inside: what is compared, what the pixels say, and how much they may weigh."""

import base64
import io

import numpy as np
import pytest
from inside_fixtures import made_up_inside, numbers
from PIL import Image
from report_fixtures import make_row, make_study

from repro.analysis.inside import inside_rows
from repro.figures.inside import MOST_BYTES, inside_panels
from repro.figures.rasters import NUM_COLOURS, in_colour, sheet, signed_colours, smaller
from repro.inside import Inside
from repro.spec import Role


def opened(uri: str) -> Image.Image:
    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def study(**options: object) -> tuple[list[object], dict[str, Inside]]:
    rows = [make_row(cell) for cell in make_study(num_seeds=1) if cell.role is Role.STUDY and cell.model.family == "vit"]
    insides = {row.id: made_up_inside(**options) for row in rows}  # type: ignore[arg-type]
    return list(inside_rows(rows, numbers(insides))), insides


def test_a_sheet_has_its_tiles_where_they_belong_and_gaps_that_let_the_page_through() -> None:
    tiles = np.stack([np.full((2, 2, 3), value, dtype=np.uint8) for value in (10, 60, 110, 160, 210)])
    uri, width, height = sheet(tiles, columns=3, gap=1, enlarged=2)
    image = opened(uri)
    assert image.size == (width, height) == (3 * 4 + 2, 2 * 4 + 1)
    pixels = np.asarray(image.convert("RGBA"))
    assert [int(pixels[0, left, 0]) for left in (0, 5, 10)] == [10, 60, 110]
    assert [int(pixels[8, left, 0]) for left in (0, 8)] == [160, 210]
    assert pixels[:4, 4, 3].max() == 0 and pixels[4, :, 3].max() == 0 and pixels[5:, 10:, 3].max() == 0
    assert pixels[:4, :4, 3].min() == 255


def test_a_sheet_of_many_colours_stays_close_to_them() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    uri, *_ = sheet(tiles, columns=6)
    assert len(np.unique(np.asarray(opened(uri)))) <= NUM_COLOURS + 1
    shown = np.asarray(opened(uri).convert("RGB"))[:, :32].astype(int)
    assert np.abs(shown - tiles[0]).mean() < 30


def test_signed_colours_are_blue_above_and_orange_below() -> None:
    high, zero, low, beyond = signed_colours(np.array([2.0, 0.0, -2.0, 9.0]), largest=2.0).tolist()
    assert high == beyond == [0, 102, 158]
    assert zero == [242, 242, 242] and low == [179, 71, 0]
    assert signed_colours(np.zeros(2), largest=0.0).tolist() == [[242] * 3] * 2


def test_pictures_are_averaged_down() -> None:
    tiles = np.arange(2 * 64 * 64, dtype=np.int64).reshape(2, 64, 64, 1) % 200
    found = smaller(tiles.astype(np.uint8), most=32)
    assert found.shape == (2, 32, 32, 1)
    assert found[1, 3, 4, 0] == pytest.approx(tiles[1, 6:8, 8:10, 0].mean(), abs=0.51)
    assert smaller(tiles[:, :33, :33].astype(np.uint8), most=32).shape == (2, 16, 16, 1)
    assert in_colour(tiles[:, :8, :8].astype(np.uint8)).shape == (2, 8, 8, 3)


def test_pretraining_on_most_images_stands_beside_scratch_at_the_largest_common_size() -> None:
    rows, insides = study()
    [panel] = inside_panels(rows, insides)  # type: ignore[arg-type]
    assert (panel.dataset, panel.model, panel.num_train_images) == ("digits", "vit_micro", 1197)
    assert [column.row.init for column in panel.columns] == ["scratch", "upstream:glyphs@64000"]
    later = {row.cell: row.model_copy(update={"cell": f"{row.cell}-later", "seed": 2}) for row in rows}  # type: ignore[attr-defined]
    both = insides | {f"{cell}-later": inside for cell, inside in insides.items()}
    [same] = inside_panels([*later.values(), *rows], both)  # type: ignore[list-item]
    assert [column.row.seed for column in same.columns] == [1, 1], "pictures of the first seed that has any"
    [second] = inside_panels(list(later.values()), both)
    assert [column.row.seed for column in second.columns] == [2, 2]
    checks = [row.model_copy(update={"role": Role.CONVERGENCE_CHECK}) for row in rows]  # type: ignore[attr-defined]
    assert inside_panels(checks, insides) == ()
    only_given = [row for row in rows if row.init != "scratch"]  # type: ignore[attr-defined]
    [panel] = inside_panels(only_given, insides)  # type: ignore[arg-type]
    assert [column.row.init for column in panel.columns] == ["upstream:glyphs@64000"]


def test_titles_say_the_numbers() -> None:
    rows, insides = study(rise=-0.5)
    [panel] = inside_panels(rows, insides)  # type: ignore[arg-type]
    assert "\u22120.50\u00a0px from scratch and \u22120.50\u00a0px after pre-training" in panel.distances.title
    assert "uniform attention has 4.00\u00a0px" in panel.distances.title
    filters, similarities, rollouts = panel.columns[0].pictures
    assert filters.title == "Filters: 4 of 4 principal components hold 90 % of the variance"
    assert "similarity +0.30 in one row" in similarities.title
    assert "the most attended quarter of the patches gets" in rollouts.title


def test_rollout_darkens_what_is_not_attended_to() -> None:
    rows, insides = study(num_pictures=1)
    attention = np.zeros((1, 4, 4), dtype=np.float16)
    attention[0, 0, 0], attention[0, 3, 3] = 0.8, 0.4
    for inside in insides.values():
        inside.rollouts_IGG[:] = attention
        inside.images_IHWC[:] = 200
    [panel] = inside_panels(inside_rows_of(rows, insides), insides)
    rollouts = panel.columns[0].rollouts
    assert rollouts is not None
    pixels = np.asarray(opened(rollouts.uri).convert("L")).astype(int)
    below = pixels[-64:, :64]
    assert pixels[0, 0] == 200 and below[0, 0] == 200
    assert below[-1, -1] == pytest.approx(100, abs=2) and below[32, 32] == 0


def inside_rows_of(rows: list[object], insides: dict[str, Inside]) -> list[object]:
    wanted = {row.cell for row in rows}  # type: ignore[attr-defined]
    made = [make_row(cell) for cell in make_study(num_seeds=1)]
    return list(inside_rows([row for row in made if row.id in wanted], numbers(insides)))


def test_large_pictures_stay_within_what_they_may_weigh_and_each_architecture_comes_first() -> None:
    rows, insides = [], {}
    for dataset in ("digits", "letters"):
        for vit in ("vit_a", "vit_b", "vit_c"):
            cells = make_study(num_seeds=1, dataset=dataset, vit=vit)
            made = [make_row(cell) for cell in cells if cell.role is Role.STUDY and cell.model.family == "vit"]
            insides |= {row.id: made_up_inside(side=14, channels=3, patch=16, picture=64, num_pictures=8) for row in made}
            rows += inside_rows(made, numbers(insides))
    panels = inside_panels(rows, insides)
    assert 1 <= len(panels) < 6
    assert sum(panel.size_bytes for panel in panels[:-1]) < MOST_BYTES
    assert len(panels) == 1 or sum(panel.size_bytes for panel in panels) <= MOST_BYTES
    assert [panel.model for panel in panels] == ["vit_a", "vit_b", "vit_c"][: len(panels)]
    assert panels[0].size_bytes < 150_000


def test_one_layer_one_patch_and_no_picture_are_drawn_too() -> None:
    rows, insides = study(side=1, num_pictures=0, layers=1, heads=1, structure=0.0)
    [panel] = inside_panels(rows, insides)  # type: ignore[arg-type]
    assert panel.distances.title.startswith("A single layer")
    assert panel.columns[0].rollouts is None
    assert inside_panels(rows, {}) == () and inside_panels([], {}) == ()  # type: ignore[arg-type]
