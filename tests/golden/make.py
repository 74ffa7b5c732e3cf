"""Makes the golden fixtures: tiny random checkpoints and what Hugging Face transformers computes for them.

    python -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/make.py            # into tests/golden/fixtures and tests/golden/policies
    venv/bin/python tests/golden/make.py policies   # only these
    venv/bin/python tests/golden/make.py --out DIR  # DIR/fixtures, DIR/policies, to compare: same machine, same bytes

Each fixtures/CASE/ is a model directory as `save_pretrained` writes it, plus expected.safetensors (its
tensors: reference.run). The script checks what the fixtures are for: that the router decides by a margin
and uses every expert, that the window and the rope base make the difference they should, and that the
files are of the kind the case is about. The cases here and in families.py are of families that transformers has;
oracle.py must agree with it on every Mixtral, and then says what is expected of Moescope's own routers (routers.py)
and, with policy.py, of every router under a policy (policy_cases.py). gates.py asks transformers' routers alone.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

import draw
import families
import gates
import mxfp4
import oracle
import policy_cases
import reference
import routers
from case import Case

HERE = Path(__file__).parent
SMALLEST_GAP = 1e-3  # between router logits, so that no engine's rounding may change who is selected
ORACLE_TOLERANCE = 1e-5  # between oracle.py's numbers and those of transformers


# Hidden, FFN, vocabulary and head sizes that no tile of 4 or 8 divides.
ODD = dict(
    vocab_size=61,
    hidden_size=30,
    intermediate_size=27,
    num_attention_heads=3,
    num_key_value_heads=3,
    head_dim=10,
    num_local_experts=5,
)

# Families without experts.
DENSE = (LlamaConfig, Qwen2Config, Qwen3Config, SmolLM3Config)

CASES = [
    Case("basic", "8 experts, top-2, untied"),
    Case(
        "gqa",
        "6 query heads share 2 key/value heads; head_dim 16 where hidden / heads is 8; 3 layers",
        dict(
            hidden_size=48,
            intermediate_size=20,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=16,
            num_local_experts=4,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
    ),
    Case(
        "tied-top1",
        "tied embeddings; 4 experts, top-1",
        dict(
            tie_word_embeddings=True,
            intermediate_size=24,
            num_local_experts=4,
            num_experts_per_tok=1,
            rms_norm_eps=1e-3,
        ),
    ),
    Case(
        "many-experts",
        "16 experts, top-4",
        dict(num_local_experts=16, num_experts_per_tok=4, intermediate_size=16),
    ),
    Case("odd", "sizes that are no multiple of 4; 5 experts", ODD),
    Case(
        "odd-f16",
        "f16 rows of odd length (hidden 29), so that pairs of weights straddle rows; 3 query heads, 1 key/value head",
        ODD | dict(hidden_size=29, num_key_value_heads=1),
        dtype=torch.float16,
    ),
    Case("bf16", "bf16 weights", dtype=torch.bfloat16),
    Case("f16", "f16 weights", dtype=torch.float16, seed=2),
    Case(
        "sharded",
        "several shards with an index; 4 experts",
        dict(intermediate_size=24, num_local_experts=4),
        max_shard_size="32KB",
        seed=2,
    ),
    Case(
        "window",
        "sliding_window 12 in a text of 48 tokens",
        dict(sliding_window=12, num_key_value_heads=2, intermediate_size=24, num_local_experts=4),
        tokens=48,
        seed=1,
    ),
    Case("one-expert", "1 expert, top-1", dict(num_local_experts=1, num_experts_per_tok=1)),
    Case(
        "old-config",
        "config.json as transformers 4 wrote it: rope_theta at the top, torch_dtype, no head_dim",
        dict(
            intermediate_size=24,
            num_local_experts=4,
            num_key_value_heads=2,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        ),
        old_config=True,
    ),
    Case(
        "fused",
        "experts fused as transformers 5 has them in memory, in several shards; "
        "num_experts, and the activation's other name",
        dict(intermediate_size=24, num_local_experts=4, num_key_value_heads=2, hidden_act="swish"),
        max_shard_size="24KB",
        seed=2,
        fused=True,
    ),
    Case(
        "llama",
        "dense; 4 query heads share 2 key/value heads",
        dict(vocab_size=61, intermediate_size=24, num_key_value_heads=2),
        family=LlamaConfig,
    ),
]


def main() -> None:
    arguments = argparse.ArgumentParser(description="Makes the golden fixtures.")
    arguments.add_argument("--out", type=Path, default=HERE)
    arguments.add_argument("cases", nargs="*", help="only these; `policies`, `gates` for all of those")
    options = arguments.parse_args()
    for case in CASES + families.CASES:
        if not options.cases or case.name in options.cases:
            make(case, options.out / "fixtures" / case.name)
    for case in routers.CASES:
        if not options.cases or case.name in options.cases:
            routers.make(case, options.out / "fixtures" / case.name)
    if not options.cases or mxfp4.NAME in options.cases:
        mxfp4.make(options.out / "fixtures" / mxfp4.NAME)
    if not options.cases or "policies" in options.cases:
        policy_cases.make(options.out / "policies", HERE / "fixtures")
    if not options.cases or "gates" in options.cases:
        gates.make(options.out / "gates")


def make(case: Case, directory: Path) -> None:
    """Writes one case, reads it back as anybody would, computes what is expected, checks and writes that."""
    shutil.rmtree(directory, ignore_errors=True)
    config = case.family(**case.keys())
    model = random_model(config, case)
    model.to(case.dtype).save_pretrained(
        directory, max_shard_size=case.max_shard_size, save_original_format=not case.fused
    )
    (directory / "generation_config.json").unlink(missing_ok=True)
    if case.fused:
        rename_experts(directory / "config.json")
    if case.old_config:
        write_old_config(directory / "config.json")

    ids = draw.ids(config.vocab_size, case.tokens, case.seed)
    loaded = reference.load(directory)
    expected = reference.run(loaded, ids)
    check_files(case, directory)
    check_numbers(case, loaded, directory, expected)
    is_plain = case.keys()["rope_parameters"]["rope_type"] == "default"
    if case.family is MixtralConfig and is_plain and not case.fused:
        check_oracle(case, directory, expected)
    reference.write(expected, directory / "expected.safetensors")
    report(case, directory, expected)


def random_model(config: PreTrainedConfig, case: Case) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(case.seed)
    # Routers keep the bias of their choice in a buffer.
    buffers = [(name, buffer) for name, buffer in model.named_buffers() if "bias" in name]
    for name, parameter in sorted([*model.named_parameters(), *buffers]):
        parameter.data.copy_(draw.weight(name, parameter.shape, generator, config.tie_word_embeddings))
    return model


def write_old_config(path: Path) -> None:
    """Rewrites config.json with the keys that transformers 4.36 wrote."""
    config = reference.read_json(path)
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.36.0"
    del config["head_dim"], config["pad_token_id"]
    reference.write_json(dict(sorted(config.items())), path)


def rename_experts(path: Path) -> None:
    """Writes the number of experts by its other name."""
    config = reference.read_json(path)
    config["num_experts"] = config.pop("num_local_experts")
    reference.write_json(dict(sorted(config.items())), path)


def check_files(case: Case, directory: Path) -> None:
    """Stops where the files are not of the kind the case is about."""
    shards = sorted(directory.glob("model*.safetensors"))
    sharded = (directory / "model.safetensors.index.json").exists()
    expected = case.name in ("sharded", "fused")
    assert sharded == (len(shards) > 1) == expected, f"{case.name}: {len(shards)} weight files"
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert {tensor.dtype for tensor in tensors.values()} == {case.dtype}, f"{case.name}: not all {case.dtype}"
    tied = case.family(**case.keys()).tie_word_embeddings
    assert ("lm_head.weight" in tensors) != tied, f"{case.name}: lm_head.weight in a tied checkpoint, or none"
    if case.fused:
        assert "model.layers.0.mlp.experts.gate_up_proj" in tensors, f"{case.name}: other names"
        return
    ffn = "block_sparse_moe.experts.0.w1" if case.family is MixtralConfig else "mlp.gate_proj"
    expected = case.tensor or f"model.layers.0.{ffn}.weight"
    assert expected in tensors, f"{case.name}: other names: {sorted(tensors)}"


def check_numbers(case: Case, model: PreTrainedModel, directory: Path, expected: dict[str, torch.Tensor]) -> None:
    """Stops where the numbers would not tell a right engine from a wrong one."""
    gap = reference.smallest_gap(expected)
    assert gap > SMALLEST_GAP, f"{case.name}: router logits only {gap} apart; take another seed"
    assert 0.5 < expected["logits"].std() < 2, f"{case.name}: logits' std {expected['logits'].std()}"
    routed = [name for name in expected if name.startswith("router_logits.")]
    assert routed or case.family in DENSE, f"{case.name}: no layer has experts"
    for name in routed:
        std = expected[name].std()
        assert 0.5 < std < 2, f"{case.name}: {name}'s std {std}"
        used = expected[name.replace("router_logits", "selected")].unique().numel()
        all_used = used == expected[name].shape[1] or case.some_experts
        assert all_used, f"{case.name}: only {used} experts are used of {name}"

    parameters = model.config.rope_parameters
    theta = parameters["rope_theta"]
    assert theta == case.keys()["rope_parameters"]["rope_theta"], f"{case.name}: rope_theta {theta}"
    unscaled = [{"rope_type": "default"}] if parameters["rope_type"] != "default" else []
    turns = getattr(model.config, "position_embedding_type", "rope") == "rope"
    for changed in [{"rope_theta": 3 * theta}, *unscaled] if turns else []:
        other = reference.load(directory, rope_parameters=parameters | changed)
        assert difference(reference.run(other, expected["ids"].tolist()), expected) > 1e-2, f"{case.name}: {changed}"

    window = case.keys().get("sliding_window")
    if window is not None and case.family is MixtralConfig:
        # A token sees itself and the `window` - 1 before it: up to position `window` - 1 nothing is hidden.
        unwindowed = reference.run(reference.load(directory, sliding_window=None), expected["ids"].tolist())
        apart = (unwindowed["logits"] - expected["logits"]).abs().amax(dim=-1)
        assert (apart[:window] < 1e-5).all(), f"{case.name}: the window hides what it should not: {apart}"
        assert (apart[window:] > 1e-3).all(), f"{case.name}: the window hides nothing: {apart}"


def check_oracle(case: Case, directory: Path, expected: dict[str, torch.Tensor]) -> None:
    """Stops where oracle.py computes anything else than transformers does, by itself or under the policy that names
    Mixtral's gate."""
    for policy in (None, {"gate": "softmax-top-k"}):
        result, _ = oracle.run(*oracle.load(directory), expected["ids"].tolist(), policy)
        assert result.keys() == expected.keys(), f"{case.name}: the oracle gives {result.keys()}"
        for name, tensor in expected.items():
            apart = (result[name] - tensor).abs().max()
            assert apart < ORACLE_TOLERANCE, f"{case.name}: the oracle's {name} is {apart} off"


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return (a["logits"] - b["logits"]).abs().max().item()


def report(case: Case, directory: Path, expected: dict[str, torch.Tensor]) -> None:
    size = sum(file.stat().st_size for file in directory.iterdir())
    std = expected["logits"].std().item()
    print(
        f"{case.name:16} {size / 1e3:6.0f} kB, logits' std {std:.2f},"
        f" closest decision {reference.smallest_gap(expected):.4f}: {case.about}"
    )


if __name__ == "__main__":
    main()
