"""A study of two embedded sources, small enough to run many times: its context and its runs."""

from pathlib import Path

from empirical.data import EMBEDDED, SourceData, prepare_source, prepare_test_set
from empirical.execution import StudyContext
from empirical.plan import Draw, FilterSpec, RunSpec
from empirical.recipe import Recipe
from empirical.tokenizer import build_tokenizer

SOURCES = ("snapshots", "stock")
EVEN = (("snapshots", 0.5), ("stock", 0.5))


def small_context(folder: Path) -> StudyContext:
    sources = {name: {0: SourceData(name, EMBEDDED, 0, (0,), 40, 32)} for name in SOURCES}
    for by_seed in sources.values():
        prepare_source(folder, by_seed[0])
    for name in ("reference", "sketch"):
        prepare_test_set(folder, name, EMBEDDED, 32, 40)
    (folder / "tokenizer.json").write_text(build_tokenizer("world", context_length=24).to_json())
    return StudyContext(
        folder=folder,
        sources=sources,
        test_sets=("reference", "sketch"),
        reference="reference",
        model="conv_tower",
        recipe=Recipe(epochs=1, batch_size=16),
        test_images=40,
        device="cpu",
    )


def single(source: str, size: int) -> RunSpec:
    return RunSpec("single", ((source, 1.0),), size, 0, draws=(Draw(source, 0, size),))


def one_of_each_kind() -> list[RunSpec]:
    """Singles of several sizes, a mixture, an ensemble, a raw pool and a filtered one."""
    heads = (single("snapshots", 24), single("stock", 16))
    draws = (Draw("snapshots", 24, 16), Draw("stock", 16, 16))
    filters = [FilterSpec(0.25, kept, 32, scorer, label) for kept, scorer, label in (
        (1.0, None, "none"), (0.5, heads[1].name, "stock")
    )]  # fmt: skip
    return [
        RunSpec("output_mixing", EVEN, 32, 0, heads=tuple(h.name for h in heads), heads_n_train="each"),
        *heads,
        single("stock", 9),  # fewer than a batch
        RunSpec("input_mixing", EVEN, 32, 0, draws),
        *(RunSpec("filtered", EVEN, round(32 * f.kept_share), 0, draws, filter=f) for f in filters),
    ]
