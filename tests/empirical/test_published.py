"""The importer of published tables, on small files and on open_clip's table where it lies beside the repository."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.errors import DataError
from empirical.published import (
    DEFAULT_COLUMNS,
    DEFAULT_GROUPS,
    REFERENCE_SUBSETS,
    TEST_SETS,
    accuracies_of_groups,
    group_rows,
    read_published,
)
from empirical.robustness import fit_trends
from theory.links import dprime

DATA = Path(__file__).parents[2].parent / "shared" / "data"
OPEN_CLIP = DATA / "openclip_results.csv"
TESTBED = DATA / "imagenet_testbed_top1.csv"


def write_table(path: Path, rows: list[tuple], scale: float = 1.0) -> Path:
    names = [DEFAULT_COLUMNS[role] for role in ("model", "pretrained", *TEST_SETS)]
    table = pd.DataFrame([(*r[:2], *(scale * v for v in r[2:])) for r in rows], columns=pd.Index(names))
    table.to_csv(path, index=False)
    return path


def row(model: str, pretrained: str, level: float) -> tuple:
    return (model, pretrained, *(round(level * f, 6) for f in (1.0, 0.9, 0.95, 0.7, 0.5, 0.8)))


ROWS = [
    row("RN50", "openai", 0.6),
    row("RN101", "openai", 0.62),
    row("ViT-B-32", "openai", 0.633),
    row("RN50", "cc12m", 0.36),
]


def test_accuracies_carry_each_test_sets_own_classes_and_images(tmp_path):
    table = read_published(write_table(tmp_path / "r.csv", ROWS))
    tidy = accuracies_of_groups(table, {"OpenAI": "^openai$"})
    assert len(tidy) == 3 * 6
    for _, r in tidy.iterrows():
        known = TEST_SETS[r["test_set"]]
        assert (r["num_classes"], r["num_images"]) == (known.num_classes, known.num_images)
        assert r["dprime"] == pytest.approx(
            float(dprime(r["num_correct"] / r["num_images"], known.num_classes)), abs=1e-9
        )
    assert TEST_SETS["objectnet"].num_classes == 113
    assert len(fit_trends(tidy, "imagenet")) == 5 * 4


def test_sizes_and_classes_are_the_published_ones():
    assert {name: (known.num_classes, known.num_images) for name, known in TEST_SETS.items()} == {
        "imagenet": (1000, 50_000),
        "imagenet_v2": (1000, 10_000),
        "imagenet_r": (200, 30_000),
        "imagenet_sketch": (1000, 50_889),
        "imagenet_a": (200, 7_500),
        "objectnet": (113, 18_574),
    }
    assert {known.column: known.num_classes for known in REFERENCE_SUBSETS.values()} == {
        "val-on-imagenet-r-classes": 200,
        "val-on-imagenet-a-classes": 200,
        "val-on-objectnet-classes": 113,
    }


def test_percent_needs_to_be_said(tmp_path):
    path = write_table(tmp_path / "r.csv", ROWS, scale=100)
    with pytest.raises(
        DataError,
        match=r"r\.csv, row 2, column 'ImageNet 1k': accuracy 60\.0 lies outside \[0, 1\].*--percent",
    ):
        read_published(path)
    plain = read_published(write_table(tmp_path / "p.csv", ROWS)).rows
    pd.testing.assert_frame_equal(read_published(path, percent=True).rows, plain)


@pytest.mark.parametrize(
    ("cell", "message"),
    [("1.2", "row 4.*1.2 lies outside"), ("-0.1", "lies outside"), ("abc", "'abc' is not a number")],
)
def test_accuracies_that_are_none_name_file_row_and_value(tmp_path, cell, message):
    path = write_table(tmp_path / "r.csv", ROWS)
    lines = path.read_text().splitlines()
    cells = lines[3].split(",")
    cells[3] = cell
    lines[3] = ",".join(cells)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        read_published(path)


def test_a_missing_column_lists_the_columns_there_are(tmp_path):
    path = write_table(tmp_path / "r.csv", ROWS)
    path.write_text(path.read_text().replace("ImageNet 1k", "top1"))
    columns = r"the columns are name, pretrained, top1.*--column imagenet=NAME"
    with pytest.raises(DataError, match=rf"no column 'ImageNet 1k' for imagenet; {columns}"):
        read_published(path)
    assert len(read_published(path, {"imagenet": "top1"}).rows) == 4
    with pytest.raises(DataError, match="no role 'imagnet'; the roles are model, pretrained, imagenet"):
        read_published(path, {"imagnet": "top1"})
    with pytest.raises(DataError, match="no column 'sketchy' for imagenet_sketch"):
        read_published(path, {"imagenet": "top1", "imagenet_sketch": "sketchy"})


def test_shifts_that_a_table_lacks_are_left_out(tmp_path):
    path = write_table(tmp_path / "r.csv", ROWS)
    pd.read_csv(path).drop(columns=["ObjectNet", "ImageNet-A"]).to_csv(path, index=False)
    assert read_published(path).test_sets == ("imagenet", "imagenet_v2", "imagenet_r", "imagenet_sketch")
    pd.read_csv(path).iloc[:, :3].to_csv(path, index=False)
    with pytest.raises(DataError, match="no column of a shifted test set"):
        read_published(path)


def test_broken_and_repeated_rows_are_dropped_with_a_reason(tmp_path):
    rows = [
        *ROWS,
        row("RN50-quickgelu", "openai", 0.6),
        row("RN50-quickgelu", "cc12m", 0.37),
        row("ViT-H-14-quickgelu", "dfn5b", 0.83),
        row("ViT-B-16", "laion400m_e31", 0.669),
        row("ViT-B-16", "laion400m_e32", 0.67),
        row("ViT-B-32", "laion400m_e32", 0.60),
        row("ViT-B-32-quickgelu", "laion400m_e32", 0.63),
        row("ViT-B-32", "commonpool_s_image_s13m_b4k", 0.039),
        row("ViT-B-32", "datacomp_s_s13m_b4k", 0.039),
        row("coca_ViT-B-32", "mscoco_finetuned_laion2b_s13b_b90k", 0.008),
    ]
    table = read_published(write_table(tmp_path / "r.csv", rows))
    kept = set(zip(table.rows["model"], table.rows["pretrained"], strict=True))
    assert ("ViT-H-14-quickgelu", "dfn5b") in kept  # its only evaluation
    assert ("ViT-B-32-quickgelu", "laion400m_e32") in kept  # trained with QuickGELU
    assert ("ViT-B-16", "laion400m_e32") in kept
    assert len(kept) == len(rows) - 6 == len(table.rows)
    reasons = {sentence.split(":")[0]: sentence for sentence in table.dropped}
    assert "broken" in reasons["coca_ViT-B-32 mscoco_finetuned_laion2b_s13b_b90k"]
    assert "commonpool_s_image" in reasons["ViT-B-32 datacomp_s_s13m_b4k"]
    assert "QuickGELU" in reasons["RN50-quickgelu cc12m"]
    assert "_e32" in reasons["ViT-B-16 laion400m_e31"]


def test_an_empty_cell_leaves_its_model_out_of_that_shift_alone(tmp_path):
    path = write_table(tmp_path / "r.csv", ROWS)
    path.write_text(path.read_text().replace(str(ROWS[1][4]), ""))
    table = read_published(path)
    assert table.dropped == ()
    assert table.missing() == {"imagenet_r": ["RN101 openai"]}
    tidy = accuracies_of_groups(table, {"all": "."})
    counts = tidy["test_set"].value_counts()
    assert counts.pop("imagenet_r") == 3
    assert set(counts) == {4}
    fits = (
        fit_trends(tidy, "imagenet")
        .query("fit == 'line' and link == 'dprime'")
        .set_index("shift")["num_models"]
    )
    assert fits.to_dict() == {
        shift: 3 if shift == "imagenet_r" else 4 for shift in TEST_SETS if shift != "imagenet"
    }


def test_an_empty_reference_or_only_empty_shifts_drop_the_row(tmp_path):
    path = write_table(tmp_path / "r.csv", ROWS)
    table = pd.read_csv(path)
    table.loc[1, DEFAULT_COLUMNS["imagenet"]] = np.nan
    table.loc[2, [DEFAULT_COLUMNS[role] for role in TEST_SETS if role != "imagenet"]] = np.nan
    table.to_csv(path, index=False)
    read = read_published(path)
    assert read.dropped == (
        "RN101 openai: no accuracy on ImageNet, which every trend needs",
        "ViT-B-32 openai: no accuracy under any shift",
    )
    assert read.missing() == {}


def test_two_rows_of_one_name_stay_apart_where_one_has_an_empty_cell(tmp_path):
    rows = [*ROWS, row("RN50", "openai", 0.7)]
    path = write_table(tmp_path / "r.csv", rows)
    table = pd.read_csv(path)
    table.loc[0, DEFAULT_COLUMNS["imagenet_r"]] = np.nan
    table.to_csv(path, index=False)
    tidy = accuracies_of_groups(read_published(path), {"OpenAI": "^openai$"})
    second = tidy[tidy["run"] == "OpenAI: RN50 openai #2"].set_index("test_set")["accuracy"]
    assert len(second) == 6
    assert second["imagenet_r"] == pytest.approx(0.7 * 0.95, abs=1e-4)


@pytest.mark.parametrize(
    ("groups", "message"),
    [({"a": ""}, "empty"), ({"a": "("}, "not a regular expression"), ({"a": "nothing"}, "no group matches")],
)
def test_groups_that_cannot_work_are_refused(tmp_path, groups, message):
    table = read_published(write_table(tmp_path / "r.csv", ROWS))
    with pytest.raises(DataError, match=message):
        group_rows(table, groups)


def test_rows_longer_than_the_header_are_refused_not_shifted(tmp_path):
    path = write_table(tmp_path / "r.csv", ROWS)
    path.write_text(
        "".join(line + ",0.5\n" if i else line + "\n" for i, line in enumerate(path.read_text().splitlines()))
    )
    with pytest.raises(DataError, match=r"r\.csv: a row has more cells than the header"):
        read_published(path)


def test_a_file_that_is_no_table(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_published(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        read_published(tmp_path / "empty.csv")


@pytest.mark.skipif(not OPEN_CLIP.exists(), reason="open_clip's table is not beside the repository")
def test_open_clips_own_table():
    table = read_published(OPEN_CLIP)
    assert len(table.dropped) == 14
    assert len(table.rows) + len(table.dropped) == 121
    for words in (
        "coca_ViT-B-32 mscoco_finetuned_laion2b_s13b_b90k: a broken row",
        "ViT-B-32 datacomp_s_s13m_b4k: every accuracy equals that of ViT-B-32 commonpool_s_image_s13m_b4k",
        "RN50-quickgelu openai: the same weights as RN50",
        "ViT-L-14 laion400m_e31: one epoch before the row _e32",
    ):
        assert sum(sentence.startswith(words) for sentence in table.dropped) == 1, words
    sizes = {name: len(rows) for name, rows in group_rows(table, DEFAULT_GROUPS).items()}
    assert sizes["unfiltered pools"] == sizes["CLIP score"] == sizes["LAION filter"] == 4
    assert sizes["OpenAI"] == 9
    assert sizes["YFCC15M"] == 2
    assert sizes["CC12M"] == 1
    tidy = accuracies_of_groups(table, DEFAULT_GROUPS)
    assert np.isfinite(tidy[["probit", "dprime"]].to_numpy()).all()


@pytest.mark.skipif(not TESTBED.exists(), reason="imagenet-testbed's table is not beside the repository")
def test_another_table_through_a_column_mapping():
    columns = {"model": "model", "pretrained": "model", "imagenet": "val", "imagenet_r": "imagenet-r"}
    table = read_published(TESTBED, columns, percent=True)
    assert table.test_sets == ("imagenet", "imagenet_r", *REFERENCE_SUBSETS)
    trends = fit_trends(accuracies_of_groups(table, {"ResNets": r"^resnet\d"}), "imagenet")
    assert set(trends["shift"]) == {"imagenet_r"}
