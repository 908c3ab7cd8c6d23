"""The process in which img2dataset downloads: `python -m empirical.sources.img2dataset_worker JOB.json`.

img2dataset reads the table, runs the connections, resizes and writes shards. This module gives it our HTTP rules, looks at
images before its resizer does, and lets a shard appear under its name only when it is whole. It ends when the process that
started it does.
"""

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

# webdataset imports torch where it can: half of every process's memory and start, for nothing that is used here. Whoever
# imports this module keeps torch; what this process spawns has the second name.
if __name__ in ("__main__", "__mp_main__"):
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]

from img2dataset.distributor import multiprocessing_distributor  # pyright: ignore[reportMissingImports]
from img2dataset.downloader import Downloader  # pyright: ignore[reportMissingImports]
from img2dataset.reader import Reader  # pyright: ignore[reportMissingImports]
from img2dataset.resizer import Resizer  # pyright: ignore[reportMissingImports]
from img2dataset.writer import WebDatasetSampleWriter  # pyright: ignore[reportMissingImports]

from empirical.sources.http import HttpRules, install
from empirical.sources.images import UnusableImage, prepare_image

NOAI = ["noai", "noimageai", "noindex", "noimageindex"]


class CheckedResizer(Resizer):
    """img2dataset's resizer, behind `prepare_image`."""

    def __init__(self, max_pixels: int, **options: Any) -> None:
        super().__init__(**options)
        self.max_pixels = max_pixels

    def __call__(self, img_stream: Any, blurring_bbox_list: Any = None) -> Any:
        """The same six values, the last one the reason where the image is not used."""
        try:
            prepared = prepare_image(img_stream.getvalue(), self.max_pixels)
        except UnusableImage as reason:
            return None, None, None, None, None, str(reason)
        return super().__call__(io.BytesIO(prepared), blurring_bbox_list)


class WholeShardWriter(WebDatasetSampleWriter):
    """img2dataset's writer, into a folder beside; a finished shard is moved to its place."""

    def __init__(self, shard_id: int, output_folder: str, *arguments: Any) -> None:
        self.place, self.unfinished = Path(output_folder), Path(output_folder) / "_unfinished"
        self.unfinished.mkdir(exist_ok=True)
        super().__init__(shard_id, str(self.unfinished), *arguments)

    def close(self) -> None:
        """Finish both files, the tar last."""
        super().close()
        name = f"{self.shard_id:0{self.oom_shard_count}d}"
        for suffix in (".parquet", ".tar"):
            path = self.unfinished / (name + suffix)
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(path, self.place / path.name)


class RuledDownloader(Downloader):
    """img2dataset's downloader in a process that obeys our HTTP rules."""

    def __init__(self, rules: HttpRules, **options: Any) -> None:
        super().__init__(**options)
        self.rules = rules

    def __call__(self, row: Any) -> Any:
        """Download one shard."""
        install(self.rules)
        return super().__call__(row)


def main(job: dict[str, Any]) -> None:
    """Download every shard that is not in `job["done"]`."""
    folder = job["shards"]
    unfinished = Path(folder) / "_unfinished"
    unfinished.mkdir(parents=True, exist_ok=True)
    side = job["longer_side"] or job["shorter_side"]
    mode = "keep_ratio_largest" if job["longer_side"] else "keep_ratio" if side else "no"
    reader = Reader(
        job["table"], "parquet", "url", "caption", None, None, job["columns"], job["samples_per_shard"],
        set(job["done"]), str(unfinished), 0,
    )  # fmt: skip
    downloader = RuledDownloader(
        rules=HttpRules(**{**job["http"], "placeholder_urls": tuple(job["http"]["placeholder_urls"])}),
        sample_writer_class=WholeShardWriter,
        resizer=CheckedResizer(
            max_pixels=job["max_pixels"],
            image_size=side or 0,
            resize_mode=mode,
            resize_only_if_bigger=True,
            skip_reencode=True,
        ),
        thread_count=job["threads"],
        save_caption=True,
        extract_exif=False,
        output_folder=folder,
        column_list=reader.column_list,
        timeout=job["http"]["timeout"],
        number_sample_per_shard=job["samples_per_shard"],
        oom_shard_count=job["digits"],
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=NOAI if job["honour_noai"] else None,
    )
    multiprocessing_distributor(job["processes"], downloader, reader, None, 1)


def _end_with_parent() -> None:
    sys.stdin.read()  # the other end is held open by the process that started this one
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    # Not waiting for the thread above, which waits for input.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
