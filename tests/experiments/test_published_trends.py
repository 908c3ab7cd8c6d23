"""The command `python experiments/published_trends.py`: its files, its words, its errors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from printed_commands import next_line, parsed

from empirical.published import DEFAULT_COLUMNS, TEST_SETS
from theory.links import dprime_inverse, probit_inverse

ROOT = Path(__file__).parents[2]
OPEN_CLIP = ROOT.parent / "shared" / "data" / "openclip_results.csv"


@pytest.fixture
def results(tmp_path) -> Path:
    """Three groups of four models in open_clip's columns: pool, what was kept of it, and the filter."""
    rng = np.random.default_rng(0)
    rows = []
    for group, slope in (("commonpool_{}_s", 0.6), ("commonpool_{}_clip_s", 0.7), ("openai", 0.8)):
        for i, (scale, length) in enumerate(
            [("s", "13m_b4k"), ("m", "128m_b4k"), ("l", "1b_b8k"), ("xl", "13b_b90k")]
        ):
            place = 1.0 + 0.7 * i
            tag = group if group == "openai" else group.format(scale) + length
            row: dict[str, str | float] = {"name": f"ViT-{i}", "pretrained": tag}
            for role, test_set in TEST_SETS.items():
                value = place if role == "imagenet" else slope * place + 0.01 * rng.standard_normal()
                row[test_set.column] = round(float(dprime_inverse(value, test_set.num_classes)), 5)
            rows.append(row)
    path = tmp_path / "results.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "experiments" / "published_trends.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


def test_a_table_becomes_trends_a_figure_and_words(results, tmp_path):
    done = run(results, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trends = pd.read_csv(tmp_path / "out" / "trends.csv")
    assert trends.columns.tolist() == [
        "group", "shift", "link", "fit", "slope", "slope_low", "slope_high", "intercept", "intercept_low", "intercept_high",
        "r2", "num_models",
    ]  # fmt: skip
    assert len(trends) == 3 * 5 * 2 * 2
    filtering = pd.read_csv(tmp_path / "out" / "filtering.csv")
    assert (filtering["verdict"] == "between").mean() > 0.5
    names = [
        "published_trends.png", "published_trends.pdf", "filtering_pairs.csv", "summary.txt", "filtering_ladder.csv",
        "filtering_ladder.png", "datacomp_mixtures.csv", "datacomp_mixtures.png", "accuracies.csv",
    ]  # fmt: skip
    for name in names:
        assert (tmp_path / "out" / name).stat().st_size > 100
    assert "Theorem 3" in done.stdout
    assert "between pool and filter: holds on ImageNet-V2" in done.stdout
    parsed(next_line(done.stdout))


@pytest.mark.slow
def test_empty_cells_are_counted_per_shift(results, tmp_path):
    table = pd.read_csv(results)
    table.loc[[1, 5], TEST_SETS["objectnet"].column] = np.nan
    table.to_csv(results, index=False)
    done = run(results, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "ObjectNet: 2 of 12 models have an empty cell and are left out of this shift alone "
        "(ViT-1 commonpool_m_s128m_b4k, ViT-1 commonpool_m_clip_s128m_b4k)"
    ) in done.stdout
    trends = pd.read_csv(tmp_path / "out" / "trends.csv").query("group == 'CLIP score' and fit == 'line'")
    assert set(trends.loc[trends["shift"] == "objectnet", "num_models"]) == {3}
    assert set(trends.loc[trends["shift"] != "objectnet", "num_models"]) == {4}


def test_other_groups_are_drawn_without_the_theorem(results, tmp_path):
    done = run(
        results, "--group", "small=commonpool_s", "--group", "clip=_clip_", "--out", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Not tested" in done.stdout
    assert set(pd.read_csv(tmp_path / "out" / "trends.csv")["group"]) == {"clip"}
    assert not (tmp_path / "out" / "datacomp_mixtures.csv").exists()
    assert "Not computed: no baseline models" in done.stdout
    assert "group small: 2 models, drawn without a fit" in done.stdout


def test_an_evaluation_of_ones_own_enters_words_tables_and_figure(results, tmp_path):
    """As `experiments/evaluate.py` writes it."""
    row = {"model": "RN50", "pretrained": "epoch_32", "task": "zeroshot_classification", "language": "en"}
    lines = [row | {"dataset": name, "metrics": {"acc1": 0.4}} for name in ("imagenet1k", "imagenetv2")]
    (tmp_path / "clip_benchmark.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = run(results, "clip_benchmark.jsonl", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "group your models: 1 models, drawn without a fit" in done.stdout
    assert "ImageNet-V2, d' ratio: your models: RN50 epoch_32 1.000 [" in done.stdout
    table = pd.read_csv(tmp_path / "out" / "accuracies.csv").query("sources == 'your models'")
    assert table["test_set"].tolist() == ["imagenet", "imagenet_v2"]
    alone = run("clip_benchmark.jsonl", "--out", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "alone" / "published_trends.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "imagenet=top1"], "no column 'top1' for imagenet; the columns are name, pretrained"),
        (["--group", "pools="], "write --group NAME=REGEX"),
        (["--group", "pools"], "write --group NAME=REGEX"),
        (["--out", "results.csv/out"], "error: results.csv/out"),
    ],
)
def test_bad_input_is_one_clear_line(results, tmp_path, arguments, message):
    done = run(results, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_help_names_every_role(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for words in ("--column", *list(DEFAULT_COLUMNS)[:3], "--percent", "--group", "objectnet"):
        assert words in done.stdout


@pytest.fixture
def testbed(tmp_path) -> Path:
    """Five standard models on probit(shift) = .9 probit(ref) - .5, and an early epoch each below them."""
    rows = []
    for i in range(10):
        name, place = (
            (f"resnet{i}", 0.2 + 0.1 * i) if i < 5 else (f"resnet{i}_9_epochs", -1.5 + 0.2 * (i - 5))
        )
        shift = 0.9 * place - 0.5
        accuracies = [100 * float(probit_inverse(value)) for value in (place, shift, shift, place + 1.0)]
        rows.append((name, *accuracies))
    columns = [
        "model",
        "val",
        "imagenetv2-matched-frequency-format-val",
        "imagenet-r",
        "val-on-imagenet-r-classes",
    ]
    pd.DataFrame(rows, columns=pd.Index(columns)).to_csv(tmp_path / "testbed.csv", index=False)
    return tmp_path / "testbed.csv"


@pytest.mark.slow
def test_several_references(results, testbed, tmp_path):
    done = run(
        results,
        testbed,
        "--reference",
        "imagenet",
        "--reference",
        "imagenet_on_r",
        "--out",
        "two",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Against ImageNet, ImageNet, R's classes, link probit." in done.stdout


def test_imagenet_models_become_the_baseline(results, testbed, tmp_path):
    done = run(results, testbed, "--group", "OpenAI=^openai$", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Baseline standard models (5 models), slopes: ImageNet-V2 0.90" in done.stdout
    found = pd.read_csv(tmp_path / "out" / "effective_robustness.csv").query("group == 'OpenAI'")
    assert set(found["choice"]) == {"standard models + low-accuracy CNNs", "standard models"}
    assert len(found) == 2 * 2 * 4
    for name in ("effective_robustness.png", "baselines.csv", "effective_robustness_means.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 100


@pytest.mark.skipif(not OPEN_CLIP.exists(), reason="open_clip's table is not beside the repository")
def test_open_clips_table(tmp_path):
    done = run(OPEN_CLIP, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "published_trends"
    trends = pd.read_csv(out / "trends.csv")
    assert set(trends["shift"]) == set(TEST_SETS) - {"imagenet"}
    assert (trends.groupby("group")["num_models"].max() >= 3).all()
    assert {"unfiltered pools", "CLIP score", "OpenAI"} <= set(trends["group"])
    assert "YFCC15M: 2 models, drawn without a fit" in done.stdout
    assert "mscoco_finetuned_laion2b_s13b_b90k: a broken row" in done.stdout
