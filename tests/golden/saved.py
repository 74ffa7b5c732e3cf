"""Compares a model directory that the page saved with `transformers`: the same logits as the engine's.

    python tests/golden/saved.py DIR "a text" MOESCOPE

MOESCOPE is the command line's program. Prints the largest difference, and fails where it is above 1e-3.
"""

import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    directory, text, moescope = sys.argv[1:4]
    command = [moescope, "trace", "--model", directory, "--format", "json", "--logits", "all", "--text", text]
    trace = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == [token["id"] for token in trace["tokens"]], "other ids"
    with torch.no_grad():
        theirs = model(ids).logits[0]
    most = (theirs - torch.tensor(trace["logits"])).abs().max().item()
    print(f"{len(ids[0])} tokens, {theirs.shape[1]} logits each: at most {most:.2e} apart")
    assert most < 1e-3


main()
