"""Costs of studies at scale against published operation counts and plain arithmetic, and smoke runs."""

import open_clip
import pytest
from small_open_clip import small_open_clip

from empirical.cost_estimate import (
    describe_cost,
    estimate_cost,
    made_up_pairs,
    measured_flops,
    proxy_config,
    training_flops,
)
from empirical.errors import StudyError
from empirical.model import load_config
from empirical.paper_presets import PAPER_PRESETS, PaperPreset, PlannedRun, paper_preset
from empirical.paper_smoke import smoke_run
from empirical.recipe import Recipe
from empirical.tokenizer import OpenClipTokenizer
from experiments.paper_scale import Arguments, main


@pytest.mark.parametrize(
    ("model", "gflops", "millions"), [("RN50", 18.18, 102.01), ("ViT-B-32", 14.78, 151.28)]
)
def test_operations_and_parameters_are_the_published_ones(model, gflops, millions):
    """open_clip's results table gives a forward pass of both towers; training is counted as three."""
    flops, parameters = training_flops(load_config(model))
    assert flops / 3 / 1e9 == pytest.approx(gflops, rel=0.015)
    assert parameters / 1e6 == pytest.approx(millions, rel=0.001)


def test_the_presets_hold_what_they_say():
    paper = PAPER_PRESETS["paper"]
    assert len(paper.sources) == 6
    assert (
        sum(
            run.kind == "single" and run.n_train == paper.sources[next(iter(run.shares))]
            for run in paper.runs
        )
        == 6
    )
    assert sum(run.kind == "input_mixing" for run in paper.runs) == 15 + 1
    for name, seen in (("datacomp-small", 12_800_000), ("datacomp-medium", 128_000_000)):
        preset = paper_preset(name)
        assert len(preset.runs) == 9
        assert {run.samples_seen for run in preset.runs} == {seen}
        assert preset.recipe.warmup_fraction * seen / preset.recipe.batch_size == pytest.approx(500)
    for preset in PAPER_PRESETS.values():
        assert len({run.name for run in preset.runs}) == len(preset.runs)
        for run in preset.runs:
            assert sum(run.shares.values()) == pytest.approx(1)
            for source, share in run.shares.items():
                assert share * run.n_train <= preset.sources[source] * (1 + 1e-9), (
                    run.name
                )  # nothing is drawn twice
    with pytest.raises(StudyError, match="the presets are paper, datacomp-small, datacomp-medium"):
        paper_preset("huge")


def tiny_preset(model: str) -> PaperPreset:
    runs = (PlannedRun("single", {"a": 1.0}, 100, 1000, 0), PlannedRun("single", {"b": 1.0}, 100, 3000, 0),
            PlannedRun("input_mixing", {"a": 0.5, "b": 0.5}, 100, 500, 0))  # fmt: skip
    return PaperPreset("tiny", model, Recipe(max_shift=0), {"a": 100, "b": 300}, runs, "a tiny study.")


def test_hours_are_operations_over_throughput(tmp_path):
    config, *_ = small_open_clip(tmp_path)
    preset = tiny_preset(str(config))
    cost = estimate_cost(preset, device_flops=1e9, kilobytes_per_pair=10.0)
    per_sample, parameters = training_flops(load_config(config))
    table = cost.table.set_index("kind")
    assert table["runs"].to_dict() == {"single": 2, "input_mixing": 1}
    assert table.loc["single", "samples_seen"] == 4000
    assert table.loc["single", "hours"] == pytest.approx(4000 * per_sample / 1e9 / 3600)
    data, weights, _ = cost.storage.values()
    assert (data, weights) == (400 * 10_000, 3 * 4 * parameters)
    text = "\n".join(describe_cost(preset, cost, "cpu"))
    assert "An estimate" in text
    assert "as given with --device-flops" in text
    with pytest.raises(ValueError, match="must be positive"):
        estimate_cost(preset, device_flops=-1.0)


def test_throughput_is_measured_on_a_smaller_model_of_the_same_kind(tmp_path):
    config = load_config(small_open_clip(tmp_path)[0])
    big = load_config("RN50")
    small = proxy_config(big)
    assert (small["vision_cfg"]["image_size"], small["text_cfg"]["layers"]) == (96, 3)
    assert big["vision_cfg"]["image_size"] == 224
    assert training_flops(small)[0] < training_flops(big)[0] / 3
    assert 1e6 < measured_flops(config, batch_size=4) < 1e14


def test_made_up_data_have_the_shape_of_real_ones():
    images, tokens = made_up_pairs(5, 64, OpenClipTokenizer(77))
    assert (images.shape, str(images.dtype)) == ((5, 3, 64, 64), "uint8")
    assert tuple(tokens.shape) == (5, 77)
    assert len(tokens.unique(dim=0)) == 5


def test_a_smoke_run_leaves_weights_that_open_clip_reads(tmp_path):
    """RN50's own vocabulary at a size that runs in seconds: `smoke_run` compares the features of both copies itself."""
    config, *_ = small_open_clip(tmp_path)
    open_clip.add_model_config(config)
    found = smoke_run(tiny_preset(str(config)), tmp_path / "out")
    assert found.steps == 2
    assert found.weights == tmp_path / "out" / "small_rn.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "datacomp-small"])
def test_each_model_runs_at_full_resolution(tmp_path, name):
    found = smoke_run(paper_preset(name), tmp_path)
    assert found.steps == 2
    assert found.weights.stat().st_size > 3e8


def test_the_command_prints_and_writes_the_plan(tmp_path, capsys):
    assert main(Arguments("datacomp-small", device_flops=1e14, out=tmp_path)) == 0
    out = capsys.readouterr().out
    assert "115,200,000" in out
    assert (tmp_path / "datacomp-small" / "runs.csv").read_text().count("\n") == 10
    assert (
        out.rstrip().splitlines()[-1]
        == "Next: python experiments/paper_scale.py --preset datacomp-small --smoke"
    )
    assert main(Arguments("datacomp-small", device_flops=-5.0, out=tmp_path)) == 2
    assert "must be positive" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(Arguments("datacomp-small", device_flops=1e14, out=tmp_path / "file")) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file'}")
