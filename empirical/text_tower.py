"""Text features at one position only: `pooled_text_features` gives what `encode_text` gives, for a fraction of the work.

open_clip pools the text tower at end-of-text, and its causal mask hides everything behind. So the last block is
needed at one position per caption (its keys and values at all earlier ones), and no position behind the batch's
longest caption is needed at all. With one block and short captions this is a quarter of the arithmetic.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from open_clip import CLIP
from torch import Tensor
from torch.nn import functional


def pooled_text_features(
    model: CLIP, tokens: Int64[Tensor, "n context"], length: int | None = None
) -> Float[Tensor, "n d"]:
    """Unit-length text features, equal to `model.encode_text(tokens, normalize=True)` up to rounding.

    For an open_clip CLIP that `supports_pooling_early` approves. `length` is the number of leading token positions to
    look at, at least that of the longest caption (the default, which makes a GPU wait for its value).
    """
    text = cast("Any", model)  # torch types every submodule as Tensor | Module
    ends = tokens.argmax(dim=-1)
    length = int(ends.max()) + 1 if length is None else length
    rows = torch.arange(len(tokens), device=tokens.device)
    hidden = text.token_embedding(tokens[:, :length]) + text.positional_embedding[:length]
    *blocks, last = text.transformer.resblocks
    for block in blocks:
        hidden = block(hidden, attn_mask=text.attn_mask[:length, :length])

    attention = last.attn
    width, heads = attention.embed_dim, attention.num_heads
    normed = last.ln_1(hidden)
    query_weight, pair_weight = attention.in_proj_weight.split([width, 2 * width])
    query_bias, pair_bias = attention.in_proj_bias.split([width, 2 * width])
    query = functional.linear(normed[rows, ends], query_weight, query_bias).view(-1, heads, 1, width // heads)
    pairs = functional.linear(normed, pair_weight, pair_bias).view(-1, length, 2, heads, width // heads)
    key, value = pairs.permute(2, 0, 3, 1, 4)  # each (n, heads, length, width/heads)
    visible = torch.arange(length, device=tokens.device) <= ends[:, None]
    scores = (query @ key.transpose(-1, -2)) * (width // heads) ** -0.5
    scores = scores.masked_fill(~visible[:, None, None, :], float("-inf"))
    attended = (scores.softmax(dim=-1) @ value).reshape(-1, width)

    pooled = hidden[rows, ends] + last.ls_1(attention.out_proj(attended))
    pooled = pooled + last.ls_2(last.mlp(last.ln_2(pooled)))
    return functional.normalize(text.ln_final(pooled) @ text.text_projection, dim=-1)


def supports_pooling_early(model: CLIP, tokens: Int64[Tensor, "n context"]) -> bool:
    """Whether `pooled_text_features` reproduces this model's `encode_text` on these captions (tried, not assumed)."""
    if getattr(model, "text_pool_type", None) != "argmax":
        return False
    was_training = model.training
    model.eval()  # dropout, where a config has any, must not blur the comparison
    try:
        with torch.inference_mode():
            expected = model.encode_text(tokens, normalize=True)
            return torch.allclose(pooled_text_features(model, tokens), expected, rtol=1e-4, atol=1e-5)
    except (AttributeError, TypeError, RuntimeError):
        return False  # another release or block type: the caller uses encode_text
    finally:
        model.train(was_training)
