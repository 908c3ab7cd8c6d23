"""Streams: exact samples, exact shares, the same order however it is read, and an account of all of it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_training
from hypothesis import given
from hypothesis import strategies as st
from shard_cases import coloured, image_file, make_source, write_tar

from empirical.errors import DataError, StudyError
from empirical.index_building import build_index
from empirical.indexed_reader import CHECKSUM
from empirical.plan import Draw
from empirical.shards import read_pairs
from empirical.stream_order import chunked_shuffle, later_occurrences, mixture_draws, seeded_order
from empirical.streams import SampleStream

HERE = Path(__file__).parent
NO_IMAGE = "no image (.jpg, .jpeg, .png, .webp)"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    return {
        name: make_source(root / name, name, n, number=i)
        for i, (name, n) in enumerate([("a", 40), ("b", 60)])
    }


@pytest.fixture(scope="module")
def indices(shards):
    return {name: build_index(path) for name, path in shards.items()}


DRAWS = (Draw("a", 0, 24), Draw("b", 10, 40))


def stream_of(indices, draws=DRAWS, **options: Any):
    settings: dict[str, Any] = {"image_size": 8, "batch_size": 8, "seed": 3} | options
    return SampleStream(indices, draws, **settings)


def everything(batches):
    return [(b.images.tobytes(), b.captions, b.positions.tolist()) for b in batches]


def captions_of(stream, epoch=0):
    return [caption for batch in stream.batches(epoch) for caption in batch.captions]


# ---------------------------------------------------------------- which samples, in which order


def test_an_epoch_holds_exactly_the_drawn_samples_each_once(shards, indices):
    pairs = {name: read_pairs(path, 8) for name, path in shards.items()}
    image_of = {c: p.images[i] for p in pairs.values() for i, c in enumerate(p.captions)}
    stream = stream_of(indices)
    expected = [pairs["a"].captions[i] for i in seeded_order("a", 40, 0)[:24]]
    expected += [pairs["b"].captions[i] for i in seeded_order("b", 60, 0)[10:50]]
    for epoch in (0, 1):
        seen = []
        for batch in stream.batches(epoch):
            seen += batch.captions
            for image, caption, position in zip(batch.images, batch.captions, batch.positions, strict=True):
                np.testing.assert_array_equal(image, image_of[caption])
                assert caption == f"a photo of {stream.key(position)}"
        assert sorted(seen) == sorted(expected)


def test_draws_that_do_not_overlap_share_no_sample(indices):
    first, second = (set(captions_of(stream_of(indices, [Draw("b", start, 24)]))) for start in (0, 24))
    assert len(first) == len(second) == 24
    assert not first & second


def test_mixtures_are_exact(indices):
    stream = SampleStream.mixture(
        indices, (("a", 1 / 3), ("b", 2 / 3)), 56, image_size=8, batch_size=8, seed=0
    )
    seen = Counter(caption[len("a photo of ")] for caption in captions_of(stream))
    assert seen == {"a": 19, "b": 37}
    a, b = stream.account()["sources"]
    assert (a["requested"], a["drawn"], a["realised"]) == (1 / 3, 19 / 56, 19 / 56)
    assert (b["samples"], b["distinct"], b["seen"], b["repeats"], b["replaced"]) == (37, 37, 37, 0, 0)
    assert mixture_draws((("a", 1 / 3), ("b", 2 / 3)), 56) == (Draw("a", 0, 19), Draw("b", 0, 37))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_what_is_read(indices, workers):
    alone = everything(stream_of(indices).batches(1))
    with stream_of(indices, workers=workers) as stream:
        assert everything(stream.batches(1)) == alone
        assert everything(stream.batches(1, start_step=5)) == alone[5:]


def test_worker_processes_read_the_same_and_a_dead_one_is_an_error_that_says_so(indices):
    alone = everything(stream_of(indices).batches(1))
    with stream_of(indices, workers=1, worker_kind="processes") as stream:
        assert everything(stream.batches(1)) == alone
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()
        with pytest.raises(StudyError, match="a decoding worker died"):
            list(stream.batches(1))
        assert everything(stream.batches(1)) == alone  # a new worker


def test_an_epoch_resumed_anywhere_is_the_rest_of_the_whole(indices):
    for chunk in (1, 4):
        whole = everything(stream_of(indices, chunk=chunk).batches(2))
        for start in range(len(whole) + 1):
            assert everything(stream_of(indices, chunk=chunk).batches(2, start_step=start)) == whole[start:]


def test_seeds_and_epochs_have_orders_of_their_own(indices):
    orders = {
        (seed, epoch): tuple(captions_of(stream_of(indices, seed=seed), epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert len({tuple(sorted(order)) for order in orders.values()}) == 1
    other = captions_of(stream_of(indices, source_seed=1))
    assert set(other) != set(orders[0, 0])


def test_processes_get_their_rows_of_the_same_batches(indices):
    whole = list(stream_of(indices).batches(0))
    parts = [list(stream_of(indices, share=slice(4 * rank, 4 * rank + 4)).batches(0)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert first.captions + second.captions == batch.captions
        np.testing.assert_array_equal(np.concatenate([first.images, second.images]), batch.images)


def test_a_loop_may_bring_its_own_order(indices):
    order = np.arange(16)[::-1].reshape(2, 8)
    positions = [batch.positions.tolist() for batch in stream_of(indices).batches(0, order=order)]
    assert positions == order.tolist()


def test_a_batch_given_up_half_way_leaves_the_stream_usable(indices):
    with stream_of(indices, workers=2) as stream:
        next(stream.batches(0))
        assert len(captions_of(stream)) == 64


@given(n=st.integers(1, 300), chunk=st.integers(1, 50), seed=st.integers(0, 99))
def test_a_chunked_shuffle_is_a_permutation_that_keeps_neighbours_near(n, chunk, seed):
    order = chunked_shuffle(np.arange(n), chunk, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(n))
    window = 64 * chunk
    for start in range(0, n, window):
        runs = {value // chunk for value in order[start : start + window].tolist()}
        assert len(runs) <= 64 + 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=30))
def test_later_occurrences_are_the_naive_ones(samples):
    sources, rows = (np.array([s[i] for s in samples], np.int64) for i in (0, 1))
    assert later_occurrences(sources, rows).tolist() == [s in samples[:i] for i, s in enumerate(samples)]


# ---------------------------------------------------------------- account


def test_draws_beyond_a_source_are_refused_or_repeat_it_and_are_counted(indices):
    with pytest.raises(StudyError, match="source a has 40 samples; a draw ends at 50"):
        stream_of(indices, [Draw("a", 0, 50)])
    stream = stream_of(indices, [Draw("a", 0, 96)], repeat=True)
    counts = Counter(captions_of(stream))
    assert sorted(counts.values()) == [2] * 24 + [3] * 16
    (a,) = stream.account()["sources"]
    assert (a["samples"], a["distinct"], a["repeats"]) == (96, 40, 56)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": [Draw("c", 0, 8)]}, "names the source 'c'; there are a, b"),
        ({"draws": [Draw("a", 0, 0)]}, "asks for 0 samples"),
        ({"draws": [Draw("a", -1, 8)]}, "from -1 on"),
        ({"draws": [Draw("a", 0, 7)]}, "7 samples are drawn, fewer than one batch of 8"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_impossible_streams_are_refused(indices, options, message):
    with pytest.raises(StudyError, match=message):
        stream_of(indices, **options)


def spoiled_source(folder):
    """32 samples: three without an image, two damaged after indexing."""
    folder.mkdir()
    members = [m for i in range(32) for m in coloured(f"c{i:03d}", i)]
    members = [(name, data) for name, data in members if name not in ("c003.png", "c004.png", "c030.png")]
    path = write_tar(folder / "0.tar", [*members, ("../up.png", image_file())])
    index = build_index(str(path))
    data = bytearray(path.read_bytes())
    for row in (10, 11):
        _, offset, _, _ = index.locate(row).members[0]
        data[offset + 60] ^= 255
    path.write_bytes(data)
    return index


def test_unreadable_samples_are_replaced_counted_once_and_shares_stay(tmp_path, indices):
    mixed = {"c": spoiled_source(tmp_path / "c"), **indices}
    draws = (Draw("c", 0, 32), Draw("a", 0, 32))
    stream = stream_of(mixed, draws)
    whole = everything(stream.batches(0))
    seen = Counter(caption for _, captions, _ in whole for caption in captions)
    assert sum(count for caption, count in seen.items() if caption.startswith("a photo of c")) == 32
    assert set(seen.values()) <= {1, 2, 3, 4}
    assert not {f"a photo of c{i:03d}" for i in (3, 4, 30, 10, 11)} & set(seen)
    c, a = stream.account()["sources"]
    assert c["skipped"] == {NO_IMAGE: 3, CHECKSUM: 2}
    assert c["skipped_in_index"] == {"member path leads upwards (..)": 1}
    assert (c["realised"], a["realised"], c["replaced"]) == (0.5, 0.5, 5)
    assert a["skipped"] == {}
    assert len(c["examples"]) == 5
    for start in range(len(whole)):
        assert everything(stream_of(mixed, draws, workers=2).batches(0, start_step=start)) == whole[start:]
    list(stream.batches(1))
    c, _ = stream.account()["sources"]
    assert c["skipped"] == {NO_IMAGE: 3, CHECKSUM: 2}
    assert (c["seen"], c["replaced"]) == (64, 10)


def test_an_account_carried_through_a_checkpoint_is_that_of_the_whole(tmp_path, indices):
    mixed = {"c": spoiled_source(tmp_path / "c"), **indices}
    draws = (Draw("c", 0, 32), Draw("a", 8, 48))
    undisturbed = stream_of(mixed, draws, repeat=True)
    for _ in undisturbed.batches(0):
        pass
    first = stream_of(mixed, draws, repeat=True, workers=2)
    batches = first.batches(0)
    for _ in range(5):
        next(batches)
    state = json.dumps(first.state())  # later batches are already being read
    second = stream_of(mixed, draws, repeat=True)
    second.restore(json.loads(state))
    for _ in second.batches(0, start_step=5):
        pass
    assert second.account() == undisturbed.account()
    with pytest.raises(StudyError, match="not this one"):
        stream_of(indices).restore(json.loads(state))


def test_a_source_without_a_readable_sample_is_an_error(tmp_path):
    members = [(f"{i}.txt", b"text alone") for i in range(8)]
    index = build_index(str(write_tar(tmp_path / "0.tar", members)))
    with pytest.raises(DataError, match=r"source x: none of 100 samples can be read \(no image"):
        list(stream_of({"x": index}, [Draw("x", 0, 8)]).batches(0))


def test_a_shard_that_goes_away_is_an_error(tmp_path):
    index = build_index(make_source(tmp_path / "x", "x", 40))
    os.remove(tmp_path / "x" / "00001.tar")
    with (
        stream_of({"x": index}, [Draw("x", 0, 40)], workers=2) as stream,
        pytest.raises(DataError, match=r"00001\.tar"),
    ):
        list(stream.batches(0))


# ---------------------------------------------------------------- killed and resumed


def start_training(index, out, kind):
    out.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    command = [sys.executable, str(HERE / "streaming_training.py"), str(index), str(out), kind]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def killed_after(process, log, lines):
    """Kill -9 when the log has so many lines; returns how many it has then."""
    while process.poll() is None:
        done = len(log.read_text().splitlines()) if log.exists() else 0
        if done >= lines:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return done
        time.sleep(0.001)
    raise AssertionError(f"ended before {lines} lines: {process.communicate()[0]}")


def check_killed_training(tmp_path, kind, kills):
    folder = tmp_path / "index"
    build_index(make_source(tmp_path / "shards", "s", 160, 32), folder)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    streaming_training.main(folder, undisturbed, "threads")
    for lines in kills:
        killed_after(start_training(folder, killed, kind), killed / "log.txt", lines)
    streaming_training.main(folder, killed, "threads")
    assert (killed / "log.txt").read_text() == (undisturbed / "log.txt").read_text()
    assert (killed / "end.json").read_text() == (undisturbed / "end.json").read_text()
    account = json.loads((killed / "end.json").read_text())["account"]
    assert account["samples_seen"] == 3 * 11 * 8


def test_a_killed_training_resumes_in_mid_epoch_bit_for_bit(tmp_path):
    check_killed_training(tmp_path, "threads", [17])


@pytest.mark.slow
def test_a_training_killed_again_and_again_resumes_bit_for_bit(tmp_path):
    moments = np.random.default_rng(0).integers(1, 33, 6)
    check_killed_training(tmp_path, "processes", np.sort(moments).tolist())
