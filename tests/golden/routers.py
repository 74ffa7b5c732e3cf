"""The fixtures with Moescope's own routers: `"model_type": "moescope"` of docs/model-format.md.

transformers has no class for them: oracle.py computes what is expected. Each case is checked to be a useful test:
every decision has a margin, every expert is used, and every setting of its router changes the logits.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

import draw
import oracle
import reference

SMALLEST_MARGIN = 1e-3  # between the keys of a decision, so that no engine's rounding may change it
SMALLEST_EFFECT = 1e-2  # on the logits, of leaving out any part of the router


@dataclass
class RouterCase:
    """One checkpoint. `router` as in config.json; `config` holds what else differs from `BASE`."""

    name: str
    about: str
    router: dict
    config: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    tokens: int = 24
    seed: int = 0


BASE = dict(
    model_type="moescope",
    vocab_size=61,
    hidden_size=24,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    num_local_experts=4,
    num_experts_per_tok=2,
    max_position_embeddings=64,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    rms_norm_eps=1e-5,
    hidden_act="silu",
    sliding_window=None,
    tie_word_embeddings=False,
)

CASES = [
    RouterCase(
        "switch",
        "top-1 of the softmax over 4 experts, with a capacity",
        dict(kind="top-k-of-softmax", capacity_factor=0.7),
        dict(num_experts_per_tok=1),
        tokens=60,
        seed=1,
    ),
    RouterCase(
        "sigmoid-bias",
        "sigmoids with a bias, top-4 of 12 experts, scale, a shared expert; bf16",
        dict(kind="sigmoid-bias", scale=1.5, shared_experts=1),
        dict(num_local_experts=12, num_experts_per_tok=4),
        dtype=torch.bfloat16,
        tokens=20,
        seed=2000,
    ),
    RouterCase(
        "hierarchical",
        "2 of 4 groups, 2 of 4 experts in each; f16",
        dict(kind="hierarchical", groups=4, groups_per_token=2),
        dict(num_local_experts=16, num_experts_per_tok=4),
        dtype=torch.float16,
        seed=1,
    ),
    RouterCase(
        "noisy-top-k",
        "top-2 of 6 experts; the noise's weights lie in the file and are off",
        dict(kind="noisy-top-k"),
        dict(num_local_experts=6),
        tokens=40,
    ),
    RouterCase(
        "capacity-top2",
        "Mixtral's gate over 6 experts with a capacity, and a shared expert",
        dict(kind="softmax-top-k", capacity_factor=0.8, shared_experts=1),
        dict(num_local_experts=6),
        tokens=60,
        seed=3,
    ),
    RouterCase(
        "grouped",
        "DeepSeek-V3's gate: sigmoids with a bias, top-4 of 16 experts in 2 of 4 groups, epsilon, scale, shared",
        dict(
            kind="sigmoid-bias",
            scale=2.5,
            epsilon=0.2,
            shared_experts=1,
            group_limit=dict(groups=4, per_token=2, score="two-best"),
        ),
        dict(num_local_experts=16, num_experts_per_tok=4, num_hidden_layers=1),
        seed=142,
    ),
    RouterCase(
        "grouped-softmax",
        "DeepSeek-V2's gate: shares of all, top-3 of 12 experts in 2 of 6 groups, scale",
        dict(kind="top-k-of-softmax", scale=2.5, group_limit=dict(groups=6, per_token=2, score="max")),
        dict(num_local_experts=12, num_experts_per_tok=3),
    ),
    RouterCase(
        "softmax-bias",
        "ERNIE 4.5's gate: softmax with a bias, top-2 of 6 experts, the least sum",
        dict(kind="softmax-bias", least_sum=0.6),
        dict(num_local_experts=6, num_hidden_layers=1),
        tokens=20,
        seed=2,
    ),
    RouterCase(
        "sigmoid-top-k",
        "top-2 of 6 experts, each with its sigmoid; the router has a bias",
        dict(kind="sigmoid-top-k", router_bias=True),
        dict(num_local_experts=6),
        seed=1,
    ),
    RouterCase(
        "sparse-mixer",
        "Phi-3.5-MoE's gate with a wide jitter, top-2 of 8 experts, each with a scale of its own",
        dict(kind="sparse-mixer", jitter=0.4, expert_scale=True),
        dict(num_local_experts=8),
        seed=10,
    ),
    RouterCase(
        "scaled-experts",
        "top-2 of 6 experts, softmax over them; the router has a bias, and every expert a scale",
        dict(kind="softmax-top-k", router_bias=True, expert_scale=True),
        dict(num_local_experts=6),
        seed=1,
    ),
]


def make(case: RouterCase, directory: Path) -> None:
    """Writes one case, reads it back, computes what is expected, checks and writes that."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    config = BASE | case.config | {"dtype": str(case.dtype).removeprefix("torch."), "router": case.router}
    reference.write_json(config, directory / "config.json")
    generator = torch.Generator().manual_seed(case.seed)
    drawn = {name: draw.weight(name, shape, generator).to(case.dtype) for name, shape in sorted(shapes(config).items())}
    save_file(drawn, directory / "model.safetensors", metadata={"format": "pt"})

    config, weights = oracle.load(directory)
    ids = draw.ids(config["vocab_size"], case.tokens, case.seed)
    expected, margin = oracle.run(config, weights, ids)
    check(case, config, weights, expected, margin)
    reference.write(expected, directory / "expected.safetensors")
    dropped = sum(int(tensor.sum()) for name, tensor in expected.items() if name.startswith("dropped."))
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{case.name:13} {size / 1e3:6.0f} kB, closest decision {margin:.4f}, {dropped} dropped: {case.about}")


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """All tensors of a checkpoint: Mixtral's, and the router's extras."""
    hidden, inner, experts = config["hidden_size"], config["intermediate_size"], config["num_local_experts"]
    queries, keys = (config[heads] * config["head_dim"] for heads in ("num_attention_heads", "num_key_value_heads"))
    router = config["router"]
    tensors = {
        "model.embed_tokens": (config["vocab_size"], hidden),
        "model.norm": (hidden,),
        "lm_head": (config["vocab_size"], hidden),
    }
    for n in range(config["num_hidden_layers"]):
        at = f"model.layers.{n}"
        moe = f"{at}.block_sparse_moe"
        tensors |= {f"{at}.input_layernorm": (hidden,), f"{at}.post_attention_layernorm": (hidden,)}
        tensors |= {f"{at}.self_attn.q_proj": (queries, hidden), f"{at}.self_attn.o_proj": (hidden, queries)}
        tensors |= {f"{at}.self_attn.{name}_proj": (keys, hidden) for name in "kv"}
        tensors[f"{moe}.gate"] = (experts, hidden)
        if router["kind"] == "hierarchical":
            tensors[f"{moe}.group_gate"] = (router["groups"], hidden)
        if router["kind"] == "noisy-top-k":
            tensors[f"{moe}.noise"] = (experts, hidden)
        ffns = [f"{moe}.experts.{e}" for e in range(experts)]
        ffns += [f"{moe}.shared_experts.{e}" for e in range(router.get("shared_experts", 0))]
        for ffn in ffns:
            tensors |= {f"{ffn}.w1": (inner, hidden), f"{ffn}.w2": (hidden, inner), f"{ffn}.w3": (inner, hidden)}
    tensors = {f"{name}.weight": shape for name, shape in tensors.items()}
    vectors = ["bias"] if router["kind"] in ("sigmoid-bias", "softmax-bias") else []
    vectors += [name for name in ("router_bias", "expert_scale") if router.get(name)]
    for n in range(config["num_hidden_layers"]):
        tensors |= {f"model.layers.{n}.block_sparse_moe.gate.{name}": (experts,) for name in vectors}
    return tensors


def check(case: RouterCase, config: dict, weights: oracle.Weights, expected: dict, margin: float) -> None:
    """Fails where the numbers would not tell a right engine from a wrong one."""
    assert margin > SMALLEST_MARGIN, f"{case.name}: a decision by only {margin}; take another seed"
    assert 0.5 < expected["logits"].std() < 2, f"{case.name}: logits' std {expected['logits'].std()}"
    for n in range(config["num_hidden_layers"]):
        std = expected[f"router_logits.{n}"].std()
        assert 0.5 < std < 2, f"{case.name}, layer {n}: router logits' std {std}"
        used = expected[f"selected.{n}"].unique().numel()
        assert used == config["num_local_experts"], f"{case.name}, layer {n}: only {used} experts are used"
        if "capacity_factor" in config["router"]:
            dropped = expected[f"dropped.{n}"]
            assert 3 <= dropped.sum() <= dropped.numel() / 3, f"{case.name}, layer {n}: {dropped.sum()} dropped"
            assert torch.equal(dropped == 1, expected[f"weights.{n}"] == 0), f"{case.name}: dropped but weighted"
    for what, other_config, other_weights in variants(config, weights):
        other, _ = oracle.run(other_config, other_weights, expected["ids"].tolist())
        effect = (other["logits"] - expected["logits"]).abs().max()
        assert effect > SMALLEST_EFFECT, f"{case.name}: {what} changes the logits by only {effect}"


def variants(config: dict, weights: oracle.Weights) -> Iterator[tuple[str, dict, oracle.Weights]]:
    """Yields possible mistakes of an engine: the checkpoint with one part of its router left out."""
    router = config["router"]
    for key in ("capacity_factor", "scale", "shared_experts", "epsilon", "least_sum", "jitter", "group_limit"):
        if key in router:
            yield f"no {key}", config | {"router": {k: v for k, v in router.items() if k != key}}, weights
    if router["kind"] not in ("softmax-top-k", "noisy-top-k"):
        yield "softmax-top-k", config | {"router": router | {"kind": "softmax-top-k"}}, weights
    for vector in ("gate.bias", "gate.router_bias", "gate.expert_scale"):
        if any(name.endswith(vector) for name in weights):
            neutral = 1.0 if vector.endswith("scale") else 0.0
            yield f"no {vector}", config, {
                name: torch.full_like(tensor, neutral) if name.endswith(vector) else tensor
                for name, tensor in weights.items()
            }
