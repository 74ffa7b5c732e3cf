"""A model's directory in Hugging Face's layout, as train/src/export.rs writes it; `train finish` adds measurements."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from config import parameters
from model import named


def config_json(m: dict) -> dict:
    """config.json."""
    config = {
        "vocab_size": m["vocabulary"],
        "hidden_size": m["width"],
        "intermediate_size": m["ff"],
        "num_hidden_layers": m["layers"],
        "num_attention_heads": m["heads"],
        "num_key_value_heads": m["kv_heads"],
        "head_dim": m["width"] // m["heads"],
        "hidden_act": "silu",
        "max_position_embeddings": m["context"],
        "rms_norm_eps": m["norm_eps"],
        "rope_theta": m["rope_theta"],
        "rope_parameters": {"rope_theta": m["rope_theta"], "rope_type": "default"},
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "float16",
    }
    if m["experts"] == 1:
        kind = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": False,
            "mlp_bias": False,
        }
        return config | kind
    experts = {"num_local_experts": m["experts"], "num_experts_per_tok": m["top_k"], "sliding_window": None}
    router = {k: v for k, v in m["router"].items() if k in ("kind", "capacity_factor", "groups", "groups_per_token")}
    shared = m.get("shared_experts", 0)
    if router["kind"] == "softmax-top-k" and shared == 0:
        losses = {"output_router_logits": False, "router_aux_loss_coef": 0.01, "router_jitter_noise": 0.0}
        return config | experts | losses | {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}
    if shared > 0:
        router["shared_experts"] = shared
    return config | experts | {"model_type": "moescope", "router": router}


def file_name(m: dict, name: str) -> str | None:
    """The name in the file; None for the router of a network of one expert."""
    if m["experts"] > 1:
        return name
    if "block_sparse_moe.gate" in name:
        return None
    for old, new in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")):
        name = name.replace(f"block_sparse_moe.experts.0.{old}.", f"mlp.{new}.")
    return name


def eight_bits(name: str, shape: tuple) -> bool:
    """Whether a parameter is written in 8 bits: matrices are, except routers, whose small differences matter."""
    return len(shape) == 2 and not any(part in name for part in (".gate.", ".noise.", ".group_gate."))


def weights(m: dict, stacked: dict[str, np.ndarray], small: bool) -> bytes:
    """model.safetensors in f16; with `small` its matrices in F8_E4M3."""
    tensors = {}
    for name, values in named(m, stacked).items():
        in_file = file_name(m, name)
        if in_file is not None:
            tensor = torch.from_numpy(values.astype(np.float16))
            narrow = small and eight_bits(name, values.shape)
            tensors[in_file] = tensor.to(torch.float8_e4m3fn) if narrow else tensor
    return save(tensors, {"format": "pt"})


def write_model(
    target: Path, m: dict, stacked: dict[str, np.ndarray], tokenizer: Path, more: dict[str, object], small: bool
) -> None:
    """Writes the directory beside and renames it, so that it is whole or not there; `more` are further JSON files. With
    `small` matrices have 8 bits."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files = {
        "config.json": config_json(m),
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": 0},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|endoftext|>",
            "eos_token": "<|endoftext|>",
            "model_max_length": m["context"],
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, content in files.items():
        (part / name).write_text(json.dumps(content, indent=2) + "\n")
    for name, content in more.items():
        (part / name).write_text(json.dumps(content))
    (part / "model.safetensors").write_bytes(weights(m, stacked, small))
    if tokenizer.exists():
        (part / "tokenizer.json").symlink_to(tokenizer.resolve())
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def describe(m: dict) -> str:
    """Describes the model's parameters in a few words."""
    total, active = parameters(m)
    return f"{total / 1e6:.2f} M parameters ({active / 1e6:.2f} M active), {2 * total / 1e6:.1f} MB in f16"
