"""What a study at scale would cost: floating-point operations, hours of a device, and storage.

Use `estimate_cost`; `training_flops` counts a model's operations, `measured_flops` how many of them this machine sustains in
training. Every number is an estimate and says what it rests on: operations are counted exactly, throughput is measured on a
smaller model of the same kind and scaled by operations, data loading is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from empirical.model import build_model, context_length, image_size, load_config
from empirical.paper_presets import PaperPreset
from empirical.published import TEST_SETS
from empirical.recipe import Recipe
from empirical.tokenizer import OpenClipTokenizer, Tokenizer
from empirical.train import train

KILOBYTES_PER_PAIR = 35.0
"""Assumed size of an image-text pair in shards at a shorter side of 256 px (JPEG)."""

_BACKWARD = 3.0  # a training step costs its forward pass once and about twice more for the gradients


@dataclass(frozen=True)
class CostEstimate:
    """Cost of a preset: per kind of run (table) and in all.

    table: kind, runs, samples_seen, flops, hours. storage: what -> bytes. flops_per_sample: of one training sample;
    device_flops: sustained operations per second; measured: whether they were measured here.
    """

    table: pd.DataFrame
    storage: Mapping[str, float]
    flops_per_sample: float
    device_flops: float
    num_parameters: int
    measured: bool


def training_flops(config: Mapping[str, Any]) -> tuple[float, int]:
    """(operations of one training sample, number of parameters) of an open_clip config with its own vocabulary.

    The forward pass of both towers is counted by torch on one sample (multiplications and additions, of matrix products and
    convolutions) without computing anything; training takes three times as many.
    """
    model = build_model(config, OpenClipTokenizer(context_length(config)), seed=0)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    model = model.to("meta").eval()
    side = image_size(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.encode_image(torch.empty(1, 3, side, side, device="meta"))
        model.encode_text(torch.zeros(1, context_length(config), dtype=torch.int64, device="meta"))
    return _BACKWARD * counter.get_total_flops(), num_parameters


def proxy_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A smaller model of the same kind: images of 96 px and a quarter of the text tower's layers."""
    small = copy.deepcopy(dict(config))
    small["vision_cfg"]["image_size"] = min(96, image_size(config))
    small["text_cfg"]["layers"] = max(1, small["text_cfg"].get("layers", 12) // 4)
    return small


def made_up_pairs(
    num: int, side: int, tokenizer: Tokenizer, seed: int = 0
) -> tuple[np.ndarray, torch.Tensor]:
    """Noise images uint8 (num, 3, side, side) and a caption for each, tokenized."""
    rng = np.random.default_rng(seed)
    words = ["a photo of a dog", "two red cars in the street", "sketch of a tree", "my lunch today"]
    captions = [f"{words[i % len(words)]} {i}" for i in range(num)]
    return rng.integers(0, 256, (num, 3, side, side), dtype=np.uint8), tokenizer(captions)


def measured_flops(config: Mapping[str, Any], device: str = "cpu", batch_size: int = 16) -> float:
    """Operations per second that this machine sustains while training `proxy_config(config)` for a few steps."""
    small = proxy_config(config)
    per_sample, _ = training_flops(small)
    tokenizer = OpenClipTokenizer(context_length(small))
    model = build_model(small, tokenizer, seed=0)
    images, tokens = made_up_pairs(batch_size, image_size(small), tokenizer)
    train(
        model, images, tokens, Recipe(epochs=1, batch_size=batch_size, max_shift=0), 0, device=device
    )  # warms up
    log = train(model, images, tokens, Recipe(epochs=2, batch_size=batch_size, max_shift=0), 0, device=device)
    return per_sample * log.samples_per_second


def estimate_cost(
    preset: PaperPreset,
    device: str = "cpu",
    device_flops: float | None = None,
    kilobytes_per_pair: float = KILOBYTES_PER_PAIR,
) -> CostEstimate:
    """Runs, samples, operations, hours and storage of a preset.

    hours = samples_seen flops_per_sample / device_flops: those of one device, without data loading and evaluation.

    Args:
        preset: see `empirical.paper_presets`.
        device: where to measure, "cpu" or "cuda".
        device_flops: sustained operations per second of another device; nothing is measured then.
        kilobytes_per_pair: assumed size of a pair in the shards.

    Raises ValueError for a device_flops or size that is not positive.
    """
    if not kilobytes_per_pair > 0 or (device_flops is not None and not device_flops > 0):
        raise ValueError("device_flops and kilobytes_per_pair must be positive")
    config = load_config(preset.model)
    per_sample, num_parameters = training_flops(config)
    sustained = device_flops if device_flops is not None else measured_flops(config, device)
    runs = pd.DataFrame([{"kind": run.kind, "samples_seen": run.samples_seen} for run in preset.runs])
    table = runs.groupby("kind", sort=False)["samples_seen"].agg(["size", "sum"]).reset_index()
    table.columns = pd.Index(["kind", "runs", "samples_seen"])
    table["flops"] = table["samples_seen"] * per_sample
    table["hours"] = table["flops"] / sustained / 3600
    logits = sum(4.0 * test_set.num_images * test_set.num_classes for test_set in TEST_SETS.values())
    storage = {
        f"data, {sum(preset.sources.values()):,} pairs of {kilobytes_per_pair:g} kB (assumed)": 1e3
        * kilobytes_per_pair
        * sum(preset.sources.values()),
        f"weights, {len(preset.runs)} runs of {num_parameters / 1e6:.0f}M parameters": 4.0
        * num_parameters
        * len(preset.runs),
        f"logits on {len(TEST_SETS)} test sets": logits * len(preset.runs),
    }
    return CostEstimate(table, storage, per_sample, sustained, num_parameters, device_flops is None)


def describe_cost(preset: PaperPreset, cost: CostEstimate, device: str) -> list[str]:
    """The estimate in words: what is planned, what it costs, and what the numbers rest on."""
    total = cost.table[["runs", "samples_seen", "flops", "hours"]].sum()
    lines = [
        preset.about,
        "",
        f"{'kind':<14}{'runs':>6}{'samples seen':>18}{'operations':>14}{'device hours':>15}",
    ]
    for _, row in cost.table.iterrows():
        lines.append(
            f"{row['kind']:<14}{row['runs']:>6}{row['samples_seen']:>18,}{row['flops']:>14.2e}{row['hours']:>15,.0f}"
        )
    lines.append(
        f"{'total':<14}{int(total['runs']):>6}{int(total['samples_seen']):>18,}{total['flops']:>14.2e}{total['hours']:>15,.0f}"
    )
    lines += ["", "storage:", *(f"  {size / 1e9:>10,.1f} GB  {what}" for what, size in cost.storage.items())]
    how = (
        f"measured on this machine's {device} with a smaller model of the same kind"
        if cost.measured
        else "as given with --device-flops"
    )
    lines += [
        "",
        f"An estimate: {cost.flops_per_sample / 1e9:.1f} GFLOP per training sample ({preset.model}, counted) at "
        f"{cost.device_flops / 1e9:,.1f} GFLOP/s, {how}; data loading and evaluation are left out.",
        f"A GPU that sustains 100 TFLOP/s would need {total['flops'] / 1e14 / 3600:,.0f} GPU-hours (assumed, not measured).",
    ]
    return lines
