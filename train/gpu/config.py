"""Configurations (train/configs/NAME.toml) and the layout of the parameters, as in train/src/config.rs and model.rs."""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from draws import normal

ROUTERS = ("softmax-top-k", "top-k-of-softmax", "noisy-top-k", "hierarchical", "sigmoid-bias")


class Impossible(ValueError):
    """A configuration that cannot be trained; the message says what is wrong and what to do."""


def read(path: Path) -> dict:
    """A checked configuration."""
    try:
        config = tomllib.loads(path.read_text())
    except OSError as error:
        raise Impossible(f"cannot read the configuration {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise Impossible(f"{path} is no TOML: {error}") from error
    check(config, str(path))
    return config


def with_settings(config: dict, settings: dict) -> dict:
    """The configuration with a GPU's batches, rates and schedule."""
    changed = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    changed["training"] |= {"replicas": settings["training"]["replicas"]}
    changed["training"].pop("short", None)
    changed["optimizer"] |= settings["optimizer"]
    changed["schedule"] |= settings["schedule"]
    return changed


def check(config: dict, where: str) -> None:
    """Raises Impossible for the first invalid value; train/src/config.rs checks more."""

    def refuse(condition: bool, message: str) -> None:
        if condition:
            raise Impossible(f"{where}: {message}")

    for section in ("model", "training", "optimizer", "schedule"):
        refuse(section not in config, f"the section [{section}] is missing")
    m, t = config["model"], config["training"]
    names = ("vocabulary", "width", "layers", "heads", "kv_heads", "ff", "experts", "top_k", "context")
    for name in names:
        refuse(not isinstance(m.get(name), int) or m[name] < 1, f"model.{name} must be a whole number of at least 1")
    refuse(m["top_k"] > m["experts"], f"model.top_k is {m['top_k']} but there are only {m['experts']} experts")
    refuse(m["width"] % m["heads"] != 0, f"model.heads is {m['heads']}, which does not divide model.width {m['width']}")
    refuse(m["width"] // m["heads"] % 2 != 0, "a head has an odd width; rotary embedding needs an even one")
    refuse(m["heads"] % m["kv_heads"] != 0, "model.kv_heads does not divide model.heads")
    refuse(m["vocabulary"] > 65535, "model.vocabulary must be below 65536")
    router = m.setdefault("router", {"kind": "softmax-top-k"})
    kind = router.get("kind")
    refuse(kind not in ROUTERS, f"model.router.kind is {kind!r}; it must be one of {', '.join(ROUTERS)}")
    if kind == "hierarchical":
        groups, per_token = router["groups"], router["groups_per_token"]
        refuse(groups < 1 or m["experts"] % groups != 0, "model.router.groups does not divide the experts")
        refuse(not 1 <= per_token <= groups, "model.router.groups_per_token must be 1 to the number of groups")
        shared_evenly = m["top_k"] % per_token == 0 and m["top_k"] // per_token <= m["experts"] // groups
        refuse(not shared_evenly, "model.top_k cannot be shared evenly by the groups")
    if kind == "noisy-top-k":
        refuse(m["top_k"] == m["experts"], "noisy-top-k needs at least one expert that is not selected")
    refuse(m["experts"] == 1 and kind != "softmax-top-k", "a dense network (one expert) has no router")
    refuse(t["replicas"] < 1, "training.replicas must be at least 1")
    refuse(config["optimizer"]["muon"] <= 0 or config["optimizer"]["adam"] <= 0, "a learning rate must be above 0")


@dataclass
class Parameter:
    """One named matrix or vector at `start` of the flat vector, row-major."""

    name: str
    rows: int
    cols: int
    kind: str  # hidden (Muon), table (AdamW), gain (AdamW without decay), bias (no gradient)
    deviation: float
    start: int

    @property
    def size(self) -> int:
        return self.rows * self.cols


def router_rows(m: dict) -> int:
    """Number of router scores for a token."""
    kind = m["router"]["kind"]
    return m["experts"] + {"noisy-top-k": m["experts"], "hierarchical": m["router"].get("groups", 0)}.get(kind, 0)


def all_experts(m: dict) -> int:
    """Number of experts of a layer, with the shared ones."""
    return m["experts"] + m.get("shared_experts", 0)


def layout(m: dict) -> list[Parameter]:
    """Every parameter in the order of train/src/model.rs."""
    parameters: list[Parameter] = []

    def add(name: str, rows: int, cols: int, kind: str, deviation: float) -> None:
        start = parameters[-1].start + parameters[-1].size if parameters else 0
        parameters.append(Parameter(name, rows, cols, kind, deviation, start))

    d, ff, kind = m["width"], m["ff"], m["router"]["kind"]
    q_width = d
    kv_width = d // m["heads"] * m["kv_heads"]
    depth, into = 1.0 / math.sqrt(2.0 * m["layers"]), 0.5 / math.sqrt(d)
    add("model.embed_tokens.weight", m["vocabulary"], d, "table", 0.02)
    for n in range(m["layers"]):
        layer = f"model.layers.{n}"
        moe = f"{layer}.block_sparse_moe"
        add(f"{layer}.input_layernorm.weight", 1, d, "gain", 0.0)
        add(f"{layer}.self_attn.q_proj.weight", q_width, d, "hidden", into)
        add(f"{layer}.self_attn.k_proj.weight", kv_width, d, "hidden", into)
        add(f"{layer}.self_attn.v_proj.weight", kv_width, d, "hidden", into)
        add(f"{layer}.self_attn.o_proj.weight", d, q_width, "hidden", into * depth)
        add(f"{layer}.post_attention_layernorm.weight", 1, d, "gain", 0.0)
        add(f"{moe}.gate.weight", m["experts"], d, "table", 0.0 if kind == "noisy-top-k" else 0.02)
        if kind == "noisy-top-k":
            add(f"{moe}.noise.weight", m["experts"], d, "table", 0.0)
        if kind == "hierarchical":
            add(f"{moe}.group_gate.weight", m["router"]["groups"], d, "table", 0.02)
        if kind == "sigmoid-bias":
            add(f"{moe}.gate.bias", 1, m["experts"], "bias", 0.0)

        def expert(e: int, w: str) -> str:
            if e < m["experts"]:
                return f"{moe}.experts.{e}.{w}.weight"
            return f"{moe}.shared_experts.{e - m['experts']}.{w}.weight"

        for e in range(all_experts(m)):
            add(expert(e, "w1"), ff, d, "hidden", into)
            add(expert(e, "w3"), ff, d, "hidden", into)
        for e in range(all_experts(m)):
            add(expert(e, "w2"), d, ff, "hidden", 0.5 / math.sqrt(ff) * depth)
    add("model.norm.weight", 1, d, "gain", 0.0)
    return parameters


def initial(m: dict, seed: int) -> dict[str, np.ndarray]:
    """The initial parameters by name, each rows x cols in f32."""
    values = {}
    for p in layout(m):
        if p.kind == "gain":
            flat = np.ones(p.size, dtype=np.float32)
        elif p.deviation == 0.0:
            flat = np.zeros(p.size, dtype=np.float32)
        else:
            flat = (p.deviation * normal(seed, np.arange(p.start, p.start + p.size))).astype(np.float32)
        values[p.name] = flat.reshape(p.rows, p.cols)
    return values


def parameters(m: dict) -> tuple[int, int]:
    """Number of parameters in the file, and of those that one token uses."""
    total = sum(p.size for p in layout(m))
    if m["experts"] == 1:
        total -= m["layers"] * m["width"]
    noise = m["experts"] * m["width"] if m["router"]["kind"] == "noisy-top-k" else 0
    idle = m["layers"] * ((m["experts"] - m["top_k"]) * 3 * m["ff"] * m["width"] + noise)
    return total, total - idle


def flops(m: dict) -> float:
    """Training FLOPs for a token, as train/src/results.rs counts them: of the experts those that the token uses."""
    gains = m["width"] * (2 * m["layers"] + 1)
    attention = m["layers"] * 2 * m["width"] * m["context"] / 2
    return 6.0 * (parameters(m)[1] - gains + attention)


def capacity(m: dict) -> int | None:
    """The most tokens of a text that an expert takes."""
    factor = m["router"].get("capacity_factor")
    return None if factor is None else math.ceil(factor * (m["top_k"] * m["context"] / m["experts"]))
