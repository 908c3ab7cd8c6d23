"""Configs, initial weights and weight files."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from small_clip import TOKENIZER, random_pairs, same_weights, small_model

from empirical.errors import DataError, StudyError
from empirical.model import (
    build_model,
    config_names,
    context_length,
    evaluating,
    image_size,
    load_config,
    load_model,
    load_weights,
    num_parameters,
    private_random_stream,
    save_weights,
)
from empirical.model_inputs import normalise
from empirical.tokenizer import OpenClipTokenizer, WordTokenizer


def test_conv_tower_is_the_small_model_of_the_testbed() -> None:
    model = build_model(load_config("conv_tower"), WordTokenizer([f"w{i}" for i in range(118)], 10), 0)
    convolutions = [m for m in model.visual.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16, 32, 64, 128]
    image_tower = sum(9 * a * b + 2 * b for a, b in ((3, 16), (16, 32), (32, 64), (64, 128))) + 512 * 64
    assert sum(p.numel() for p in model.visual.parameters()) == image_tower
    assert num_parameters(model) == pytest.approx(0.19e6, rel=0.03)
    assert (model.vocab_size, model.context_length) == (122, 10)


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_config_builds_open_clips_clip(name: str) -> None:
    config = load_config(name)
    model = small_model(name=name)
    assert type(model) is open_clip.CLIP
    images, tokens = random_pairs(3, 0)
    with evaluating(model):
        image_features, text_features, scale = model(normalise(torch.from_numpy(images), model), tokens)
    assert image_features.shape == text_features.shape == (3, config["embed_dim"])
    torch.testing.assert_close(image_features.norm(dim=-1), torch.ones(3))
    assert float(scale) == pytest.approx(1 / 0.07)
    assert (image_size(config), context_length(config)) == (32, 10)


def test_modified_resnet_is_open_clips() -> None:
    assert type(small_model(name="modified_resnet").visual).__name__ == "ModifiedResNet"


def test_the_config_file_is_open_clips_own_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {})
    config = load_config("conv_tower")
    (tmp_path / "from_json.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(tmp_path)
    theirs = open_clip.create_model("from_json")
    ours = build_model(config, OpenClipTokenizer(10), 0)
    assert {k: v.shape for k, v in theirs.state_dict().items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }


def test_any_image_size_from_32_px_fits_the_conv_tower() -> None:
    config = load_config("conv_tower")
    config["vision_cfg"]["image_size"] = 64
    model = build_model(config, TOKENIZER, 0)
    assert num_parameters(model) == num_parameters(small_model())
    assert model.encode_image(torch.zeros(2, 3, 64, 64)).shape == (2, 64)


def test_configs_from_elsewhere(tmp_path: Path) -> None:
    assert load_config("RN50")["vision_cfg"]["layers"] == [3, 4, 6, 3]
    config = load_config("conv_tower")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"model_cfg": config}), encoding="utf-8")
    assert load_config(path) == config
    config["custom_text"] = True
    path.write_text(json.dumps(config), encoding="utf-8")
    assert type(build_model(load_config(str(path)), TOKENIZER, 0)) is open_clip.CustomTextCLIP


def test_bad_configs_get_a_clear_message(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    with pytest.raises(StudyError, match=r"'nonsense' is unknown.*conv_tower"):
        load_config("nonsense")
    with pytest.raises(StudyError, match="does not exist"):
        load_config(path)
    good = load_config("conv_tower")
    for content, message in (
        ("{", "not a JSON file"),
        ("[1]", "no embed_dim, vision_cfg, text_cfg"),
        ('{"embed_dim": 4, "vision_cfg": {}}', "no text_cfg"),
        (json.dumps({**good, "text_cfg": {"hf_model_name": "x"}}), "Hugging Face"),
        (json.dumps({**good, "text_cfg": None}), "text_cfg is None, not an object"),
        (json.dumps({**good, "vision_cfg": {"image_size": [32, 48]}}), "broken.json: vision_cfg.image_size"),
        (json.dumps({**good, "vision_cfg": {"timm_model_name": "hf-hub:a/b"}}), "name of an architecture"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            load_config(path)
    with pytest.raises(DataError, match="cannot build"):
        build_model({**good, "no_such_key": 1}, TOKENIZER, 0)


def test_initial_weights_depend_on_the_seed_alone_and_no_global_state_moves() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = small_model(seed=1).state_dict()
    torch.testing.assert_close(torch.random.get_rng_state(), before, rtol=0, atol=0)
    torch.manual_seed(6)
    again, other = small_model(seed=1).state_dict(), small_model(seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])


def test_private_random_stream_is_seeded_and_private() -> None:
    with private_random_stream(3):
        inside = torch.rand(2)
    expected = torch.rand(2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(inside, expected, rtol=0, atol=0)


def test_pixels_are_normalised_with_the_models_mean_and_standard_deviation() -> None:
    model = small_model()
    pixels = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 2, 2) * 10
    torch.testing.assert_close(normalise(pixels, model), (pixels / 255 - 0.5) / 0.25)
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    open_clip.set_model_preprocess_cfg(model, {"mean": mean, "std": std})
    shaped = [torch.tensor(values).view(3, 1, 1) for values in (mean, std)]
    torch.testing.assert_close(normalise(pixels, model), (pixels / 255 - shaped[0]) / shaped[1])


def test_weights_survive_a_file(tmp_path: Path) -> None:
    config = load_config("conv_tower")
    saved = small_model(seed=1)
    path = save_weights(saved, tmp_path / "new" / "clip.safetensors", config, TOKENIZER)
    assert [p.name for p in path.parent.iterdir()] == ["clip.safetensors"], "no temporary file stays"
    loaded, tokenizer = load_model(path)
    assert tokenizer("a red thing").tolist() == TOKENIZER("a red thing").tolist()
    other = load_weights(small_model(seed=2), path)
    theirs = small_model(seed=3)
    open_clip.load_checkpoint(theirs, str(path))
    for model in (loaded, other, theirs):
        assert same_weights(model, saved)


def test_open_clip_training_checkpoints_are_read(tmp_path: Path) -> None:
    saved = small_model(seed=1)
    state = {f"module.{name}": value for name, value in saved.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "epoch_3.pt")
    loaded = load_weights(small_model(seed=2), tmp_path / "epoch_3.pt")
    assert same_weights(loaded, saved)


class Payload:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def test_weight_files_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = small_model()
    with pytest.raises(DataError, match="does not exist"):
        load_weights(model, tmp_path / "none.safetensors")
    for name in ("broken.safetensors", "broken.pt"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(DataError, match="not a readable weights file"):
            load_weights(model, tmp_path / name)
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="not a readable weights file"):
        load_weights(model, tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists(), "a weights file must never run code"
    other = save_weights(small_model(name="modified_resnet"), tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="another model"):
        load_weights(model, other)
    with pytest.raises(DataError, match="does not say which model"):
        load_model(other)
    with pytest.raises(DataError, match="not a readable safetensors"):
        load_model(tmp_path / "broken.safetensors")


def test_headers_that_describe_no_model_are_named_and_never_ask_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(host: object, *_: object, **__: object) -> None:
        raise AssertionError(f"asked for {host}")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    good, tokenizer, path = load_config("conv_tower"), TOKENIZER.to_json(), tmp_path / "model.safetensors"
    pretrained = {"timm_model_name": "resnet18", "timm_model_pretrained": True, "image_size": 32}
    for config, words, message in (
        ("{not json", tokenizer, "its header does not describe a model.*property name"),
        ("[]", tokenizer, "it has no embed_dim"),
        ('{"embed_dim": 64}', tokenizer, "it has no vision_cfg, text_cfg"),
        (json.dumps({**good, "vision_cfg": {"layers": "many"}}), tokenizer, "cannot build"),
        (json.dumps({**good, "text_cfg": {"hf_model_name": "roberta-base"}}), tokenizer, "Hugging Face"),
        (json.dumps(good), "{bad", "not a tokenizer's JSON"),
        (json.dumps({**good, "vision_cfg": pretrained}), tokenizer, "another model"),
    ):
        save_file({"a": torch.zeros(1)}, path, metadata={"config": config, "tokenizer": words})
        with pytest.raises(DataError, match=f"model.safetensors.*{message}"):
            load_model(path)


def test_evaluating_restores_the_mode() -> None:
    model = small_model().train()
    with evaluating(model):
        assert not model.training
        assert torch.is_inference_mode_enabled()
    assert model.training
    assert np.all([m.training for m in model.modules()])
