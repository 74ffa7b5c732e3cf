"""The fixtures of policies: what each field and each gate of docs/gates.md changes, alone and together.

policies/cases.json lists them: name, model (`wide` and `wide-limited` lie in policies/, all others in fixtures/),
policy, about, and `same` where the policy changes nothing. policies/NAME.safetensors is what policy.py computes:

    ids [T] i32; logits [T, V] f32; and of each layer N
    router_logits.N [T, E] f32, as the router gives them: before noise, temperature and bias
    selected.N [T, R] i32: R the layer's longest row, -1 after the end of a shorter one
    weights.N [T, R] f32: 0 there, and where dropped
    dropped.N [T, R] i32, 0 or 1: only where a limit holds for a token and drops, reached or not
    group_logits.N [T, G] f32: only where the gate reads them

Each case is checked to be a useful test: every decision has a margin, and every field of every rule changes the logits.
transformers has two of the gates in other families: policy.py is compared with these, and with oracle.py without a
policy, by policies that restate the model's own settings.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import DeepseekV3Config, OlmoeConfig, Qwen3MoeConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

import draw
import oracle
import policy as gates
import reference
import routers
from routers import SMALLEST_EFFECT, SMALLEST_MARGIN

ROUNDING = 1e-5  # between two ways to compute the same

# Checkpoints with room for texts of several groups of 64 tokens.
WIDE = [
    routers.RouterCase(
        "wide",
        "context 256; top-2 of 6 experts; the noise's weights lie in the file, and are off without a policy",
        dict(kind="noisy-top-k"),
        dict(
            vocab_size=16,
            hidden_size=16,
            intermediate_size=4,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            num_local_experts=6,
            max_position_embeddings=256,
        ),
        tokens=30,
    ),
    routers.RouterCase(
        "wide-limited",
        "context 256; top-1 of 4 experts, which take 26 tokens of a text; one layer",
        dict(kind="top-k-of-softmax", capacity_factor=0.4),
        dict(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            num_experts_per_tok=1,
            max_position_embeddings=256,
        ),
        tokens=100,
    ),
]


@dataclass
class PolicyCase:
    name: str
    model: str
    policy: dict | list[dict]
    about: str
    tokens: int = 12
    seed: int = 0
    same: bool = False  # the policy changes nothing
    ordered: bool = False  # the order of its rules matters


BIAS_6 = [0.9, -0.4, 0.0, 0.6, -1.1, 0.3]
BIAS_8 = [0.9, -0.4, 0.0, 0.6, -1.1, 0.3, 0.0, -0.7]
BIAS_12 = [0.3, -0.2, 0.1, 0.0, -0.4, 0.25, 0.0, 0.15, -0.1, 0.05, 0.35, -0.3]
BIAS_16 = [0.4, -0.6, 0.0, 0.2, 1.1, -0.3, 0.5, 0.0, -0.9, 0.7, 0.1, -0.2, 0.3, 0.0, -0.5, 0.8]

CASES = [
    # One field at a time.
    PolicyCase("nothing", "wide", {}, "a rule that says nothing", same=True),
    PolicyCase("off", "basic", {"off": [3, 5]}, "two experts off"),
    PolicyCase("off-to-k", "wide", {"off": [5, 0, 1, 3]}, "all experts off but k: no choice is left"),
    PolicyCase("force-one", "basic", {"force": [6]}, "one expert forced; the gate chooses the other"),
    PolicyCase("force-all", "wide", {"force": [4, 1]}, "k experts forced; still listed by falling weight"),
    PolicyCase("swap", "wide", {"swap": [[0, 1], [1, 2]]}, "0 to 2 by way of 1: one swap after the other"),
    PolicyCase("swap-twice", "wide", {"swap": [[3, 5], [5, 3]]}, "swapped and swapped back", same=True),
    PolicyCase("top-k-1", "wide", {"top_k": 1}, "fewer experts per token than the model's 2"),
    PolicyCase("top-k-5", "basic", {"top_k": 5}, "more experts per token than the model's 2"),
    PolicyCase("temperature", "wide", {"temperature": 2.5}, "flatter weights", seed=4),
    PolicyCase("bias", "wide", {"bias": BIAS_6}, "added to the logits, so in the weights too"),
    PolicyCase("noise", "basic", {"noise": 0.7, "seed": 7}, "noise of its own seed"),
    PolicyCase("share-of-all", "wide", {"renormalise": False}, "weights are shares of all experts"),
    # Where and when.
    PolicyCase("layers", "gqa", {"off": [2], "layers": [0, 2]}, "in two of three layers"),
    PolicyCase("tokens", "wide", {"force": [5], "tokens": [4, 9]}, "for five tokens"),
    PolicyCase(
        "top-k-by-tokens",
        "basic",
        [{"top_k": 1, "tokens": [0, 4]}, {"top_k": 4, "tokens": [7, 9]}, {"top_k": 3, "tokens": [11, 999]}],
        "rows of 1, 2, 3 and 4 experts",
    ),
    PolicyCase(
        "overlap",
        "basic",
        [
            {"off": [1], "swap": [[2, 3]], "bias": BIAS_8, "temperature": 0.5, "top_k": 3},
            {"off": [4], "swap": [[3, 5]], "bias": BIAS_8[::-1], "temperature": 1.5, "tokens": [3, 9]},
            {"top_k": 1, "tokens": [7, 11], "layers": [1]},
        ],
        "rules that overlap: off, swap and bias add up, of the rest the last counts",
        ordered=True,
    ),
    PolicyCase(
        "gates-by-tokens",
        "wide",
        [
            {"gate": "soft", "tokens": [3, 6]},
            {"gate": "random", "top_k": 1, "seed": 4, "tokens": [5, 9], "layers": [0]},
            {"gate": "sigmoid-bias", "tokens": [10, 13], "layers": [1]},
        ],
        "several gates in one text",
        tokens=16,
        ordered=True,
    ),
    # One gate at a time.
    PolicyCase("top-k-of-softmax", "basic", {"gate": "top-k-of-softmax"}, "OLMoE's gate on a Mixtral"),
    PolicyCase(
        "top-k-of-softmax-to-1",
        "wide",
        {"gate": "top-k-of-softmax", "renormalise": True},
        "renormalised it is Mixtral's own",
        same=True,
    ),
    PolicyCase("sigmoid-bias", "wide", {"gate": "sigmoid-bias"}, "no bias and no scale in the model: 0 and 1", seed=3),
    PolicyCase(
        "sigmoid-bias-raw",
        "wide",
        {"gate": "sigmoid-bias", "renormalise": False, "bias": BIAS_6, "temperature": 1.4, "top_k": 3},
        "the policy's bias moves the key, not the weight",
    ),
    PolicyCase(
        "noisy-std-1",
        "basic",
        {"gate": "noisy-top-k", "seed": 11},
        "the model has learned no noise: standard deviation 1",
    ),
    PolicyCase(
        "noisy-off",
        "wide",
        {"gate": "noisy-top-k", "noise": 0},
        "its own gate without noise",
        same=True,
        seed=3,
    ),
    PolicyCase("soft", "basic", {"gate": "soft"}, "every expert"),
    PolicyCase("soft-off", "wide", {"gate": "soft", "off": [0, 4], "temperature": 0.5}, "every expert that is left"),
    PolicyCase("hash-off", "wide", {"gate": "hash", "off": [2, 3], "seed": 5}, "by the token's id"),
    PolicyCase("hash-force", "wide", {"gate": "hash", "top_k": 3, "force": [5], "seed": 1}, "filled up by hash"),
    PolicyCase("random-3", "wide", {"gate": "random", "top_k": 3, "seed": 9}, "three at random"),
    PolicyCase("round-robin", "basic", {"gate": "round-robin", "top_k": 3}, "3 does not divide 8: turns wrap around"),
    PolicyCase(
        "round-robin-off",
        "wide",
        {"gate": "round-robin", "off": [1, 4], "swap": [[0, 3]]},
        "turns that pass over experts that are off; swapped afterwards, listed by id",
    ),
    PolicyCase(
        "round-robin-tokens",
        "wide",
        {"gate": "round-robin", "top_k": 1, "off": [5], "tokens": [7, 17]},
        "turns count from the start of the text",
        tokens=20,
    ),
    # Several fields at once, and many experts.
    PolicyCase(
        "all-at-once",
        "many-experts",
        {
            "off": [3, 9],
            "force": [12, 0],
            "swap": [[1, 4], [4, 15]],
            "top_k": 6,
            "temperature": 0.8,
            "bias": BIAS_16,
            "noise": 0.4,
            "seed": 21,
            "renormalise": False,
        },
        "all fields but a capacity",
        seed=2,
    ),
    PolicyCase(
        "drop-exact",
        "many-experts",
        {"top_k": 5, "capacity_factor": 0.15},
        "a limit of 0.15 * 5 * 64 / 16 = 3, without rounding (0.15 in f32 is more)",
        seed=4,
    ),
    PolicyCase(
        "next-best-force",
        "many-experts",
        {"force": [2], "capacity_factor": 0.3, "overflow": "next-best"},
        "a forced expert fills up; then the gate fills the row",
        seed=1,
    ),
    PolicyCase(
        "drop-swap",
        "wide",
        [{"capacity_factor": 0.4}, {"swap": [[0, 5], [3, 4]], "tokens": [12, 30]}],
        "room is the room of the expert that computes",
        tokens=36,
        seed=1,
    ),
    PolicyCase(
        "next-best-swap",
        "wide",
        [{"capacity_factor": 0.45, "overflow": "next-best"}, {"swap": [[0, 5], [3, 4]], "tokens": [12, 30]}],
        "a candidate is full where the expert that it is swapped for is",
        tokens=36,
        seed=1,
    ),
    PolicyCase(
        "capacity-by-tokens",
        "wide",
        [
            {"capacity_factor": 0.25, "tokens": [16, 36]},
            {"capacity_factor": 0.4, "tokens": [20, 30]},
            {"overflow": "next-best", "tokens": [25, 32]},
        ],
        "limits that hold for some tokens; those before have taken room",
        tokens=36,
        seed=1,
    ),
    PolicyCase(
        "capacity-keep",
        "wide",
        {"capacity_factor": 0.3, "overflow": "keep"},
        "a limit that nothing comes of",
        tokens=36,
        same=True,
    ),
    # Over a limit that the model has itself.
    PolicyCase("switch-keep", "switch", {"overflow": "keep"}, "Switch without its limit", tokens=44, seed=1),
    PolicyCase("switch-next-best", "switch", {"overflow": "next-best"}, "its own limit", tokens=44, seed=1),
    PolicyCase("switch-factor", "switch", {"capacity_factor": 0.3}, "another limit than its own", tokens=24, seed=1),
    PolicyCase("switch-to-1", "switch", {"renormalise": True}, "the one weight is 1"),
    PolicyCase("switch-top-2", "switch", {"top_k": 2}, "its own limit stays the same number", tokens=32, seed=1),
    PolicyCase("switch-hash", "switch", {"gate": "hash", "seed": 3}, "its own limit, another gate", tokens=44),
    PolicyCase("switch-soft", "switch", {"gate": "soft"}, "a gate that knows no limit", tokens=20, seed=1),
    PolicyCase(
        "top2-keep",
        "capacity-top2",
        {"overflow": "keep", "layers": [1]},
        "without its limit",
        tokens=48,
        seed=1,
    ),
    PolicyCase(
        "top2-next-best",
        "capacity-top2",
        {"overflow": "next-best", "off": [4], "renormalise": False},
        "shares of the candidates that have room",
        tokens=44,
    ),
    PolicyCase(
        "top2-by-tokens",
        "capacity-top2",
        [{"overflow": "keep", "tokens": [20, 40]}, {"overflow": "next-best", "tokens": [42, 52]}],
        "its own limit, lifted for some tokens, which take room nevertheless",
        tokens=52,
        seed=1,
    ),
    # Models with gates of their own.
    PolicyCase("deepseek-raw", "sigmoid-bias", {"renormalise": False}, "the scores times the model's scale", seed=10),
    PolicyCase(
        "deepseek-all",
        "sigmoid-bias",
        {"off": [2, 7], "force": [5], "bias": BIAS_12, "temperature": 0.6, "noise": 0.5, "seed": 2},
        "its own bias and the policy's",
        seed=14,
    ),
    PolicyCase("deepseek-mixtral", "sigmoid-bias", {"gate": "softmax-top-k"}, "no bias, no scale, softmax"),
    PolicyCase(
        "groups-off",
        "hierarchical",
        {"off": [0, 1, 2, 3, 4, 5, 6]},
        "one group is out, one has a single expert: rows of 3 and 4",
    ),
    PolicyCase(
        "groups-all",
        "hierarchical",
        {"swap": [[2, 13]], "temperature": 1.7, "bias": BIAS_16, "noise": 0.6, "seed": 8},
        "what changes the experts' logits leaves the groups' alone",
        seed=6,
    ),
    PolicyCase("groups-drop", "hierarchical", {"capacity_factor": 0.2}, "a limit of 4", tokens=16),
    PolicyCase(
        "groups-next-best",
        "hierarchical",
        {"capacity_factor": 0.2, "overflow": "next-best"},
        "full groups are out too",
        tokens=20,
        seed=2,
    ),
    PolicyCase(
        "groups-other-gate",
        "hierarchical",
        {"gate": "sigmoid-bias", "top_k": 3, "force": [9]},
        "another gate over all experts, as if there were no groups",
        seed=5,
    ),
    PolicyCase(
        "noisy-seed",
        "noisy-top-k",
        {"gate": "noisy-top-k", "seed": 3},
        "the noise that the model learned",
        seed=2,
    ),
    PolicyCase("noisy-quiet", "noisy-top-k", {"off": [2]}, "no rule names the gate: its noise stays off"),
    PolicyCase(
        "noisy-both",
        "noisy-top-k",
        [
            {"gate": "noisy-top-k", "seed": 6, "renormalise": False, "layers": [1]},
            {"noise": 0.3, "tokens": [5, 10]},
        ],
        "learned noise, and noise as said",
    ),
    # Gates of published families, and models that have them.
    PolicyCase("ernie-gate", "wide", {"gate": "softmax-bias"}, "without a bias the same as softmax-top-k", same=True),
    PolicyCase("sigmoid-gate", "wide", {"gate": "sigmoid-top-k", "bias": BIAS_6}, "each its sigmoid, with the bias"),
    PolicyCase("sigmoid-gate-to-1", "basic", {"gate": "sigmoid-top-k", "renormalise": True, "top_k": 3}, "shares"),
    PolicyCase("mixer-gate", "basic", {"gate": "sparse-mixer", "temperature": 0.5}, "a jitter of 0.01", seed=43),
    PolicyCase(
        "limit-named",
        "grouped",
        {"gate": "sigmoid-bias"},
        "the model's own gate by its name",
        same=True,
        seed=1,
    ),
    PolicyCase("limit-off", "grouped", {"off": [0, 1, 2, 5, 12]}, "a group of one is scored by its one", seed=2),
    PolicyCase("limit-gone", "grouped", {"off": [4, 5, 6, 7], "top_k": 3}, "a group without experts is out"),
    PolicyCase("limit-force", "grouped", {"force": [9, 2]}, "forced from any group, the others of the best"),
    PolicyCase("limit-top-k", "grouped", {"top_k": 12}, "two groups have 8 experts, and no more are chosen"),
    PolicyCase(
        "limit-all",
        "grouped",
        {
            "off": [3],
            "force": [1],
            "swap": [[6, 15]],
            "bias": BIAS_16,
            "temperature": 0.7,
            "noise": 0.4,
            "seed": 3,
            "renormalise": False,
        },
        "all fields but a capacity",
        seed=4,
    ),
    PolicyCase(
        "limit-next-best",
        "grouped",
        {"capacity_factor": 0.2, "overflow": "next-best"},
        "groups are scored by who has room",
        tokens=20,
    ),
    PolicyCase(
        "limit-drop",
        "grouped",
        {"capacity_factor": 0.2},
        "a limit of 4, on groups of the best",
        tokens=20,
        seed=1,
    ),
    PolicyCase("limit-ernie", "grouped", {"gate": "softmax-bias", "top_k": 3}, "own bias and scale, and no groups"),
    PolicyCase("limit-sigmoid", "grouped", {"gate": "sigmoid-top-k", "force": [4]}, "own scale, no bias, no groups"),
    PolicyCase("limit-mixer", "grouped", {"gate": "sparse-mixer", "top_k": 2}, "no scale, no groups, jitter 0.01"),
    PolicyCase("v2-off", "grouped-softmax", {"off": [2, 7, 8]}, "the best of each group that is left, shares of all"),
    PolicyCase(
        "v2-to-1",
        "grouped-softmax",
        {"renormalise": True, "force": [10], "noise": 0.3, "seed": 1},
        "the sum is the scale",
    ),
    PolicyCase(
        "v2-next-best",
        "grouped-softmax",
        {"capacity_factor": 0.25, "overflow": "next-best"},
        "full experts count neither in their groups nor in the softmax",
        tokens=16,
    ),
    PolicyCase("ernie-off", "softmax-bias", {"off": [1, 4], "temperature": 0.6}, "the softmax is over who is left"),
    PolicyCase("ernie-raw", "softmax-bias", {"renormalise": False, "top_k": 3}, "the softmax, not shared"),
    PolicyCase(
        "ernie-bias",
        "softmax-bias",
        {"bias": [0.3, -0.2, 0.0, 0.1, -0.3, 0.2], "noise": 0.5, "seed": 4, "force": [5]},
        "the policy's bias moves the key, not the weight",
    ),
    PolicyCase(
        "ernie-next-best",
        "softmax-bias",
        {"capacity_factor": 0.25, "overflow": "next-best"},
        "the softmax is over who has room",
        tokens=20,
    ),
    PolicyCase("llama4-bias", "sigmoid-top-k", {"bias": BIAS_6, "off": [2], "temperature": 1.5}, "in the weights too"),
    PolicyCase("llama4-mixtral", "sigmoid-top-k", {"gate": "softmax-top-k"}, "the router keeps its bias"),
    PolicyCase(
        "llama4-drop",
        "sigmoid-top-k",
        {"capacity_factor": 0.3, "renormalise": True},
        "shares, and a limit",
        tokens=30,
    ),
    PolicyCase("mixer-off", "sparse-mixer", {"off": [0, 6]}, "who is left, and near", seed=1),
    PolicyCase("mixer-force", "sparse-mixer", {"force": [3]}, "its weight is a share of those above it too"),
    PolicyCase(
        "mixer-4",
        "sparse-mixer",
        {"top_k": 4, "renormalise": True},
        "four turns, and shares of their sum",
        seed=1,
    ),
    PolicyCase(
        "mixer-all",
        "sparse-mixer",
        {"bias": BIAS_8, "noise": 0.3, "seed": 2, "swap": [[1, 5]]},
        "scales stay",
        seed=1,
    ),
    PolicyCase(
        "mixer-next-best",
        "sparse-mixer",
        {"capacity_factor": 0.2, "overflow": "next-best"},
        "near are only those that have room",
        tokens=24,
    ),
    PolicyCase("mixer-hash", "sparse-mixer", {"gate": "hash", "seed": 2}, "the experts keep their scales"),
    PolicyCase("scaled-soft", "scaled-experts", {"gate": "soft", "off": [5]}, "every expert with its scale"),
    PolicyCase(
        "scaled-choice",
        "scaled-experts",
        {"gate": "expert-choice", "renormalise": True, "swap": [[0, 4]]},
        "experts choose by their shares; scales come after",
        tokens=20,
        seed=1,
    ),
    PolicyCase(
        "scaled-drop",
        "scaled-experts",
        {"capacity_factor": 0.3, "top_k": 3},
        "a scale of an expert that is full is lost with it",
        tokens=20,
    ),
    # Texts of several groups of 64 tokens.
    PolicyCase("wide-drop", "wide", {"capacity_factor": 0.8}, "every 64 tokens anew", tokens=150, seed=39),
    PolicyCase(
        "wide-next-best",
        "wide",
        {"capacity_factor": 0.9, "overflow": "next-best", "layers": [0]},
        "every 64 tokens anew",
        tokens=100,
        seed=3,
    ),
    PolicyCase(
        "wide-hash-full",
        "wide",
        {"gate": "hash", "seed": 4, "capacity_factor": 0.9, "overflow": "next-best"},
        "too little room for all: rows of 2, 1 and 0 experts, each weight 1 / their number",
        tokens=70,
    ),
    PolicyCase(
        "wide-noisy-drop",
        "wide",
        {"gate": "noisy-top-k", "seed": 12, "capacity_factor": 1.0},
        "learned noise and a capacity",
        tokens=100,
        seed=3,
    ),
    PolicyCase(
        "limited-drop",
        "wide-limited",
        {"bias": [0.2, 0, -0.1, 0]},
        "the model's own limit is of the text, not of a group",
        tokens=100,
        seed=1,
    ),
    PolicyCase(
        "limited-next-best",
        "wide-limited",
        {"overflow": "next-best"},
        "the model's own limit is of the text, not of a group",
        tokens=100,
        seed=2,
    ),
    PolicyCase("expert-choice", "wide", {"gate": "expert-choice"}, "64, 64 and 22 tokens", tokens=150, seed=883),
    PolicyCase(
        "expert-choice-off",
        "wide",
        {"gate": "expert-choice", "off": [3], "swap": [[0, 4]], "top_k": 1, "capacity_factor": 1.3},
        "an expert off, two swapped, a factor: of n tokens each expert takes ceil(1.3 n / 6)",
        tokens=100,
        seed=47,
    ),
    PolicyCase(
        "expert-choice-to-1",
        "wide",
        {"gate": "expert-choice", "renormalise": True, "temperature": 2, "layers": [1]},
        "a token's weights sum to 1; one layer",
        tokens=80,
        seed=56,
    ),
    PolicyCase(
        "expert-choice-tokens",
        "wide",
        {"gate": "expert-choice", "tokens": [40, 90]},
        "from 24 tokens of one group and 26 of the next; the others choose",
        tokens=96,
        seed=38,
    ),
    PolicyCase(
        "expert-choice-all",
        "wide",
        {"gate": "expert-choice", "capacity_factor": 9},
        "every expert takes every token",
        seed=1,
    ),
    PolicyCase(
        "expert-choice-switch",
        "switch",
        {"gate": "expert-choice"},
        "the model's own limit and its factor do not hold",
        tokens=32,
        seed=4,
    ),
]


def make(out: Path, fixtures: Path) -> None:
    """Writes all cases to `out`, and removes files of other cases there."""
    check_against_own_gates(fixtures)
    check_against_transformers()
    for stale in out.glob("*.safetensors"):
        stale.unlink()
    for case in WIDE:
        routers.make(case, out / case.name)
    for case in CASES:
        result, margin, effect = compute(case, model_of(case, out, fixtures))
        path = out / f"{case.name}.safetensors"
        reference.write(result, path)
        print(f"{case.name:22} {path.stat().st_size / 1e3:5.1f} kB, closest decision {margin:.4f}, effect {effect:.3f}")
    lines = ",\n".join(json.dumps(listed(case)) for case in CASES)
    (out / "cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{len(CASES)} policies, {size / 1e3:.0f} kB")


def model_of(case: PolicyCase, out: Path, fixtures: Path) -> Path:
    return (out if case.model in {wide.name for wide in WIDE} else fixtures) / case.model


def listed(case: PolicyCase) -> dict:
    entry = {"name": case.name, "model": case.model, "policy": case.policy, "about": case.about}
    return entry | ({"same": True} if case.same else {})


def compute(case: PolicyCase, directory: Path) -> tuple[dict[str, torch.Tensor], float, float]:
    """Returns the expected tensors, their margin and the case's effect. Fails where a wrong engine would pass."""
    config, weights = oracle.load(directory)
    ids = draw.ids(config["vocab_size"], case.tokens, case.seed)
    result, margin = oracle.run(config, weights, ids, case.policy)
    assert margin > SMALLEST_MARGIN, f"{case.name}: a decision by only {margin}; take another seed"

    def apart(policy: dict | list[dict] | None) -> float:
        return (oracle.run(config, weights, ids, policy)[0]["logits"] - result["logits"]).abs().max().item()

    effect = apart(None)
    if case.same:
        assert effect < ROUNDING, f"{case.name}: should change nothing, and changes the logits by {effect}"
        return result, margin, effect
    assert effect > SMALLEST_EFFECT, f"{case.name}: changes the logits by only {effect}"
    for what, without in variants(case):
        try:
            difference = apart(without)
        except ValueError:
            continue  # nothing left: no policy
        assert difference > SMALLEST_EFFECT, f"{case.name}: {what} changes the logits by only {difference}"
    return result, margin, effect


def variants(case: PolicyCase) -> Iterator[tuple[str, list[dict]]]:
    """Yields possible mistakes of an engine: one field of one rule left out, or rules in the wrong order."""
    rules = case.policy if isinstance(case.policy, list) else [case.policy]
    for i, rule in enumerate(rules):
        for field in rule:
            without = copy.deepcopy(rules)
            del without[i][field]
            yield f"rule {i}'s {field}", without
    if case.ordered:
        yield "the order of the rules", rules[::-1]


def check_against_own_gates(fixtures: Path) -> None:
    """Checks that policies which restate the model's settings give what oracle.py computes without a policy."""
    for directory in sorted(path.parent for path in fixtures.glob("*/config.json")):
        config, weights = oracle.load(directory)
        if "num_local_experts" not in config:
            continue
        own = oracle.own_gate(config)
        restated = {"gate": own.kind, "temperature": 1, "noise": 0, "bias": [0] * own.experts, "overflow": "drop"}
        if own.kind != "hierarchical":
            by_itself = own.kind in gates.RENORMALISES if own.renormalise is None else own.renormalise
            restated |= {"top_k": own.k, "renormalise": by_itself}
        ids = draw.ids(config["vocab_size"], min(60, config["max_position_embeddings"]), 0)
        expected, _ = oracle.run(config, weights, ids)
        for policy in ({}, [], restated):
            result, _ = oracle.run(config, weights, ids, policy)
            assert result.keys() == expected.keys(), f"{directory.name}, {policy}: {result.keys()}"
            for name in expected:
                apart = (result[name] - expected[name]).abs().max()
                assert apart < ROUNDING, f"{directory.name}, {policy}: another {name}, by {apart}"


def check_against_transformers() -> None:
    """The gates that transformers has in other families, on the same router logits."""
    generator = torch.Generator().manual_seed(0)
    tokens, experts, k, scale = 200, 16, 4, 2.5
    logits = torch.randn(tokens, experts, generator=generator)
    bias = 0.3 * torch.randn(experts, generator=generator)
    sizes = dict(hidden_size=experts, num_experts_per_tok=k)
    for to_1 in (False, True):
        policy = {"gate": "top-k-of-softmax", "renormalise": to_1}
        for config, router in ((OlmoeConfig, OlmoeTopKRouter), (Qwen3MoeConfig, Qwen3MoeTopKRouter)):
            compare(router(config(num_experts=experts, norm_topk_prob=to_1, **sizes)), policy, logits, k)
        config = DeepseekV3Config(n_group=1, topk_group=1, norm_topk_prob=to_1, routed_scaling_factor=scale, **sizes)
        config.num_local_experts = experts
        router = DeepseekV3TopkRouter(config)
        router.e_score_correction_bias.copy_(bias)
        policy = {"gate": "sigmoid-bias", "renormalise": to_1}
        compare(router, policy, logits, k, {"gate.bias": bias}, scale)


@torch.no_grad()
def compare(router, policy: dict, logits: torch.Tensor, k: int, weights: dict = {}, scale: float = 1.0) -> None:
    """Fails where policy.py chooses other experts or weights than `router`. With the identity for its matrix, a
    router's logits are its input."""
    identity = torch.eye(logits.shape[1])
    router.weight.copy_(identity)
    _, expected_weights, expected = router(logits)
    expected, expected_weights = reference.by_falling_weight(expected, expected_weights)
    own = gates.OwnGate("softmax-top-k", logits.shape[1], k, 0, scale, None)
    result, margin = gates.route(policy, own, 0, [0] * len(logits), {"gate.weight": identity, **weights}, logits)
    name = type(router).__name__
    assert torch.equal(result["router_logits"], logits)
    assert torch.equal(result["selected"], expected.to(torch.int32)), f"{name}: other experts (margin {margin})"
    assert (result["weights"] - expected_weights).abs().max() < 1e-6, f"{name}: other weights"
