"""Shards are scored as their pairs in memory are, and a filtered index is a source like any other."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from printed_commands import next_line, parsed

from empirical.arrays import Pairs
from empirical.data import SourceData, gather, prepare_source
from empirical.errors import DataError, StudyError
from empirical.figures.scores import bin_edges
from empirical.filtering import clip_scores, keep_share
from empirical.index_building import build_index
from empirical.indexed_reader import read_indexed_pairs
from empirical.model import build_model, load_config, save_weights
from empirical.plan import Draw
from empirical.read_ahead import ahead
from empirical.shard_index import load_index
from empirical.shard_scores import filter_index, score_index, write_scores
from empirical.shards import read_pairs, write_pairs
from empirical.tokenizer import WordTokenizer
from experiments.score_shards import Arguments, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "empirical"))

from small_open_clip import small_open_clip  # pyright: ignore[reportMissingImports]

TOKENIZER = WordTokenizer(["a", "photo", "of", "thing", "red", "green"], context_length=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Shards of 50 pairs in three files, one image of which is damaged, and a model."""
    folder = tmp_path_factory.mktemp("scored")
    rng = np.random.default_rng(0)
    captions = [f"a photo of a {rng.choice(['red', 'green'])} thing" for _ in range(50)]
    pairs = Pairs(rng.integers(0, 256, (50, 3, 32, 32), np.uint8), captions, [f"{i:04d}" for i in range(50)])
    write_pairs(pairs, folder / "shards", samples_per_shard=20)
    path = folder / "shards" / "00001.tar"
    data = bytearray(path.read_bytes())
    at = data.index(b"\x89PNG", 0) + 40
    data[at] ^= 255
    path.write_bytes(data)
    config = load_config("conv_tower")
    model = build_model(config, TOKENIZER, 3)
    save_weights(model, folder / "clip.safetensors", config, TOKENIZER)
    return folder, model


def test_scores_are_those_of_the_pairs_in_memory_and_the_index_keeps_the_best(made, tmp_path, capsys):
    folder, model = made
    pairs = read_pairs(str(folder / "shards"), 32)
    expected = clip_scores(model, pairs.images, TOKENIZER(pairs.captions))
    arguments = Arguments(
        (str(folder / "shards"),), folder / "clip.safetensors", out=tmp_path, keep_share=0.4
    )
    run(arguments)
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    scored = scores[scores["skipped"] == ""]
    assert scored["key"].tolist() == pairs.keys
    np.testing.assert_allclose(scored["score"], expected, atol=1e-5)
    assert scores.loc[scores["skipped"] != "", "skipped"].tolist() == [
        "image is damaged or of an unknown format"
    ]
    index = load_index(tmp_path / "index")
    kept = keep_share(scored["score"].to_numpy(float), 0.4)
    assert [index.key(row) for row in range(len(index))] == [pairs.keys[i] for i in kept]
    assert index.note["kept"] == len(index) == 20
    assert not list(tmp_path.rglob("*.tar"))
    for name in ("scores.png", "summary.txt", "provenance.json"):
        assert (tmp_path / name).is_file()
    assert json.loads((tmp_path / "provenance.json").read_text())["filter"]["share"] == 0.4
    printed = capsys.readouterr().out
    assert "49 samples read, 1 skipped" in printed
    script, then = parsed(next_line(printed))
    assert script == "clip_mixtures"
    assert then.source[0] == f"kept={tmp_path / 'index'}"
    # The filtered index is a source of a study.
    source = SourceData("pool", str(tmp_path / "index"), 0, (0,), 12, 32)
    prepare_source(tmp_path / "study", source)
    _, captions = gather(tmp_path / "study", {"pool": source}, [Draw("pool", 0, 12)])
    assert len(captions) == 12


def test_a_scoring_that_was_stopped_goes_on_and_gives_the_same(made, tmp_path):
    folder, model = made
    index = build_index(str(folder / "shards"))

    def score(stop_after=None, name="m"):
        def progress(done, total):
            if stop_after is not None and done >= stop_after:
                raise KeyboardInterrupt

        return score_index(index, model, TOKENIZER, tmp_path, model_name=name, progress=progress)

    with pytest.raises(KeyboardInterrupt):
        score(stop_after=20)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(first) == 1
    resumed = score()
    assert {path: path.stat().st_mtime_ns for path in first} == first
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged\xff")
    again = score()
    pd.testing.assert_frame_equal(resumed, again)
    pd.testing.assert_frame_equal(score(), again)
    score(name="another model")
    assert len(list(tmp_path.iterdir())) == 6


def test_filters_by_threshold_and_refuses_what_makes_no_sense(made, tmp_path):
    folder, model = made
    index = build_index(str(folder / "shards"))
    scores = score_index(index, model, TOKENIZER, tmp_path, model_name="m")
    middle = float(scores["score"].median())
    kept = filter_index(index, scores, threshold=middle)
    assert len(kept) == int((scores["score"] >= middle).sum())
    assert read_indexed_pairs(kept, 32).keys == scores.loc[scores["score"] >= middle, "key"].tolist()
    for share, threshold in ((None, None), (0.5, 0.1)):
        with pytest.raises(StudyError, match="either a share"):
            filter_index(index, scores, share=share, threshold=threshold)
    with pytest.raises(StudyError, match="no sample reaches 2"):
        filter_index(index, scores, threshold=2.0)
    with pytest.raises(DataError, match="no sample has a score"):
        filter_index(index, scores.assign(skipped="broken"), share=0.5)
    with torch.no_grad():
        model.text_projection.fill_(float("nan"))
    with pytest.raises(DataError, match=r"0000 is not a number"):
        score_index(index, model, TOKENIZER, tmp_path, model_name="diverged")


def test_both_formats_hold_the_same(made, tmp_path):
    scores = np.array([0.1, np.nan], np.float32)
    table = pd.DataFrame(
        {
            "row": [0, 1],
            "shard": "a.tar",
            "key": ["1", "2"],
            "score": scores,
            "skipped": ["", "x"],
        }
    )
    assert write_scores(table, tmp_path, "parquet").name == "scores.parquet"
    assert write_scores(table, tmp_path, "csv").name == "scores.csv"
    types = {"key": str, "score": np.float32}
    read = pd.read_csv(tmp_path / "scores.csv", dtype=types, keep_default_na=False, na_values={"score": [""]})
    pd.testing.assert_frame_equal(read, pd.read_parquet(tmp_path / "scores.parquet"))


def test_impossible_arguments_are_refused(made, tmp_path):
    folder, _ = made
    both = Arguments(
        (str(folder / "shards"),),
        folder / "clip.safetensors",
        out=tmp_path,
        keep_share=0.5,
        keep_threshold=0.1,
    )
    with pytest.raises(StudyError, match="not both"):
        run(both)
    plain = Arguments((str(folder / "shards"),), folder / "clip.safetensors", out=tmp_path)
    for wrong, message in (
        (replace(plain, batch_size=0), "--batch-size must be at least 1, got 0"),
        (replace(plain, workers=0), "--workers must be at least 1, got 0"),
        (replace(plain, keep_share=1.5), "--keep-share 1.5"),
        (replace(plain, device="cuda:99"), "cuda:99"),
    ):
        with pytest.raises(StudyError, match=message):
            run(wrong)
    with pytest.raises(StudyError, match="give the shards to score"):
        run(Arguments((), folder / "clip.safetensors", out=tmp_path))
    with pytest.raises(DataError, match=r"no\.safetensors"):
        run(Arguments((str(folder / "shards"),), folder / "no.safetensors", out=tmp_path))


def test_an_open_clip_checkpoint_scores_too(made, tmp_path):
    """By its config's name or file, and with its own pixel statistics and vocabulary."""
    folder, _ = made
    config, model, tokenizer = small_open_clip(tmp_path)
    weights = save_weights(model, tmp_path / "clip.safetensors")
    shards = (str(folder / "shards"),)
    run(Arguments(shards, weights, str(config), out=tmp_path / "out", batch_size=7))
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    pairs = read_pairs(shards[0], 64)
    expected = clip_scores(model, pairs.images, tokenizer(pairs.captions))
    np.testing.assert_allclose(scores.loc[scores["skipped"] == "", "score"], expected, atol=1e-5)
    with pytest.raises(DataError, match="name its open_clip config with --model"):
        run(Arguments(shards, weights, out=tmp_path / "unnamed"))


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_batches_are_decoded_than_are_asked_for(workers):
    """A shard of many samples must not lie in memory as a whole."""
    begun, finished, most = [], 0, 0
    with ThreadPoolExecutor(workers) as pool:
        for result in ahead(pool, lambda i: (begun.append(i), i * i)[1], range(50), 2 * workers):
            finished += 1
            most = max(most, len(begun) - finished)
            assert result == (finished - 1) ** 2
    assert finished == 50
    assert most < 2 * workers


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300), st.integers(0, 299))
def test_the_threshold_is_an_edge_of_the_histogram(values, at):
    threshold = values[at % len(values)]
    edges = np.array(bin_edges(np.array(values), threshold))
    assert threshold in edges
    assert edges[0] <= min(values) + 1e-9
    assert edges[-1] > max(values)
    assert 2 <= len(edges) <= 63
    np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0], rtol=1e-6, atol=1e-12)
