"""The gates of train/src/gate, over all experts at once: a weight of 0 where an expert is not selected.

Every gate takes the router's scores of T tokens, T x rows in f32, and returns a `Routing`. `parts` replicas are
balanced each for itself, as the Rust trainer does. Gradients are left to automatic differentiation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from config import capacity


@dataclass
class Routing:
    """The decisions of a gate."""

    weights: Tensor  # T x experts, 0 where not selected or dropped
    counts: Tensor  # experts: assignments asked for, dropped ones too
    balance: Tensor  # the balancing loss without its factor
    loss: Tensor  # all losses times their factors


def ranks(keys: Tensor) -> Tensor:
    """For each key, the number of keys of its row that come before it: larger ones, and equal ones of a lower index."""
    n = keys.shape[-1]
    mine, other = keys.unsqueeze(-1), keys.unsqueeze(-2)
    number = torch.arange(n, device=keys.device)
    lower = number.unsqueeze(0) < number.unsqueeze(1)
    return ((other > mine) | ((other == mine) & lower)).sum(-1)


def kept_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the marked entries of a row, 0 elsewhere."""
    shift = logits.detach().amax(-1, keepdim=True)
    e = torch.where(mask, (logits - shift).exp(), 0.0)
    return e / e.sum(-1, keepdim=True)


def balance_loss(p: Tensor, mask: Tensor, top_k: int, groups: int) -> Tensor:
    """`E sum f P`, the mean over `groups` equal groups of tokens."""
    experts = p.shape[-1]
    size = p.shape[0] // groups
    f = mask.reshape(groups, size, experts).float().sum(1) / (size * top_k)
    return experts * (f * p.reshape(groups, size, experts).mean(1)).sum(-1).mean()


def softmax_gate(m: dict, t: dict, scores: Tensor, parts: int, context: int) -> Routing:
    """Mixtral's gate, and Switch's with its capacity."""
    top_k, most = m["top_k"], capacity(m)
    p = scores.softmax(-1)
    mask = ranks(scores.detach()) < top_k
    if m["router"]["kind"] == "softmax-top-k":
        weights = kept_softmax(scores, mask)
    else:
        weights = torch.where(mask, p, 0.0)
    groups = parts
    if most is not None:
        groups = scores.shape[0] // context
        asked = mask.reshape(groups, context, -1).float()
        before = (asked.cumsum(1) - asked).reshape(mask.shape)
        weights = torch.where(before < most, weights, 0.0)
    balance = balance_loss(p, mask, top_k, groups)
    loss = t["balance_loss"] * balance
    if t["z_loss"] > 0:
        loss = loss + t["z_loss"] * scores.logsumexp(-1).square().mean()
    return Routing(weights, mask.sum(0), balance, loss)


def variation(x: Tensor) -> Tensor:
    """Square of the coefficient of variation over the last dimension."""
    return x.shape[-1] * x.square().sum(-1) / x.sum(-1).square() - 1.0


def noisy_gate(m: dict, scores: Tensor, noise: Tensor, parts: int) -> Routing:
    """Noisy top-k with the importance and the load loss; `noise` is T x experts."""
    experts, top_k = m["experts"], m["top_k"]
    clean, spread = scores.split(experts, -1)
    deviation = torch.nn.functional.softplus(spread, threshold=60.0) + 1e-2
    logits = clean + noise * deviation
    rank = ranks(logits.detach())
    mask = rank < top_k
    weights = kept_softmax(logits, mask)
    last = torch.where(rank == top_k - 1, logits, 0.0).sum(-1, keepdim=True)
    following = torch.where(rank == top_k, logits, 0.0).sum(-1, keepdim=True)
    margin = (clean - torch.where(mask, following, last)) / deviation
    probability = 0.5 * (1.0 + torch.erf(margin * 0.5**0.5))
    importance = weights.reshape(parts, -1, experts).sum(1)
    load = probability.reshape(parts, -1, experts).sum(1)
    loss = m["router"]["importance_loss"] * variation(importance).mean()
    loss = loss + m["router"]["load_loss"] * variation(load).mean()
    balance = balance_loss(logits.detach().softmax(-1), mask, top_k, parts)
    return Routing(weights, mask.sum(0), balance, loss)


def hierarchical_gate(m: dict, t: dict, scores: Tensor, parts: int) -> Routing:
    """A gate over groups, and a gate in each group."""
    experts, top_k = m["experts"], m["top_k"]
    groups, per_token = m["router"]["groups"], m["router"]["groups_per_token"]
    size, tokens = experts // groups, scores.shape[0]
    logits, group_logits = scores[:, :experts], scores[:, experts:]
    within = logits.reshape(tokens, groups, size)
    of_groups = group_logits.softmax(-1)
    p = (within.softmax(-1) * of_groups.unsqueeze(-1)).reshape(tokens, experts)
    group_mask = ranks(group_logits.detach()) < per_token
    expert_mask = ranks(within.detach()) < top_k // per_token
    mask = (expert_mask & group_mask.unsqueeze(-1)).reshape(tokens, experts)
    u = kept_softmax(group_logits, group_mask)
    v = kept_softmax(within, expert_mask)
    weights = (v * u.unsqueeze(-1)).reshape(tokens, experts)
    balance = balance_loss(p, mask, top_k, parts)
    asked = mask.reshape(parts, -1, groups, size).float()
    share = asked.sum((1, 3)) / (asked.shape[1] * top_k)
    even = groups * (share * of_groups.reshape(parts, -1, groups).mean(1)).sum(-1).mean()
    loss = t["balance_loss"] * 0.5 * (balance + even)
    if t["z_loss"] > 0:
        squares = logits.logsumexp(-1).square() + group_logits.logsumexp(-1).square()
        loss = loss + t["z_loss"] * squares.mean()
    return Routing(weights, mask.sum(0), balance, loss)


def sigmoid_gate(m: dict, scores: Tensor, bias: Tensor, parts: int) -> Routing:
    """DeepSeek-V3's gate; `bias` affects only the choice."""
    s = scores.sigmoid()
    mask = ranks((s + bias).detach()) < m["top_k"]
    kept = torch.where(mask, s, 0.0)
    balance = balance_loss((s / s.sum(-1, keepdim=True)).detach(), mask, m["top_k"], parts)
    return Routing(kept / kept.sum(-1, keepdim=True), mask.sum(0), balance, torch.zeros_like(balance))


def gate(m: dict, t: dict, scores: Tensor, bias: Tensor, noise: Tensor, parts: int, context: int) -> Routing:
    """The gate of the configured kind."""
    kind = m["router"]["kind"]
    if kind == "noisy-top-k":
        return noisy_gate(m, scores, noise, parts)
    if kind == "hierarchical":
        return hierarchical_gate(m, t, scores, parts)
    if kind == "sigmoid-bias":
        return sigmoid_gate(m, scores, bias, parts)
    return softmax_gate(m, t, scores, parts, context)
