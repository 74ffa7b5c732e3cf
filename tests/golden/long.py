"""Makes long/: a dense model and what transformers computes for the last tokens of a text of 4,500 tokens.

    python tests/golden/long.py
"""

from pathlib import Path

import torch
from transformers import LlamaConfig

import draw
import reference
from case import BASE, Case
from make import random_model

TOKENS = 4500
LAST = 64


def main():
    directory = Path(__file__).parent / "long"
    config = dict(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=12,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
    )
    case = Case("long", "", config, family=LlamaConfig)
    random_model(LlamaConfig(**(BASE | config)), case).to(torch.float16).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    expected = reference.run(reference.load(directory), draw.ids(32, TOKENS, 0))
    logits = expected["logits"][-LAST:]
    # Without the first half of the text the numbers must differ.
    ids = expected["ids"].tolist()
    half = reference.run(reference.load(directory), ids[TOKENS // 2 :])
    assert (half["logits"][-LAST:] - logits).abs().max() > 1e-2
    reference.write({"ids": expected["ids"], "logits": logits.contiguous()}, directory / "expected.safetensors")


main()
