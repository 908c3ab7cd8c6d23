"""One run from start to record: gather samples, train, evaluate on every test set, write the record last.

`execute_run` is what a worker process calls. A record appears only after the weights and logits it speaks of are on
disk, so a run that was interrupted anywhere simply runs again.
"""

import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from empirical.data import SourceData, gather
from empirical.errors import DataError
from empirical.plan import RunSpec
from empirical.recipe import Recipe
from empirical.records import FORMAT, environment, fingerprint, read_json, write_json
from empirical.tokenizer import Tokenizer


@dataclass(frozen=True)
class StudyContext:
    """Everything a run needs to know about its study besides its own spec; plain values, so workers can receive it."""

    folder: Path
    sources: Mapping[str, Mapping[int, SourceData]]
    test_sets: tuple[str, ...]
    reference: str
    model: str
    recipe: Recipe
    test_images: int
    device: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def run_fingerprint(self, spec: RunSpec) -> str:
        """Identifies the run's settings: the same name with another fingerprint is another experiment."""
        return fingerprint({"settings": dict(self.settings), "spec": spec.as_dict()})

    def record_path(self, name: str) -> Path:
        """Where the run's record lies."""
        return self.folder / "records" / f"{name}.json"

    def logits_path(self, name: str, test_set: str) -> Path:
        """Where the run's logits on one test set lie, float32 (images, classes)."""
        return self.folder / "logits" / name / f"{test_set}.npy"

    def weights_path(self, name: str) -> Path:
        """Where the run's weights lie."""
        return self.folder / "models" / f"{name}.safetensors"


def training_seed(spec: RunSpec) -> int:
    """Seed of initialisation and sample order: different for every run, the same whenever the run is repeated."""
    return zlib.crc32(spec.name.encode())


def execute_run(context: StudyContext, spec: RunSpec) -> dict[str, Any]:
    """Carry out one run and return its record (already written)."""
    from empirical.zero_shot import num_correct, save_logits

    started = time.perf_counter()
    if spec.heads:
        logits, details = _average_heads(context, spec), {"heads": list(spec.heads)}
    else:
        logits, details = _train_and_evaluate(context, spec)
    results = {}
    for name, (scores, labels) in logits.items():
        save_logits(scores, context.logits_path(spec.name, name))
        results[name] = {
            "num_classes": int(scores.shape[1]),
            "num_images": len(labels),
            "num_correct": num_correct(scores, labels),
        }
    record = {
        "format": FORMAT,
        "run": spec.name,
        "kind": spec.kind,
        "sources": spec.sources,
        "n_train": spec.n_train,
        "seed": spec.seed,
        "heads_n_train": spec.heads_n_train,
        "filter": spec.filter.scorer_source if spec.filter else "",
        "kept_share": spec.filter.kept_share if spec.filter else 1.0,
        "spec": spec.as_dict(),
        "shares": _shares_account(context, spec, details),
        "skipped": _skipped(context, spec),
        "results": results,
        "fingerprint": context.run_fingerprint(spec),
        "settings": dict(context.settings),
        **details,
        "environment": environment(context.device),
        "seconds": round(time.perf_counter() - started, 3),
    }
    write_json(context.record_path(spec.name), record)
    return record


def _train_and_evaluate(
    context: StudyContext, spec: RunSpec
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, Any]]:
    from empirical.model import build_model, load_config, save_weights
    from empirical.tokenizer import check_class_names, from_json
    from empirical.train import train
    from empirical.zero_shot import zero_shot_classifier, zero_shot_logits

    tokenizer = from_json((context.folder / "tokenizer.json").read_text(encoding="utf-8"))
    test_sets = {name: _load_test_set(context, name) for name in context.test_sets}
    prompts = {name: test_set.templates or default_templates() for name, test_set in test_sets.items()}
    for name, test_set in test_sets.items():  # before the training that would be in vain
        check_class_names(tokenizer, test_set.class_names, prompts[name][0], name)
    sources = {name: by_seed[spec.seed] for name, by_seed in context.sources.items()}
    images, captions = gather(context.folder, sources, spec.draws)
    filtering = None
    if spec.filter is not None:
        images, captions, filtering = _filter_pool(context, spec, images, captions, tokenizer)
    seed = training_seed(spec)
    config = load_config(context.model)
    model = build_model(config, tokenizer, seed)
    log = train(model, images, tokenizer(captions), context.recipe, seed, device=context.device)
    save_weights(model, context.weights_path(spec.name), config, tokenizer)
    # Shifted sets mostly share the reference's classes: 80 templates x 1000 classes are embedded once.
    classifiers: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}
    logits = {}
    for name, test_set in test_sets.items():
        classes = tuple(test_set.class_names), tuple(prompts[name])
        if classes not in classifiers:
            classifiers[classes] = zero_shot_classifier(model, tokenizer, *classes, context.device)
        logits[name] = (
            zero_shot_logits(model, classifiers[classes], test_set.images, context.device),
            np.asarray(test_set.labels),
        )
    details: dict[str, Any] = {"training_seed": seed, "training": asdict(log)}
    if filtering is not None:
        details["filtering"] = filtering
    return logits, details


def default_templates() -> list[str]:
    """The prompts for a test set that brings none: OpenAI's 80 templates for ImageNet, from open_clip."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def _filter_pool(
    context: StudyContext,
    spec: RunSpec,
    images: np.ndarray,
    captions: list[str],
    tokenizer: Tokenizer,
) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    """Make the noisy pool, score it with the filter's CLIP and keep the best share."""
    from empirical.filtering import clip_scores, keep_share, shuffled_captions
    from empirical.model import build_model, load_config, load_weights

    assert spec.filter is not None
    # The pool and its junk are the same for every filter: the seed knows the pool, not who filters it.
    pool_seed = zlib.crc32(f"{spec.sources} {spec.filter.pool_size} {spec.seed}".encode())
    donors = shuffled_captions(len(captions), spec.filter.junk_share, pool_seed)
    is_junk = donors != np.arange(len(captions))
    captions = [captions[donor] for donor in donors]
    kept = np.arange(len(captions))
    account: dict[str, Any] = {"pool_size": len(captions), "junk_in_pool": int(is_junk.sum())}
    if spec.filter.scorer is not None:
        scorer = build_model(load_config(context.model), tokenizer, seed=0)
        load_weights(scorer, context.weights_path(spec.filter.scorer))
        scores = clip_scores(scorer, images, tokenizer(captions), context.device)
        kept = keep_share(scores, spec.filter.kept_share)
        account |= {"scorer": spec.filter.scorer, "threshold": float(scores[kept].min())}
    account |= {"kept": len(kept), "junk_kept": int(is_junk[kept].sum())}
    origin = np.repeat([draw.source for draw in spec.draws], [draw.count for draw in spec.draws])
    account["kept_by_source"] = {source: int(np.sum(origin[kept] == source)) for source, _ in spec.shares}
    return images[kept], [captions[i] for i in kept], account


def _average_heads(context: StudyContext, spec: RunSpec) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from empirical.zero_shot import average_logits, load_logits

    weights = [share for _, share in spec.shares]
    averaged = {}
    for name in context.test_sets:
        heads = [load_logits(context.logits_path(head, name)) for head in spec.heads]
        averaged[name] = (average_logits(heads, weights), np.asarray(_load_test_set(context, name).labels))
    return averaged


def _load_test_set(context: StudyContext, name: str) -> Any:
    from empirical.arrays import load_test_set_arrays

    test_set = load_test_set_arrays(context.folder / "arrays" / f"test-{name}")
    if not len(test_set.labels):
        raise DataError(f"test set {name}: no image could be read")
    return test_set


def _shares_account(context: StudyContext, spec: RunSpec, details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Requested and realised share of every source: of the samples drawn, or of those that an ensemble's heads saw.

    Heads that are as large each as the mixture realise no share (None): only the weights of their logits do.
    """
    if spec.heads:
        sizes = [read_json(context.record_path(head))["n_train"] for head in spec.heads]
    else:
        sizes = [sum(d.count for d in spec.draws if d.source == source) for source, _ in spec.shares]
    total = sum(sizes) if spec.heads else sum(draw.count for draw in spec.draws)
    known = not spec.heads or spec.heads_n_train == "share"
    rows = [
        {
            "source": source,
            "requested": share,
            "samples": size,
            "realised": size / total if known else None,
        }
        for (source, share), size in zip(spec.shares, sizes, strict=True)
    ]
    if "filtering" in details:
        for row in rows:
            row["kept"] = details["filtering"]["kept_by_source"][row["source"]]
    return rows


def _skipped(context: StudyContext, spec: RunSpec) -> dict[str, dict[str, int]]:
    """Of every source of the run, how many samples no run saw because they could not be read, by reason."""
    skipped = {}
    for source in dict.fromkeys([source for source, _ in spec.shares] + [draw.source for draw in spec.draws]):
        folder = context.sources[source][spec.seed].folder(context.folder)
        stamp = folder.parent / f"{folder.name}.json"
        skipped[source] = read_json(stamp)["account"]["skipped"] if stamp.exists() else {}
    return skipped
