"""What Hugging Face transformers computes for the model that ships, on the page's example texts.

    venv/bin/python tests/golden/shipped.py www/models/main                    # writes tests/golden/shipped/
    venv/bin/python tests/golden/shipped.py www/models/main --held-out F [F..] # prints the loss on text files

The model directory is loaded as it is. For each text of www/examples.json, shipped/ID.safetensors holds the
tensors of reference.run, but of the logits only those after the last token: logits_last [V] f32. A text
beyond the model's context is cut there, as the engines do. The environment is the one of make.py.
"""

import argparse
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, MixtralForCausalLM

import reference

HERE = Path(__file__).parent
BATCH = 8  # windows at once when measuring the loss


def main() -> None:
    arguments = argparse.ArgumentParser(description="What transformers computes for the model that ships.")
    arguments.add_argument("model", type=Path, help="a model directory with its tokenizer.json")
    arguments.add_argument("--examples", type=Path, default=HERE / "../../www/examples.json")
    arguments.add_argument("--out", type=Path, default=HERE / "shipped")
    arguments.add_argument("--held-out", type=Path, nargs="+", metavar="FILE", help="measure the loss on these instead")
    options = arguments.parse_args()

    model = reference.load(options.model)
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{options.model}: {parameters} parameters, context {model.config.max_position_embeddings}")
    if options.held_out:
        for file in options.held_out:
            report_loss(model, tokenizer, file)
    else:
        examples = reference.read_json(options.examples)
        check_auto_tokenizer(options.model, tokenizer, examples)
        write_examples(model, tokenizer, examples, options.out)


def write_examples(model: MixtralForCausalLM, tokenizer: Tokenizer, examples: list[dict], out: Path) -> None:
    """Writes `out`/ID.safetensors for every example, and removes those of examples that are gone."""
    for stale in out.glob("*.safetensors"):
        stale.unlink()
    for example in examples:
        ids = tokenizer.encode(example["text"]).ids
        kept = ids[: model.config.max_position_embeddings]
        result = reference.run(model, kept)
        result["logits_last"] = result.pop("logits")[-1].clone()
        reference.write(result, out / f"{example['id']}.safetensors")
        cut = f" (cut from {len(ids)})" if len(kept) < len(ids) else ""
        gap = reference.smallest_gap(result)
        guess = tokenizer.decode([int(result["logits_last"].argmax())])
        print(f"{example['id']:10} {len(kept):4} tokens{cut}, closest decision {gap:.6f}, next token {guess!r}")


def check_auto_tokenizer(directory: Path, tokenizer: Tokenizer, examples: list[dict]) -> None:
    """Prints whether transformers reads tokenizer.json correctly with its default settings."""
    auto = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    for example in examples:
        meant, read = tokenizer.encode(example["text"]).ids, auto(example["text"])["input_ids"]
        if meant != read:
            name = type(auto).__name__
            print(f"WARNING: AutoTokenizer ({name}) gives other ids for {example['id']!r} than tokenizer.json")
            return
    print(f"AutoTokenizer ({type(auto).__name__}) agrees with tokenizer.json on all examples")


@torch.no_grad()
def report_loss(model: MixtralForCausalLM, tokenizer: Tokenizer, file: Path) -> None:
    """Prints the cross-entropy on a text file, read in windows as long as the context.

    Windows overlap by one token, so that every token but the file's first is predicted once, from what its
    window holds before it. Bits per byte: the sum of -log2 p over the tokens, divided by the file's bytes.
    """
    text = file.read_bytes()
    ids = torch.tensor(tokenizer.encode(text.decode("utf-8")).ids)
    if len(ids) < 2:
        raise SystemExit(f"error: {file} has {len(ids)} tokens; the loss needs at least 2")
    context = model.config.max_position_embeddings
    whole = (len(ids) - 1) // context
    starts = [i * context for i in range(whole)]
    batches = [torch.stack([ids[s : s + context + 1] for s in starts[b : b + BATCH]]) for b in range(0, whole, BATCH)]
    rest = ids[whole * context :]
    if len(rest) > 1:
        batches.append(rest[None])

    nats = 0.0
    for batch in batches:
        logits = model(batch[:, :-1], use_cache=False).logits
        nats += torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
    predicted = len(ids) - 1
    print(
        f"{file}: {len(text)} bytes, {len(ids)} tokens, {nats / predicted:.4f} nats per token,"
        f" {nats / math.log(2) / len(text):.4f} bits per byte"
    )


if __name__ == "__main__":
    main()
