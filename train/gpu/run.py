"""One model's run: set up (compiled and captured as a CUDA graph where that works), then trained within its time."""

import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from config import flops
from data import Order, slots
from model import Network, Weights, max_over_mean
from optimizer import Optimizer

# Steps between two checks of the time, and of one point of the training curve.
POINT = 20
# Share of the time that is reserved for the end.
RESERVE = 0.4
# bf16 FLOP/s of known GPUs, dense.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "4090": 165e12}


def say(text: str) -> None:
    """Prints a line of the log at once."""
    print(text, flush=True)


class Run:
    """A model, its optimiser, its position in the text and its log, all on the device."""

    def __init__(
        self,
        name: str,
        config: dict,
        settings: dict,
        domains: list[str],
        device: torch.device,
        compiled: bool,
        dtype: torch.dtype | None = None,
    ):
        self.name, self.config, self.device = name, config, device
        self.m, self.t = config["model"], config["training"]
        self.pieces, self.slots = settings["training"]["pieces"], slots(domains, self.t.get("repeat", {}))
        self.limit = settings["training"]["steps"]
        self.dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.network = Network(config, device, self.dtype, compiled)
        self.weights = Weights(self.m, device)
        self.weights.set_initial(self.t["seed"])
        self.optimizer = Optimizer(self.weights, config["optimizer"], self.dtype, compiled)
        self.sequences = self.t["replicas"] * len(self.slots)
        self.tokens_per_step = self.sequences * self.m["context"]
        if self.t["replicas"] % self.pieces != 0:
            raise ValueError(f"training.pieces is {self.pieces}, which does not divide {self.t['replicas']} replicas")
        context = self.m["context"]
        self.table = torch.zeros((1, self.sequences, 4), dtype=torch.int32, device=device)
        self.ids = torch.zeros(context + 1, dtype=torch.int32, device=device)
        self.position = torch.arange(context + 1, device=device)
        self.piece = torch.zeros(context + 1, dtype=torch.int64, device=device)
        self.index = torch.zeros(1, dtype=torch.int64, device=device)
        self.factors = torch.zeros(self.limit, device=device)
        self.log = torch.zeros((self.limit, 4), device=device)
        self.graph = None
        self.given_noise = None

    def set_text(self, ids: np.ndarray, lengths: list[int]) -> None:
        """Loads the text and the start of every sequence of every step."""
        order = Order(lengths, self.slots, self.m["context"], self.t["mixed"], self.t["seed"])
        starts = order.starts(0, self.limit * self.t["replicas"])
        table = starts.reshape(self.limit, self.sequences, 4).astype(np.int32)
        self.table = torch.from_numpy(table).to(self.device)
        self.piece = torch.from_numpy(order.pieces().astype(np.int64)).to(self.device)
        self.ids = torch.from_numpy(ids.astype(np.int32)).to(self.device)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the step `index`, sequences x context."""
        starts = self.table.index_select(0, self.index)[0].long()
        ids = self.ids[starts[:, self.piece] + self.position].long()
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor):
        """Gradients by name, and entropy, balance and counts, over all pieces of the batch."""
        trained = self.weights.trained()
        size, parts = self.sequences // self.pieces, self.t["replicas"] // self.pieces
        total, results = None, []
        for n in range(self.pieces):
            rows = slice(n * size, (n + 1) * size)
            noise = self.given_noise or self.network.noise(size, self.m["context"], self.device)
            entropy, gates, balance, counts = self.network.loss(self.weights, inputs[rows], targets[rows], noise, parts)
            loss = (entropy + gates) / self.pieces
            found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
            found = [torch.zeros_like(w) if g is None else g.float() for g, w in zip(found, trained.values())]
            total = found if total is None else torch._foreach_add(total, found)
            results.append((entropy.detach(), balance.detach(), counts))
        entropy, balance, counts = (torch.stack(x) for x in zip(*results))
        return dict(zip(trained, total)), entropy.mean(), balance.mean(), counts.sum(0)

    def step(self) -> None:
        """Runs one step of the optimiser, entirely on the device."""
        inputs, targets = self.batch()
        gradients, entropy, balance, counts = self.gradients(inputs, targets)
        with torch.no_grad():
            factor = self.factors.index_select(0, self.index)[0]
            norm = self.optimizer.step(gradients, (self.index + 1).float()[0], factor)
            if self.m["router"]["kind"] == "sigmoid-bias":
                load = counts * self.m["experts"] - counts.sum(-1, keepdim=True)
                self.weights["bias"].sub_(self.m["router"]["bias_rate"] * load.sign())
            row = torch.stack([entropy, balance, max_over_mean(counts), norm])
            self.log.index_copy_(0, self.index, row.unsqueeze(0))
            self.index.add_(1)

    def capture(self) -> None:
        """Captures a step as a CUDA graph; if that fails, runs without one."""
        if self.device.type != "cuda":
            return
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    self.step()
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            self.index.zero_()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.step()
            self.graph = graph
        except Exception as error:  # whatever a driver or a library cannot capture
            say(f"{self.name}: WARNING: no CUDA graph ({type(error).__name__}: {str(error)[:300]})")
            torch.cuda.synchronize()
            self.graph = None

    def advance(self) -> None:
        """Runs one step, with the graph if there is one."""
        self.graph.replay() if self.graph is not None else self.step()

    def synchronise(self) -> None:
        """Waits until the device has finished all work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def speed(self, steps: int = 8) -> float:
        """Measures the seconds of a step."""
        self.index.zero_()
        self.advance()
        self.synchronise()
        begin = time.monotonic()
        for _ in range(steps):
            self.advance()
        self.synchronise()
        return (time.monotonic() - begin) / steps

    def reset(self) -> None:
        """Resets to the state before the first step."""
        self.weights.set_initial(self.t["seed"])
        self.optimizer.reset()
        self.index.zero_()
        self.log.zero_()

    def schedule(self, now: int, total: int, current: float) -> None:
        """Writes the factors of the steps from `now` on for a run of `total` steps. A run that must end earlier than
        was planned falls from where it is; one in its decay never rises again."""
        s = self.config["schedule"]
        step = np.arange(now, total)
        rise = (step + 1) * self.tokens_per_step / max(s["warmup_tokens"], self.tokens_per_step)
        falling = max(min(s["decay"] * total, total - now), 1.0)
        fall = (total - step) / falling
        factors = np.minimum(np.minimum(rise, fall), 1.0)
        if current < 1.0 and now > 0 and rise[0] >= 1.0:
            factors = current * (total - step) / max(total - now, 1)
        self.factors[now:total] = torch.from_numpy(factors.astype(np.float32)).to(self.device)

    def train(self, deadline: float, tokens: int, step_seconds: float, snapshots: int) -> dict:
        """Trains until `tokens` are seen or the time is up, whichever is first. Returns what `finish` needs."""
        self.reset()
        most = min(self.limit, math.ceil(tokens / self.tokens_per_step))
        fits = int((deadline - time.monotonic() - RESERVE) / step_seconds * 0.985)
        total = max(min(most, fits), 1)
        self.schedule(0, total, 1.0)
        kept: dict[int, dict[str, np.ndarray]] = {}
        wanted = set(snapshot_steps(snapshots, total)) if snapshots else set()
        step, begin, said = 0, time.monotonic(), time.monotonic()
        while step < total:
            if step in wanted:
                kept[step] = self.half_weights()
            self.advance()
            step += 1
            if step % POINT == 0:
                self.synchronise()
                now = time.monotonic()
                total = self.replan(step, total, most, (now - begin) / step, deadline - now)
                if now - said > 10:
                    said = now
                    self.report(step, total, (now - begin) / step)
        self.synchronise()
        seconds = time.monotonic() - begin
        log = self.log[:step].cpu().numpy()
        if snapshots:
            kept[step] = self.half_weights()
        return {"steps": step, "seconds": seconds, "log": log, "snapshots": kept, "weights": self.half_weights()}

    def replan(self, step: int, total: int, most: int, step_seconds: float, left: float) -> int:
        """The length of the run, corrected if the speed differs from the measured one."""
        fits = step + max(int((left - RESERVE) / step_seconds), 0)
        current = float(self.factors[min(step, total - 1)])
        if fits < total:
            shorter = max(fits, step)
            if shorter > step:
                self.schedule(step, shorter, current)
            return shorter
        longer = min(most, step + int((left - RESERVE) / step_seconds * 0.985))
        decay_begins = total - self.config["schedule"]["decay"] * total
        if longer > total * 1.02 and step < decay_begins - POINT:
            self.schedule(step, longer, 1.0)
            return longer
        return total

    def report(self, step: int, total: int, step_seconds: float) -> None:
        """A line of the log."""
        loss, _, load, norm = self.log[max(step - POINT, 0) : step].mean(0).tolist()
        speed = self.tokens_per_step / step_seconds
        say(
            f"{self.name}: step {step}/{total}, loss {loss:.3f}, max/mean load {load:.2f}, gradient {norm:.2f}, "
            f"{speed / 1e6:.2f} M tokens/s{self.share_of_peak(speed)}"
        )

    def share_of_peak(self, speed: float) -> str:
        """Share of the GPU's peak arithmetic, counting only the experts that a token uses."""
        if self.device.type != "cuda":
            return ""
        card = torch.cuda.get_device_name()
        peak = next((p for name, p in PEAKS.items() if name in card), None)
        return "" if peak is None else f", {100 * speed * flops(self.m) / peak:.1f} % of the card's peak"

    def half_weights(self) -> dict[str, np.ndarray]:
        """The weights in f16, in the host's memory."""
        return {name: tensor.cpu().numpy() for name, tensor in self.weights.halves().items()}

    @torch.no_grad()
    def measure(self, held: dict[str, np.ndarray], held_bytes: list[int]) -> dict[str, float]:
        """Bits per byte on the beginning of each domain's held-out text, in windows side by side: for comparisons among
        runs; `train finish` measures all of it."""
        network = Network(self.config, self.device, self.dtype, compiled=False)
        context, result = self.m["context"], {}
        embedding = self.weights["embedding"].to(self.dtype)
        for (name, ids), size in zip(held.items(), held_bytes):
            windows = (len(ids) - 1) // context
            if windows == 0:
                continue
            ids = torch.from_numpy(ids.astype(np.int64)).to(self.device)
            inputs, targets = (ids[at : at + windows * context].view(windows, context) for at in (0, 1))
            quiet = [torch.zeros((windows * context, self.m["experts"]), device=self.device)] * self.m["layers"]
            x, _ = network.stream(self.weights, inputs, quiet, 1)
            logits = (x.view(-1, self.m["width"]) @ embedding.t()).float()
            nats = F.cross_entropy(logits, targets.reshape(-1)).item()
            result[name] = nats * (len(ids) - 1) / math.log(2) / size
        return result


def snapshot_steps(count: int, steps: int) -> list[int]:
    """As in train/src/snapshots.rs: 0, and steps from a 300th of the run to its end on a logarithmic scale."""
    rest = count - 1
    chosen = [0] + [round(steps * (1 / 300) ** ((rest - n) / max(rest - 1, 1))) for n in range(1, rest + 1)]
    return list(dict.fromkeys(chosen))


def curves(log: np.ndarray, tokens_per_step: int) -> dict:
    """curves.json of a run's log (loss, balance, max/mean, norm of each step)."""
    points = []
    for end in [*range(POINT, len(log), POINT), len(log)]:
        mean = log[(end - 1) // POINT * POINT : end].mean(0)
        point = {"step": end, "tokens": end * tokens_per_step, "loss": float(mean[0]), "balance": float(mean[1])}
        points.append(point | {"max_over_mean": float(mean[2]), "gradient_norm": float(mean[3])})
    return {"training": points, "held_out": []}


def path_of(folder: Path, name: str, ending: str) -> Path:
    """A file for messages between coordinator and worker."""
    return folder / f"{name}.{ending}"
