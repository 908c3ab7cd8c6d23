"""The short cut through the text tower gives open_clip's features and gradients, or steps aside."""

import pytest
import torch
from small_clip import random_pairs, small_model, small_model_with

from empirical.text_tower import pooled_text_features, supports_pooling_early


@pytest.mark.parametrize("layers", [1, 3])
def test_features_and_gradients_are_open_clips(layers: int) -> None:
    model = small_model_with({"layers": layers}).double()
    tokens = random_pairs(40, 1)[1]
    weight = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for encode in (lambda t: model.encode_text(t, normalize=True), lambda t: pooled_text_features(model, t)):
        model.zero_grad()
        features = encode(tokens)
        (features @ weight).sin().sum().backward()
        gradients.append([features.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert len(gradients[0]) == 1 + 5 + 12 * layers


@pytest.mark.parametrize(
    "change",
    [{"pool_type": "last"}, {"no_causal_mask": True}, {"qk_norm": True}, {"proj_type": "none", "width": 64}],
)
def test_other_text_towers_are_refused(change: dict) -> None:
    model = small_model_with(change).train()
    assert not supports_pooling_early(model, random_pairs(20, 1)[1])
    assert model.training
    assert supports_pooling_early(small_model(), random_pairs(20, 1)[1])
