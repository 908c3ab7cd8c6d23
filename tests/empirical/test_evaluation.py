"""Evaluation against open_clip's own routine image by image, subsets of classes, checkpoints of every kind."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from imagenet_folders import labelled_shards, objectnet, picture, wnid_folders
from PIL import Image
from small_clip import small_model
from small_open_clip import small_open_clip

from empirical.checkpoints import OPENAI_MEAN, load_checkpoint, side_of
from empirical.errors import DataError
from empirical.evaluation import (
    Evaluated,
    accuracy_rows,
    clip_benchmark_lines,
    evaluate_set,
    reference_on_subsets,
)
from empirical.execution import default_templates
from empirical.imagenet_classes import imagenet_wnids, subset_indices
from empirical.imagenet_sets import open_imagenet_set
from empirical.model import load_config, save_weights
from empirical.published_formats import read_results
from empirical.zero_shot import load_logits, num_correct

TEMPLATES = [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES[:3]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return small_open_clip(tmp_path_factory.mktemp("model"))


def test_prompts_are_openais_eighty():
    found = default_templates()
    assert len(found) == len(set(found)) == 80
    assert {"a bad photo of a {}.", "itap of a {}.", "a tattoo of the {}."} <= set(found)
    assert found == [each("{}") for each in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert len(open_clip.IMAGENET_CLASSNAMES) == 1000


def varied_pictures(root: Path) -> Path:
    """ImageNet-R's layout with pictures of all shapes, modes and formats that the set has."""
    wnids = imagenet_wnids("imagenet_r")
    shapes = [(64, 64), (200, 90), (65, 131), (50, 40), (300, 301), (64, 128)]
    for i in range(24):
        folder = root / wnids[(7 * i) % 200]
        folder.mkdir(parents=True, exist_ok=True)
        width, height = shapes[i % len(shapes)]
        kind = "JPEG" if i % 2 else "PNG"
        path = folder / f"{i}.{'jpg' if i % 2 else 'png'}"
        path.write_bytes(picture(i, width, height, kind))
        if i % 6 == 5:
            Image.open(path).convert("L").save(path)
        if i % 6 == 4:
            Image.open(path).convert("RGBA").save(path)
    return root


def count_hits(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...] = (1,)) -> list[float]:
    """open_clip_train's `accuracy`, whose float(array of one element) NumPy 2.4 refuses."""
    ranked = output.topk(max(topk), 1, True, True)[1].t()
    return [float(ranked.eq(target)[:k].sum().item()) for k in topk]


def test_top_1_is_open_clips_own_image_by_image(tmp_path, clip, monkeypatch):
    """open_clip_train's loop with our predictions as targets must hit every single image."""
    from open_clip_train import zero_shot

    monkeypatch.setattr(zero_shot, "accuracy", count_hits)
    run = zero_shot.run

    path, model, tokenizer = clip
    root = varied_pictures(tmp_path / "r")
    found = evaluate_set(
        model, tokenizer, open_imagenet_set("imagenet_r", root), "imagenet_r", TEMPLATES, batch_size=5
    )

    open_clip.add_model_config(path)
    weights = save_weights(model, tmp_path / "w.safetensors")
    theirs, _, preprocess = open_clip.create_model_and_transforms("small_rn", pretrained=str(weights))
    assert callable(preprocess)
    assert isinstance(theirs, open_clip.CLIP)
    theirs.eval()
    names = [open_clip.IMAGENET_CLASSNAMES[i] for i in subset_indices("imagenet_r")]
    classifier = open_clip.build_zero_shot_classifier(
        theirs,
        open_clip.get_tokenizer("small_rn"),
        names,
        open_clip.OPENAI_IMAGENET_TEMPLATES[:3],
        num_classes_per_batch=10,
    )
    arguments = SimpleNamespace(device="cpu", precision="fp32", batch_size=1)
    predicted = found.logits.argmax(1)
    assert len(set(predicted.tolist())) > 3  # a model that always says the same would agree with anything
    pictures = []
    for key, ours in zip(found.ids, predicted, strict=True):
        image = preprocess(Image.open(root / key).convert("RGB"))
        assert isinstance(image, torch.Tensor)
        pictures.append(image)
        top1, _ = run(theirs, classifier, [(image[None], torch.tensor([int(ours)]))], arguments)
        assert top1 == 1.0, key
    with torch.inference_mode():
        pixels = torch.stack(pictures)
        logits = theirs.encode_image(pixels, normalize=True) @ classifier * theirs.logit_scale.exp()
    assert found.logits == pytest.approx(logits.numpy(), abs=2e-3)
    hits, _ = run(theirs, classifier, [(pixels, torch.from_numpy(found.labels))], arguments)
    assert num_correct(found.logits, found.labels) == round(hits * len(found.labels))


def test_both_layouts_give_the_same_logits(tmp_path, clip):
    _, model, tokenizer = clip
    folder = wnid_folders(tmp_path / "a", "imagenet_a", {3: 2, 50: 1, 120: 2})
    as_folder = open_imagenet_set("imagenet_a", folder)
    samples = [(label, (folder / key).read_bytes()) for _, label, key in as_folder.samples()]
    as_shards = open_imagenet_set("imagenet_a", labelled_shards(tmp_path / "wds", samples))
    one, two = (
        evaluate_set(model, tokenizer, each, "imagenet_a", TEMPLATES[:1]) for each in (as_folder, as_shards)
    )
    assert np.array_equal(one.logits, two.logits)
    assert np.array_equal(one.labels, two.labels)
    assert one.ids[0].endswith(".JPEG")
    assert two.ids == [f"s{i:04d}" for i in range(5)]


@pytest.mark.parametrize("limit", [None, 7])
def test_workers_change_nothing(tmp_path, clip, limit):
    """Order, labels, and what is unreadable are those of one thread."""
    _, model, tokenizer = clip
    folder = varied_pictures(tmp_path / "r")
    broken = sorted(folder.rglob("*.png"))[::5]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    one, many = (
        evaluate_set(
            model,
            tokenizer,
            open_imagenet_set("imagenet_r", folder),
            "r",
            TEMPLATES[:1],
            limit=limit,
            workers=workers,
        )
        for workers in (1, 5)
    )
    assert one.ids == many.ids
    assert len(one.ids) == (limit or 24 - len(broken))
    assert np.array_equal(one.logits, many.logits)
    assert np.array_equal(one.labels, many.labels)
    assert one.account == many.account
    assert "image is damaged or of an unknown format" in one.account


def test_saved_logits_labels_and_ids_belong_together(tmp_path, clip):
    _, model, tokenizer = clip
    root = wnid_folders(tmp_path / "r", "imagenet_r", {0: 2, 7: 1})
    (root / imagenet_wnids("imagenet_r")[7] / "broken.jpg").write_bytes(b"no image")
    found = evaluate_set(model, tokenizer, open_imagenet_set("imagenet_r", root), "imagenet_r", TEMPLATES[:1])
    logits, labels, ids = found.save(tmp_path / "out")
    assert np.array_equal(load_logits(logits), found.logits)
    assert np.load(labels).tolist() == [0, 0, 7]
    assert "broken.jpg" in ids.read_text()
    assert "1 skipped" in found.account
    assert any("3 images, the published set has 30,000" in sentence for sentence in found.warnings)
    few = evaluate_set(model, tokenizer, open_imagenet_set("imagenet_r", root), "r", TEMPLATES[:1], limit=1)
    assert len(few.labels) == 1
    assert few.warnings == ["r: the first 1 images only"]


def test_objectnet_by_both_protocols(tmp_path, clip):
    _, model, tokenizer = clip
    root = objectnet(tmp_path, {"chair": 2, "banana": 2})
    own = evaluate_set(model, tokenizer, open_imagenet_set("objectnet", root), "own", TEMPLATES[:1])
    prompts = evaluate_set(
        model, tokenizer, open_imagenet_set("objectnet", root, "imagenet"), "prompts", TEMPLATES[:1]
    )
    assert own.logits.shape == prompts.logits.shape == (4, 3)
    assert prompts.columns is not None
    assert prompts.columns.shape == (4, 5)
    assert np.array_equal(prompts.logits[:, 2], prompts.columns[:, [1, 2, 3]].max(1))
    assert np.array_equal(own.labels, prompts.labels)


def evaluated(
    name: str, logits: np.ndarray, labels: list[int], ids: tuple[tuple[int, ...], ...]
) -> Evaluated:
    return Evaluated(name, logits.astype(np.float32), np.array(labels), [], None, ids, [], "")


def test_the_reference_is_judged_on_each_shifts_classes():
    """Against a naive loop over images: only those of the classes count, and only these classes compete."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    reference = evaluated(
        "imagenet", rng.normal(size=(200, 10)) + 2 * np.eye(10)[labels], labels.tolist(), ()
    )
    rendition = evaluated("imagenet_r", np.zeros((1, 3)), [0], ((1,), (4,), (7,)))
    several = evaluated("objectnet", np.zeros((1, 2)), [0], ((2, 3), (8,)))
    same = evaluated("imagenet_sketch", np.zeros((1, 10)), [0], tuple((i,) for i in range(10)))
    found = reference_on_subsets(reference, [rendition, several, same])
    assert list(found) == ["imagenet_on_r", "imagenet_on_objectnet"]
    for name, groups in (("imagenet_on_r", [[1], [4], [7]]), ("imagenet_on_objectnet", [[2, 3], [8]])):
        hits = total = 0
        for row, label in zip(reference.logits, labels, strict=True):
            mine = [k for k, group in enumerate(groups) if label in group]
            if mine:
                total += 1
                best = max((row[i], k) for k, group in enumerate(groups) for i in group)[1]
                hits += best == mine[0]
        logits, wanted = found[name]
        assert (num_correct(logits, wanted), len(wanted)) == (hits, total)
    accuracies = accuracy_rows("m", {"imagenet": (reference.logits, labels)} | found)
    assert accuracies["num_classes"].tolist() == [10, 3, 2]
    assert (accuracies["accuracy"] == accuracies["num_correct"] / accuracies["num_images"]).all()


def test_results_are_read_as_published_ones(tmp_path):
    logits, labels = np.eye(4, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 3])
    table = accuracy_rows("mine", {"imagenet": (logits, labels), "imagenet_r": (logits, labels)})
    path = tmp_path / "clip_benchmark.jsonl"
    path.write_text(clip_benchmark_lines("mine", "RN50", table))
    row = read_results([path]).rows.iloc[0]
    assert (row["model"], row["pretrained"], row["imagenet"], row["imagenet_r"]) == (
        "RN50",
        "mine",
        0.75,
        0.75,
    )


# ---------------------------------------------------------------- checkpoints


def test_checkpoints_of_every_kind_give_the_same_model(tmp_path, clip):
    path, model, _ = clip
    plain = save_weights(model, tmp_path / "plain.safetensors")
    training = tmp_path / "epoch_1.pt"
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "name": "x", "state_dict": state, "optimizer": {}}, training)
    for file in (plain, training):
        back, tokenizer = load_checkpoint(file, str(path))
        assert all(
            torch.equal(a, b)
            for a, b in zip(back.state_dict().values(), model.state_dict().values(), strict=True)
        )
        assert (side_of(back), tokenizer.context_length) == (64, 77)
        assert back.visual.image_mean == OPENAI_MEAN


def test_the_projects_own_files_say_what_they_are(tmp_path):
    from small_clip import TOKENIZER

    model = small_model()
    path = save_weights(model, tmp_path / "own.safetensors", load_config("conv_tower"), TOKENIZER)
    back, tokenizer = load_checkpoint(path)
    assert tokenizer.to_json() == TOKENIZER.to_json()
    assert side_of(back) == 32


def test_checkpoints_that_cannot_be_used(tmp_path, clip):
    path, model, _ = clip
    with pytest.raises(DataError, match="does not exist"):
        load_checkpoint(tmp_path / "absent.pt", "RN50")
    plain = save_weights(model, tmp_path / "plain.safetensors")
    for file in (plain, tmp_path / "x.pt"):
        file.touch()
        with pytest.raises(DataError, match=r"name its .*config with --model"):
            load_checkpoint(file)

    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state_dict": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(DataError, match="not a readable weights file"):
        load_checkpoint(tmp_path / "hostile.pt", str(path))
    with pytest.raises(DataError, match="holds weights of another model"):
        load_checkpoint(plain, "conv_tower")
