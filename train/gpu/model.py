"""The network of train/src/replica.rs in PyTorch.

Weights of all layers lie in one tensor a kind (`Weights`), so that a step casts and updates few large tensors. Experts
are computed by one product over all experts of a layer, with the activations of those that a token does not use times
0: on a GPU that is cheap for experts this small, and needs no sorting of tokens by expert.
"""

import functools
import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from config import all_experts, initial, layout, router_rows
from gates import gate

# Each tensor shape compiles the optimiser's functions once, which exceeds the compiler's default limit.
torch._dynamo.config.recompile_limit = 64

# Tokens whose logits exist at the same time.
LOSS_CHUNK = 8192


def places(m: dict) -> dict[str, tuple[str, tuple]]:
    """Of each parameter by name: the stacked tensor it lies in, and where."""
    found = {"model.embed_tokens.weight": ("embedding", ()), "model.norm.weight": ("final_norm", ())}
    for n in range(m["layers"]):
        layer, moe = f"model.layers.{n}", f"model.layers.{n}.block_sparse_moe"
        found[f"{layer}.input_layernorm.weight"] = ("attention_norm", (n,))
        found[f"{layer}.post_attention_layernorm.weight"] = ("expert_norm", (n,))
        for w in "qkvo":
            found[f"{layer}.self_attn.{w}_proj.weight"] = (w, (n,))
        found[f"{moe}.gate.weight"] = ("router", (n, slice(0, m["experts"])))
        for rest in ("noise.weight", "group_gate.weight"):
            found[f"{moe}.{rest}"] = ("router", (n, slice(m["experts"], router_rows(m))))
        found[f"{moe}.gate.bias"] = ("bias", (n,))
        for e in range(all_experts(m)):
            name = f"experts.{e}" if e < m["experts"] else f"shared_experts.{e - m['experts']}"
            for w in ("w1", "w2", "w3"):
                found[f"{moe}.{name}.{w}.weight"] = (w, (n, e))
    return found


def stacked_shapes(m: dict) -> dict[str, tuple]:
    """Shapes of the stacked tensors."""
    d, layers, experts, ff = m["width"], m["layers"], all_experts(m), m["ff"]
    kv = d // m["heads"] * m["kv_heads"]
    return {
        "embedding": (m["vocabulary"], d),
        "attention_norm": (layers, d),
        "q": (layers, d, d),
        "k": (layers, kv, d),
        "v": (layers, kv, d),
        "o": (layers, d, d),
        "expert_norm": (layers, d),
        "router": (layers, router_rows(m), d),
        "w1": (layers, experts, ff, d),
        "w3": (layers, experts, ff, d),
        "w2": (layers, experts, d, ff),
        "final_norm": (d,),
        "bias": (layers, m["experts"]),
    }


@functools.lru_cache(maxsize=2)
def stacked_initial(shape: str, seed: int) -> dict[str, np.ndarray]:
    """The initial stacked tensors; `shape` is the model's section as JSON, so that a second call is cached."""
    m = json.loads(shape)
    where = places(m)
    whole = {name: np.zeros(size, dtype=np.float32) for name, size in stacked_shapes(m).items()}
    for name, values in initial(m, seed).items():
        tensor, at = where[name]
        whole[tensor][at] = values.reshape(whole[tensor][at].shape)
    return whole


class Weights:
    """The f32 parameters, stacked over layers and experts, as leaves; `bias` has no gradient."""

    MATRICES = ("q", "k", "v", "o", "w1", "w3", "w2")
    TABLES = ("embedding", "router")
    GAINS = ("attention_norm", "expert_norm", "final_norm")

    def __init__(self, m: dict, device: torch.device):
        self.m = m
        self.tensors = {name: torch.zeros(shape, device=device) for name, shape in stacked_shapes(m).items()}
        for name, tensor in self.tensors.items():
            tensor.requires_grad_(name != "bias")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def trained(self) -> dict[str, Tensor]:
        """All tensors that have a gradient."""
        return {name: t for name, t in self.tensors.items() if t.requires_grad}

    @torch.no_grad()
    def set_initial(self, seed: int) -> None:
        """Resets to the initial values."""
        for name, values in stacked_initial(json.dumps(self.m), seed).items():
            self.tensors[name].copy_(torch.from_numpy(values))

    @torch.no_grad()
    def round_to_8_bits(self) -> None:
        """Rounds the matrices to the file's format (export.py): F8_E4M3."""
        for name in ("embedding", *self.MATRICES):
            self.tensors[name].copy_(self.tensors[name].half().to(torch.float8_e4m3fn).float())

    @torch.no_grad()
    def halves(self) -> dict[str, Tensor]:
        """Copies in f16 on the same device, to be written to a file."""
        return {name: tensor.detach().half() for name, tensor in self.tensors.items()}


def named(m: dict, stacked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stacked tensors by parameter, vectors with one dimension."""
    where = places(m)
    result = {}
    for p in layout(m):
        tensor, at = where[p.name]
        shape = (p.cols,) if p.kind in ("gain", "bias") else (p.rows, p.cols)
        result[p.name] = np.ascontiguousarray(stacked[tensor][at]).reshape(shape)
    return result


class Embed(torch.autograd.Function):
    """Rows of the embedding; the gradient is summed in f32."""

    @staticmethod
    def forward(ctx, embedding: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = embedding.shape
        return embedding[ids].to(dtype)

    @staticmethod
    def backward(ctx, d_rows: Tensor):
        (ids,) = ctx.saved_tensors
        gradient = torch.zeros(ctx.shape, device=d_rows.device)
        gradient.index_add_(0, ids.reshape(-1), d_rows.reshape(-1, ctx.shape[1]).float())
        return gradient, None, None


def loss_and_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed `-log p(target)` of a chunk's logits and its gradient, in the logits' dtype."""
    wide = logits.float()
    shift = wide.amax(-1, keepdim=True)
    e = (wide - shift).exp()
    total = e.sum(-1, keepdim=True)
    hit = torch.arange(logits.shape[1], device=logits.device) == targets.unsqueeze(-1)
    aim = torch.where(hit, wide, 0.0).sum(-1, keepdim=True)
    loss = (shift + total.log() - aim).sum()
    return loss, (e / total - hit.float()).to(logits.dtype)


class CrossEntropy(torch.autograd.Function):
    """Mean loss over the vocabulary with the tied embedding; only one chunk's logits exist at a time."""

    @staticmethod
    def forward(ctx, x: Tensor, embedding: Tensor, narrow: Tensor, targets: Tensor, chunk_loss) -> Tensor:
        tokens = x.shape[0]
        d_x = torch.empty_like(x)
        d_embedding = torch.zeros(embedding.shape, device=x.device)
        loss = torch.zeros((), device=x.device)
        for at in range(0, tokens, LOSS_CHUNK):
            rows = x[at : at + LOSS_CHUNK]
            part, d_logits = chunk_loss(rows @ narrow.t(), targets[at : at + LOSS_CHUNK])
            loss += part
            torch.mm(d_logits, narrow, out=d_x[at : at + LOSS_CHUNK])
            d_embedding += d_logits.t() @ rows
        ctx.save_for_backward(d_x, d_embedding)
        ctx.tokens = tokens
        return loss / tokens

    @staticmethod
    def backward(ctx, d_loss: Tensor):
        d_x, d_embedding = ctx.saved_tensors
        share = d_loss / ctx.tokens
        return d_x * share.to(d_x.dtype), d_embedding.mul_(share), None, None, None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """`x / rms(x) * gain`, computed in f32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the half-split form; `x` is ... x tokens x heads x head_dim."""
    low, high = x.float().chunk(2, -1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1).to(x.dtype)


class Network:
    """The network without state: `loss` gets the weights as an argument."""

    def __init__(self, config: dict, device: torch.device, dtype: torch.dtype, compiled: bool):
        self.m, self.t = config["model"], config["training"]
        self.dtype = dtype
        head_dim = self.m["width"] // self.m["heads"]
        position = torch.arange(self.m["context"], dtype=torch.float64)
        frequency = self.m["rope_theta"] ** (-2.0 * torch.arange(head_dim // 2, dtype=torch.float64) / head_dim)
        angle = position[:, None] * frequency[None, :]
        self.cos, self.sin = (f(angle).float().to(device).unsqueeze(1) for f in (torch.cos, torch.sin))

        def maybe(function):
            return torch.compile(function, dynamic=False, fullgraph=True) if compiled else function

        self.attention, self.experts = maybe(self._attention), maybe(self._experts)
        self.chunk_loss, self.last = maybe(loss_and_gradient), maybe(rms_norm)

    def _attention(self, x: Tensor, gain: Tensor, qkv: Tensor, o: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        m = self.m
        heads, kv_heads, hd = m["heads"], m["kv_heads"], m["width"] // m["heads"]
        sequences, context = x.shape[:2]
        h = rms_norm(x, gain, m["norm_eps"]) @ qkv.t()
        q, k, v = h.split([heads * hd, kv_heads * hd, kv_heads * hd], -1)
        q = rotate(q.view(sequences, context, heads, hd), cos, sin).transpose(1, 2)
        k = rotate(k.view(sequences, context, kv_heads, hd), cos, sin).transpose(1, 2)
        v = v.view(sequences, context, kv_heads, hd).transpose(1, 2)
        grouped = {"enable_gqa": True} if kv_heads != heads else {}
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, **grouped)
        return x + y.transpose(1, 2).reshape(sequences, context, heads * hd) @ o.t()

    def _experts(
        self, x: Tensor, gain: Tensor, router: Tensor, bias: Tensor, w13: Tensor, w2: Tensor, noise: Tensor, parts: int
    ):
        """Returns the stream, the assignments' counts, the balance and the gate's loss."""
        m = self.m
        experts, ff = all_experts(m), m["ff"]
        sequences, context, d = x.shape
        h = rms_norm(x, gain, m["norm_eps"]).view(-1, d)
        hidden = h @ w13.t()
        h1, h3 = hidden.float().split(experts * ff, -1)
        a = F.silu(h1) * h3
        if m["experts"] == 1:
            zero = torch.zeros((), device=x.device)
            out = (a.to(x.dtype) @ w2.t()).view(x.shape)
            return x + out, torch.ones(1, dtype=torch.int64, device=x.device), zero + 1.0, zero
        routing = gate(m, self.t, h.float() @ router.t(), bias, noise, parts, context)
        weights = routing.weights
        if experts > m["experts"]:
            weights = torch.cat([weights, weights.new_ones(weights.shape[0], experts - m["experts"])], -1)
        a = (a.view(-1, experts, ff) * weights.unsqueeze(-1)).view(-1, experts * ff).to(x.dtype)
        return x + (a @ w2.t()).view(x.shape), routing.counts, routing.balance, routing.loss

    def prepared(self, w: Weights) -> dict[str, list[Tensor]]:
        """The weights of each layer in the number format of the computation."""
        m = self.m
        layers, d, experts, ff = m["layers"], m["width"], all_experts(m), m["ff"]
        qkv = torch.cat([w["q"], w["k"], w["v"]], 1).to(self.dtype)
        w13 = torch.cat([w["w1"].view(layers, experts * ff, d), w["w3"].view(layers, experts * ff, d)], 1)
        w2 = w["w2"].permute(0, 2, 1, 3).reshape(layers, d, experts * ff)
        stacked = {"qkv": qkv, "o": w["o"].to(self.dtype), "w13": w13.to(self.dtype), "w2": w2.to(self.dtype)}
        stacked |= {name: w[name] for name in ("attention_norm", "expert_norm", "router", "bias")}
        return {name: list(tensor.unbind(0)) for name, tensor in stacked.items()}

    def stream(self, w: Weights, inputs: Tensor, noise: list[Tensor], parts: int):
        """The normed stream after the last layer, and of each layer counts, balance and loss."""
        layers, reports = self.prepared(w), []
        x = Embed.apply(w["embedding"], inputs, self.dtype)
        cos, sin = self.cos[: inputs.shape[1]], self.sin[: inputs.shape[1]]
        for n in range(self.m["layers"]):
            at = {name: tensors[n] for name, tensors in layers.items()}
            x = self.attention(x, at["attention_norm"], at["qkv"], at["o"], cos, sin)
            arguments = (at["expert_norm"], at["router"], at["bias"], at["w13"], at["w2"], noise[n], parts)
            x, *report = self.experts(x, *arguments)
            reports.append(report)
        return self.last(x, w["final_norm"], self.m["norm_eps"]), reports

    def noise(self, sequences: int, context: int, device: torch.device) -> list[Tensor]:
        """Standard normal noise for each layer if the gate needs it, otherwise a placeholder."""
        shape = (sequences * context, self.m["experts"]) if self.m["router"]["kind"] == "noisy-top-k" else (1,)
        return [torch.randn(shape, device=device) for _ in range(self.m["layers"])]

    def loss(self, w: Weights, inputs: Tensor, targets: Tensor, noise: list[Tensor], parts: int):
        """Mean cross-entropy, the gates' losses, the mean balance over layers, and the counts, layers x experts."""
        x, reports = self.stream(w, inputs, noise, parts)
        narrow = w["embedding"].detach().to(self.dtype)
        flat = x.reshape(-1, self.m["width"])
        entropy = CrossEntropy.apply(flat, w["embedding"], narrow, targets.reshape(-1), self.chunk_loss)
        counts = torch.stack([counts for counts, _, _ in reports])
        balance = torch.stack([balance for _, balance, _ in reports]).mean()
        return entropy, torch.stack([loss for _, _, loss in reports]).sum(), balance, counts


def max_over_mean(counts: Tensor) -> Tensor:
    """The busiest expert's load over the mean, for the worst layer."""
    counts = counts.float()
    return (counts.amax(-1) * counts.shape[-1] / counts.sum(-1)).amax()
