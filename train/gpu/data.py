"""The text: unpacks it, tokenises it, and orders it as train/src/data.rs does."""

import bz2
import hashlib
import json
import math
import multiprocessing
import multiprocessing.pool
import os
from pathlib import Path

import numpy as np

from config import Impossible
from draws import hash64, uniform

PIECES = 4
# Bytes of documents that one process tokenises at a time.
SHARE = 3_000_000
# Held-out bytes of each domain that are measured at the end of a run.
MEASURED = 60_000


def manifest(folder: Path) -> dict:
    """corpus.json."""
    path = folder / "corpus.json"
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise Impossible(f"no corpus in {folder}: there is no corpus.json; make it with train/gpu/pack.py") from error
    except ValueError as error:
        raise Impossible(f"{path} is damaged ({error}); make the corpus again with train/gpu/pack.py") from error
    if not found.get("domains"):
        raise Impossible(f"{path} names no domain, so there is no text to train on")
    return found


def _text(folder: Path, name: str, ending: str) -> bytes:
    packed, plain = folder / f"{name}.{ending}.txt.bz2", folder / f"{name}.{ending}.txt"
    try:
        return bz2.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
    except FileNotFoundError as error:
        raise Impossible(f"the corpus lacks {plain} (or .bz2); make it again with train/gpu/pack.py") from error
    except (OSError, EOFError, ValueError) as error:
        raise Impossible(f"{packed} is damaged ({error}); make it again with train/gpu/pack.py") from error


_tokenizer = None


def _open_tokenizer(path: str) -> None:
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    _tokenizer = Tokenizer.from_file(path)


def _encode(documents: list[str]) -> np.ndarray:
    """Ids of the documents, with 0 (the separator) before each."""
    parts = []
    for encoding in _tokenizer.encode_batch_fast(documents, add_special_tokens=False):
        parts.append(np.zeros(1, dtype=np.uint16))
        parts.append(np.array(encoding.ids, dtype=np.uint16))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)


def _load(job: tuple[str, str, str]) -> list[list[str]]:
    """Splits a domain's documents into parts of about SHARE bytes."""
    folder, name, ending = job
    text = _text(Path(folder), name, ending)
    if ending == "held":
        text = text[:MEASURED]
    shares, share, size = [], [], 0
    for document in text.decode("utf-8", errors="ignore").split("\0"):
        share.append(document)
        size += len(document)
        if size >= SHARE:
            shares.append(share)
            share, size = [], 0
    return shares + [share] if share else shares


def _pool(processes: int, tokenizer: Path):
    """A pool of processes with an open tokenizer; of threads where the machine does not allow shared locks."""
    try:
        return multiprocessing.get_context("spawn").Pool(processes, _open_tokenizer, (str(tokenizer),))
    except OSError as error:
        print(f"WARNING: no processes to cut text into tokens ({error}); threads do it", flush=True)
        return multiprocessing.pool.ThreadPool(processes, _open_tokenizer, (str(tokenizer),))


def corpus_sum(folder: Path) -> str:
    """Checksum of the inputs of tokenising."""
    parts = [path.read_bytes() for path in (folder / "corpus.json", folder / "tokenizer.json") if path.exists()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def tokenise(folder: Path, into: Path, processes: int) -> dict:
    """Writes `into`/ids.npy (all domains' ids in a row), held.npz and lengths.json, the last when all is there."""
    domains = [d["name"] for d in manifest(folder)["domains"]]
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        raise Impossible(f"the corpus lacks {tokenizer}; make it again with train/gpu/pack.py")
    with _pool(processes, tokenizer) as pool:
        jobs = [(str(folder), name, ending) for ending in ("train", "held") for name in domains]
        pending = []
        for (_, name, ending), shares in zip(jobs, pool.imap(_load, jobs)):
            pending.append((name, ending, [pool.apply_async(_encode, (share,)) for share in shares]))
        train, held = {}, {}
        for name, ending, results in pending:
            ids = np.concatenate([r.get() for r in results])
            (train if ending == "train" else held)[name] = ids
    np.save(into / "ids.npy", np.concatenate([train[name] for name in domains]))
    np.savez(into / "held.npz", **held)
    about = {"corpus": corpus_sum(folder), "domains": domains, "lengths": [len(train[name]) for name in domains]}
    about["held_bytes"] = [len(_text(folder, name, "held")[:MEASURED].replace(b"\0", b"")) for name in domains]
    part = into / "lengths.part"
    part.write_text(json.dumps(about))
    part.rename(into / "lengths.json")
    return about


def slots(names: list[str], repeat: dict[str, int]) -> list[tuple[int, int, int]]:
    """The sequences of a part, domain by domain: domain, which of its sequences, how many it has."""
    for name, count in repeat.items():
        if name not in names:
            raise Impossible(f"training.repeat names the domain {name}, which the corpus does not have")
        if count < 1:
            raise Impossible(f"training.repeat.{name} is {count}; it must be at least 1")
    of = [repeat.get(name, 1) for name in names]
    return [(domain, nth, count) for domain, count in enumerate(of) for nth in range(count)]


class Order:
    """The start of the pieces of every sequence: a pure function of the seed."""

    def __init__(self, lengths: list[int], places: list[tuple[int, int, int]], context: int, mixed: float, seed: int):
        for n, length in enumerate(lengths):
            if length < 3 * context + 1:
                needed = 3 * context + 1
                raise Impossible(f"domain {n} has {length} tokens; a context of {context} needs {needed}")
        self.slots, self.context, self.mixed, self.seed = places, context, mixed, seed
        self.bases = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self.windows = np.array([(length - 1) // context - 1 for length in lengths], dtype=np.int64)
        self.passes: dict[tuple[int, int], tuple[int, int, int]] = {}

    def _pass(self, number: int, domain: int) -> tuple[int, int, int]:
        """Step, offset and cut that order a domain's windows in one pass over it."""
        key = (number, domain)
        if key not in self.passes:
            windows = int(self.windows[domain])
            draw = [int(hash64(self.seed ^ 3, (number * 64 + domain) * 4 + what)) for what in range(3)]
            a = draw[0] % windows
            while math.gcd(a, windows) != 1:
                a = (a + 1) % windows
            self.passes[key] = (a, draw[1] % windows, draw[2] % self.context)
        return self.passes[key]

    def _window(self, turns: np.ndarray) -> np.ndarray:
        """The start of each slot's window for each turn, as an index into all ids: turns x slots."""
        starts = np.empty((len(turns), len(self.slots)), dtype=np.int64)
        for slot, (domain, nth, of) in enumerate(self.slots):
            windows = int(self.windows[domain])
            visits = turns * of + nth
            passes, k = visits // windows, visits % windows
            for number in np.unique(passes):
                a, b, cut = self._pass(int(number), domain)
                at = passes == number
                starts[at, slot] = self.bases[domain] + (a * k[at] + b) % windows * self.context + cut
        return starts

    def starts(self, first: int, count: int) -> np.ndarray:
        """Of the turns `first..first + count`: count x slots x PIECES begins; position p is at begin + p."""
        turns, sequences = np.arange(first, first + count, dtype=np.int64), len(self.slots)
        places = turns[:, None] * sequences + np.arange(sequences)
        window = self._window(turns)
        from_slot = np.empty((count, sequences, PIECES), dtype=np.int64)
        from_slot[:] = np.arange(sequences)[None, :, None]
        mixed = uniform(self.seed ^ 1, places) < self.mixed
        for piece in range(1, PIECES):
            picked = hash64(self.seed ^ 2, places[mixed] * PIECES + piece) % np.uint64(sequences)
            from_slot[:, :, piece][mixed] = picked.astype(np.int64)
        return np.take_along_axis(window, from_slot.reshape(count, -1), axis=1).reshape(from_slot.shape)

    def pieces(self) -> np.ndarray:
        """The piece of each position 0..=context of a sequence."""
        ends = [self.context * (piece + 1) // PIECES for piece in range(PIECES)]
        return np.minimum(np.searchsorted(ends, np.arange(self.context + 1), side="right"), PIECES - 1)


def made_up(domains: int, length: int, vocabulary: int) -> np.ndarray:
    """The generated text of `train losses`, all domains in a row."""
    i = np.arange(length)
    place = np.where(i % 5 == 0, i, i % 97)
    rows = [hash64(100 + d, place) % np.uint64(vocabulary) for d in range(domains)]
    return np.concatenate(rows).astype(np.uint16)


def unpack_held_out(folder: Path, into: Path, domains: list[str]) -> None:
    """Held-out texts as plain files, for recordings."""
    into.mkdir(parents=True, exist_ok=True)
    for name in domains:
        (into / f"{name}.held.txt").write_bytes(_text(folder, name, "held"))
