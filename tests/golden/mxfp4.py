"""Makes the fixture of gpt-oss as OpenAI publishes it: experts in MXFP4, two tensors for each matrix.

`_blocks` holds 16 bytes for each 32 numbers (the earlier one of two in the lower four bits), `_scales` their exponents.
The expected numbers are those of transformers for the experts that its own function makes of blocks and scales.
"""

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import draw
import reference
from case import BASE, Case

NAME = "gpt-oss-mxfp4"
CODES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def packed(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of numbers, a multiple of 32, as blocks and scales."""
    groups = weights.unflatten(-1, (-1, 32))
    exponents = (groups.abs().amax(-1, keepdim=True).log2().floor() - 2).clamp(-127, 124)
    scaled = groups / exponents.exp2()
    codes = (scaled.abs().unsqueeze(-1) - CODES).abs().argmin(-1) + 8 * (scaled < 0)
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    return blocks.to(torch.uint8), (exponents.squeeze(-1) + 127).to(torch.uint8)


def make(directory: Path) -> None:
    from make import random_model, report

    case = Case(
        NAME,
        "experts in MXFP4 as published",
        dict(
            hidden_size=64,
            intermediate_size=32,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            num_local_experts=5,
            num_experts_per_tok=2,
            sliding_window=8,
        ),
        family=GptOssConfig,
        seed=1,
    )
    shutil.rmtree(directory, ignore_errors=True)
    model = random_model(GptOssConfig(**(BASE | case.config)), case)
    model.to(torch.bfloat16).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    tensors, widened = {}, {}
    for name, tensor in load_file(directory / "model.safetensors").items():
        if name.endswith(("gate_up_proj", "down_proj")):
            blocks, scales = packed(tensor.float().transpose(1, 2).contiguous())
            tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            widened[name] = convert_moe_packed_tensors(blocks, scales).contiguous()
        else:
            tensors[name] = widened[name] = tensor
    with tempfile.TemporaryDirectory() as plain:
        shutil.copy(directory / "config.json", plain)
        save_file(widened, Path(plain) / "model.safetensors", metadata={"format": "pt"})
        expected = reference.run(reference.load(Path(plain)), draw.ids(96, case.tokens, case.seed))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = reference.read_json(directory / "config.json")
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    reference.write_json(dict(sorted(config.items())), directory / "config.json")
    assert reference.smallest_gap(expected) > 1e-3, reference.smallest_gap(expected)
    reference.write(expected, directory / "expected.safetensors")
    report(case, directory, expected)
