"""Planted duplicates are found, distinct images are not, and images come from anywhere."""

import functools
import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from shard_cases import good, image_file, write_tar

from empirical.errors import DataError
from empirical.image_descriptors import crop_windows, crops, descriptors, thumbnails
from empirical.image_sets import ImageSet, embedded_image_sets, read_image_set
from empirical.index_building import build_index
from empirical.near_duplicates import FALSE_POSITIVES, check_leakage, false_positives, find_duplicates
from empirical.shards import to_square


@functools.cache
def rendered():
    sets = itertools.takewhile(lambda s: not s.is_test, embedded_image_sets(8, 128, 1))
    return [Image.fromarray(image.transpose(1, 2, 0)) for s in sets for image in s.images]


def originals(count):
    """Rendered pictures of every source at 128 px, as a photographer would have them."""
    return rendered()[:count]


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return Image.open(buffer)


def cropped(image, share, rng):
    side = int(share * image.width)
    left, top = (int(rng.integers(0, image.width - side + 1)) for _ in range(2))
    return image.crop((left, top, left + side, top + side))


COPIES = {
    "re-encoded": lambda image, rng: encoded(image, quality=50),
    "halved": lambda image, rng: image.resize((image.width // 2,) * 2, Image.Resampling.BICUBIC),
    "enlarged": lambda image, rng: image.resize((200, 200), Image.Resampling.LANCZOS),
    "brighter": lambda image, rng: image.point(lambda value: min(255, int(0.85 * value + 25))),
    "cropped to 0.95": lambda image, rng: cropped(image, 0.95, rng),
    "cropped to 0.82": lambda image, rng: cropped(image, 0.82, rng),
    "cropped, halved, re-encoded": lambda image, rng: encoded(
        cropped(image, 0.9, rng).resize((70, 70)), quality=75
    ),
}


def image_set(name, pictures, **options):
    images = np.stack([to_square(picture.convert("RGB"), 64) for picture in pictures])
    return ImageSet(name, images, [f"{i:03d}" for i in range(len(pictures))], **options)


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found_and_nothing_else(kind):
    rng = np.random.default_rng(0)
    pictures = originals(48)
    chosen = rng.permutation(48)[:24].tolist()
    copies = [COPIES[kind](pictures[i], rng) for i in chosen]
    found = find_duplicates(image_set("a", pictures), image_set("b", copies))
    pairs = set(zip(found["first_key"], found["second_key"], strict=True))
    planted = {(f"{i:03d}", f"{j:03d}") for j, i in enumerate(chosen)}
    assert not pairs - planted
    assert len(pairs) >= 23
    if kind == "cropped to 0.82":
        assert (found["window_of"] == "first").mean() > 0.9
        turned = find_duplicates(image_set("b", copies), image_set("a", pictures))
        assert (turned["window_of"] == "second").mean() > 0.9
        assert len(turned) >= 23


def test_exact_copies_within_and_between_sets():
    pictures = originals(12)
    twice = image_set("a", [*pictures, pictures[3]])
    found = find_duplicates(twice)
    assert found[["first_key", "second_key", "kind"]].to_numpy().tolist() == [["003", "012", "exact"]]
    between = find_duplicates(image_set("a", pictures[:6]), image_set("b", pictures[5:]))
    assert between[["first_key", "second_key", "kind", "similarity"]].to_numpy().tolist() == [
        ["005", "000", "exact", 1.0]
    ]


def test_even_areas_are_no_near_duplicates():
    plain = [Image.new("RGB", (64, 64), (value, value, 200)) for value in (10, 11, 90, 90)]
    found = find_duplicates(image_set("a", plain))
    assert found[["first_key", "second_key", "kind"]].to_numpy().tolist() == [["002", "003", "exact"]]
    assert not len(find_duplicates(ImageSet("none", np.empty((0, 3, 64, 64), np.uint8), [])))


def test_leaks_are_told_from_duplicates_between_sources():
    rng = np.random.default_rng(0)
    a, b, test = originals(36)[:12], originals(36)[12:24], originals(36)[24:]
    a.append(encoded(test[4], quality=80))
    b += [cropped(test[7], 0.9, rng), a[2]]
    pairs, summary = check_leakage(
        [image_set("test", test, is_test=True), image_set("a", a), image_set("b", b)]
    )
    leaks = pairs[pairs["leak"]]
    assert sorted(
        zip(leaks["first"], leaks["first_key"], leaks["second"], leaks["second_key"], strict=True)
    ) == [
        ("a", "012", "test", "004"),
        ("b", "012", "test", "007"),
    ]
    table = summary.set_index(["first", "second"])
    assert table.loc[("a", "b"), ["exact", "near", "leak"]].tolist() == [1, 0, False]
    assert table.loc[("b", "test"), ["exact", "near", "leak", "second_affected"]].tolist() == [0, 1, True, 1]
    assert table.loc[("a", "test"), "second_share"] == pytest.approx(1 / 12)


@pytest.mark.slow
def test_the_stated_rate_of_false_positives_is_what_distinct_images_give():
    flagged, pairs, upper = false_positives(400, 2024)
    assert (flagged, pairs) == FALSE_POSITIVES
    assert upper < 2.0e-6


def test_distinct_images_are_not_flagged():
    flagged, pairs, upper = false_positives(25, 7)
    assert (flagged, pairs) == (0, 150 * 149 // 2)
    assert 1 / pairs < upper < 5 / pairs


# ---------------------------------------------------------------- parts


def test_a_whole_window_of_a_crop_equals_the_crop_of_the_whole():
    images = torch.rand(3, 3, 64, 64)
    windows = torch.tensor([[0.0, 0.0, 1.0], [0.25, 0.5, 0.5], [0.5, 0.25, 0.5]])
    cut = crops(images, windows)
    for image, small, (left, top, side) in zip(images, cut, windows.tolist(), strict=True):
        x, y, size = (int(64 * value) for value in (left, top, side))
        part = image[:, y : y + size, x : x + size]
        expected = part if size == 32 else part.reshape(3, 32, 2, 32, 2).mean((2, 4))
        torch.testing.assert_close(small, expected, atol=1e-4, rtol=0)


def test_descriptors_do_not_know_exposure():
    image = torch.rand(1, 3, 32, 32) * 0.5
    first, second = (descriptors(x)[0] for x in (image, 0.8 * image + 0.1))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)
    assert descriptors(image)[1] == pytest.approx(descriptors(0.8 * image)[1] / 0.8, rel=1e-4)
    assert thumbnails(np.zeros((2, 3, 32, 32), np.uint8)).shape == (2, 3, 64, 64)


def test_windows_cover_crops_to_within_half_a_step():
    windows = crop_windows(0.8, 0.05).numpy()
    assert len(windows) == 1 + 4 + 9 + 16 + 25
    rng = np.random.default_rng(0)
    for side in rng.uniform(0.8, 1, 50):
        left, top = rng.uniform(0, 1 - side, 2)
        distance = np.abs(windows - [left, top, side]).max(1).min()
        assert distance <= 0.05


def test_images_come_from_shards_an_index_or_folders(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    write_tar(shards / "0.tar", [*good("a"), *good("b"), ("c.txt", b"no image")])
    write_tar(shards / "1.tar", [("d.jpg", image_file("JPEG")), ("d.cls", b"3")])
    from_shards = read_image_set("s", shards, 16)
    assert from_shards.keys == ["a", "b", "d"]
    assert sum(from_shards.account.skipped.values()) == 1
    build_index(str(shards), tmp_path / "index")
    from_index = read_image_set("s", tmp_path / "index", 16)
    np.testing.assert_array_equal(from_index.images, from_shards.images)
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "1.png").write_bytes(image_file())
    (tmp_path / "images" / "2.png").write_bytes(b"broken")
    from_folder = read_image_set("f", tmp_path / "images", 16, is_test=True)
    assert from_folder.keys == ["cat/1.png"]
    assert sum(from_folder.account.skipped.values()) == 1
    some = [read_image_set("s", shards, 16, limit=2, seed=seed).keys for seed in range(4)]
    assert {len(keys) for keys in some} == {2}
    assert len({tuple(keys) for keys in some}) > 1
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no readable image for x"):
        read_image_set("x", tmp_path / "nothing", 16)
