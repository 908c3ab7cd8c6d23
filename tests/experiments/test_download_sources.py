"""`download_sources.py` as a user runs it, for the sources with settings of their own, and killed in the middle."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from printed_commands import next_line, parsed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "empirical" / "sources"))

from metadata_cases import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    wit_row,
    write_headerless,
    write_laion,
    write_redcaps,
    write_wit,
)
from web_server import Web, encoded, picture  # noqa: E402  # pyright: ignore[reportMissingImports]

pytest.importorskip("img2dataset", reason="pip install -e '.[download]', with Python 3.11 or 3.12")


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as server:
        server.bodies = {"wide": encoded(picture(1, (1600, 400))), "small": encoded(picture(2, (40, 30)))}
        yield server


def command(*arguments: object) -> list[str]:
    script = ROOT / "experiments" / "download_sources.py"
    return [sys.executable, str(script), *map(str, arguments), "--timeout", "4"]


def run(*arguments: object, status: int = 0) -> str:
    result = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def sizes(out: Path) -> dict[str, tuple[int, int]]:
    """Last part of the URL -> size of the stored image."""
    found = {}
    for path in sorted((out / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        for name, data in members.items():
            if name.endswith(".json"):
                with Image.open(io.BytesIO(members[name[:-5] + ".jpg"])) as image:
                    found[json.loads(data)["url"].rsplit("/", 1)[1]] = image.size
    return found


def test_redcaps_is_shuffled_and_shrunk_but_never_enlarged(web: Web, tmp_path: Path) -> None:
    urls = [f"{web.root}/{name}" for name in ("wide", "small", "to-removed", "404")]
    for k in range(2):
        write_redcaps(
            tmp_path / f"{k}.json", [(url, f"caption {i}") for i, url in enumerate(urls[2 * k : 2 * k + 2])]
        )
    printed = run("redcaps", tmp_path / "0.json", tmp_path / "1.json", "--out", tmp_path / "out")
    assert sizes(tmp_path / "out") == {"wide": (1000, 250), "small": (40, 30)}
    assert "2 of 4 pairs fetched, in 1 shards" in printed
    assert "1 x leads to a placeholder" in printed
    script, then = parsed(next_line(printed))
    assert (script, then.source[0]) == ("clip_mixtures", f"redcaps={tmp_path / 'out' / 'shards'}")
    card = json.loads((tmp_path / "out" / "data_card.json").read_text())
    assert card["selection"]["shuffled"]
    assert card["selection"]["longer_side_at_most"] == 1000


def test_wit_is_asked_for_politely(web: Web, tmp_path: Path) -> None:
    rows = [wit_row(f"{web.root}/pause/{i}", f"caption {i}", "en" if i % 2 else "fr") for i in range(32)]
    write_wit(tmp_path / "w.tsv", rows)
    arguments = ("wit", tmp_path / "w.tsv", "--out", tmp_path / "out")
    printed = run(*arguments, "--table-only")
    assert "add --contact" in printed
    script, then = parsed(next_line(printed))
    assert (script, then.metadata, then.table_only) == ("download_sources", (tmp_path / "w.tsv",), False)
    printed = run(*arguments, "--contact", "lab@example.org", "--shorter-side", "12", status=2)
    assert "another request (different: shorter_side)" in printed
    web.most_at_once = 0
    run(*arguments, "--contact", "lab@example.org")
    assert set(sizes(tmp_path / "out")) == {str(i) for i in range(1, 32, 2)}
    assert 1 <= web.most_at_once <= 4
    (agent,) = {web.agents[f"/pause/{i}"] for i in range(1, 32, 2)}
    assert agent.startswith("quality-not-quantity/")
    assert agent.endswith("(contact: lab@example.org)")


def test_laion_columns_arrive_in_the_shards(web: Web, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    urls = [f"{web.root}/{name}" for name in ("wide", "small", "noai", "good/9")]
    write_laion(
        tmp_path / "parts" / "part-0.parquet", [(urls[0], "wide"), (urls[1], None), (urls[1], "small")]
    )
    unsafe = [(urls[2], "noai"), (urls[3], "unsafe")]
    write_laion(tmp_path / "parts" / "part-1.parquet", unsafe, ["UNLIKELY", "NSFW"])
    run("laion", tmp_path / "parts", "--out", tmp_path / "out", "--shorter-side", "100", "--honour-noai")
    assert sizes(tmp_path / "out") == {"wide": (400, 100), "small": (40, 30)}
    outcomes = pd.read_parquet(tmp_path / "out" / "shards" / "00000.parquet").set_index("caption")
    assert set(outcomes.index) == {"wide", "small", "noai"}
    assert outcomes.loc["small", "similarity"] == pytest.approx(0.32)
    assert (outcomes["NSFW"] == "UNLIKELY").all()
    card = json.loads((tmp_path / "out" / "data_card.json").read_text())
    assert card["download"]["failed"] == {"image may not be used for AI (X-Robots-Tag)": 1}
    assert card["metadata"]["dropped"] == {"null caption": 1, "NSFW rating not kept": 1}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_killed_download_goes_on_and_leaves_no_process(web: Web, tmp_path: Path) -> None:
    pairs = [(f"{web.root}/good/{1000 + i}", f"caption {i}") for i in range(40)] + [
        (f"{web.root}/silent/{i}", "late") for i in range(4)
    ]
    metadata = write_headerless(tmp_path / "m.tsv", pairs)
    arguments = (
        "shutterstock",
        metadata,
        "--out",
        tmp_path / "out",
        "--samples-per-shard",
        10,
        "--retry-passes",
        0,
    )
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    job = tmp_path / "out" / "img2dataset_job.json"
    # Workers take shards side by side: the second may well be finished before the first.
    while not all((tmp_path / "out" / "shards" / f"0000{i}_stats.json").exists() for i in (0, 1)):
        assert process.poll() is None
        time.sleep(0.02)
    workers = workers_of(job)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "img2dataset outlived the process that started it"
        time.sleep(0.05)
    asked = dict(web.seen)
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").glob("0000[01]*")}
    printed = run(*arguments)
    assert "40 of 44 pairs fetched" in printed
    assert set(sizes(tmp_path / "out")) == {str(1000 + i) for i in range(40)}
    # The shards that were finished were not asked for again.
    assert {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").glob("0000[01]*")
    } == first
    done = pq.read_table(tmp_path / "out" / "shards" / "00000.parquet")["url"].to_pylist()
    assert all(web.seen["/" + url.split("/", 3)[3]] == asked["/" + url.split("/", 3)[3]] == 1 for url in done)


def workers_of(job: Path) -> list[int]:
    """Processes that were started with this job, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(job).encode() in words:
                found.append(int(entry.name))
    return found


def test_bad_input_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("caption\thttp://a.org/1\n" * 3)
    printed = run("cc12m", tmp_path / "m.tsv", "--out", tmp_path / "out", status=2)
    assert printed.startswith("error: ")
    assert "URL in column 0" in printed
    assert "Traceback" not in printed
    assert run("cc12m", tmp_path / "none.tsv", "--out", tmp_path / "out", status=2).startswith("error: ")


def test_the_table_alone_needs_no_network(tmp_path: Path) -> None:
    write_headerless(tmp_path / "m.tsv", [(f"http://a.org/{i}", f"caption {i}") for i in range(50)])
    printed = run("yfcc", tmp_path / "m.tsv", "--out", tmp_path / "out", "--table-only", "--subset", 20)
    assert "50 rows read, 50 usable, 20 asked for" in printed
    assert pq.read_table(tmp_path / "out" / "table").num_rows == 20
