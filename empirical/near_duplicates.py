"""Images that occur twice, in one set or in two: `check_leakage(sets)`, `find_duplicates(first, second)`.

Exact duplicates have the same pixels. Near duplicates are found by exhaustive comparison of descriptors of the whole
images and of windows of either one (a copy may be cropped); what looks alike is then aligned and judged by cosine and pixels.
Cost: n1 x n2 x 109 windows x 131 products, a minute for 10,000 x 10,000 images on a CPU core, seconds on a GPU.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from empirical.image_descriptors import BLANK, correlation, crop_windows, crops, descriptors, thumbnails
from empirical.image_sets import ImageSet, embedded_image_sets
from theory.counts import clopper_pearson

CANDIDATE = 0.75
"""Cosine of descriptors from which a pair is looked at again, aligned."""
THRESHOLD = 0.97
"""Similarity from which a pair counts as near duplicates: re-encoded, resized and cropped copies reach it (tests)."""
FALSE_POSITIVES = (1, 2_878_800)
"""Pairs flagged and compared by `false_positives(400, seed=2024)`, a seed looked at once, after the checks were settled: a rate
below 2.0e-6 at 95%."""
COLUMNS = (
    "first",
    "first_key",
    "second",
    "second_key",
    "kind",
    "similarity",
    "left",
    "top",
    "side",
    "window_of",
)
_PER_IMAGE = 10  # candidates looked at again, the likeliest of each image
_BLOCK = 2048
_CHUNK = 128  # pairs aligned at once
_STEPS = ((0.0, CANDIDATE), (0.025, 0.85), (0.0125, 0.9), (0.00625, 0.92))
"""Alignment: step of the search, and the cosine from which a pair is worth the next, finer one."""


@dataclass
class _Described:
    pictures: Float[Tensor, "n 3 s s"]
    whole: Float[Tensor, "n d"]
    blank: np.ndarray


def _describe(images: ImageSet, device: str) -> _Described:
    pictures = torch.cat(
        [thumbnails(part).to(device) for part in np.array_split(images.images, -(-len(images) // _BLOCK))]
    )
    whole, contrast = _window_descriptors(pictures, torch.tensor([0.0, 0.0, 1.0]))
    return _Described(pictures, whole, (contrast < BLANK).cpu().numpy())


def _window_descriptors(pictures: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    parts = [
        descriptors(crops(part, window.to(part).expand(len(part), 3))) for part in pictures.split(_BLOCK)
    ]
    return torch.cat([d for d, _ in parts]), torch.cat([c for _, c in parts])


def find_duplicates(
    first: ImageSet,
    second: ImageSet | None = None,
    *,
    threshold: float = THRESHOLD,
    smallest_crop: float = 0.8,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> pd.DataFrame:
    """Pairs of images that show the same picture, of two sets or within one (each pair once).

    Args:
        threshold: smallest similarity of near duplicates, 0.92 or more.
        smallest_crop: crops down to this share of each side are looked for; 1 compares whole images only.
        progress: called with the share of the work that is done.

    Returns: COLUMNS, one row per pair: `kind` exact or near; similarity (after alignment, the smaller of the descriptors'
    cosine and the pixels' correlation; 1 for exact); the window (left, top, side in shares of the side) of the image
    `window_of` ("first" or "second", "" for neither) that shows what the other image shows. Even areas (`BLANK`) are
    compared for exact equality only.
    """
    other = first if second is None else second
    if not len(first) or not len(other):
        return pd.DataFrame(columns=list(COLUMNS))
    exact = _exact_pairs(first, second)
    a = _describe(first, device)
    b = a if second is None else _describe(other, device)
    windows = crop_windows(smallest_crop)
    # Windows of the first against whole seconds, then the other way round (within one set, both ways are one).
    turns = [(a, b, False)] if second is None else [(a, b, False), (b, a, True)]
    found: dict[tuple[int, int], tuple[float, list[float], str]] = {}
    for number, (cut, whole, turned) in enumerate(turns):

        def done(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(turns))

        i, j, start = _candidates(cut, whole, windows, second is None, done)
        similarity, window = _aligned(cut, whole, i, j, start)
        for row in torch.nonzero(similarity >= threshold).flatten().tolist():
            x, y = int(i[row]), int(j[row])
            place = window[row].tolist()
            pair, window_of = (
                ((y, x), "second") if turned or (second is None and y < x) else ((x, y), "first")
            )
            if pair not in exact and float(similarity[row]) > found.get(pair, (-1.0,))[0]:
                found[pair] = float(similarity[row]), place, window_of if place[2] < 1 else ""
    rows = [(pair, "exact", 1.0, [0.0, 0.0, 1.0], "") for pair in sorted(exact)]
    rows += [(pair, "near", *found[pair]) for pair in sorted(found)]
    return pd.DataFrame(
        [
            (first.name, first.keys[x], other.name, other.keys[y], kind, similarity, *place, window_of)
            for (x, y), kind, similarity, place, window_of in rows
        ],
        columns=list(COLUMNS),
    )


def _exact_pairs(first: ImageSet, second: ImageSet | None) -> set[tuple[int, int]]:
    """Pairs of equal pixels; within one set, each image with the first of its equals."""
    places: dict[bytes, int] = {}
    pairs = set()
    digests = [
        [hashlib.blake2b(image.tobytes()).digest() for image in s.images] for s in (first, second) if s
    ]
    for i, digest in enumerate(digests[0]):
        if places.setdefault(digest, i) != i and second is None:
            pairs.add((places[digest], i))
    if second is not None:
        pairs = {(places[digest], j) for j, digest in enumerate(digests[1]) if digest in places}
    return pairs


def _candidates(
    cut: _Described, whole: _Described, windows: Tensor, within: bool, done: Callable[[float], None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs (window of cut[i], whole[j]) that look alike: i, j, and the window in which they do most; the likeliest
    of each image and window, where there are many."""
    pairs: dict[tuple[int, int], tuple[float, int]] = {}
    usable = torch.from_numpy(~whole.blank).to(whole.whole.device)
    for w, window in enumerate(windows):
        described, contrast = _window_descriptors(cut.pictures, window)
        for start in range(0, len(described), _BLOCK):
            cosines = described[start : start + _BLOCK] @ whole.whole.T
            cosines[contrast[start : start + _BLOCK] < BLANK] = -1
            cosines[:, ~usable] = -1
            if within:
                here = torch.arange(len(cosines), device=cosines.device)
                cosines[here, here + start] = -1
            close = (cosines >= CANDIDATE).nonzero()
            if len(close) > _PER_IMAGE * len(cosines):
                top = cosines.topk(min(_PER_IMAGE, cosines.shape[1]), dim=1)
                row, rank = (top.values >= CANDIDATE).nonzero(as_tuple=True)
                close = torch.stack([row, top.indices[row, rank]], 1)
            values = cosines[close[:, 0], close[:, 1]].tolist()
            for (i, j), value in zip(close.tolist(), values, strict=True):
                pair = (i + start, j)
                if within and w == 0 and pair[0] > j:
                    continue
                if value > pairs.get(pair, (-1.0, 0))[0]:
                    pairs[pair] = value, w
        done((w + 1) / len(windows))
    i, j = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    return i, j, windows[torch.tensor([w for _, w in pairs.values()], dtype=torch.int64)]


def _aligned(
    cut: _Described, whole: _Described, i: Tensor, j: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Similarity of each pair, and the window it is reached in: a search around the start in shrinking steps.

    For pairs that pass all steps it is the smaller of the descriptors' cosine and the pixels' correlation, for the others
    the cosine at which they were given up.
    """
    offsets = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
    best, window = torch.full((len(i),), -1.0), start.clone()
    alive = torch.arange(len(i))
    for step, enough in _STEPS:
        for part in alive.split(_CHUNK) if len(alive) else ():
            tried = window[part][:, None] + step * (offsets if step else offsets[:1])
            side = tried[..., 2].clamp(0.5, 1.0)
            left, top = (torch.minimum(tried[..., k].clamp(min=0.0), 1 - side) for k in (0, 1))
            tried = torch.stack([left, top, side], -1)
            count = tried.shape[1]
            pictures = cut.pictures[i[part]].repeat_interleave(count, 0)
            described = descriptors(crops(pictures, tried.reshape(-1, 3).to(pictures)))[0]
            value, at = (
                (described.view(len(part), count, -1) * whole.whole[j[part]][:, None]).sum(-1).cpu().max(1)
            )
            better = value > best[part] + 1e-4
            best[part] = torch.where(better, value, best[part])
            window[part] = torch.where(better[:, None], tried[torch.arange(len(part)), at], window[part])
        alive = alive[best[alive] >= enough]
    whole_window = torch.tensor([[0.0, 0.0, 1.0]])
    for part in alive.split(_CHUNK) if len(alive) else ():
        ours = crops(cut.pictures[i[part]], window[part].to(cut.pictures))
        theirs = crops(whole.pictures[j[part]], whole_window.expand(len(part), 3).to(whole.pictures))
        best[part] = torch.minimum(best[part], correlation(ours, theirs).cpu())
    return best, window


def check_leakage(
    sets: Sequence[ImageSet],
    *,
    threshold: float = THRESHOLD,
    smallest_crop: float = 0.8,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All pairs of near duplicates within and between sets, and a summary of each two sets.

    Returns: COLUMNS with `leak` (one of the two is of a test set, the other of a source) before them; and per two sets with
    a pair, or a source and a test set: `leak` (the latter, with a pair), images of both, pairs exact and near, how many images
    of each are affected, and their share of the second, which is the test set where there is one.
    """
    ordered = sorted(sets, key=lambda s: s.is_test)
    names = np.repeat([s.name for s in ordered], [len(s) for s in ordered])
    tests = {s.name for s in ordered if s.is_test}
    keys = [key for s in ordered for key in s.keys]
    everything = ImageSet(
        "all", np.concatenate([s.images for s in ordered]), [str(i) for i in range(len(keys))]
    )
    pairs = find_duplicates(
        everything, threshold=threshold, smallest_crop=smallest_crop, device=device, progress=progress
    )
    for side in ("first", "second"):
        rows = pairs[f"{side}_key"].astype(int).to_numpy(int)
        pairs[side], pairs[f"{side}_key"] = names[rows], [keys[row] for row in rows]
    pairs.insert(0, "leak", pairs["first"].isin(tests) != pairs["second"].isin(tests))
    pairs = pairs.sort_values(["leak", "similarity"], ascending=False, kind="stable", ignore_index=True)
    rows = []
    for a, b in itertools.combinations_with_replacement(ordered, 2):
        here = pairs[(pairs["first"] == a.name) & (pairs["second"] == b.name)]
        if len(here) or (b.is_test and not a.is_test):
            affected = here["second_key"].nunique()
            rows.append(
                {
                    "first": a.name,
                    "second": b.name,
                    "leak": b.is_test and not a.is_test and len(here) > 0,
                    "first_images": len(a),
                    "second_images": len(b),
                    "exact": int((here["kind"] == "exact").sum()),
                    "near": int((here["kind"] == "near").sum()),
                    "first_affected": here["first_key"].nunique(),
                    "second_affected": affected,
                    "second_share": affected / len(b),
                }
            )
    return pairs, pd.DataFrame(rows)


def false_positives(
    num_images: int,
    seed: int,
    *,
    threshold: float = THRESHOLD,
    smallest_crop: float = 0.8,
    device: str = "cpu",
) -> tuple[int, int, float]:
    """How often distinct images count as near duplicates: pairs flagged, pairs compared, and the rate's upper bound (95%).

    The images are rendered, each from scenes of its own: `num_images` of each of the embedded world's sources. They are
    drawn from few silhouettes on plain or cluttered grounds, and look more alike than photographs do.
    """
    sets = list(itertools.takewhile(lambda s: not s.is_test, embedded_image_sets(num_images, 64, seed)))
    images = np.concatenate([s.images for s in sets])
    keys = [f"{s.name}/{key}" for s in sets for key in s.keys]
    together = ImageSet("distinct", images, keys)
    found = find_duplicates(together, threshold=threshold, smallest_crop=smallest_crop, device=device)
    pairs = len(images) * (len(images) - 1) // 2
    _, upper = clopper_pearson(np.array([len(found)]), np.array([pairs]))
    return len(found), pairs, float(np.asarray(upper)[0])
