"""Fixtures for the gates: what the routers of transformers' families compute from given router logits.

gates/cases.json lists them: name, experts, k, `router` as docs/model-format.md writes it, and transformers' class.
gates/NAME.safetensors holds, for T tokens and E experts:

    logits [T, E] f32; bias [E], scale [E] f32 where the router has them (the bias of its product is in the logits)
    selected [T, k] i32 by falling weight, the lower id on a tie; weights [T, k] f32

Beside random tokens there are extreme ones: all logits equal, all at -1e30, one above the others, large steps. Where
two keys are the same, `torch.topk` does not say which expert it takes; there, the lower id is expected, and only
the weights are the router's. policy.py, which follows docs/gates.md, is tested against all of them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.models.afmoe import modeling_afmoe as afmoe
from transformers.models.cohere2_moe import modeling_cohere2_moe as cohere2_moe
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3
from transformers.models.dots1 import modeling_dots1 as dots1
from transformers.models.ernie4_5_moe import modeling_ernie4_5_moe as ernie4_5_moe
from transformers.models.gemma4 import modeling_gemma4 as gemma4
from transformers.models.glm4_moe import modeling_glm4_moe as glm4_moe
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss
from transformers.models.granitemoe import modeling_granitemoe as granitemoe
from transformers.models.hunyuan_v1_moe import modeling_hunyuan_v1_moe as hunyuan_v1_moe
from transformers.models.jamba import modeling_jamba as jamba
from transformers.models.lfm2_moe import modeling_lfm2_moe as lfm2_moe
from transformers.models.llama4 import modeling_llama4 as llama4
from transformers.models.minimax_m2 import modeling_minimax_m2 as minimax_m2
from transformers.models.mixtral import modeling_mixtral as mixtral
from transformers.models.olmoe import modeling_olmoe as olmoe
from transformers.models.phimoe import modeling_phimoe as phimoe
from transformers.models.qwen2_moe import modeling_qwen2_moe as qwen2_moe
from transformers.models.qwen3_moe import modeling_qwen3_moe as qwen3_moe

import policy
import reference

ROUNDING = 2e-6
TIE = 1e-6  # between keys
RANDOM = 24  # tokens; the extreme ones follow


class Config:
    """Returns the keys of a config that a router reads."""

    def __init__(self, **keys):
        self.__dict__.update(keys)


@dataclass
class GateCase:
    name: str
    router: type[nn.Module]
    experts: int
    k: int
    gate: dict  # as `router` of docs/model-format.md
    config: dict = field(default_factory=dict)
    bias: bool = False
    nan: bool = False  # the router divides 0 by 0 where no expert has any weight


V3 = dict(kind="sigmoid-bias", epsilon=1e-20)
GROUPED = dict(groups=8, per_token=4, score="two-best")


def v3(name: str, router: type[nn.Module], experts: int, k: int, groups: int, per_token: int, to_1=True, scale=2.5):
    """A case of DeepSeek-V3's router."""
    limit = dict(groups=groups, per_token=per_token, score="two-best")
    gate = V3 | dict(scale=scale, renormalise=to_1) | (dict(group_limit=limit) if per_token < groups else {})
    config = dict(n_group=groups, topk_group=per_token, norm_topk_prob=to_1, routed_scaling_factor=scale)
    return GateCase(name, router, experts, k, gate, config, bias=True)


def v2(name: str, experts: int, k: int, groups: int, per_token: int, scale: float) -> GateCase:
    """A case of DeepSeek-V2's router."""
    limit = dict(groups=groups, per_token=per_token, score="max")
    method = "group_limited_greedy" if groups > 1 else "greedy"
    gate = dict(kind="top-k-of-softmax", scale=scale) | (dict(group_limit=limit) if groups > 1 else {})
    config = dict(topk_method=method, n_group=groups, topk_group=per_token, routed_scaling_factor=scale)
    return GateCase(name, deepseek_v2.DeepseekV2TopkRouter, experts, k, gate, config)


def cohere2(name: str, kind: str, function: str, to_1: bool) -> GateCase:
    gate = dict(kind=kind, renormalise=to_1)
    config = dict(expert_selection_fn=function, norm_topk_prob=to_1)
    return GateCase(name, cohere2_moe.Cohere2MoeTopKRouter, 16, 4, gate, config, nan=to_1 and function == "sigmoid")


SHARES, TO_1 = dict(norm_topk_prob=False), dict(norm_topk_prob=True)
CASES = [
    GateCase("mixtral", mixtral.MixtralTopKRouter, 8, 2, dict(kind="softmax-top-k")),
    GateCase("every-expert", mixtral.MixtralTopKRouter, 8, 8, dict(kind="softmax-top-k")),
    GateCase("granitemoe", granitemoe.GraniteMoeTopKRouter, 32, 8, dict(kind="softmax-top-k")),
    GateCase("olmoe", olmoe.OlmoeTopKRouter, 64, 8, dict(kind="top-k-of-softmax"), SHARES),
    GateCase("qwen2-moe", qwen2_moe.Qwen2MoeTopKRouter, 60, 4, dict(kind="top-k-of-softmax"), SHARES),
    GateCase("qwen3-moe", qwen3_moe.Qwen3MoeTopKRouter, 256, 10, dict(kind="softmax-top-k"), TO_1),
    GateCase("jamba", jamba.JambaTopKRouter, 16, 2, dict(kind="top-k-of-softmax")),
    GateCase("hunyuan-v1-moe", hunyuan_v1_moe.HunYuanMoEV1Gate, 64, 8, dict(kind="softmax-top-k")),
    GateCase("gpt-oss", gpt_oss.GptOssTopKRouter, 32, 4, dict(kind="softmax-top-k", router_bias=True)),
    v2("deepseek-v2-lite", 64, 6, 1, 1, 1.0),
    v2("deepseek-v2", 32, 6, 8, 3, 16.0),
    v3("deepseek-v3", deepseek_v3.DeepseekV3TopkRouter, 256, 8, 8, 4),
    v3("deepseek-v3-raw", deepseek_v3.DeepseekV3TopkRouter, 16, 4, 4, 2, to_1=False, scale=1.0),
    v3("moonlight", deepseek_v3.DeepseekV3TopkRouter, 64, 6, 1, 1, scale=2.446),
    v3("glm4-moe", glm4_moe.Glm4MoeTopkRouter, 128, 8, 1, 1, scale=1.0),
    v3("dots1", dots1.Dots1TopkRouter, 128, 6, 4, 2),
    GateCase(
        "lfm2-moe",
        lfm2_moe.Lfm2MoeTopKRouter,
        32,
        4,
        dict(kind="sigmoid-bias", epsilon=1e-6, scale=1.5),
        dict(norm_topk_prob=True, routed_scaling_factor=1.5, use_expert_bias=True),
        bias=True,
    ),
    GateCase(
        "afmoe",
        afmoe.AfmoeTokenChoiceRouter,
        128,
        8,
        V3 | dict(scale=2.826),
        dict(route_scale=2.826),
        bias=True,
    ),
    GateCase("minimax-m2", minimax_m2.MiniMaxM2TopKRouter, 256, 8, dict(kind="sigmoid-bias"), bias=True, nan=True),
    GateCase(
        "ernie4-5-moe",
        ernie4_5_moe.Ernie4_5_MoeTopKRouter,
        64,
        6,
        dict(kind="softmax-bias", least_sum=1e-12),
        dict(moe_norm_min=1e-12),
        bias=True,
    ),
    GateCase(
        "ernie4-5-moe-least",
        ernie4_5_moe.Ernie4_5_MoeTopKRouter,
        16,
        4,
        dict(kind="softmax-bias", least_sum=0.5),
        dict(moe_norm_min=0.5),
        bias=True,
    ),
    GateCase("gemma4", gemma4.Gemma4TextRouter, 16, 4, dict(kind="softmax-top-k", expert_scale=True)),
    GateCase("llama4", llama4.Llama4Router, 16, 1, dict(kind="sigmoid-top-k")),
    cohere2("cohere2-softmax", "softmax-top-k", "softmax", True),
    cohere2("cohere2-sigmoid", "sigmoid-top-k", "sigmoid", False),
    cohere2("cohere2-sigmoid-to-1", "sigmoid-top-k", "sigmoid", True),
    GateCase("phimoe", phimoe.PhimoeTopKRouter, 16, 2, dict(kind="sparse-mixer"), dict(router_jitter_noise=0.01)),
    GateCase(
        "phimoe-wide",
        phimoe.PhimoeTopKRouter,
        16,
        2,
        dict(kind="sparse-mixer", jitter=0.3),
        dict(router_jitter_noise=0.3),
    ),
]


def make(out: Path) -> None:
    """Writes all cases to `out`, and removes files of other cases there."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("*.safetensors"):
        stale.unlink()
    for n, case in enumerate(CASES):
        written, ties = run(case, torch.Generator().manual_seed(n))
        reference.write(written, out / f"{case.name}.safetensors")
        print(f"{case.name:22} {len(written['logits'])} tokens, {ties} of them with other experts of the same key")
    entries = [
        dict(name=c.name, transformers=c.router.__name__, experts=c.experts, k=c.k, router=c.gate) for c in CASES
    ]
    (out / "cases.json").write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n", encoding="utf-8")


def extremes(experts: int) -> Tensor:
    """Returns extreme logits, which an engine could get wrong."""
    flat = torch.zeros(experts)
    alone = torch.full((experts,), -1e30)
    alone[experts // 2] = 30.0
    steps = torch.linspace(80.0, -80.0, experts)
    one_low = flat.clone()
    one_low[0] = -1e30
    return torch.stack([flat, flat + 7.5, flat - 1e30, alone, steps, steps.flip(0), one_low])


@torch.no_grad()
def run(case: GateCase, generator: torch.Generator) -> tuple[dict[str, Tensor], int]:
    """Returns the expected tensors, and for how many tokens policy.py's rule for ties decided."""
    inputs = torch.cat([1.5 * torch.randn(RANDOM, case.experts, generator=generator), extremes(case.experts)])
    bias = 0.3 * torch.randn(case.experts, generator=generator) if case.bias else None
    logits, weights, selected, scale = transformers_says(case, inputs, bias, generator)
    usable = weights.isfinite().all(dim=-1) & logits.isfinite().all(dim=-1)
    assert usable.all() or case.nan, f"{case.name}: the router gives what is no number"
    logits, weights, selected = logits[usable], weights[usable], selected[usable]
    selected, weights = reference.by_falling_weight(selected, weights)

    ours = {"gate.weight": torch.eye(case.experts)}
    ours |= {} if bias is None else {"gate.bias": bias}
    ours |= {} if scale is None else {"gate.expert_scale": scale}
    rows, kept, ties = [], [], 0
    for t in range(len(logits)):
        result, margin = policy.route({}, own_gate(case), 0, [0], ours, logits[t : t + 1])
        if margin < TIE and scale is not None:
            continue  # which expert is taken changes the weight
        kept.append(t)
        apart = (result["weights"][0] - weights[t]).abs().max()
        assert apart < ROUNDING * max(1.0, own_gate(case).scale), f"{case.name}, token {t}: weights differ by {apart}"
        mine = result["selected"][0].long()
        if not torch.equal(mine, selected[t]):
            may = margin < TIE and t >= RANDOM
            assert may, f"{case.name}, token {t}: {mine}, and {selected[t]} in transformers (margin {margin})"
            ties += 1
        rows.append(mine)
    written = {"logits": logits[kept], "selected": torch.stack(rows).to(torch.int32), "weights": weights[kept]}
    written |= {} if bias is None else {"bias": bias}
    written |= {} if scale is None else {"scale": scale}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in written.items()}, ties


def own_gate(case: GateCase) -> policy.OwnGate:
    others = ("kind", "scale", "router_bias", "expert_scale")
    keys = {key: value for key, value in case.gate.items() if key not in others}
    return policy.OwnGate(case.gate["kind"], case.experts, case.k, 0, case.gate.get("scale", 1.0), None, **keys)


def transformers_says(
    case: GateCase, inputs: Tensor, bias: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Router logits [T, E], weights and ids [T, k], and the experts' own scales. With the identity for its matrix, a
    router's logits are its input (and its own bias)."""
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    tops = ("num_experts_per_tok", "top_k_experts", "moe_topk")
    sizes = dict.fromkeys(names, case.experts) | dict.fromkeys(tops, case.k) | dict(hidden_size=case.experts)
    config = Config(**sizes, rms_norm_eps=1e-6, input_jitter_noise=0.0, **case.config)
    router = case.router(config).eval()
    scale = None
    match case.router.__name__:
        case "Gemma4TextRouter":
            # It norms its input: the logits are what its matrix gives.
            scale = 1 + 0.2 * torch.randn(case.experts, generator=generator)
            router.per_expert_scale.copy_(scale)
            router.proj.weight.copy_(torch.randn(case.experts, case.experts, generator=generator))
            seen = []
            hook = router.proj.register_forward_hook(lambda _module, _input, output: seen.append(output))
            _, weights, selected = router(inputs)
            hook.remove()
            return seen[0], weights, selected, scale
        case "HunYuanMoEV1Gate":
            router.wg.weight.copy_(torch.eye(case.experts))
            return *router(inputs), None
        case "AfmoeTokenChoiceRouter":
            router.gate.weight.copy_(torch.eye(case.experts))
            return *router(inputs[None], bias), None
        case "Llama4Router":
            router.weight.copy_(torch.eye(case.experts))
            scores, logits = router(inputs)
            weights, selected = scores.topk(case.k, dim=-1)
            return logits, weights, selected, None
    router.weight.copy_(torch.eye(case.experts))
    match case.router.__name__:
        case "GptOssTopKRouter":
            router.bias.copy_(torch.randn(case.experts, generator=generator))
        case "Lfm2MoeTopKRouter" | "MiniMaxM2TopKRouter":
            return *router(inputs, bias), None
        case "Ernie4_5_MoeTopKRouter":
            router.moe_statics.e_score_correction_bias.copy_(bias)
            return *router(inputs), None
    if bias is not None:
        router.e_score_correction_bias.copy_(bias)
    return *router(inputs), None
