"""A process that trains one model. It prepares while another trains, says that it is ready, and waits for its turn.

Coordinator and worker speak by files in one folder: NAME.job (what to do), NAME.ready, NAME.go (when to end),
NAME.saved, NAME.done.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch

from export import write_model
from run import Run, curves, path_of, say


def write_whole(path: Path, content: dict) -> None:
    """Writes a file under a temporary name and renames it, so that a reader always sees all of it."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(content))
    part.rename(path)


def wait_for(path: Path) -> dict:
    """Waits for a file of another process, and returns its contents."""
    parent = os.getppid()
    while not path.exists():
        if os.getppid() != parent:
            sys.exit("the coordinator has ended")
        time.sleep(0.02)
    return json.loads(path.read_text())


def first_step(run: Run) -> list[float]:
    """Loss of the first batch and the norm of each tensor's gradient."""
    run.index.zero_()
    inputs, targets = run.batch()
    gradients, entropy, _, _ = run.gradients(inputs, targets)
    return [entropy.item()] + [gradient.norm().item() for gradient in gradients.values()]


def prepared(job: dict, device: torch.device) -> Run:
    """A run with a compiled step; without compilation if that fails or gives other results."""
    arguments = (job["name"], job["config"], job["settings"], job["domains"], device)
    compiled = device.type == "cuda" and job["compile"]
    run = Run(*arguments, compiled)
    run.ids = torch.randint(1, run.m["vocabulary"], (100_000,), dtype=torch.int32, device=device)
    run.table = torch.randint(0, 90_000, (1, run.sequences, 4), dtype=torch.int32, device=device)
    if not compiled:
        return run
    begin = time.monotonic()
    try:
        found = first_step(run)
        run.index.zero_()
        run.step()
        run.synchronise()
        run.reset()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler can fail with
        say(f"{run.name}: WARNING: cannot compile ({type(error).__name__}: {str(error)[:500]}); goes on uncompiled")
        return plain(run, arguments)
    say(f"{run.name}: compiled in {time.monotonic() - begin:.0f} s")
    # One replica at a time: uncompiled layers need much more memory, and other models prepare at the same time.
    check = plain(run, arguments)
    check.pieces = run.t["replicas"]
    expected = first_step(check)
    # bf16 rounds differently; and a noisy gate draws new noise, which dominates its router's first gradient.
    noisy = run.m["router"]["kind"] == "noisy-top-k"
    compared = [i for i, name in enumerate(run.weights.trained(), 1) if not (noisy and name == "router")]
    same = all(abs(found[i] - expected[i]) <= 0.15 * abs(expected[i]) + 1e-6 for i in compared)
    if not (same and abs(found[0] - expected[0]) < 0.02):
        rounded = [[f"{x:.3g}" for x in numbers] for numbers in (found, expected)]
        say(f"{run.name}: WARNING: compiled it computes {rounded[0]}, else {rounded[1]}; goes on uncompiled")
        return plain(run, arguments)
    del check
    torch.cuda.empty_cache()
    return run


def plain(run: Run, arguments: tuple) -> Run:
    """The same run without compilation."""
    other = Run(*arguments, False)
    other.ids, other.table = run.ids, run.table
    return other


def fitting(job: dict, device: torch.device) -> Run:
    """A run whose batch fits into memory: otherwise it is split into more pieces, with the same result."""
    training = job["settings"]["training"]
    while True:
        try:
            run = prepared(job, device)
            run.index.zero_()
            run.step()
            run.synchronise()
            return run
        except torch.OutOfMemoryError:
            replicas, pieces = job["config"]["training"]["replicas"], training["pieces"]
            more = next((n for n in range(pieces + 1, replicas + 1) if replicas % n == 0), None)
            if more is None:
                raise
            say(
                f"{job['name']}: too little memory for {replicas // pieces} replicas at once; {more} pieces"
            )
            training["pieces"] = more
        run = None
        torch.cuda.empty_cache()


def work(folder: Path, name: str) -> None:
    """Prepares, waits, trains, writes."""
    job = json.loads(path_of(folder, name, "job").read_text())
    device = torch.device("cuda" if torch.cuda.is_available() and not job["cpu"] else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(job["threads"])
    torch.set_float32_matmul_precision("high")
    run = fitting(job, device)
    corpus = Path(job["ids"])
    about = wait_for(corpus / "lengths.json")
    run.set_text(np.load(corpus / "ids.npy"), about["lengths"])
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if job["graph"]:
        run.capture()
    step_seconds = run.speed(job["timed_steps"])
    speed = run.tokens_per_step / step_seconds
    run.reset()
    say(f"{name}: ready; {speed / 1e6:.2f} M tokens/s{run.share_of_peak(speed)}, {run.tokens_per_step} tokens a step")
    write_whole(path_of(folder, name, "ready"), {"step_seconds": step_seconds, "speed": speed})
    go = wait_for(path_of(folder, name, "go"))
    # Another model may have been training during the first measurement.
    step_seconds = min(step_seconds, run.speed(job["timed_steps"]))
    result = run.train(go["deadline"], go["tokens"], step_seconds, job["snapshots"])
    finish(run, job, result, corpus, about)


def finish(run: Run, job: dict, result: dict, corpus: Path, about: dict) -> None:
    """Writes the model, its curves and snapshots, and what `train finish` needs."""
    folder, name, tokenizer = Path(job["folder"]), job["name"], Path(job["tokenizer"])
    log, steps, size = result["log"], result["steps"], run.tokens_per_step
    if not np.isfinite(log[-1, 0]):
        raise RuntimeError(f"the loss is {log[-1, 0]} after {steps} steps; nothing is written")
    machine = torch.cuda.get_device_name() if run.device.type == "cuda" else "CPU"
    training = {"config": job["config"], "step": steps, "tokens": steps * size, "seconds": result["seconds"]}
    speed = steps * size / result["seconds"]
    training |= {"machine": machine, "loss": float(log[-20:, 0].mean()), "speed": speed}
    more = {"training.json": training, "curves.json": curves(log, size)}
    write_model(folder / "models" / name, run.m, result["weights"], tokenizer, more, small=True)
    for step, stacked in result["snapshots"].items():
        loss = float(log[step, 0]) if step < steps else training["loss"]
        moment = {"step": step, "tokens": step * size, "loss": loss}
        target = folder / "snapshots" / name / str(step * size)
        write_model(target, run.m, stacked, tokenizer, {"training.json": moment}, small=False)
    write_whole(path_of(folder, name, "saved"), training)
    bits = {}
    try:
        held = dict(np.load(corpus / "held.npz"))
        wide = run.measure(held, about["held_bytes"])
        run.weights.round_to_8_bits()
        bits = run.measure(held, about["held_bytes"])
        change = sum(bits.values()) / sum(wide.values()) - 1
        say(f"{name}: 8 bits cost {100 * change:.3f} % of the held-out loss")
    except Exception as error:  # the model is saved already
        say(f"{name}: WARNING: not measured on held-out text ({type(error).__name__}: {str(error)[:300]})")
    mean = sum(bits.values()) / max(len(bits), 1)
    text = f"{name}: done; {steps} steps, {steps * size / 1e6:.1f} M tokens in {result['seconds']:.1f} s"
    text += f", {speed / 1e6:.2f} M tokens/s"
    say(f"{text}{run.share_of_peak(speed)}, loss {training['loss']:.4f}, held-out {mean:.4f} bits per byte")
    summary = {key: value for key, value in training.items() if key != "config"}
    write_whole(path_of(folder, name, "done"), summary | {"bits_per_byte": bits, "mean_bits_per_byte": mean})


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]), sys.argv[2])
    except Exception:
        traceback.print_exc()
        sys.exit(1)
