"""Every format of published results, on small files in exactly that format, and fuzzed."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empirical.errors import DataError
from empirical.published import TEST_SETS, YOUR_MODELS, accuracies_of_groups, with_your_models
from empirical.published_formats import FORMATS, detect_format, read_results
from empirical.published_long import DATASETS, known_role
from empirical.testbed_families import (
    DEFAULT_BASELINE,
    FAMILY_LABELS,
    TESTBED,
    TESTBED_GROUPS,
    groups_of_families,
    model_family,
    read_families,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TESTBED_TABLE, FAMILIES = DATA / "imagenet_testbed_top1.csv", DATA / "imagenet_testbed_families.csv"
needs_testbed = pytest.mark.skipif(
    not TESTBED_TABLE.exists(), reason="imagenet-testbed's table is not beside the repository"
)

OPEN_CLIP = "name,pretrained,ImageNet 1k,ImageNet v2,ImageNet-R\nRN50,openai,0.5982,0.5284,0.6073\n"
TESTBED_CSV = (
    "model,val,imagenetv2-matched-frequency-format-val,imagenet-r,val-on-imagenet-r-classes\n"
    "resnet50,76.13,63.2,36.1,92.6\nresnet101_3_epochs,18.6,12.7,7.9,35.6\nBiT-M-R50x1-ILSVRC2012,80.0,69.0,44.0,94.0\n"
)


def result(dataset: str, accuracy: object, model: str = "ViT-B-32", **more: object) -> dict:
    return {
        "dataset": dataset, "model": model, "pretrained": "openai", "task": "zeroshot_classification",
        "metrics": {"acc1": accuracy, "acc5": 0.9, "mean_per_class_recall": 0.5}, **more,
    }  # fmt: skip


def task(key: str, accuracy: object) -> str:
    metrics = {"acc1": accuracy, "acc5": 0.3, "mean_per_class_recall": 0.1, "main_metric": accuracy}
    return json.dumps({"key": key, "dataset": key.title(), "metrics": metrics})


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_each_file_is_known_by_its_content(tmp_path):
    files = {
        "open_clip": put(tmp_path / "a.csv", OPEN_CLIP),
        "imagenet_testbed": put(tmp_path / "b.csv", TESTBED_CSV),
        "clip_benchmark": put(tmp_path / "c.json", json.dumps(result("imagenet1k", 0.6))),
        "datacomp": put(tmp_path / "d.jsonl", task("imagenet1k", 0.1)),
    }
    assert {kind: detect_format(path) for kind, path in files.items()} == {
        kind: kind for kind in FORMATS if kind != "auto"
    }


def test_imagenet_testbed_is_in_percent_and_names_families(tmp_path):
    rows = read_results([put(tmp_path / "t.csv", TESTBED_CSV)]).rows.set_index("model")
    assert rows.loc["resnet50", "imagenet"] == pytest.approx(0.7613)
    assert rows.loc["resnet50", "imagenet_on_r"] == pytest.approx(0.926)
    assert rows["pretrained"].tolist() == [TESTBED + f for f in ("standard", "low_accuracy_cnn", "more_data")]
    own = put(tmp_path / "f.csv", "model,family\nresnet50,mine\n")
    families = read_families(own)
    again = read_results([tmp_path / "t.csv"], families=families).rows.set_index("model")
    assert again["pretrained"].tolist() == [TESTBED + f for f in ("mine", "low_accuracy_cnn", "more_data")]
    assert list(groups_of_families(families)) == ["mine"]
    # One model each: no groups of their own, and compared with rather than judged.
    one_by_one = {"a": "random_forests", "b": "linear_pixels", "c": "standard"}
    groups = groups_of_families(one_by_one)
    assert list(groups) == ["other learners", "standard models"]
    assert [bool(re.search(groups["other learners"], TESTBED + f)) for f in one_by_one.values()] == [
        True,
        True,
        False,
    ]
    assert set(groups) <= set(TESTBED_GROUPS)


def test_clip_benchmark_as_json_lines_list_folder_and_csv_are_one_table(tmp_path):
    results = [
        result("wds/imagenet1k", 0.633),
        result("wds/imagenetv2", 0.56),
        result("imagenet_sketch", 0.423),
    ]
    put(tmp_path / "lines.jsonl", "\n".join(map(json.dumps, results)) + "\n")
    put(tmp_path / "list.json", json.dumps(results))
    for i, each in enumerate(results):
        put(tmp_path / "folder" / "deep" / f"benchmark_{i}.json", json.dumps(each))
    flat = [
        {**r["metrics"], **{k: v for k, v in r.items() if k != "metrics"}, "model_fullname": "x"}
        for r in results
    ]
    pd.DataFrame(flat).to_csv(tmp_path / "benchmark.csv", index=False)
    tables = [read_results([tmp_path / name]) for name in ("lines.jsonl", "list.json", "benchmark.csv")]
    for table in tables:
        row = table.rows.iloc[0]
        assert (row["model"], row["pretrained"]) == ("ViT-B-32", "openai")
        assert row[["imagenet", "imagenet_v2", "imagenet_sketch"]].tolist() == [0.633, 0.56, 0.423]
    whole = put(tmp_path / "one.json", json.dumps(results[0]))
    with pytest.raises(DataError, match=r"no usable row .*no accuracy under any shift"):
        read_results([whole])


def test_results_of_one_model_in_several_files_become_one_row(tmp_path):
    for i, each in enumerate(
        [result("imagenet1k", 0.6), result("imagenetv2", 0.5), result("imagenet-r", 0.7)]
    ):
        put(tmp_path / f"{i}.json", json.dumps(each))
    table = read_results([tmp_path])
    assert len(table.rows) == 1
    assert table.rows.iloc[0][["imagenet", "imagenet_v2", "imagenet_r"]].tolist() == [0.6, 0.5, 0.7]
    assert table.dropped == ()
    put(tmp_path / "later.json", json.dumps(result("imagenet-r", 0.8)))
    again = read_results([tmp_path])
    assert again.rows.iloc[0]["imagenet_r"] == 0.7
    assert again.notes == (
        "ViT-B-32 openai has several accuracies on imagenet_r in different files; the first is kept",
    )


def test_other_tasks_languages_and_data_sets_are_counted_and_left(tmp_path):
    results = [
        result("imagenet1k", 0.6), result("imagenet-r", 0.7), result("cifar10", 0.9),
        result("imagenet1k", 0.1, language="cn"), result("imagenetv2", 0.4, task="linear_probe"),
        result("imagenet-a", None), result("imagenet-r", 0.8),
    ]  # fmt: skip
    table = read_results([put(tmp_path / "r.json", json.dumps(results))])
    assert table.rows.iloc[0]["imagenet_r"] == 0.7
    notes = "\n".join(table.notes)
    for words in (
        "1 results on other data sets", "1 results in the language cn", "1 results of the task linear_probe",
        "empty accuracy on imagenet_a", "second accuracy on imagenet_r, 0.8000 after 0.7000",
    ):  # fmt: skip
        assert words in notes
    assert "imagenet_v2" not in table.test_sets


def test_a_datacomp_file_is_named_by_its_folder_or_the_user(tmp_path):
    text = (
        "\n".join([task("imagenet1k", 0.1), task("imagenet_sketch", 0.05), task("vtab/caltech101", 0.4)])
        + "\n"
    )
    path = put(tmp_path / "my_filter" / "eval_results.jsonl", text)
    table = read_results([path])
    assert table.rows["model"].tolist() == ["my_filter"]
    assert "1 results of other tasks left aside" in table.notes[0]
    assert read_results([f"better={path}"]).rows["pretrained"].tolist() == ["better"]
    put(tmp_path / "other" / "eval_results.jsonl", text.replace("0.05", "0.06"))
    both = read_results([tmp_path]).rows
    assert both["model"].tolist() == ["my_filter", "other"]


def test_files_of_different_formats_become_one_table(tmp_path):
    paths = [put(tmp_path / "a.csv", OPEN_CLIP), put(tmp_path / "b.csv", TESTBED_CSV)]
    table = read_results(paths)
    assert len(table.rows) == 4
    tidy = accuracies_of_groups(table, {"OpenAI": "^openai$"} | TESTBED_GROUPS)
    assert set(tidy["sources"]) == {"OpenAI", "standard models", "low-accuracy CNNs", "more data"}
    assert set(tidy["test_set"]) == {"imagenet", "imagenet_v2", "imagenet_r"}
    more = accuracies_of_groups(table, TESTBED_GROUPS, (*TEST_SETS, "imagenet_on_r"))
    assert set(more.loc[more["test_set"] == "imagenet_on_r", "num_classes"]) == {200}


def test_evaluations_of_single_models_form_a_group_unless_another_claims_them(tmp_path):
    put(tmp_path / "a.csv", OPEN_CLIP.replace("openai", "webli"))
    mine = [{**result(name, 0.5), "pretrained": "epoch_3+4"} for name in ("imagenet1k", "imagenetv2")]
    theirs = [{**result(name, 0.4), "pretrained": "openai"} for name in ("imagenet1k", "imagenetv2")]
    known = [{**result(name, 0.3), "pretrained": "webli"} for name in ("imagenet1k", "imagenetv2")]
    put(tmp_path / "b.jsonl", "\n".join(map(json.dumps, [*mine, *theirs, *known])))
    table = read_results([tmp_path / "a.csv", tmp_path / "b.jsonl"])
    assert table.evaluated == ("epoch_3+4", "openai")  # webli stands in a table of many
    groups = with_your_models(table, {"OpenAI": "^openai$"})
    assert list(groups) == ["OpenAI", YOUR_MODELS]
    tidy = accuracies_of_groups(table, groups)
    assert set(tidy.loc[tidy["sources"] == YOUR_MODELS, "pretrained"]) == {"epoch_3+4"}
    assert with_your_models(read_results([tmp_path / "a.csv"]), groups) == groups


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.json", "{", r"r\.json, line 1: not JSON"),
        ("r.json", "[1]", r"r\.json, entry 1: an object \{\.\.\.\} is needed, this is int"),
        ("r.json", "", "holds no results"),
        ("r.json", "{}", "neither clip-benchmark's results .* nor DataComp's"),
        ("r.json", json.dumps(result("imagenet1k", 1.2)), r"entry 1: accuracy 1\.2 lies outside \[0, 1\]"),
        ("r.json", json.dumps(result("imagenet1k", "x")), "metrics.acc1 must be a number, this is 'x'"),
        ("r.json", json.dumps(result("imagenet1k", True)), "must be a number, this is True"),
        ("r.json", json.dumps(result("imagenet1k", float("nan"))), "lies outside"),
        ("r.json", json.dumps({**result("imagenet1k", 0.5), "metrics": []}), "no metrics.acc1"),
        (
            "r.json",
            json.dumps({**result("imagenet1k", 0.5), "model": 3}),
            "'model' must be a name, this is 3",
        ),
        (
            "r.json",
            json.dumps(result("cifar10", 0.5)),
            "no accuracy on a known test set; known are imagenet1k",
        ),
        ("r.jsonl", task("imagenet1k", 0.1) + "\nnonsense", r"r\.jsonl, line 2: not JSON"),
        ("r.jsonl", "[" * 100_000, "not JSON"),
        ("r.csv", "dataset,model,acc1\nimagenet1k,ViT,1.5\n", r"r\.csv, row 2: accuracy '1\.5' lies outside"),
    ],
)
def test_bad_files_name_file_place_and_value(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_results([put(tmp_path / name, text)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,kind\na,b\n", "no column 'family'"),
        ("model,family\na,\n", "row 2: model and family must both be given"),
        ("model,family\na,b\na,c\n", "row 3: a has two families, b and c"),
    ],
)
def test_bad_families_tables(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_families(put(tmp_path / "f.csv", text))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_results([tmp_path / "absent.csv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.csv"):
        read_results([tmp_path / "empty"])
    with pytest.raises(DataError, match="there is no format 'excel'"):
        read_results([tmp_path / "empty"], format="excel")
    (tmp_path / "latin.json").write_bytes(b'{"model": "\xe9"}')
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        read_results([tmp_path / "latin.json"])


@pytest.mark.parametrize("prefix", ["", "wds/", "WDS/", "wds_"])
def test_names_of_data_sets(prefix):
    for name, role in DATASETS.items():
        assert known_role(prefix + name) == known_role(prefix + name.replace("-", "_")) == role
    assert known_role("imagenet-o") is None


@needs_testbed
def test_families_told_by_name_are_those_of_the_families_table():
    families = read_families(FAMILIES)
    assert len(families) == 338
    other = {"random_features", "random_forests", "linear_pixels", "nearest_neighbors"}
    told = {model: "other_learner" if family in other else family for model, family in families.items()}
    assert {model: model_family(model) for model in families} == told


@needs_testbed
def test_imagenet_testbeds_own_table():
    table = read_results([TESTBED_TABLE])
    assert len(table.rows) == 335
    assert all("no accuracy on ImageNet" in sentence for sentence in table.dropped)
    sizes = (
        accuracies_of_groups(table, TESTBED_GROUPS).query("test_set == 'imagenet'")["sources"].value_counts()
    )
    assert sizes[FAMILY_LABELS["standard"]] == 87
    assert sizes[FAMILY_LABELS["low_accuracy_cnn"]] == 115
    assert sizes[FAMILY_LABELS["more_data"]] == 43
    assert pd.Series(read_families(FAMILIES)).value_counts()[["standard", "low_accuracy_cnn", "more_data"]].tolist() == [
        87, 118, 43,
    ]  # fmt: skip
    assert set(DEFAULT_BASELINE) <= set(sizes.index)


KEYS = st.sampled_from(["dataset", "key", "model", "pretrained", "metrics", "acc1", "task", "language"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*DATASETS, "0.5", "en", 0.3]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
NEARLY = st.builds(
    lambda change, base: {**base, **change},
    st.dictionaries(KEYS, VALUES, max_size=2),
    st.sampled_from([result("imagenet1k", 0.5), json.loads(task("imagenet-r", 0.2))]),
)
CELLS = st.one_of(
    st.sampled_from(["", "0.5", "63.1", "-1", "nan", "1e400", "imagenet1k", '"']), st.text(max_size=6)
)
HEADERS = st.sampled_from(
    [text.partition("\n")[0] for text in (OPEN_CLIP, TESTBED_CSV)] + ["dataset,model,acc1"]
)


@st.composite
def hostile_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Name and content: raw bytes, JSON of any shape, results with some keys changed, tables with some cells changed."""
    kind = draw(st.sampled_from(["bytes", "json", "nearly", "csv"]))
    if kind == "bytes":
        return draw(st.sampled_from(["r.csv", "r.json", "r.jsonl"])), draw(st.binary(max_size=80))
    if kind == "csv":
        rows = draw(st.lists(st.lists(CELLS, max_size=6).map(",".join), max_size=4))
        return "r.csv", "\n".join([draw(HEADERS), *rows]).encode("utf-8", "surrogatepass")
    entries = draw(st.lists(NEARLY if kind == "nearly" else VALUES, max_size=4))
    if draw(st.booleans()):
        return "r.json", json.dumps(entries).encode()
    return "r.jsonl", "\n".join(map(json.dumps, entries)).encode()


def survive(folder: Path, file: tuple[str, bytes], format: str) -> None:
    name, content = file
    path = folder / name
    path.write_bytes(content)
    try:
        table = read_results([path], format=format)
    except DataError:
        return
    values = table.rows[list(table.test_sets)].to_numpy(float)
    assert np.all(np.isnan(values) | ((values >= 0) & (values <= 1)))
    assert len(table.rows)


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(file=hostile_files(), format=st.sampled_from(FORMATS))
def test_no_file_ends_in_anything_but_a_data_error(fuzz_folder, file, format):
    survive(fuzz_folder, file, format)


@pytest.mark.slow
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])
@given(file=hostile_files(), format=st.sampled_from(FORMATS))
def test_no_file_ends_in_anything_but_a_data_error_10000_times(fuzz_folder, file, format):
    survive(fuzz_folder, file, format)
