"""Random weights and texts for the fixtures, from seeds."""

import torch


def weight(name: str, shape: tuple[int, ...], generator: torch.Generator, tied: bool = False) -> torch.Tensor:
    """Values of the tensor `name`, such that logits and router logits have a standard deviation of about 1: rows
    of matrices get a norm of about 1, so that they keep the size of what they multiply; norms scatter around 1."""
    noise = torch.randn(shape, generator=generator)
    if "norm" in name or "expert_scale" in name:
        return 1 + 0.2 * noise
    if "bias" in name:
        return 0.2 * noise
    if "embed_tokens" in name and not tied:
        return noise
    # Sharper attention and larger expert outputs than 1 / sqrt(inputs) gives, so that mistakes there change the logits.
    gain = 1.5 if any(part in name for part in ("q_proj", "k_proj", "down_proj", "w2")) else 1.0
    return gain * noise / shape[-1] ** 0.5


def ids(vocabulary: int, tokens: int, seed: int) -> list[int]:
    """Returns a text that contains the first and the last id of the vocabulary, and a repeated token."""
    generator = torch.Generator().manual_seed(seed + 1000)
    ids = torch.randint(vocabulary, (tokens,), generator=generator).tolist()
    ids[1], ids[2], ids[3] = 0, vocabulary - 1, vocabulary - 1
    return ids
