"""Makes the GGUF files of `families/`: the models of `tests/golden/fixtures` with the names and keys of llama.cpp.

    pip install -r tests/golden/requirements.txt gguf==0.19.0
    python tests/gguf/families.py

The tensors' names are those of the package's own map. Rows and keys are as llama.cpp's converters write them. The
expected numbers are those of the fixtures. A GGUF file of Qwen2 has no windows, and one of gpt-oss no limit of its own;
so `families/qwen2.safetensors` and `families/gpt-oss.safetensors` have the numbers of `transformers` without them.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGUFWriter, MODEL_ARCH
from safetensors.numpy import load_file

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "golden/fixtures"
OUT = HERE / "families"
# The fixtures and their architectures.
FAMILIES = {
    "llama3": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen2-moe": MODEL_ARCH.QWEN2MOE,
    "qwen3": MODEL_ARCH.QWEN3,
    "qwen3-moe": MODEL_ARCH.QWEN3MOE,
    "olmoe": MODEL_ARCH.OLMOE,
    "granitemoe": MODEL_ARCH.GRANITE_MOE,
    "granitemoeshared": MODEL_ARCH.GRANITE_MOE,
    "gpt-oss": MODEL_ARCH.GPT_OSS,
    "lfm2-moe": MODEL_ARCH.LFM2MOE,
}


def describe(out, config):
    """The keys that the converters write."""
    out.add_block_count(config["num_hidden_layers"])
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    heads = config["num_key_value_heads"]
    if config["model_type"] == "lfm2_moe":
        heads = [heads if kind == "full_attention" else 0 for kind in config["layer_types"]]
        out.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    out.add_head_count_kv(heads)
    if config["model_type"] == "gpt_oss":
        out.add_sliding_window(config["sliding_window"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    rope = config["rope_parameters"]
    out.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        out.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        out.add_rope_scaling_factor(rope["factor"])
        out.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for key, add in [
        ("head_dim", out.add_key_length),
        ("head_dim", out.add_value_length),
        ("num_experts", out.add_expert_count),
        ("num_local_experts", out.add_expert_count),
        ("num_experts_per_tok", out.add_expert_used_count),
        ("moe_intermediate_size", out.add_expert_feed_forward_length),
        ("shared_expert_intermediate_size", out.add_expert_shared_feed_forward_length),
        ("shared_intermediate_size", out.add_expert_shared_feed_forward_length),
        ("attention_multiplier", out.add_attention_scale),
        ("embedding_multiplier", out.add_embedding_scale),
        ("residual_multiplier", out.add_residual_scale),
        ("logits_scaling", out.add_logit_scale),
        ("num_dense_layers", out.add_leading_dense_block_count),
        ("conv_L_cache", out.add_shortconv_l_cache),
        ("routed_scaling_factor", out.add_expert_weights_scale),
    ]:
        if config.get(key):
            add(config[key])


def neighbours(rows, heads):
    """The rows of queries or keys in llama.cpp's order, as its converter of Llama and Granite turns them."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def tensors(arch, config, weights):
    """All tensors by the names of Hugging Face, experts in one tensor, gate and up apart."""
    stacks = {}
    for name, data in sorted(weights.items()):
        if arch in (MODEL_ARCH.GRANITE_MOE, MODEL_ARCH.LLAMA):
            for part, key in [("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")]:
                if part in name:
                    data = neighbours(data, config[key])
        layer = name.split(".")[2] if ".layers." in name else None
        if arch == MODEL_ARCH.GPT_OSS and ".experts." in name:
            yield from gpt_oss_experts(f"blk.{layer}", name, data)
            continue
        name = name.replace("expert_bias", "expert_bias.bias").replace("sinks", "sinks.weight")
        before, _, after = name.partition(".experts.")
        if after:
            expert, _, part = after.partition(".")
            stacks.setdefault(f"{before}.experts.{part}", {})[int(expert)] = data
        elif "input_linear" in name:
            kind = "shexp" if "shared_mlp" in name else "exps"
            gate, up = np.split(data, 2, axis=-2)
            yield f"blk.{layer}.ffn_gate_{kind}.weight", gate
            yield f"blk.{layer}.ffn_up_{kind}.weight", up
        elif name.endswith("shared_expert_gate.weight"):
            yield name, data.reshape(-1)
        elif name.endswith("conv.conv.weight"):
            yield name, data.squeeze(1)
        else:
            yield name, data
    parts = {"w1.weight": "gate_proj.weight", "w2.weight": "down_proj.weight", "w3.weight": "up_proj.weight"}
    for name, stack in stacks.items():
        before, part = name.split(".experts.")
        if part in parts:
            name = name.replace("feed_forward", "mlp").replace(part, parts[part])
        yield name, np.stack([stack[e] for e in range(len(stack))])


def rope_freqs(config):
    """The factors of Llama 3's rotary positions, which the converter writes as a tensor."""
    rope, dim = config["rope_parameters"], config["head_dim"]
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    turns = rope["original_max_position_embeddings"] / wavelengths
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def gpt_oss_experts(layer, name, data):
    """Gate and up lie in turn, and matrices are transposed."""
    end = "bias" if name.endswith("_bias") else "weight"
    rows = data if end == "bias" else data.swapaxes(1, 2)
    if "gate_up" in name:
        yield f"{layer}.ffn_gate_exps.{end}", rows[:, ::2]
        yield f"{layer}.ffn_up_exps.{end}", rows[:, 1::2]
    else:
        yield f"{layer}.ffn_down_exps.{end}", rows


def write(name, arch):
    config = json.loads((FIXTURES / name / "config.json").read_text())
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    out = GGUFWriter(OUT / f"{name}.gguf", gguf.MODEL_ARCH_NAMES[arch])
    describe(out, config)
    if config["rope_parameters"]["rope_type"] == "llama3":
        out.add_tensor("rope_freqs.weight", rope_freqs(config))
    for theirs, data in tensors(arch, config, load_file(FIXTURES / name / "model.safetensors")):
        ours = theirs if theirs.startswith("blk.") else names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        # The package has no dense layer among this architecture's tensors.
        if not ours and ".mlp." in theirs:
            layer, part = theirs.split(".")[2], theirs.split(".")[4].removesuffix("_proj")
            ours = f"blk.{layer}.ffn_{part}.weight"
        assert ours, theirs
        out.add_tensor(ours, np.ascontiguousarray(data))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def expected(name, **changes):
    """What `transformers` computes with a config that is changed."""
    sys.path.insert(0, str(HERE.parent / "golden"))
    import reference

    ids = load_file(FIXTURES / name / "expected.safetensors")["ids"].tolist()
    model = reference.load(FIXTURES / name, **changes)
    reference.write(reference.run(model, ids), OUT / f"{name}.safetensors")


OUT.mkdir(exist_ok=True)
for family in FAMILIES:
    write(family, FAMILIES[family])
expected("qwen2", use_sliding_window=False, layer_types=["full_attention"] * 2)
expected("gpt-oss", swiglu_limit=7.0)
