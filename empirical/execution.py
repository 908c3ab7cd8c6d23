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
from empirical.finished import finished_record
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

    @property
    def bfloat16(self) -> bool:
        """Whether the towers run in bfloat16 autocast."""
        return str(self.settings.get("precision", "")).startswith("bfloat16")

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
    # A worker may be started twice (a requeued job, a lost node): the second finds the record of the first.
    if (record := finished_record(context, spec)) is not None:
        return record
    started = time.perf_counter()
    if spec.heads:
        logits, details = _average_heads(context, spec), {"heads": list(spec.heads)}
        return write_run(context, spec, logits, details, time.perf_counter() - started)
    from empirical.model import build_model, load_weights
    from empirical.train import train

    test_sets = load_test_sets(
        context
    )  # a class the tokenizer cannot name is found before the training in vain
    prepared = prepare_run(context, spec)
    if prepared.scorer is not None:
        prepared.filter_by(load_weights(prepared.blank_model(), prepared.scorer), context.device)
    model = build_model(prepared.config, prepared.tokenizer, prepared.seed)
    log = train(
        model, prepared.images, prepared.tokens, context.recipe, prepared.seed, device=context.device,
        bfloat16=context.bfloat16,
    )  # fmt: skip
    logits = evaluate(context, model, prepared.tokenizer, test_sets)
    model_of_run = (model.state_dict(), prepared)
    details = prepared.details() | {"training": asdict(log)}
    return write_run(context, spec, logits, details, time.perf_counter() - started, trained=model_of_run)


Logits = dict[str, tuple[np.ndarray, np.ndarray]]
"""By test set: logits (images, classes) and labels (images,)."""


@dataclass
class PreparedRun:
    """What a run trains on, gathered in host memory; nothing of it needs a GPU.

    `images` and `tokens` hold the whole pool until `filter_by` has dropped what the filter does not keep.
    """

    spec: RunSpec
    seed: int
    config: dict[str, Any]
    tokenizer: Tokenizer
    images: np.ndarray
    tokens: Any
    scorer: Path | None = None
    pool: dict[str, Any] | None = None
    is_junk: np.ndarray | None = None

    def blank_model(self) -> Any:
        """A model of the run's architecture, to load weights into."""
        from empirical.model import build_model

        return build_model(self.config, self.tokenizer, seed=0)

    def filter_by(self, scorer: Any, device: Any, batch_size: int = 64) -> None:
        """Score the pool with the filter's CLIP and keep the best share."""
        from empirical.filtering import clip_scores, keep_share

        assert self.spec.filter is not None
        scores = clip_scores(scorer, self.images, self.tokens, device, batch_size)
        kept = keep_share(scores, self.spec.filter.kept_share)
        account = {"scorer": self.spec.filter.scorer, "threshold": float(scores[kept].min())}
        self._keep(kept, account, scores)

    def _junk(self) -> np.ndarray:
        assert self.is_junk is not None
        return self.is_junk

    def _keep(self, kept: np.ndarray, account: Mapping[str, Any], scores: np.ndarray | None = None) -> None:
        assert self.pool is not None
        draws = self.spec.draws
        origin = np.repeat([draw.source for draw in draws], [draw.count for draw in draws])
        self.pool |= account
        self.pool |= {"kept": len(kept), "junk_kept": int(self._junk()[kept].sum())}
        self.pool["kept_by_source"] = {
            source: int(np.sum(origin[kept] == source)) for source, _ in self.spec.shares
        }
        self.pool["components"] = [
            pool_component(source, origin == source, self._junk(), kept, scores)
            for source, _ in self.spec.shares
        ]
        self.images, self.tokens = self.images[kept], self.tokens[kept]

    def details(self) -> dict[str, Any]:
        """What the record says of the run's data and seed."""
        found: dict[str, Any] = {"training_seed": self.seed}
        return found if self.pool is None else found | {"filtering": self.pool}


def pool_component(
    source: str, of_source: np.ndarray, is_junk: np.ndarray, kept: np.ndarray, scores: np.ndarray | None
) -> dict[str, Any]:
    """One source's pairs in a pool, clean and junk: how many, how many kept, mean and spread of the filter's scores."""
    was_kept = np.zeros(len(is_junk), dtype=bool)
    was_kept[kept] = True
    found: dict[str, Any] = {"source": source}
    for name, part in (("clean", of_source & ~is_junk), ("junk", of_source & is_junk)):
        found |= {name: int(part.sum()), f"{name}_kept": int((part & was_kept).sum())}
        if scores is not None and part.sum() > 1:
            values = scores[part].astype(np.float64)
            found |= {f"{name}_score": float(values.mean()), f"{name}_spread": float(values.std())}
    return found


def prepare_run(context: StudyContext, spec: RunSpec) -> PreparedRun:
    """Gather the samples of a run that trains; for a pool, give its junk the captions of other pairs."""
    from empirical.filtering import shuffled_captions
    from empirical.model import load_config
    from empirical.tokenizer import from_json

    tokenizer = from_json((context.folder / "tokenizer.json").read_text(encoding="utf-8"))
    sources = {name: by_seed[spec.seed] for name, by_seed in context.sources.items()}
    images, captions = gather(context.folder, sources, spec.draws)
    scorer = pool = is_junk = None
    if spec.filter is not None:
        # The pool and its junk are the same for every filter: the seed knows the pool, not who filters it.
        pool_seed = zlib.crc32(f"{spec.sources} {spec.filter.pool_size} {spec.seed}".encode())
        donors = shuffled_captions(len(captions), spec.filter.junk_share, pool_seed)
        captions = [captions[donor] for donor in donors]
        is_junk = donors != np.arange(len(captions))
        pool = {"pool_size": len(captions), "junk_in_pool": int(is_junk.sum())}
        if spec.filter.scorer is not None:
            scorer = context.weights_path(spec.filter.scorer)
    prepared = PreparedRun(
        spec, training_seed(spec), load_config(context.model), tokenizer, images, tokenizer(captions),
        scorer, pool, is_junk,
    )  # fmt: skip
    if pool is not None and scorer is None:
        prepared._keep(np.arange(len(captions)), {})
    return prepared


@dataclass(frozen=True)
class Examined:
    """A test set with the prompts its classes are named by."""

    images: Any
    labels: np.ndarray
    class_names: tuple[str, ...]
    templates: tuple[str, ...]


def load_test_sets(context: StudyContext) -> dict[str, Examined]:
    """The study's test sets with their prompts, checked against the tokenizer."""
    from empirical.tokenizer import check_class_names, from_json

    tokenizer = from_json((context.folder / "tokenizer.json").read_text(encoding="utf-8"))
    found = {}
    for name in context.test_sets:
        test_set = _load_test_set(context, name)
        templates = tuple(test_set.templates or default_templates())
        check_class_names(tokenizer, test_set.class_names, templates[0], name)
        found[name] = Examined(
            test_set.images, np.asarray(test_set.labels), tuple(test_set.class_names), templates
        )
    return found


def evaluate(
    context: StudyContext, model: Any, tokenizer: Tokenizer, test_sets: Mapping[str, Examined]
) -> Logits:
    """Zero-shot logits and labels on every test set."""
    from empirical.zero_shot import zero_shot_classifier, zero_shot_logits

    # Shifted sets mostly share the reference's classes: 80 templates x 1000 classes are embedded once.
    classifiers: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}
    logits = {}
    for name, test_set in test_sets.items():
        classes = test_set.class_names, test_set.templates
        if classes not in classifiers:
            classifiers[classes] = zero_shot_classifier(model, tokenizer, *classes, context.device)
        scores = zero_shot_logits(model, classifiers[classes], test_set.images, context.device)
        logits[name] = (scores, test_set.labels)
    return logits


def write_run(
    context: StudyContext,
    spec: RunSpec,
    logits: Logits,
    details: Mapping[str, Any],
    seconds: float,
    trained: tuple[Mapping[str, Any], PreparedRun] | None = None,
) -> dict[str, Any]:
    """Write a run's logits, its weights where it trained, and last its record, which is returned."""
    from empirical.zero_shot import num_correct, save_logits

    if trained is not None:
        from empirical.model import save_state

        weights, prepared = trained
        save_state(weights, context.weights_path(spec.name), prepared.config, prepared.tokenizer)
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
        # An ensemble averages saved numbers: no GPU takes part, whatever trained its heads.
        "environment": environment("cpu" if spec.heads else context.device),
        "seconds": round(seconds, 3),
    }
    write_json(context.record_path(spec.name), record)
    return record


def default_templates() -> list[str]:
    """The prompts for a test set that brings none: OpenAI's 80 templates for ImageNet, from open_clip."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def _average_heads(context: StudyContext, spec: RunSpec) -> Logits:
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
