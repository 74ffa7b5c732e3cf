"""Muon for hidden matrices and AdamW for the rest, as train/src/optimizer.rs; every number that changes is a tensor, so
that a step can be captured as a CUDA graph."""

import math

import torch
from torch import Tensor

from model import Weights

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(x: Tensor) -> Tensor:
    """Newton-Schulz of a stack of matrices that are no taller than wide."""
    a, b, c = COEFFICIENTS
    x = x / (x.float().square().sum((-2, -1), keepdim=True).sqrt() + 1e-12).to(x.dtype)
    for _ in range(5):
        gram = x @ x.mT
        mix = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, mix, x, beta=a)
    return x


class Optimizer:
    """Moments and the step."""

    def __init__(self, weights: Weights, rates: dict, dtype: torch.dtype, compiled: bool):
        self.weights, self.rates, self.dtype = weights, rates, dtype
        self.b = rates["momentum"]
        self.b1, self.b2 = rates["betas"]
        self.first = {name: torch.zeros_like(w) for name, w in weights.trained().items()}
        self.second = {name: torch.zeros_like(w) for name, w in self.first.items() if name not in Weights.MATRICES}
        # All sizes of tensors share one compiled program, because they are flat vectors.
        maybe = (lambda f: torch.compile(f, dynamic=True, fullgraph=True)) if compiled else (lambda f: f)
        self.look_ahead, self.descend, self.adam = maybe(self._look_ahead), maybe(self._descend), maybe(self._adam)
        self.shapes: dict[tuple[int, int], list[str]] = {}
        for name in Weights.MATRICES:
            rows, cols = weights[name].shape[-2:]
            self.shapes.setdefault((min(rows, cols), max(rows, cols)), []).append(name)

    def reset(self) -> None:
        """All moments are zero."""
        for tensor in (*self.first.values(), *self.second.values()):
            tensor.zero_()

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], count: Tensor, factor: Tensor) -> Tensor:
        """One step. `gradients` has one of each trained tensor, `count` is the step's number from 1 in f32, `factor`
        the schedule's. Returns the gradient's norm."""
        norm = torch.stack(torch._foreach_norm(list(gradients.values()))).norm()
        clip = (self.rates["clip"] / norm.clamp_min(1e-20)).clamp_max(1.0)
        c1, c2 = (-torch.expm1(count * (math.log(b) if b > 0 else -math.inf)) for b in (self.b1, self.b2))
        rate = self.rates["adam"] * factor
        shrink, none = rate * self.rates["decay"], rate * 0.0
        for name in (*Weights.TABLES, *Weights.GAINS):
            tensors = (self.weights[name].detach(), gradients[name], self.first[name], self.second[name])
            decay = shrink if name in Weights.TABLES else none
            self.adam(*(t.reshape(-1) for t in tensors), clip, rate, decay, c1, c2)
        for names in self.shapes.values():
            self._muon(names, gradients, clip, self.rates["muon"] * factor)
        return norm

    def _muon(self, names: list[str], gradients: dict[str, Tensor], clip: Tensor, rate: Tensor) -> None:
        """All matrices of one shape (or its transpose) together."""
        flat = []
        for name in names:
            shape = self.weights[name].shape
            update = self.look_ahead(gradients[name].reshape(-1), self.first[name].view(-1), clip).to(self.dtype)
            update = update.view(-1, *shape[-2:])
            flat.append(update.mT if shape[-2] > shape[-1] else update)
        together = orthogonalise(torch.cat(flat) if len(flat) > 1 else flat[0].contiguous())
        shrink = rate * self.rates["decay"]
        for name, update in zip(names, together.split([len(f) for f in flat])):
            w = self.weights[name].detach()
            rows, cols = w.shape[-2:]
            update = (update.mT if rows > cols else update).reshape(-1)
            self.descend(w.view(-1), update, rate * max(1.0, rows / cols) ** 0.5, shrink)

    def _look_ahead(self, gradient: Tensor, momentum: Tensor, clip: Tensor) -> Tensor:
        """Updates the momentum and returns Nesterov's look-ahead."""
        g = gradient * clip
        m = self.b * momentum + (1.0 - self.b) * g
        momentum.copy_(m)
        return self.b * m + (1.0 - self.b) * g

    def _descend(self, w: Tensor, update: Tensor, rate: Tensor, shrink: Tensor) -> None:
        """`w <- w (1 - shrink) - rate update`."""
        w.copy_(w - (shrink * w + rate * update.float()))

    def _adam(
        self,
        w: Tensor,
        gradient: Tensor,
        first: Tensor,
        second: Tensor,
        clip: Tensor,
        rate: Tensor,
        shrink: Tensor,
        c1: Tensor,
        c2: Tensor,
    ) -> None:
        """AdamW with decoupled decay."""
        g = gradient * clip
        m = self.b1 * first + (1.0 - self.b1) * g
        v = self.b2 * second + (1.0 - self.b2) * g * g
        first.copy_(m)
        second.copy_(v)
        w.copy_(w - (shrink * w + rate * (m / c1 / ((v / c2).sqrt() + 1e-8))))
