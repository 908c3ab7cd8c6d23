"""Every command that another one proposes is understood by its own parser, and does what was promised."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from printed_commands import ROOT, parsed

from empirical.errors import DataError
from empirical.model import build_model, load_config, load_weights
from empirical.next_commands import designable_budget, mixture_study, own_data, study_options
from empirical.plan import parse_shares
from empirical.records import read_json
from empirical.study import write_plan
from empirical.study_folder import StudyFolder
from empirical.study_plan import StudyOptions, plan_study
from empirical.tables import write_table
from empirical.tokenizer import build_tokenizer
from experiments import (
    clip_mixtures,
    compare_studies,
    design_mixture,
    evaluate,
    predict_mixtures,
    published_trends,
    train_stream,
)

RECORDS = ROOT / "paper_figures" / "records"


def planned_like(options: StudyOptions, folder: Path) -> dict:
    """Settings of the study that the printed options plan, from what the first study wrote down."""
    write_plan(plan_study(options), options)
    words = ["python", "experiments/clip_mixtures.py", *study_options(StudyFolder(folder).about())]
    _, arguments = parsed(" ".join(words))
    return dict(plan_study(clip_mixtures.study_options(arguments)).context.settings)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"preset": "gpu"},
        {"preset": "smoke", "overrides": {"num_seeds": 2}},
        {"vocabulary": "captions:50", "model": "modified_resnet"},
        {"overrides": {"epochs": 3, "test_images": 40}, "precision": "bfloat16"},
    ],
)
def test_a_studys_options_are_rebuilt_from_its_records(tmp_path, changed):
    options = StudyOptions(out=tmp_path, **changed)
    again = planned_like(options, tmp_path)
    first = read_json(tmp_path / "study.json")["settings"]
    needed = ("samples_needed", "seeds")  # follow from the design
    assert {k: v for k, v in again.items() if k not in needed} == {
        k: v for k, v in first.items() if k not in needed
    }


def test_what_is_wrong_with_options_is_said_before_anything_is_drawn(tmp_path, capsys):
    assert clip_mixtures.main(clip_mixtures.Arguments(source=("a=a/",), out=tmp_path / "out")) == 2
    assert "--test-set NAME=PATH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stream_without_a_source_says_so(tmp_path, capsys):
    assert train_stream.main(train_stream.Arguments(source=(), out=tmp_path / "out")) == 2
    assert "give at least one --source NAME=SHARDS" in capsys.readouterr().err


def test_a_checkpoint_that_is_none_is_told_without_the_readers_internals(tmp_path):
    tokenizer = build_tokenizer("captions:8", captions=["a b c"], context_length=10)
    model = build_model(load_config("conv_tower"), tokenizer, seed=0)
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(
        DataError, match=r"is not a readable weights file \(safetensors, or a torch file of tensors alone\)$"
    ):
        load_weights(model, tmp_path / "x.csv")


def test_own_sources_and_test_sets_are_rebuilt_too(tmp_path):
    for name in ("a", "b", "near", "far"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.tar").write_bytes(b"x")
    options = StudyOptions(
        out=tmp_path,
        sources={name: str(tmp_path / name / "*.tar") for name in "ab"},
        test_sets={name: str(tmp_path / name) for name in ("near", "far")},
        reference="far",
        overrides={"epochs": 2},
    )
    again = planned_like(options, tmp_path)
    first = read_json(tmp_path / "study.json")
    for key in ("sources", "test_sets", "recipe", "vocabulary", "model_config"):
        assert again[key] == first["settings"][key]
    assert next(iter(again["test_sets"])) == "far"  # the reference is prepared first


def test_a_model_of_ones_own_is_kept_by_its_path_or_asked_for():
    assert study_options({"model": "mine.json"})[-1] == "mine.json"
    assert study_options({"settings": {"model_config": {"embed_dim": 3}}})[-1] == "MODEL.json"


@pytest.mark.parametrize("sources", ["stock:0.4+snapshots:0.6", "encyclopedia"])
def test_what_follows_a_design(sources):
    """A mixture is trained; of a single source there is none to train. Nothing is written among committed records."""
    folder = RECORDS / "gpu_study"
    arguments = SimpleNamespace(study=folder, budget=2048)
    command, why = design_mixture.next_command(sources, arguments, StudyFolder(folder))  # pyright: ignore[reportArgumentType]
    script, found = parsed(command)
    if ":" not in sources:
        assert (script, found.accuracies) == ("predict_mixtures", folder / "accuracies.csv")
        assert "single source" in why
        return
    assert found.out == Path("runs/gpu_study_designed")
    study = plan_study(clip_mixtures.study_options(found))
    about = StudyFolder(folder).about()
    assert study.context.settings["test_images"] == about["settings"]["test_images"] == 5000
    assert study.design.sizes == study.design.mixture_sizes == (2048,)
    assert {run.sources for run in study.runs if run.kind == "input_mixing"} == {"stock:0.4+snapshots:0.6"}
    assert not set(study.design.seeds) & set(about["seeds"])
    assert not any(run.kind == "filtered" for run in study.runs)


def test_what_follows_a_comparison():
    """A design where one can be computed, of the other study where not of this one."""
    rerun, gpu = StudyFolder(RECORDS / "clip_mixtures_rerun"), StudyFolder(RECORDS / "gpu_study")
    assert designable_budget(rerun) is None
    assert designable_budget(gpu) == 8192
    script, found = parsed(compare_studies.next_command([rerun, gpu])[0])
    assert (script, found.study, found.budget) == ("design_mixture", gpu.path, 8192)
    script, found = parsed(compare_studies.next_command([rerun, rerun])[0])
    assert (script, found.accuracies) == ("predict_mixtures", rerun.path / "accuracies.csv")


@pytest.mark.parametrize("table", [RECORDS / "gpu_study" / "accuracies.csv", None])
def test_what_follows_a_forecast(tmp_path, table):
    if table is None:
        table = write(tmp_path / "mine.csv")
    command = predict_mixtures._training(table, "a:0.98466+b:0.015342", ["a", "b"], ["imagenet", "v2"])
    _, found = parsed(command)
    (shares,) = (parse_shares(text) for text in found.mixture)
    assert sum(share for _, share in shares) == pytest.approx(1, abs=1e-12)  # 1.000002 as written
    if table.parent == tmp_path:
        assert found.source == ("a=SHARDS", "b=SHARDS")
        assert found.test_set == ("imagenet=PATH", "v2=PATH")
    else:
        assert found.source == ()
        assert found.test_images == 5000


def write(path: Path) -> Path:
    write_table(pd.read_csv(RECORDS / "clip_mixtures" / "accuracies.csv"), path)
    return path


def test_embedded_sources_need_no_shards():
    _, found = parsed(mixture_study("stock:0.5+forum:0.5", ["stock", "forum"], ["reference", "sketch"]))
    assert found.source == ()
    assert plan_study(clip_mixtures.study_options(found)).runs


def test_two_test_sets_are_asked_for():
    assert own_data({"a": "x"}, {"mine": "y"}) == [
        "--source", "a=x", "--test-set", "mine=y", "--test-set", "reference=PATH",
    ]  # fmt: skip


def test_published_results_keep_their_columns():
    arguments = published_trends.Arguments(("my table.csv",), column=("imagenet=top 1",), percent=True)
    names = ["commonpool_s_s13m", "datacomp_m_s128m", "openai"]
    script, found = parsed(published_trends._next(arguments, False, names))
    assert script == "published_trends"
    assert (found.results, found.column, found.percent) == (("my table.csv",), ("imagenet=top 1",), True)
    assert found.filtered == ("DataComp best",)
    assert parsed(published_trends._next(arguments, False, ["openai"]))[0] == "clip_mixtures"


@pytest.mark.parametrize(
    ("sets", "script"),
    [
        ({"imagenet": "val", "imagenet_v2": "v2"}, "published_trends"),
        ({"imagenet": "val"}, "evaluate"),
        ({"pets": "pets"}, "predict_mixtures"),
    ],
)
def test_what_follows_an_evaluation(tmp_path, sets, script):
    arguments = evaluate.Arguments(tmp_path / "models" / "m.safetensors", ())
    name, found = parsed(evaluate.next_command(arguments, sets, set(sets))[0])
    assert name == script
    if script == "evaluate":
        assert found.test_set == ("imagenet=val", "imagenet_v2=PATH")
    (tmp_path / "study.json").write_text("{}")
    expected = "report" if script == "predict_mixtures" else script
    assert parsed(evaluate.next_command(arguments, sets, set(sets))[0])[0] == expected


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_what_follows_a_study_of_ones_own_data(tmp_path, num_seeds):
    accuracies = pd.read_csv(RECORDS / "clip_mixtures" / "accuracies.csv")
    write_table(accuracies[accuracies["seed"] < num_seeds], tmp_path / "accuracies.csv")
    (tmp_path / "logits").mkdir()
    arguments = clip_mixtures.Arguments(source=("a=a/",), test_set=("r=r/", "s=s/"), out=tmp_path)
    script, found = parsed(clip_mixtures.next_command(arguments)[0])
    assert script == ("report" if num_seeds == 1 else "design_mixture")
    assert found.study == tmp_path
