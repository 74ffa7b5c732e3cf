"""Held to the Rust trainer: the same weights and batches give the same losses over the first steps, in f32 on the CPU.

cargo build --release -p moescope-train && python train/gpu/test_parity.py
"""

import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import config as configuration
import worker
from data import made_up
from draws import hash64, normal
from run import Run

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS, DOMAINS, LENGTH = 20, 3, 4000

TINY = """
shows = "tests"
[model]
vocabulary = 300
width = 16
layers = 2
heads = 2
kv_heads = {kv_heads}
ff = 12
experts = {experts}
top_k = {top_k}
{shared}
context = 24
rope_theta = 10000.0
norm_eps = 1e-5
[model.router]
{router}
[training]
tokens = 100000
seed = 3
replicas = 2
mixed = 0.4
balance_loss = {balance}
z_loss = {z}
[optimizer]
muon = 0.03
momentum = 0.95
adam = 0.01
betas = [0.9, 0.95]
decay = 0.1
clip = 1.0
[schedule]
warmup_tokens = 600
decay = 0.3
"""

KINDS = {
    "softmax-top-k": {"z": 0.001},
    "grouped heads": {"kv_heads": 1},
    "dense": {"experts": 1, "top_k": 1, "balance": 0.0},
    "switch": {"top_k": 1, "router": 'kind = "top-k-of-softmax"\ncapacity_factor = 1.0', "z": 0.001},
    "top-k-of-softmax": {"router": 'kind = "top-k-of-softmax"'},
    "noisy-top-k": {"router": 'kind = "noisy-top-k"\nimportance_loss = 0.1\nload_loss = 0.1', "balance": 0.0},
    "hierarchical": {
        "experts": 8,
        "top_k": 4,
        "z": 0.001,
        "router": 'kind = "hierarchical"\ngroups = 4\ngroups_per_token = 2',
    },
    "sigmoid-bias": {
        "balance": 0.0,
        "shared": "shared_experts = 1",
        "router": 'kind = "sigmoid-bias"\nbias_rate = 0.01',
    },
}


def text_of(kind: str) -> str:
    """A small configuration of this kind."""
    plain = {"experts": 4, "top_k": 2, "kv_heads": 2, "shared": "", "balance": 0.01, "z": 0.0}
    return TINY.format(**(plain | {"router": 'kind = "softmax-top-k"'} | KINDS[kind]))


def noise_of(run: Run, step: int) -> list[torch.Tensor]:
    """The noise of the Rust trainer in a step: a pure function of seed, step, replica, layer, token and expert."""
    m, count = run.m, run.t["replicas"]
    tokens = len(run.slots) * m["context"]
    layers = []
    for n in range(m["layers"]):
        parts = []
        for replica in range(count):
            seed = hash64(hash64(run.t["seed"] ^ 0x901E, step * count + replica), n)
            parts.append(normal(seed, np.arange(tokens * m["experts"])).reshape(tokens, m["experts"]))
        layers.append(torch.from_numpy(np.concatenate(parts)).float())
    return layers


def of_python(text: str, pieces: int = 1, dtype: torch.dtype = torch.float32, compiled: bool = False) -> dict:
    """Losses and norms of this trainer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.toml"
        path.write_text(text)
        config = configuration.read(path)
    settings = {"training": {"pieces": pieces, "steps": STEPS}}
    run = Run("test", config, settings, [f"d{n}" for n in range(DOMAINS)], torch.device("cpu"), compiled, dtype)
    run.set_text(made_up(DOMAINS, LENGTH, run.m["vocabulary"]), [LENGTH] * DOMAINS)
    total = -(-config["training"]["tokens"] // run.tokens_per_step)
    rise = (np.arange(STEPS) + 1) * run.tokens_per_step / config["schedule"]["warmup_tokens"]
    assert total > 2 * STEPS, "the rate must not fall within the compared steps"
    run.factors[:STEPS] = torch.from_numpy(np.minimum(rise, 1.0)).float()
    for step in range(STEPS):
        if config["model"]["router"]["kind"] == "noisy-top-k":
            run.given_noise = noise_of(run, step)
        run.step()
    log = run.log.numpy()
    return {"losses": log[:, 0].tolist(), "norms": log[:, 3].tolist()}


def of_rust(text: str) -> dict:
    """Losses and norms of the Rust trainer."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        command = [ROOT / "target/release/train", "losses", file.name, "--steps", str(STEPS)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(kind: str) -> float:
    """The largest difference of a loss."""
    text = text_of(kind)
    ours, theirs = of_python(text), of_rust(text)
    differences = [abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True)]
    first = abs(ours["norms"][0] / theirs["norms"][0] - 1)
    assert theirs["losses"][0] - theirs["losses"][-1] > 0.1, f"{kind}: nothing was learned, so nothing was compared"
    assert first < 1e-3, f"{kind}: the first gradient's norm differs by {first:.1e}"
    assert max(differences) < 1e-3, f"{kind}: {differences}"
    return max(differences)


def test_all_kinds() -> None:
    for kind in KINDS:
        print(f"{kind}: largest difference of a loss in {STEPS} steps {compare(kind):.1e}", flush=True)


def test_pieces_give_the_same() -> None:
    """A batch that is processed in pieces, for a GPU with little memory."""
    whole, parts = (of_python(text_of("softmax-top-k"), pieces) for pieces in (1, 2))
    difference = max(abs(a - b) for a, b in zip(whole["losses"], parts["losses"]))
    assert difference < 1e-4, difference
    print(f"two pieces: largest difference {difference:.1e}")


def test_bf16_stays_close() -> None:
    """The number format of a GPU."""
    for kind in KINDS:
        wide, narrow = of_python(text_of(kind)), of_python(text_of(kind), dtype=torch.bfloat16)
        difference = max(abs(a - b) for a, b in zip(wide["losses"], narrow["losses"]))
        assert difference < 0.05, f"{kind}: {difference}"
        print(f"{kind}: largest difference in bf16 {difference:.1e}", flush=True)


def test_too_little_memory_means_more_pieces() -> None:
    """A GPU whose memory fits only a quarter of the batch."""
    asked = []

    def prepared(job: dict, device: torch.device):
        pieces = job["settings"]["training"]["pieces"]
        asked.append(pieces)
        if pieces < 4:
            raise torch.OutOfMemoryError("too little")
        return types.SimpleNamespace(index=torch.zeros(1), step=lambda: None, synchronise=lambda: None)

    original, worker.prepared = worker.prepared, prepared
    try:
        job = {"name": "test", "config": {"training": {"replicas": 8}}, "settings": {"training": {"pieces": 1}}}
        worker.fitting(job, torch.device("cpu"))
    finally:
        worker.prepared = original
    assert asked == [1, 2, 4], asked


if __name__ == "__main__":
    test_too_little_memory_means_more_pieces()
    test_pieces_give_the_same()
    test_bf16_stays_close()
    test_all_kinds()
