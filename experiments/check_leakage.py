"""Does a training source hold images of a test set, or of another source? Exact and near duplicates, with pictures.

Copies are found after re-encoding, resizing, changes of exposure and cropping (down to --smallest-crop of each side). Without
--source the embedded world's own sources and test sets are checked, whose images are all distinct.

What to look at in leakage.png: pairs marked LEAK are in a source and in a test set; the orange frame is what was cut out.

Examples:
    python experiments/check_leakage.py
    python experiments/check_leakage.py --source "a=A/{000..099}.tar" --source b=B/ --test-set imagenet=val/ --limit 20000
    python experiments/check_leakage.py --source a=A/index --test-set sketch=sketch/ --device cuda --smallest-crop 1
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from empirical.command import Command, print_next, print_written
from empirical.options import NamedPaths, NamedShards, check_at_least


@dataclass(frozen=True)
class Arguments:
    """Compare every image with every other: n x n x 55 windows x 131 products for n images in all, a minute for 3,000 on a
    CPU core; a GPU takes 100,000 in minutes."""

    out: Path = Path("runs/leakage")
    """Folder for pairs.csv, summary.csv, leakage.png and provenance.json."""
    source: NamedShards = ()
    """A source: webdataset shards, a shard index or a folder of images; repeat for each."""
    test_set: NamedPaths = ()
    """A test set: shards, a shard index or a folder of images (class folders, labels are not read); repeat for each."""
    limit: int = 0
    """Images read of each set, in an order drawn from --seed (0: all; 150 of each of the embedded world's)."""
    threshold: float = 0.97
    """Similarity from which a pair counts (0.92 to 1)."""
    smallest_crop: float = 0.8
    """Crops down to this share of each side are looked for (0.5 to 1); 1 compares whole images only, 55 times as fast."""
    seed: int = 0
    """Seed of the embedded world's images, and of the order in which --limit reads."""
    device: str = "cpu"
    """cpu or cuda."""


def run(arguments: Arguments) -> None:
    """Read, compare, write, draw.

    Raises:
        StudyError: arguments that make no sense; DataError: data that cannot be read.
    """
    from empirical.errors import StudyError
    from empirical.figures.duplicates import draw_duplicates
    from empirical.image_sets import embedded_image_sets, read_image_set
    from empirical.named_paths import named_paths
    from empirical.near_duplicates import FALSE_POSITIVES, check_leakage
    from empirical.next_commands import command, own_data
    from empirical.records import write_provenance
    from empirical.tables import write_table
    from empirical.work_progress import TimedLines
    from theory.counts import clopper_pearson

    check_at_least(arguments, limit=0, seed=0)
    if not 0.92 <= arguments.threshold <= 1:
        raise StudyError(f"--threshold is {arguments.threshold}; it must lie in [0.92, 1]")
    if not 0.5 <= arguments.smallest_crop <= 1:
        raise StudyError(f"--smallest-crop is {arguments.smallest_crop}; it must lie in [0.5, 1]")
    sources, tests = named_paths("--source", arguments.source), named_paths("--test-set", arguments.test_set)
    if tests and not sources:
        raise StudyError("--test-set needs a --source whose images might be among its own")
    if both := sorted(set(sources) & set(tests)):
        raise StudyError(f"{both[0]!r} names a source and a test set: choose two names")
    lines = TimedLines()
    if sources:
        sets = []
        for name, path in {**sources, **tests}.items():
            print(f"reading {name} ({path})", flush=True)
            sets.append(
                read_image_set(
                    name, path, 64, limit=arguments.limit, seed=arguments.seed, is_test=name in tests
                )
            )
            if sets[-1].account.skipped:
                print(f"warning: {name}: {sets[-1].account.summary()}", file=sys.stderr)
    else:
        sets = list(embedded_image_sets(arguments.limit or 150, 64, arguments.seed))
    total = sum(len(s) for s in sets)
    print(f"comparing {total:,} images of {len(sets)} sets with one another", flush=True)
    last = -1

    def progress(share: float) -> None:
        nonlocal last
        if int(10 * share) > last:
            last = int(10 * share)
            lines.say(f"{share:4.0%} compared")

    pairs, summary = check_leakage(
        sets,
        threshold=arguments.threshold,
        smallest_crop=arguments.smallest_crop,
        device=arguments.device,
        progress=progress,
    )
    write_table(pairs, arguments.out / "pairs.csv")
    write_table(summary, arguments.out / "summary.csv")
    _, upper = clopper_pearson(*FALSE_POSITIVES)
    expected = float(upper) * total * (total - 1) / 2
    remark = (
        f"{total:,} images compared. Measured on {FALSE_POSITIVES[1]:,} pairs of distinct images: {FALSE_POSITIVES[0]} flagged; "
        f"so at most {expected:.2g} false pairs are to be expected here (95%, threshold 0.97). Orange: the part that was cut out."
    )
    image_of = {(s.name, key): image for s in sets for key, image in zip(s.keys, s.images, strict=True)}
    paths = draw_duplicates(pairs, image_of, arguments.out / "leakage", remark)
    accounts = {s.name: {"images": len(s), "skipped": s.account.skipped} for s in sets}
    provenance = write_provenance(arguments.out, arguments, lines.seconds, arguments.device, sets=accounts)
    print(f"\n{summary.to_string(index=False, float_format='%.3g')}\n\n{remark}")
    leaks = int(pairs["leak"].sum())
    print(f"{len(pairs)} pairs of duplicates, {leaks} of them between a source and a test set")
    print_written([arguments.out / "pairs.csv", arguments.out / "summary.csv", provenance, *paths])
    shards = {name: path if _is_shards(path) else "SHARDS" for name, path in sources.items()}
    words = own_data(shards, tests) if sources else []
    print_next(command("clip_mixtures", *words), "trains on the sources, judged on the test sets")


def _is_shards(path: str) -> bool:
    from empirical.errors import DataError
    from empirical.shard_index import is_index
    from empirical.shards import expand_shards

    try:
        return is_index(path) or bool(expand_shards(path))
    except DataError:
        return False


main = Command(Arguments, run, __doc__, stopped="nothing was written")

if __name__ == "__main__":
    main.exit()
