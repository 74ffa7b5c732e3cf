"""The trainer's speed beside PyTorch's: the same Mixtral, the same batches' shape, the same two threads, taking turns.

    pip install -r tests/golden/requirements.txt
    cargo build --release -p moescope-train
    python train/pytorch.py            # after `cargo xtask corpus`

PyTorch trains the `MixtralForCausalLM` of transformers in f32 with AdamW and the load-balancing loss, with each of
the ways to compute the experts that suit a batch; the faster one is compared. The trainer does what
`cargo xtask train main` does (its optimiser is the dearer one, Muon). Every turn trains on batches of 22
sequences of 256 tokens and counts the time from the end of the first, when memory has been taken.
"""

import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
THREADS, ROUNDS, REPORT, STEPS = 2, 3, 20, 60
SEQUENCES, CONTEXT = 22, 256
# The third, "batched_mm", copies an expert's weights for every token: gigabytes a layer.
EXPERTS = ("eager", "grouped_mm")


def pytorch(experts: str) -> float:
    """Tokens a second of transformers, with its experts computed in the way of that name."""
    config = AutoConfig.from_pretrained(ROOT / "www/models/main", local_files_only=True)
    config.output_router_logits = True
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, experts_implementation=experts).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    # What a batch says does not change its time: experts are chosen by a fresh router, evenly enough.
    tokens = torch.randint(config.vocab_size, (SEQUENCES, CONTEXT))
    warm, steps = 1, 6
    for step in range(warm + steps):
        if step == warm:
            start = time.perf_counter()
        model(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return steps * tokens.numel() / (time.perf_counter() - start)


def trainer() -> float:
    """Tokens a second of the trainer, between two of the lines that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        command = [ROOT / "target/release/train", "run", "main", "--runs", folder, "--to", f"{folder}/main"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            for line in process.stdout:
                step = int(re.match(r"step (\d+)/", line).group(1))
                if step == REPORT:
                    start = time.perf_counter()
                if step >= REPORT + STEPS:
                    return (step - REPORT) * SEQUENCES * CONTEXT / (time.perf_counter() - start)
            raise SystemExit("the trainer ended before it was timed")
        finally:
            process.kill()
            process.wait()


def main() -> None:
    logging.set_verbosity_error()
    torch.set_num_threads(THREADS)
    speeds = {name: [] for name in ("trainer", *EXPERTS)}
    for _ in range(ROUNDS):
        speeds["trainer"].append(trainer())
        for experts in EXPERTS:
            try:
                speeds[experts].append(pytorch(experts))
                print(f"{experts} {speeds[experts][-1]:,.0f}", flush=True)
            except (RuntimeError, ValueError) as error:
                print(f"transformers cannot compute its experts with {experts} here: {error}")
    medians = {name: statistics.median(values) for name, values in speeds.items() if values}
    for name, value in medians.items():
        print(f"{name}: {value:,.0f} tokens/s ({min(speeds[name]):,.0f} to {max(speeds[name]):,.0f})")
    fastest = max(EXPERTS, key=lambda name: medians.get(name, 0))
    ratio = medians["trainer"] / medians[fastest]
    print(f"the trainer is {ratio:.1f} times as fast as PyTorch {torch.__version__} ({fastest})")


if __name__ == "__main__":
    main()
