"""Trains a small CLIP from a stream with checkpoints; the tests kill it: `streaming_training.py INDEX OUT WORKER_KIND`.

Every step appends "epoch step loss keys" to OUT/log.txt; OUT/end.json holds the weights' hash and the account.
Started again, it goes on from its last checkpoint, in mid-epoch.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Literal

import torch
from open_clip import ClipLoss
from small_clip import TOKENIZER, small_model

from empirical.model_inputs import normalise
from empirical.shard_index import load_index
from empirical.streams import SampleStream

EPOCHS, CHECKPOINT_EVERY = 3, 4


def main(index_folder: Path, out: Path, worker_kind: Literal["threads", "processes"]) -> None:
    torch.set_num_threads(1)
    index = load_index(index_folder)
    half = len(index) // 2
    sources = {
        "a": index.subset(torch.arange(half).numpy()),
        "b": index.subset(torch.arange(half, 2 * half).numpy()),
    }
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = ClipLoss()
    with SampleStream.mixture(
        sources,
        (("a", 0.25), ("b", 0.75)),
        half + 10,
        image_size=32,
        batch_size=8,
        seed=5,
        workers=2,
        worker_kind=worker_kind,
    ) as stream:
        epoch, step, lines = 0, 0, []
        if (out / "checkpoint.pt").exists():
            kept = torch.load(out / "checkpoint.pt", weights_only=True)
            model.load_state_dict(kept["model"])
            optimizer.load_state_dict(kept["optimizer"])
            epoch, step = kept["place"]
            stream.restore(json.loads(kept["account"]))
            lines = (out / "log.txt").read_text().splitlines()[: epoch * stream.steps_per_epoch + step]
        with open(out / "log.txt", "w") as log:
            log.write("".join(f"{line}\n" for line in lines))
            while epoch < EPOCHS:
                for batch in stream.batches(epoch, step):
                    images = model.encode_image(
                        normalise(torch.from_numpy(batch.images), model), normalize=True
                    )
                    texts = model.encode_text(TOKENIZER(batch.captions), normalize=True)
                    loss = loss_of(images, texts, model.logit_scale.exp())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    keys = " ".join(stream.key(position) for position in batch.positions.tolist())
                    log.write(f"{epoch} {step} {loss.item().hex()} {keys}\n")
                    log.flush()
                    step += 1
                    if step % CHECKPOINT_EVERY == 0:
                        state = {
                            "model": model.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "place": (epoch, step),
                            "account": json.dumps(stream.state()),
                        }
                        torch.save(state, out / "unfinished.pt")
                        os.replace(out / "unfinished.pt", out / "checkpoint.pt")
                epoch, step = epoch + 1, 0
        weights = hashlib.sha256()
        for value in model.state_dict().values():
            weights.update(value.numpy().tobytes())
        (out / "end.json").write_text(
            json.dumps({"weights": weights.hexdigest(), "account": stream.account()})
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "processes" if sys.argv[3] == "processes" else "threads")
