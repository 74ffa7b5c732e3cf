"""What Hugging Face transformers computes for a checkpoint: the numbers the engines are held to.

Everything is computed in float32 on one CPU thread, whatever the width of the stored weights, by the
plainest code that transformers has ("eager" attention and experts), in one pass without a KV cache.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def load(directory: Path, **config) -> PreTrainedModel:
    """The checkpoint of `directory`, unmodified, in float32; `config` overrides keys of its config.json."""
    model, info = AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
        local_files_only=True,
        **config,
    )
    unmatched = {kind: names for kind, names in info.items() if names}
    assert not unmatched, f"{directory}: the checkpoint and the model disagree: {unmatched}"
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model.eval()


@torch.no_grad()
def run(model: PreTrainedModel, ids: list[int]) -> dict[str, torch.Tensor]:
    """Logits and routing of one text of T tokens.

    ids [T] i32; logits [T, V] f32; and for each layer N that has experts:
    router_logits.N [T, E] f32: raw scores, before the softmax;
    selected.N [T, k] i32: expert ids by falling weight, ties by lower id;
    weights.N [T, k] f32: what really multiplies each expert's output, after renormalising.
    """
    routed = {}  # by layer: what its router returned to the layer, so what the layer computed with
    hooks = [
        router.register_forward_hook(lambda _module, _input, output, n=n: routed.update({n: output}))
        for n, layer in enumerate(model.model.layers)
        for router in layer.modules()
        if type(router).__name__.endswith(("Router", "V1Gate"))
    ]
    output = model(torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    assert len(routed) == len(hooks)

    result = {"ids": torch.tensor(ids, dtype=torch.int32), "logits": output.logits[0]}
    for n, (router_logits, weights, selected) in sorted(routed.items()):
        selected, weights = by_falling_weight(selected, weights)
        result[f"router_logits.{n}"] = router_logits
        result[f"selected.{n}"] = selected.to(torch.int32)
        result[f"weights.{n}"] = weights.float()
    return {name: tensor.contiguous() for name, tensor in result.items()}


def by_falling_weight(selected: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both [T, k], reordered: largest weight first, the lower expert id on a tie (topk leaves that open)."""
    by_id = selected.argsort(dim=-1)
    selected, weights = selected.gather(-1, by_id), weights.gather(-1, by_id)
    by_weight = weights.argsort(dim=-1, descending=True, stable=True)
    return selected.gather(-1, by_weight), weights.gather(-1, by_weight)


def smallest_gap(result: dict[str, torch.Tensor]) -> float:
    """The least difference between neighbouring router logits at ranks 1 to k + 1, over all tokens and
    layers: how far the closest decision (who is picked, in which order) is from going the other way."""
    gap = float("inf")
    for name, router_logits in result.items():
        if name.startswith("router_logits."):
            top_k = result[name.replace("router_logits", "selected")].shape[1]
            ranked = router_logits.sort(dim=-1, descending=True).values[:, : top_k + 1]
            if ranked.shape[1] > 1:
                gap = min(gap, (ranked[:, :-1] - ranked[:, 1:]).min().item())
    return gap


def write(result: dict[str, torch.Tensor], path: Path) -> None:
    """Writes `result` as a safetensors file: same tensors, same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(result))


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(value, path: Path) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
