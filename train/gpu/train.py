"""Trains the models of train/configs/ on one GPU within a number of minutes; README.md beside this says how.

python train/gpu/train.py --corpus PACKED --out OUT --minutes 9.5
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import config as configuration
import data
from config import Impossible

ORDER = ("main", "dense", "switch", "collapse", "dense-wide", "hierarchical", "fine-grained", "noisy-top-k", "tiny")
# Seconds before the end after which nothing new starts, and after which everything is stopped.
CLOSING, LAST = 6.0, 2.0
# Number of processes that prepare or train at the same time.
ALIVE = 5
# Size limit of one file of the results, in bytes.
FILE = 16 * 1024 * 1024 - 64 * 1024


def say(text: str) -> None:
    """A line of the log with the seconds since the start."""
    print(f"[{time.monotonic() - BEGIN:5.1f}] {text}", flush=True)


BEGIN = time.monotonic()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, default=Path("target/corpus"), help="what pack.py wrote, or target/corpus"
    )
    parser.add_argument("--configs", type=Path, default=HERE.parent / "configs", help="the configurations' folder")
    parser.add_argument("--settings", type=Path, default=HERE / "settings.toml")
    parser.add_argument("--out", type=Path, required=True, help="where finished models go, packed")
    parser.add_argument(
        "--work", type=Path, help="where everything else goes [default: a new folder in the temporary one]"
    )
    parser.add_argument("--minutes", type=float, required=True, help="for all of it, from the start to the end")
    parser.add_argument("--models", nargs="*", help="which, in this order [default: all that have a configuration]")
    parser.add_argument("--tokens", type=float, default=1e12, help="the most tokens a model sees")
    parser.add_argument(
        "--experiments", type=Path, help="variants to compare in place of the models (experiments.toml)"
    )
    parser.add_argument("--record", type=Path, help="the moescope program, which makes recordings from snapshots")
    parser.add_argument("--texts", type=Path, default=Path("www/examples.json"), help="the texts to record")
    parser.add_argument("--record-ids", default="mixed,same-word", help="which of them")
    parser.add_argument("--record-tokens", type=int, default=12_000, help="held-out tokens of a recording's balance")
    parser.add_argument("--plan", action="store_true", help="say what would be done, and end")
    parser.add_argument("--cpu", action="store_true", help="on the CPU, to try the script itself")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    return parser.parse_args()


class Job:
    """One model, or one variant of an experiment."""

    def __init__(self, name: str, config: dict, settings: dict, share: float):
        self.name, self.settings, self.share = name, settings, share
        self.config = configuration.with_settings(config, settings)
        self.process: subprocess.Popen | None = None
        self.tries = 0


def deep_update(base: dict, changes: dict) -> dict:
    """A copy of `base` with the values of `changes`, section by section."""
    result = dict(base)
    for key, value in changes.items():
        merge = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "router"
        result[key] = deep_update(result[key], value) if merge else value
    return result


def read_toml(path: Path) -> dict:
    """A file of settings or experiments."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise Impossible(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise Impossible(f"{path} is no TOML: {error}") from error


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The jobs, in order."""
    settings = read_toml(options.settings)
    jobs = []
    if options.experiments:
        for variant in read_toml(options.experiments)["variant"]:
            changes = {key: value for key, value in variant.items() if key in ("model", "training", "optimizer")}
            base = configuration.read(options.configs / f"{variant['base']}.toml")
            config = deep_update(base, {"model": changes.get("model", {}), "training": changes.get("training", {})})
            configuration.check(config, f"{options.experiments}, {variant['name']}")
            own = deep_update(
                settings, {"training": variant.get("batch", {}), "optimizer": changes.get("optimizer", {})}
            )
            config.pop("recording", None)
            jobs.append(Job(variant["name"], config, own, variant.get("seconds", 10.0)))
        return jobs
    names = options.models or [name for name in ORDER if (options.configs / f"{name}.toml").exists()]
    for name in names:
        config = configuration.read(options.configs / f"{name}.toml")
        own = deep_update(settings, settings.get("for", {}).get(name, {}))
        jobs.append(Job(name, config, own, settings["shares"].get(name, 30)))
    if not jobs:
        raise Impossible(f"there is no configuration in {options.configs}")
    return jobs


class Coordinator:
    """Starts the workers, gives each its time, packs their results, and stops in time."""

    def __init__(self, options: argparse.Namespace, jobs: list[Job]):
        self.options, self.jobs = options, jobs
        self.deadline = BEGIN + 60 * options.minutes
        self.work = options.work or Path(tempfile.mkdtemp(prefix="moescope-"))
        self.work.mkdir(parents=True, exist_ok=True)
        options.out.mkdir(parents=True, exist_ok=True)
        self.domains = [d["name"] for d in data.manifest(options.corpus)["domains"]]
        self.recorders: dict[str, subprocess.Popen] = {}
        self.tokeniser: subprocess.Popen | None = None
        self.summary: dict[str, dict] = {}
        self.tokens = options.tokens
        self.bins: list[list[tuple[str, Path]]] = []

    def left(self) -> float:
        """Seconds left."""
        return self.deadline - time.monotonic()

    def start(self, job: Job) -> None:
        """Starts the process of a job, which prepares and then waits."""
        recording = job.config.get("recording")
        cores = os.cpu_count() or 2
        description = {
            "name": job.name,
            "config": job.config,
            "settings": job.settings,
            "domains": self.domains,
            "folder": str(self.work),
            "ids": str(self.work),
            "tokenizer": str((self.options.corpus / "tokenizer.json").resolve()),
            "snapshots": recording["snapshots"] if recording and not self.options.experiments else 0,
            "cpu": self.options.cpu,
            "graph": job.tries == 0,
            "compile": not self.options.no_compile and job.tries < 2,
            "threads": max(cores // 2, 1),
            "timed_steps": 2 if self.options.cpu else 8,
        }
        for ending in ("ready", "go", "saved", "done"):
            (self.work / f"{job.name}.{ending}").unlink(missing_ok=True)
        (self.work / f"{job.name}.job").write_text(json.dumps(description))
        environment = os.environ | {
            "TORCHINDUCTOR_COMPILE_THREADS": str(max(cores // 4, 1)),
            "OMP_NUM_THREADS": "1" if self.options.cpu else "4",
        }
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self.work / "compiled")
        command = [sys.executable, str(HERE / "worker.py"), str(self.work), job.name]
        job.process = subprocess.Popen(command, env=environment, start_new_session=True)

    def keep_preparing(self) -> None:
        """Holds the next jobs' processes alive, ALIVE at most. One that ended before its turn starts again with less:
        first without a CUDA graph, then uncompiled."""
        for job in self.jobs:
            ended = job.process is not None and job.process.poll() not in (None, 0)
            if ended and not (self.work / f"{job.name}.go").exists() and job.tries < 2:
                job.tries += 1
                say(
                    f"{job.name}: WARNING: its process ended with {job.process.returncode}; try {job.tries + 1}"
                )
                self.start(job)
        alive = [job for job in self.jobs if job.process and job.process.poll() is None]
        waiting = [job for job in self.jobs if job.process is None]
        most = 1 if self.options.cpu else ALIVE
        for job in waiting[: max(most - len(alive), 0)]:
            self.start(job)

    def wait(self, job: Job, ending: str, until: float) -> bool:
        """Waits for a file of a job; returns False if the process ended or the time limit came first."""
        path = self.work / f"{job.name}.{ending}"
        while not path.exists():
            self.keep_preparing()
            if job.process.poll() is not None and not path.exists():
                say(f"{job.name}: WARNING: its process ended with {job.process.returncode}; see above")
                return False
            if time.monotonic() > until:
                say(f"{job.name}: WARNING: not {ending} in time")
                return False
            time.sleep(0.02)
        return True

    def stop(self, process: subprocess.Popen | None) -> None:
        """Ends a process started by this one, with its children."""
        if process and process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()

    def run(self) -> int:
        """Runs everything; returns the exit status."""
        # Whoever ends this process ends its workers too; what is packed by then is whole.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.tokenise()
        try:
            self.look_for_gpu()
            self.keep_preparing()
            for n, job in enumerate(self.jobs):
                self.train(job, self.jobs[n:])
            self.collect(self.deadline - CLOSING)
        finally:
            for job in self.jobs:
                self.stop(job.process)
            for process in (*self.recorders.values(), self.tokeniser):
                self.stop(process)
        self.collect(0.0)
        self.tell()
        return 0 if all(job.name in self.summary for job in self.jobs) else 1

    def look_for_gpu(self) -> None:
        """Prints which GPU trains; raises Impossible without one."""
        import torch

        if self.options.cpu:
            return
        if not torch.cuda.is_available():
            raise Impossible(
                "no GPU is found. `cargo xtask train NAME` trains on the CPU; --cpu tries this script there"
            )
        say(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")

    def tokenise(self) -> None:
        """Starts the process that unpacks and tokenises the corpus."""
        lengths = self.work / "lengths.json"
        if lengths.exists():
            if json.loads(lengths.read_text()).get("corpus") == data.corpus_sum(self.options.corpus):
                return
            lengths.unlink()
        command = [sys.executable, str(HERE / "train.py"), "--tokenise", str(self.options.corpus), str(self.work)]
        self.tokeniser = subprocess.Popen(command, start_new_session=True)

    def train(self, job: Job, rest: list[Job]) -> None:
        """Runs one job."""
        closing = self.deadline - CLOSING
        while not (self.work / "lengths.json").exists():
            if self.tokeniser and self.tokeniser.poll() not in (None, 0):
                raise Impossible("the corpus cannot be read; see above")
            if time.monotonic() > closing:
                return
            self.keep_preparing()
            time.sleep(0.02)
        if job.process is None:
            self.start(job)
        if not self.wait(job, "ready", closing):
            self.stop(job.process)
            return
        left = closing - time.monotonic()
        mine = job.share if self.options.experiments else left * job.share / sum(j.share for j in rest)
        end = min(time.monotonic() + mine, closing)
        say(f"{job.name}: {end - time.monotonic():.0f} s, at most {self.tokens / 1e6:.0f} M tokens")
        part = self.work / f"{job.name}.go.part"
        part.write_text(json.dumps({"deadline": end, "tokens": self.tokens}))
        part.rename(self.work / f"{job.name}.go")
        if not self.wait(job, "saved", min(end + 10.0, self.deadline - LAST)):
            self.stop(job.process)
            return
        self.saved(job)

    def saved(self, job: Job) -> None:
        """Packs the model of a job and starts its recording."""
        self.summary[job.name] = json.loads((self.work / f"{job.name}.saved").read_text())
        self.summary[job.name].pop("config", None)
        if self.options.experiments:
            self.wait(job, "done", min(time.monotonic() + 10.0, self.deadline - LAST))
            return
        if job is self.jobs[0]:
            self.tokens = min(self.tokens, self.summary[job.name]["tokens"])
        self.pack(job.name, self.work / "models" / job.name)
        snapshots = self.work / "snapshots" / job.name
        if self.options.record and snapshots.exists():
            command = [str(self.options.record.resolve()), "record", "--snapshots", str(snapshots)]
            command += ["--texts", str(self.options.texts), "--ids", self.options.record_ids]
            command += ["--tokens", str(self.options.record_tokens), "--held-out", str(self.work / "held")]
            command += ["--out", str(self.work / f"{job.name}.recording.json")]
            try:
                self.recorders[job.name] = subprocess.Popen(["nice", *command], start_new_session=True)
            except OSError as error:
                say(f"{job.name}: WARNING: no recording: {error}")

    def collect(self, until: float) -> None:
        """Waits for recordings and measurements until the given time, and packs the finished recordings."""
        pending = lambda: (
            any(p.poll() is None for p in self.recorders.values())
            or any(job.process and job.process.poll() is None for job in self.jobs)
        )
        while time.monotonic() < until and pending():
            time.sleep(0.05)
        for job in self.jobs:
            done = self.work / f"{job.name}.done"
            if done.exists():
                self.summary[job.name] = json.loads(done.read_text())
        (self.options.out / "summary.json").write_text(json.dumps(self.summary, indent=1))
        found = [(n, self.work / f"{n}.recording.json") for n, p in self.recorders.items() if p.poll() == 0]
        if found:
            self.write_tar("recordings.tar.xz", [(f"{name}/recording.json", path) for name, path in found], "w:xz")

    def pack(self, name: str, folder: Path) -> None:
        """Adds a model to the first results file that has room for it."""
        size = lambda files: sum(path.stat().st_size + 1024 for _, path in files) + 20480
        files = [(f"{name}/{path.name}", path) for path in sorted(folder.iterdir()) if not path.is_symlink()]
        number = next((n for n, group in enumerate(self.bins) if size(group) + size(files) <= FILE), None)
        if number is None:
            number = len(self.bins)
            self.bins.append([])
        self.bins[number] += files
        self.write_tar(f"models-{number}.tar", self.bins[number], "w")

    def write_tar(self, name: str, files: list[tuple[str, Path]], mode: str) -> None:
        """Writes a results file under a temporary name and renames it."""
        part = self.work / f"{name}.part"
        with tarfile.open(part, mode) as tar:
            for inside, path in files:
                tar.add(path, inside)
        if part.stat().st_size > FILE + 64 * 1024:
            say(f"WARNING: {name} has {part.stat().st_size} bytes, more than {FILE}")
        shutil.move(part, self.options.out / f".{name}.part")
        (self.options.out / f".{name}.part").rename(self.options.out / name)

    def tell(self) -> None:
        """The table at the end."""
        say("name                     steps  M tokens  seconds  M tokens/s    loss  held-out bits/byte")
        for job in self.jobs:
            s = self.summary.get(job.name)
            if s is None:
                say(f"{job.name:22} not trained")
                continue
            bits = f"{s['mean_bits_per_byte']:.4f}" if "mean_bits_per_byte" in s else "-"
            say(
                f"{job.name:22} {s['step']:7} {s['tokens'] / 1e6:9.1f} {s['seconds']:8.1f} {s['speed'] / 1e6:11.2f} "
                f"{s['loss']:7.4f}  {bits}"
            )


def plan(options: argparse.Namespace, jobs: list[Job]) -> None:
    """Prints the plan."""
    names = [d["name"] for d in data.manifest(options.corpus)["domains"]]
    total = sum(job.share for job in jobs)
    print(f"{options.minutes} minutes, {len(names)} domains")
    from export import describe

    for job in jobs:
        m, t = job.config["model"], job.config["training"]
        batch = t["replicas"] * len(data.slots(names, t.get("repeat", {}))) * m["context"]
        share = f"{job.share:.0f} s" if options.experiments else f"{100 * job.share / total:.0f} % of the time"
        cost = f"{configuration.flops(m) / 1e6:.1f} MFLOP a token"
        print(f"{job.name}: {describe(m)}; {batch} tokens a step, {share}, {cost}")


def main() -> int:
    """The command."""
    if sys.argv[1:2] == ["--tokenise"]:
        begin = time.monotonic()
        folder, into = Path(sys.argv[2]), Path(sys.argv[3])
        about = data.tokenise(folder, into, max(os.cpu_count() or 2, 2))
        data.unpack_held_out(folder, into / "held", about["domains"])
        total = sum(about["lengths"])
        print(f"corpus: {total / 1e6:.1f} M tokens in {time.monotonic() - begin:.1f} s", flush=True)
        return 0
    options = arguments()
    jobs = jobs_of(options)
    if options.plan:
        plan(options, jobs)
        return 0
    return Coordinator(options, jobs).run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Impossible as error:
        sys.exit(f"error: {error}")
