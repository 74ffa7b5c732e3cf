"""A readable reference implementation of checkpoints with Moescope's own routers, after docs/model-format.md.

transformers has no class for these. One pass over the whole text in float32: no cache, no chunks, no dispatch;
every expert computes every token, and experts that were not chosen have the weight 0. Mixtral is the case
`softmax-top-k`: make.py compares this file with transformers' Mixtral before it uses it for the others. What a
policy changes is in policy.py.

T tokens, D hidden, E experts, k of them a token, G groups, F width inside an expert.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import silu

from policy import OwnGate, route

Weights = dict[str, Tensor]


def load(directory: Path) -> tuple[dict, Weights]:
    """config.json, and all tensors in float32."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    shards = sorted(directory.glob("model*.safetensors"))
    return config, {name: tensor.float() for shard in shards for name, tensor in load_file(shard).items()}


@torch.no_grad()
def run(
    config: dict, weights: Weights, ids: list[int], policy: dict | list[dict] | None = None
) -> tuple[dict[str, Tensor], float]:
    """Returns logits and routing of one text, and its margin: how close the closest decision was.

    The tensors of reference.run, and for each layer N, where its router has them:
    group_logits.N [T, G] f32; dropped.N [T, k] i32: 1 where the expert was full. `selected` and its order are
    as chosen, before drops; `weights` is 0 where dropped. With a policy rows may be of several lengths: policy.route.
    """
    eps = config["rms_norm_eps"]
    x = weights["model.embed_tokens.weight"][ids]  # [T, D]
    result, margins = {"ids": torch.tensor(ids, dtype=torch.int32)}, []
    for n in range(config["num_hidden_layers"]):
        layer = part(weights, f"model.layers.{n}.")
        x = x + attention(config, part(layer, "self_attn."), rms_norm(x, layer["input_layernorm.weight"], eps))
        normed = rms_norm(x, layer["post_attention_layernorm.weight"], eps)
        moe = part(layer, "block_sparse_moe.")
        if policy is None:
            routing, margin = route_by_model(config, moe, normed)
        else:
            routing, margin = route(policy, own_gate(config), n, ids, moe, normed)
        x = x + mixture(config, moe, normed, routing["selected"], routing["weights"])
        result |= {f"{name}.{n}": tensor for name, tensor in routing.items()}
        margins.append(margin)
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    result["logits"] = rms_norm(x, weights["model.norm.weight"], eps) @ head.T
    return {name: tensor.contiguous() for name, tensor in result.items()}, min(margins)


def part(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def attention(config: dict, weights: Weights, x: Tensor) -> Tensor:
    """Causal attention; query head h reads key/value head h / (heads / key/value heads). x: [T, D]."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads

    def project(name: str, count: int) -> Tensor:  # [count, T, width]
        return (x @ weights[f"{name}_proj.weight"].T).unflatten(-1, (count, width)).transpose(0, 1)

    rope = config.get("rope_parameters") or config
    query = rotate(project("q", heads), rope["rope_theta"])
    key = rotate(project("k", kv_heads), rope["rope_theta"]).repeat_interleave(heads // kv_heads, dim=0)
    value = project("v", kv_heads).repeat_interleave(heads // kv_heads, dim=0)
    scores = query @ key.transpose(1, 2) / width**0.5  # [heads, T, T]
    ago = torch.arange(len(x))[:, None] - torch.arange(len(x))[None, :]  # from the query back to the key
    hidden = (ago < 0) | (ago >= (config.get("sliding_window") or inf))
    attended = scores.masked_fill(hidden, -inf).softmax(dim=-1) @ value
    return attended.transpose(0, 1).flatten(1) @ weights["o_proj.weight"].T


def rotate(x: Tensor, theta: float) -> Tensor:
    """Turns each pair (x[i], x[i + width / 2]) at position t by the angle t * theta^(-2 i / width).

    x: [.., T, width].
    """
    tokens, width = x.shape[-2:]
    angles = torch.arange(tokens)[:, None] * theta ** (-torch.arange(0, width, 2) / width)  # [T, width / 2]
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], dim=-1)


def route_by_model(config: dict, weights: Weights, x: Tensor) -> tuple[dict[str, Tensor], float]:
    """Returns the routing of the normed x [T, D], and its margin."""
    router, experts = router_of(config), config["num_local_experts"]
    choice = choose(router, weights, x, config["num_experts_per_tok"])
    selected, route_weights = choice.selected, choice.weights
    routing = {"router_logits": router_logits(weights, x), "selected": selected.to(torch.int32)}
    if "group_gate.weight" in weights:
        routing["group_logits"] = x @ weights["group_gate.weight"].T
    if "capacity_factor" in router:
        dropped = over_capacity(selected, capacity(config), experts)
        route_weights = route_weights.masked_fill(dropped, 0)
        routing["dropped"] = dropped.to(torch.int32)
    return routing | {"weights": route_weights}, choice.margin


def router_of(config: dict) -> dict:
    return config.get("router", {"kind": "softmax-top-k"})


def own_gate(config: dict) -> OwnGate:
    router = router_of(config)
    return OwnGate(
        kind=router["kind"],
        experts=config["num_local_experts"],
        k=config["num_experts_per_tok"],
        groups_per_token=router.get("groups_per_token", 0),
        scale=router.get("scale", 1.0),
        limit=capacity(config) if "capacity_factor" in router else None,
        renormalise=router.get("renormalise"),
        epsilon=router.get("epsilon", 0.0),
        least_sum=router.get("least_sum"),
        jitter=router.get("jitter", 0.01),
        group_limit=router.get("group_limit"),
    )


def mixture(config: dict, weights: Weights, x: Tensor, selected: Tensor, route_weights: Tensor) -> Tensor:
    """Returns the experts' output [T, D] for the normed x [T, D]. Unused slots have the expert -1 and the weight 0."""
    experts = config["num_local_experts"]
    by_expert = torch.zeros(len(x), experts).scatter_add(-1, selected.clamp(min=0).long(), route_weights)  # [T, E]
    y = sum(by_expert[:, [e]] * swiglu(part(weights, f"experts.{e}."), x) for e in range(experts))
    for n in range(router_of(config).get("shared_experts", 0)):
        y = y + swiglu(part(weights, f"shared_experts.{n}."), x)
    return y


def swiglu(expert: Weights, x: Tensor) -> Tensor:
    return (silu(x @ expert["w1.weight"].T) * (x @ expert["w3.weight"].T)) @ expert["w2.weight"].T


@dataclass
class Choice:
    selected: Tensor  # [T, k] expert ids by falling weight, ties by lower id
    weights: Tensor  # [T, k]
    margin: float  # least distance between two keys whose comparison decided which experts are chosen, or their order


def router_logits(weights: Weights, x: Tensor) -> Tensor:
    """[T, E]"""
    return x @ weights["gate.weight"].T + weights.get("gate.router_bias", torch.zeros(1))


def choose(router: dict, weights: Weights, x: Tensor, k: int) -> Choice:
    """Chooses by the kind's formula, then multiplies the weights by the experts' own scales."""
    choice = choose_by_kind(router, weights, x, k)
    if "gate.expert_scale" not in weights:
        return choice
    own = weights["gate.expert_scale"][choice.selected]
    return by_falling_weight(choice.selected, choice.weights * own, choice.margin)


def choose_by_kind(router: dict, weights: Weights, x: Tensor, k: int) -> Choice:
    logits = router_logits(weights, x)
    match router["kind"]:
        case "softmax-top-k" | "noisy-top-k":
            selected = largest(logits, k)
            chosen = logits.gather(-1, selected)
            return Choice(selected, chosen.softmax(dim=-1), min(boundary(logits, k), steps(chosen)))
        case "top-k-of-softmax":
            return weigh(router, k, key=logits, score=logits.softmax(dim=-1), to_1=False)
        case "sigmoid-bias":
            score = logits.sigmoid()
            return weigh(router, k, key=score + weights["gate.bias"], score=score, to_1=True)
        case "softmax-bias":
            score = logits.softmax(dim=-1)
            return weigh({"least_sum": 1e-12} | router, k, key=score + weights["gate.bias"], score=score, to_1=True)
        case "sigmoid-top-k":
            return weigh(router, k, key=logits, score=logits.sigmoid(), to_1=False)
        case "sparse-mixer":
            return mix_sparsely(logits, k, router.get("jitter", 0.01))
        case "hierarchical":
            group_logits = x @ weights["group_gate.weight"].T  # [T, G]
            return choose_in_groups(logits, group_logits, k, router["groups_per_token"])
        case kind:
            raise ValueError(f"unknown router.kind {kind}")


def weigh(router: dict, k: int, key: Tensor, score: Tensor, to_1: bool) -> Choice:
    """The k largest keys, in the groups that a token may use; weights from the scores. Both [T, E]."""
    margin = inf
    if "group_limit" in router:
        key, margin = mask_groups(key, **router["group_limit"])
    selected = largest(key, k)
    weights = score.gather(-1, selected)
    if router.get("renormalise", to_1):
        total = weights.sum(dim=-1, keepdim=True).clamp(min=router.get("least_sum", 0.0))
        weights = weights / (total + router.get("epsilon", 0.0))
    return by_falling_weight(selected, weights * router.get("scale", 1.0), min(margin, boundary(key, k)))


def mask_groups(key: Tensor, groups: int, per_token: int, score: str) -> tuple[Tensor, float]:
    """The keys [T, E], -inf outside of the best groups, and the margin of that choice."""
    by_group = key.unflatten(-1, (groups, -1))  # [T, G, E / G]
    best = by_group.topk({"max": 1, "two-best": 2}[score], dim=-1).values.sum(dim=-1)  # [T, G]
    used = torch.zeros_like(best, dtype=torch.bool).scatter(-1, largest(best, per_token), True)
    return by_group.masked_fill(~used[:, :, None], -inf).flatten(1), boundary(best, per_token)


def mix_sparsely(logits: Tensor, k: int, jitter: float) -> Choice:
    """k times the largest that is left: its share of the softmax over what is left and near it."""
    left, selected, weights, margin = logits, [], [], boundary(logits, k)
    for _ in range(k):
        top = left.max(dim=-1, keepdim=True).values
        distance = (top - logits) / torch.maximum(logits.abs(), top)
        margin = min(margin, (distance - 2 * jitter)[left > -inf].abs().min().item())
        best = largest(left, 1)
        weights.append(left.masked_fill(distance > 2 * jitter, -inf).softmax(dim=-1).gather(-1, best))
        selected.append(best)
        left = left.scatter(-1, best, -inf)
    return by_falling_weight(torch.cat(selected, dim=-1), torch.cat(weights, dim=-1), margin)


def choose_in_groups(logits: Tensor, group_logits: Tensor, k: int, groups_per_token: int) -> Choice:
    """The largest groups g [T, G'], and in each the k / G' largest experts; expert e is in group e / (E / G)."""
    by_group = logits.unflatten(-1, (group_logits.shape[-1], -1))  # [T, G, E / G]
    size, each = by_group.shape[-1], k // groups_per_token
    groups = largest(group_logits, groups_per_token)
    group_weights = group_logits.gather(-1, groups).softmax(dim=-1)
    inside = by_group.gather(1, groups[:, :, None].expand(-1, -1, size))  # [T, G', E / G]
    chosen = largest(inside, each)  # [T, G', each], counted within the group
    weights = group_weights[:, :, None] * inside.gather(-1, chosen).softmax(dim=-1)
    selected = groups[:, :, None] * size + chosen
    margin = min(boundary(group_logits, groups_per_token), boundary(inside, each))
    return by_falling_weight(selected.flatten(1), weights.flatten(1), margin)


def largest(keys: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of each row by falling key, ties by lower index."""
    return keys.argsort(dim=-1, descending=True, stable=True)[..., :count]


def by_falling_weight(selected: Tensor, weights: Tensor, margin: float) -> Choice:
    """Both [T, k], reordered: largest weight first, the lower id on a tie."""
    by_id = selected.argsort(dim=-1)
    selected, weights = selected.gather(-1, by_id), weights.gather(-1, by_id)
    order = largest(weights, weights.shape[-1])
    selected, weights = selected.gather(-1, order), weights.gather(-1, order)
    return Choice(selected, weights, min(margin, steps(weights)))


def boundary(keys: Tensor, count: int) -> float:
    """The least distance, over all rows, between the last key that is in and the first that is out."""
    ranked = keys.sort(dim=-1, descending=True).values
    return (ranked[..., count - 1] - ranked[..., count]).min().item() if count < keys.shape[-1] else inf


def steps(ranked: Tensor) -> float:
    """The least distance between neighbours of the falling rows [T, k]."""
    return (ranked[:, :-1] - ranked[:, 1:]).min().item() if ranked.shape[-1] > 1 else inf


def capacity(config: dict) -> int:
    """The most tokens of a text that an expert takes: ceil(c * k * context / E), without rounding on the way."""
    even = Fraction(config["num_experts_per_tok"] * config["max_position_embeddings"], config["num_local_experts"])
    return ceil(Fraction(str(config["router"]["capacity_factor"])) * even)


def over_capacity(selected: Tensor, capacity: int, experts: int) -> Tensor:
    """Returns which assignments [T, k] are dropped: their expert is full, counted in the order of the text."""
    taken = [0] * experts
    dropped = torch.zeros_like(selected, dtype=torch.bool)
    for t, row in enumerate(selected.tolist()):
        for choice, expert in enumerate(row):
            if taken[expert] < capacity:
                taken[expert] += 1
            else:
                dropped[t, choice] = True
    return dropped
