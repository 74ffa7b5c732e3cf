"""A readable reference implementation of the gate under a policy, after docs/gates.md: token by token, in text order.

Float32, except draws (integers, and float64 for the normal ones). A result comes with its *margin*: how far the
closest of its decisions is from changing. The margin of the set of chosen experts is a difference of keys; that of the
order of two chosen experts the difference of their weights' logarithms (of their keys, where weights are softmaxes).
Draws of `hash` and `random` and the turns of `round-robin` are exact numbers: comparing them has no margin.

T tokens, E experts, S the experts chosen for a token, R the longest S of a layer, G groups of experts.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, cos, inf, log, pi, sqrt

import torch
from torch import Tensor
from torch.nn.functional import softplus

GROUP = 64  # tokens over which a policy's capacity is counted
RENORMALISES = ("softmax-top-k", "noisy-top-k", "sigmoid-bias", "softmax-bias")  # gates that do so without a rule
KEEPS_SCALE = ("sigmoid-bias", "softmax-bias", "sigmoid-top-k")  # apply the model's scale, whatever its gate
UNIFORM = ("hash", "random", "round-robin")  # gates that give every chosen expert the same weight
UNLIMITED = ("soft", "expert-choice")  # gates without a capacity


@dataclass(frozen=True)
class OwnGate:
    """The gate settings of the model's config."""

    kind: str
    experts: int
    k: int
    groups_per_token: int
    scale: float
    limit: int | None  # tokens of the whole text that an expert takes
    renormalise: bool | None = None  # None: the kind's default
    epsilon: float = 0.0
    least_sum: float | None = None  # None: as the kind has it by itself
    jitter: float = 0.01
    group_limit: dict | None = None  # groups, per_token, score: "max" or "two-best"


@dataclass
class Rule:
    """The settings for one token in one layer."""

    gate: str
    k: int
    off: set[int]
    force: list[int]
    swap: list[tuple[int, int]]
    temperature: float
    bias: list[float]
    noise: float | None  # None: the model's learned value, or 1
    seed: int
    capacity_factor: Fraction | None
    overflow: str
    renormalise: bool
    scale: float
    epsilon: float
    least_sum: float
    jitter: float
    group_limit: dict | None

    def sends_to(self, expert: int) -> int:
        """Returns the expert that computes the tokens which the gate assigned to `expert`."""
        for a, b in self.swap:
            expert = {a: b, b: a}.get(expert, expert)
        return expert


@dataclass
class Token:
    position: int
    id: int
    layer: int
    shifted: Tensor  # [E]: l', the router logits over temperature, with noise and the policy's bias
    tempered: Tensor  # [E]: the same without the bias
    own_bias: Tensor  # [E]: of the model's gate, 0 where it has none
    own_scale: Tensor  # [E]: what the model multiplies each expert's weight by, 1 where it has none
    group_logits: Tensor | None  # [G]


@dataclass
class Row:
    """The experts of one token."""

    experts: list[int]
    weights: Tensor  # [S]
    margin: float


def route(
    policy: dict | list[dict], own: OwnGate, layer: int, ids: list[int], weights: dict[str, Tensor], x: Tensor
) -> tuple[dict[str, Tensor], float]:
    """The routing of the normed x [T, D] in `layer`, whose mixture has `weights`, and its margin.

    router_logits [T, E]; selected [T, R], -1 after the end of a row; weights [T, R], 0 there and where dropped; dropped
    [T, R] where a limit may drop; group_logits [T, G] where the gate reads them.
    """
    rules = [rule_of(policy, own, layer, t) for t in range(len(ids))]
    tokens = tokens_of(rules, own, layer, ids, weights, x)
    taken_of_text, taken_of_group = [0] * own.experts, [0] * own.experts
    rows, dropped = [], []
    for t, (rule, token) in enumerate(zip(rules, tokens)):
        if t % GROUP == 0:
            taken_of_group = [0] * own.experts
            choices = experts_choose(rules[t : t + GROUP], tokens[t : t + GROUP], own)
        limit, taken = limit_of(rule, own), taken_of_text if rule.capacity_factor is None else taken_of_group
        full = {e for e in range(own.experts) if limit is not None and taken[e] >= limit}
        candidates = [e for e in range(own.experts) if e not in rule.off]
        if rule.overflow == "next-best":
            candidates = [e for e in candidates if rule.sends_to(e) not in full]
        row = choices[t % GROUP] if rule.gate == "expert-choice" else choose(rule, token, own, candidates)
        rows.append(in_order([rule.sends_to(e) for e in row.experts], row.weights, row.margin, rule))
        dropped.append([e in full for e in rows[-1].experts])
        for expert, is_dropped in zip(rows[-1].experts, dropped[-1]):
            if not is_dropped:
                taken_of_text[expert] += 1
                taken_of_group[expert] += 1

    lost = padded(dropped, False)
    result = {"router_logits": router_logits(weights, x)}
    result["selected"] = padded([row.experts for row in rows], -1).to(torch.int32)
    result["weights"] = padded([row.weights.tolist() for row in rows], 0.0).masked_fill(lost, 0)
    if any(limit_of(rule, own) is not None and rule.overflow == "drop" for rule in rules):
        result["dropped"] = lost.to(torch.int32)
    if any(rule.gate == "hierarchical" for rule in rules):
        result["group_logits"] = x @ weights["group_gate.weight"].T
    return result, min(row.margin for row in rows)


# The settings of a policy.


def rule_of(policy: dict | list[dict], own: OwnGate, layer: int, t: int) -> Rule:
    """Returns the settings of the token at `t` in `layer`: the model's, overridden by the policy's rules."""
    said = [rule for rule in (policy if isinstance(policy, list) else [policy]) if holds(rule, layer, t)]
    last = {field: value for rule in said for field, value in rule.items()}
    gate = last.get("gate", own.kind)
    is_own = gate == own.kind
    by_itself = own.renormalise if is_own and own.renormalise is not None else gate in RENORMALISES
    least_sum = own.least_sum if is_own and own.least_sum is not None else 1e-12 if gate == "softmax-bias" else 0.0
    factor = last.get("capacity_factor")
    rule = Rule(
        gate=gate,
        k=last.get("top_k", own.k),
        off={e for rule in said for e in rule.get("off", [])},
        force=last.get("force", []),
        swap=[tuple(pair) for rule in said for pair in rule.get("swap", [])],
        temperature=last.get("temperature", 1.0),
        bias=[sum(values) for values in zip([0.0] * own.experts, *(rule["bias"] for rule in said if "bias" in rule))],
        # Learned noise is meant for training: it is applied only where a rule names the gate.
        noise=last.get("noise", None if last.get("gate") == "noisy-top-k" else 0.0),
        seed=last.get("seed", 0),
        capacity_factor=None if factor is None else Fraction(str(factor)),
        overflow=last.get("overflow", "drop"),
        renormalise=last.get("renormalise", by_itself),
        scale=own.scale if is_own or gate in KEEPS_SCALE else 1.0,
        epsilon=own.epsilon if is_own else 0.0,
        least_sum=least_sum,
        jitter=own.jitter if is_own else 0.01,
        group_limit=own.group_limit if is_own else None,
    )
    check(rule, last, own)
    return rule


def holds(rule: dict, layer: int, t: int) -> bool:
    start, end = rule.get("tokens", (0, inf))
    return layer in rule.get("layers", [layer]) and start <= t < end


def check(rule: Rule, said: dict, own: OwnGate) -> None:
    """Raises an error for a rule that cannot be applied or that docs/gates.md does not define."""
    impossible = {
        "another gate than the model's own": rule.gate == "hierarchical" != own.kind,
        "no expert left": len(rule.off) == own.experts,
        "more experts than are left": rule.k > own.experts - len(rule.off) and rule.gate not in UNLIMITED,
        "more forced than chosen": len(rule.force) > rule.k,
        "a forced expert that is off": bool(rule.off & set(rule.force)),
        "a forced expert that is swapped away": any(rule.sends_to(e) != e for e in rule.force),
        "a swap with an expert that is off": any(rule.sends_to(e) != e for e in rule.off),
        "a bias of another length": len(rule.bias) != own.experts,
        f"force with {rule.gate}": bool(rule.force) and rule.gate in (*UNLIMITED, "hierarchical"),
        "top_k with hierarchical": "top_k" in said and rule.gate == "hierarchical",
        "a capacity of soft": "capacity_factor" in said and rule.gate == "soft",
    }
    wrong = [what for what, is_so in impossible.items() if is_so]
    if wrong:
        raise ValueError(f"{said}: {', '.join(wrong)}")


def limit_of(rule: Rule, own: OwnGate) -> int | None:
    """The most tokens that an expert takes, of a group where the policy has a factor, else of the text."""
    if rule.overflow == "keep" or rule.gate in UNLIMITED:
        return None
    if rule.capacity_factor is None:
        return own.limit
    return ceil(rule.capacity_factor * rule.k * GROUP / own.experts)


# What a gate computes.


def tokens_of(
    rules: list[Rule], own: OwnGate, layer: int, ids: list[int], weights: dict[str, Tensor], x: Tensor
) -> list[Token]:
    """Returns the gate's inputs for every token."""
    logits = router_logits(weights, x)
    learned = softplus(x @ weights["noise.weight"].T) if "noise.weight" in weights else torch.ones_like(logits)
    stds = [row if rule.noise is None else torch.full_like(row, rule.noise) for rule, row in zip(rules, learned)]
    z = torch.tensor([[normal(rule.seed, layer, t, e) for e in range(own.experts)] for t, rule in enumerate(rules)])
    tempered = logits / torch.tensor([[rule.temperature] for rule in rules]) + torch.stack(stds) * z
    shifted = tempered + torch.tensor([rule.bias for rule in rules])
    own_bias = weights.get("gate.bias", torch.zeros(own.experts))
    group_logits = x @ weights["group_gate.weight"].T if "group_gate.weight" in weights else [None] * len(ids)
    own_scale = weights.get("gate.expert_scale", torch.ones(own.experts))
    return [
        Token(t, ids[t], layer, shifted[t], tempered[t], own_bias, own_scale, group_logits[t]) for t in range(len(ids))
    ]


def router_logits(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """W x, and b where the router has one. [T, E]"""
    logits = x @ weights["gate.weight"].T
    return logits + weights["gate.router_bias"] if "gate.router_bias" in weights else logits


def choose(rule: Rule, token: Token, own: OwnGate, candidates: list[int]) -> Row:
    """A token chooses among `candidates`, of which there may be fewer than k where others are full."""
    if rule.gate == "hierarchical":
        row = choose_in_groups(token, own, candidates)
        return Row(row.experts, row.weights * token.own_scale[row.experts], row.margin)
    key, count = keys(rule, token, own, candidates), len(candidates) if rule.gate == "soft" else rule.k
    allowed, group_margin = within_groups(rule, own, key, candidates)
    forced = [e for e in rule.force if e in candidates]
    ranked = ranking(key, [e for e in allowed if e not in forced])
    free = count - len(forced)
    chosen = forced + ranked[:free]
    margin = inf if rule.gate in UNIFORM else min(group_margin, gap(key, ranked, free))
    if rule.gate == "sparse-mixer":
        chosen = ranking(token.shifted, chosen)
        margin = min(margin, mixing_margin(rule, token, chosen, candidates))
    weights = shares(rule, token, chosen, candidates) * token.own_scale[chosen]
    return Row(chosen, weights, margin)


def within_groups(rule: Rule, own: OwnGate, key: Tensor | list, candidates: list[int]) -> tuple[list[int], float]:
    """The candidates of the groups that the gate lets a token use, and the margin of that choice."""
    if rule.group_limit is None:
        return candidates, inf
    size = own.experts // rule.group_limit["groups"]
    counted = {"max": 1, "two-best": 2}[rule.group_limit["score"]]
    score = {}
    for group in sorted({e // size for e in candidates}):
        best = sorted((float(key[e]) for e in candidates if e // size == group), reverse=True)
        score[group] = sum(best[:counted])
    ranked = ranking(score, list(score))
    used = ranked[: rule.group_limit["per_token"]]
    return [e for e in candidates if e // size in used], gap(score, ranked, rule.group_limit["per_token"])


def keys(rule: Rule, token: Token, own: OwnGate, candidates: list[int]) -> Tensor | list:
    """Returns the keys [E] by which the gate ranks the experts."""
    seed, n, t, experts = rule.seed, token.layer, token.position, range(own.experts)
    match rule.gate:
        case "softmax-top-k" | "top-k-of-softmax" | "noisy-top-k" | "soft" | "sigmoid-top-k" | "sparse-mixer":
            return token.shifted
        case "sigmoid-bias":
            return token.tempered.sigmoid() + token.own_bias + torch.tensor(rule.bias)
        case "softmax-bias":
            return among(token.tempered, candidates) + token.own_bias + torch.tensor(rule.bias)
        case "hash":
            return [uniform(seed, n, token.id, e) for e in experts]
        case "random":
            return [uniform(seed, n, t, e) for e in experts]
        case "round-robin":
            return [-((e - t * rule.k) % own.experts) for e in experts]
        case unknown:
            raise ValueError(f"unknown gate {unknown}")


def shares(rule: Rule, token: Token, chosen: list[int], candidates: list[int]) -> Tensor:
    """Returns the weights of the chosen experts, in their order, before the experts' own scales."""
    match rule.gate:
        case "hash" | "random" | "round-robin":
            return torch.ones(len(chosen)) / len(chosen)
        case "sigmoid-bias":
            scores = token.tempered.sigmoid()[chosen]
        case "sigmoid-top-k":
            scores = token.shifted.sigmoid()[chosen]
        case "softmax-bias":
            scores = among(token.tempered, candidates)[chosen]
        case "sparse-mixer":
            scores = torch.tensor([mixed(rule, token, chosen[:n], e, candidates) for n, e in enumerate(chosen)])
        case _:
            scores = among(token.shifted, candidates)[chosen]
    if rule.renormalise and chosen:
        scores = scores / (scores.sum().clamp(min=rule.least_sum) + rule.epsilon)
    return scores * rule.scale


def mixed(rule: Rule, token: Token, before: list[int], expert: int, candidates: list[int]) -> float:
    """A sparse mixer's weight of `expert`, where those of `before` are chosen already."""
    near = [e for e in candidates if e not in before and below(token, expert, e) <= 2 * rule.jitter]
    return float(among(token.shifted, near)[expert])


def below(token: Token, expert: int, other: int) -> float:
    """Returns how far `other` is below `expert`, as a relative difference."""
    top, low = float(token.shifted[expert]), float(token.shifted[other])
    size = max(abs(low), top)
    return (top - low) / size if size > 0 else 0.0


def mixing_margin(rule: Rule, token: Token, chosen: list[int], candidates: list[int]) -> float:
    """Returns the margin: how close any other candidate is to the threshold for being near."""
    apart = [
        abs(below(token, expert, e) - 2 * rule.jitter)
        for n, expert in enumerate(chosen)
        for e in candidates
        if e not in chosen[: n + 1]
    ]
    return min(apart, default=inf)


def among(logits: Tensor, candidates: list[int]) -> Tensor:
    """Softmax over the candidates, 0 for the other experts. [E]"""
    out = torch.ones_like(logits, dtype=torch.bool)
    out[candidates] = False
    return logits.masked_fill(out, -inf).softmax(dim=-1)


def choose_in_groups(token: Token, own: OwnGate, candidates: list[int]) -> Row:
    """The largest groups that have candidates, and in each of them the largest of these, as many as it has."""
    size = own.experts // len(token.group_logits)
    members = {g: [e for e in candidates if e // size == g] for g in range(len(token.group_logits))}
    alive = [g for g, experts in members.items() if experts]
    groups = ranking(token.group_logits, alive)
    margin = gap(token.group_logits, groups, own.groups_per_token)
    groups = groups[: own.groups_per_token]
    chosen, weights = [], []
    for group, weight in zip(groups, token.group_logits[groups].softmax(dim=-1)):
        ranked = ranking(token.shifted, members[group])
        each = own.k // own.groups_per_token
        margin = min(margin, gap(token.shifted, ranked, each))
        chosen += ranked[:each]
        weights.append(weight * token.shifted[ranked[:each]].softmax(dim=-1))
    return Row(chosen, torch.cat(weights) if weights else torch.zeros(0), margin)


def experts_choose(rules: list[Rule], tokens: list[Token], own: OwnGate) -> list[Row]:
    """The rows of one group's tokens in which experts choose; empty rows for the others.

    n counts the tokens that are chosen from; one c and one k must hold for all of these.
    """
    chosen_from = [i for i, rule in enumerate(rules) if rule.gate == "expert-choice"]
    rows = [Row([], torch.zeros(0), inf) for _ in rules]
    if not chosen_from:
        return rows
    factors = {Fraction(rules[i].capacity_factor or 1) * rules[i].k for i in chosen_from}
    if len(factors) > 1:
        raise ValueError("expert-choice: one group of tokens with several capacities or k")
    n = len(chosen_from)
    count = min(n, ceil(factors.pop() * n / own.experts))
    candidates = {i: [e for e in range(own.experts) if e not in rules[i].off] for i in chosen_from}
    share = {i: among(tokens[i].shifted, candidates[i]) for i in chosen_from}
    chosen, margin = {i: [] for i in chosen_from}, {i: inf for i in chosen_from}
    for e in range(own.experts):
        wants = {i: share[i][e].item() for i in chosen_from if e in candidates[i]}
        ranked = ranking(wants, list(wants))
        for i in ranked[:count]:
            chosen[i].append(e)
            margin[i] = min(margin[i], gap(wants, ranked, count))
    for i in chosen_from:
        weights = share[i][chosen[i]]
        weights = weights / weights.sum() if rules[i].renormalise and chosen[i] else weights
        rows[i] = Row(chosen[i], weights * tokens[i].own_scale[chosen[i]], margin[i])
    return rows


def ranking(key, among: list[int]) -> list[int]:
    """Returns `among` by falling key, the lower index first on a tie."""
    return sorted(among, key=lambda i: (-float(key[i]), i))


def gap(key, ranked: list[int], count: int) -> float:
    """Returns the margin between the last chosen key and the first one not chosen."""
    return float(key[ranked[count - 1]] - key[ranked[count]]) if 0 < count < len(ranked) else inf


def in_order(experts: list[int], weights: Tensor, margin: float, rule: Rule) -> Row:
    """Returns the chosen experts by falling weight, the lower id first on a tie."""
    weight = dict(zip(experts, weights.tolist()))
    order = ranking(weight, experts)
    if rule.gate not in UNIFORM:
        # A weight that underflows to 0 counts as no weight.
        log_of = {e: log(w) if w > 0 else -1e9 for e, w in weight.items()}
        steps = [log_of[a] - log_of[b] for a, b in zip(order, order[1:])]
        if rule.gate == "sparse-mixer":
            # An expert with no other near it has the weight 1, exactly.
            steps = [step for a, step in zip(order, steps) if weight[a] < 1]
        margin = min([margin, *steps])
    return Row(order, weights[[experts.index(e) for e in order]] if experts else weights, margin)


def padded(rows: list[list], with_what) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [with_what] * (longest - len(row)) for row in rows])


# Random numbers: functions of where they are used. PCG hash: Jarzynski and Olano 2020; normal: Box and Muller 1958.


def pcg(v: int) -> int:
    state = (v * 747796405 + 2891336453) % 2**32
    word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737 % 2**32
    return (word >> 22) ^ word


def draw(a: int, b: int, c: int, d: int) -> int:
    return pcg((d + pcg((c + pcg((b + pcg(a % 2**32)) % 2**32)) % 2**32)) % 2**32)


def uniform(a: int, b: int, c: int, d: int) -> float:
    return (draw(a, b, c, d) >> 8) / 2**24


def normal(seed: int, n: int, t: int, e: int) -> float:
    u1 = ((draw(seed, n, t, 2 * e) >> 8) + 1) / 2**24
    u2 = (draw(seed, n, t, 2 * e + 1) >> 8) / 2**24
    return sqrt(-2 * log(u1)) * cos(2 * pi * u2)
