"""Makes the GGUF files of `families/`: the models of `tests/golden/fixtures` with the names and keys of llama.cpp.

    pip install -r tests/golden/requirements.txt gguf==0.19.0
    python tests/gguf/families.py

The tensors' names are those of the package's own map. Rows and keys are as llama.cpp's converters write them. The
expected numbers are those of the fixtures. A GGUF file of Qwen2 or dots.llm1 has no windows, one of gpt-oss no limit of
its own, and one of SmolLM3 no list of layers without positions; so `families/NAME.safetensors` has the numbers of
`transformers` without them for these.
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
    "deepseek-v2": MODEL_ARCH.DEEPSEEK2,
    "deepseek-v3": MODEL_ARCH.DEEPSEEK2,
    "dots1": MODEL_ARCH.DOTS1,
    "glm4-moe": MODEL_ARCH.GLM4_MOE,
    "minimax-m2": MODEL_ARCH.MINIMAXM2,
    "ernie": MODEL_ARCH.ERNIE4_5_MOE,
    "hunyuan": MODEL_ARCH.HUNYUAN_MOE,
    "phimoe": MODEL_ARCH.PHIMOE,
    "smollm3": MODEL_ARCH.SMOLLM3,
    "granitehybrid": MODEL_ARCH.GRANITE_HYBRID,
}


def describe(out, config):
    """The keys that the converters write."""
    kind = config["model_type"]
    # The layer of GLM that only predicts further tokens.
    further = 1 if kind == "glm4_moe" else 0
    out.add_block_count(config["num_hidden_layers"] + further)
    if further:
        out.add_nextn_predict_layers(further)
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    heads = config["num_key_value_heads"]
    if config["model_type"] == "lfm2_moe":
        heads = [heads if layer == "full_attention" else 0 for layer in config["layer_types"]]
        out.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if kind == "granitemoehybrid":
        heads = [heads if layer == "full_attention" else 0 for layer in config["layer_types"]]
        describe_states(out, config)
    if kind in ("deepseek_v3", "dots1", "glm4_moe", "minimax_m2"):
        out.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        out.add_expert_weights_norm(True)
    if kind in ("deepseek_v2", "deepseek_v3"):
        heads = describe_latent(out, config)
    out.add_head_count_kv(heads)
    if "partial_rotary_factor" in config["rope_parameters"]:
        out.add_rope_dimension_count(int(config["head_dim"] * config["rope_parameters"]["partial_rotary_factor"]))
    if kind == "phimoe":
        out.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        out.add_rope_scaling_attn_factors(config["rope_parameters"]["short_mscale"])
        out.add_rope_scaling_orig_ctx_len(config["rope_parameters"]["original_max_position_embeddings"])
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
    of_heads = [("head_dim", out.add_key_length), ("head_dim", out.add_value_length)]
    for key, add in [
        *([] if kind.startswith("deepseek") else of_heads),
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
        ("n_routed_experts", out.add_expert_count),
        ("moe_num_experts", out.add_expert_count),
        ("moe_k", out.add_expert_used_count),
        ("moe_topk", out.add_expert_used_count),
        ("n_shared_experts", out.add_expert_shared_count),
        ("moe_num_shared_experts", out.add_expert_shared_count),
        ("first_k_dense_replace", out.add_leading_dense_block_count),
        ("moe_layer_start_index", out.add_leading_dense_block_count),
        ("moe_layer_interval", out.add_interleave_moe_layer_step),
        ("n_group", out.add_expert_group_count),
        ("topk_group", out.add_expert_group_used_count),
        ("routed_scaling_factor", out.add_expert_weights_scale),
    ]:
        if config.get(key):
            add(config[key])


def describe_states(out, config):
    """The keys of Granite's state-space mixers, and that attention has no positions."""
    out.add_ssm_conv_kernel(config["mamba_d_conv"])
    out.add_ssm_state_size(config["mamba_d_state"])
    out.add_ssm_group_count(config["mamba_n_groups"])
    out.add_ssm_time_step_rank(config["mamba_n_heads"])
    out.add_ssm_inner_size(config["mamba_expand"] * config["hidden_size"])
    out.add_rope_scaling_finetuned(False)


def describe_latent(out, config):
    """The keys of latent attention: as older files have them (version 2 here) and as newer ones. Returns the heads of
    keys."""
    rank, own, turned = config["kv_lora_rank"], config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    out.add_kv_lora_rank(rank)
    if config["q_lora_rank"]:
        out.add_q_lora_rank(config["q_lora_rank"])
    out.add_rope_dimension_count(turned)
    scaling = config["rope_parameters"]
    if "mscale_all_dim" in scaling:
        out.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])
    if config["model_type"] == "deepseek_v2":
        out.add_key_length(own + turned)
        out.add_value_length(config["v_head_dim"])
        return config["num_attention_heads"]
    out.add_key_length(rank + turned)
    out.add_value_length(rank)
    out.add_key_length_mla(own + turned)
    out.add_value_length_mla(config["v_head_dim"])
    return 1


def neighbours(rows, heads):
    """The rows of queries or keys in llama.cpp's order, as its converter of Llama and Granite turns them."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def tensors(arch, config, weights):
    """All tensors by the names of Hugging Face, experts in one tensor, gate and up apart."""
    stacks = {}
    for name, data in sorted(weights.items()):
        if arch in (MODEL_ARCH.GRANITE_MOE, MODEL_ARCH.GRANITE_HYBRID, MODEL_ARCH.LLAMA, MODEL_ARCH.SMOLLM3):
            for part, key in [("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")]:
                if part in name:
                    data = neighbours(data, config[key])
        layer = name.split(".")[2] if ".layers." in name else None
        if arch == MODEL_ARCH.GPT_OSS and ".experts." in name:
            yield from gpt_oss_experts(f"blk.{layer}", name, data)
            continue
        name = name.replace("expert_bias", "expert_bias.bias").replace("sinks", "sinks.weight")
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        if "moe_statics" in name:
            data = data.reshape(-1)
        if ".mamba." in name:
            yield state_space(name, data)
            continue
        if "kv_b_proj" in name and config["model_type"] == "deepseek_v3":
            own, values = config["qk_nope_head_dim"], config["v_head_dim"]
            parts = data.reshape(config["num_attention_heads"], own + values, -1)
            yield name.replace("kv_b", "k_b"), parts[:, :own].swapaxes(1, 2)
            yield name.replace("kv_b", "v_b"), parts[:, own:]
            continue
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
        if part in parts and "block_sparse_moe" not in name:
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


def state_space(name, data):
    """A tensor of a state-space mixer, as the converter of Mamba-2 has it."""
    if name.endswith("A_log"):
        return name, -np.exp(data).reshape(-1, 1)
    if name.endswith(".D"):
        return name, data.reshape(-1, 1)
    if name.endswith("conv1d.weight"):
        return name, data.squeeze(1)
    if name.endswith("norm.weight"):
        return name, data.reshape(1, -1)
    return name.replace(".dt_bias", ".dt_proj.bias"), data


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
    if arch == MODEL_ARCH.PHIMOE:
        for length in ("short", "long"):
            factors = np.array(config["rope_parameters"][f"{length}_factor"], dtype=np.float32)
            out.add_tensor(f"rope_factors_{length}.weight", factors)
    if arch == MODEL_ARCH.GLM4_MOE:
        further = f"blk.{config['num_hidden_layers']}.nextn.enorm.weight"
        out.add_tensor(further, np.ones(config["hidden_size"], np.float32))
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
expected("dots1", layer_types=["full_attention"] * 2)
expected("smollm3", no_rope_layers=[1, 1, 1, 0])
