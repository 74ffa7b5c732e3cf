"""Makes the GGUF files of this folder, and their expected contents from the `gguf` package and NumPy.

    pip install gguf==0.19.0 numpy safetensors
    python tests/gguf/make.py

- `blocks.safetensors`: blocks of every format, and the numbers that the package makes of them.
- `mixtral.gguf`: a small Mixtral with its tensors in every format, and `mixtral.json` with its logits for some ids. The
  logits are computed here in NumPy from the package's numbers, in llama.cpp's order of rows.
- `llama.gguf` and `llama-00001-of-00002.gguf`...: a small dense model, whole and split, and `llama.json`.
"""

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFWriter, TokenType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

HERE = Path(__file__).parent
random = np.random.default_rng(20)
BLOCKS = [Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.MXFP4]
# Where the halves are in a block.
HALVES = {Kind.Q8_0: [0], Kind.Q4_0: [0], Kind.Q4_1: [0, 2], Kind.Q5_0: [0], Kind.Q5_1: [0, 2], Kind.Q4_K: [0, 2],
          Kind.Q5_K: [0, 2], Kind.Q6_K: [208], Kind.MXFP4: []}


def blocks_of(kind, count, size):
    """Random blocks, whose scales are halves of about `size`."""
    numbers, width = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (count, width), dtype=np.uint8)
    for at in HALVES[kind]:
        halves = (random.uniform(0.2, 1, (count, 1)) * size * random.choice([-1, 1], (count, 1))).astype(np.float16)
        blocks[:, at:at + 2] = halves.view(np.uint8)
    if kind == Kind.MXFP4:
        blocks[:, 0] = random.integers(118, 124, count, dtype=np.uint8)
    return blocks


def blocks():
    tensors = {}
    for kind in BLOCKS:
        few = blocks_of(kind, 6 if GGML_QUANT_SIZES[kind][0] == 256 else 24, 0.05)
        name = kind.name.lower()
        tensors[f"{name}.blocks"] = few
        tensors[f"{name}.numbers"] = dequantize(few, kind)
    save_file(tensors, HERE / "blocks.safetensors")


def encoded(kind, rows, cols, size=0.08):
    """Random numbers in a format, as the writer wants them."""
    numbers = (random.standard_normal((rows, cols)) * size).astype(np.float32)
    if kind in (Kind.F32, Kind.F16, Kind.BF16):
        data = quantize(numbers, kind)
        return data.view(np.float16) if kind == Kind.F16 else data
    try:
        return quantize(numbers, kind)
    except NotImplementedError:
        # The package cannot write these: random blocks with scales for numbers of this size.
        block, width = GGML_QUANT_SIZES[kind]
        scale = {Kind.Q4_K: 0.0003, Kind.Q5_K: 0.00015, Kind.Q6_K: 0.00005}[kind]
        return blocks_of(kind, rows * cols // block, scale).reshape(rows, -1)



def describe(out, shape, tokens):
    out.add_name(shape["name"])
    out.add_block_count(shape["layers"])
    out.add_context_length(shape["context"])
    out.add_embedding_length(shape["hidden"])
    out.add_feed_forward_length(shape["inner"])
    out.add_head_count(shape["heads"])
    out.add_head_count_kv(shape["kv_heads"])
    out.add_key_length(shape["dim"])
    out.add_value_length(shape["dim"])
    out.add_rope_dimension_count(shape["dim"])
    out.add_rope_freq_base(shape["theta"])
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(shape["vocabulary"])
    if shape["experts"]:
        out.add_expert_count(shape["experts"])
        out.add_expert_used_count(2)
    texts, kinds, scores = tokens
    out.add_tokenizer_model("llama")
    out.add_token_list(texts)
    out.add_token_types(kinds)
    out.add_token_scores(scores)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)


def vocabulary(size):
    """A SentencePiece vocabulary: bytes come first, then characters, then words of two to four."""
    texts = ["<unk>", "<s>", "</s>"]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    texts += [f"<0x{byte:02X}>" for byte in (0x0A, 0xC3, 0xA4)]
    kinds += [TokenType.BYTE] * 3
    words = ["▁t", "he", "▁the", "in", "er", "▁a"]
    characters = [c for c in "▁etaoinshrdlucmfwypvbgkjqxz.,ETAOINSHRDLUCMFWYPVBGKJQXZ0123456789!?-'\"():;"]
    both = words + characters
    texts += both[:size - len(texts)]
    kinds += [TokenType.NORMAL] * (len(texts) - len(kinds))
    while len(texts) < size:
        texts.append(f"[PAD{len(texts)}]")
        kinds.append(TokenType.UNUSED)
    scores = [0.0] * 6 + [-float(n) for n in range(size - 6)]
    return texts, kinds, scores


def tensors(shape, kinds):
    """(name, data, kind) of all tensors; `kinds` gives one format after the other."""
    kinds = iter(kinds)
    hidden, inner, queries = shape["hidden"], shape["inner"], shape["heads"] * shape["dim"]
    keys = shape["kv_heads"] * shape["dim"]

    def matrix(name, rows, cols, experts=0):
        kind = next(kinds)
        data = encoded(kind, rows * max(experts, 1), cols)
        return name, data.reshape(experts, rows, -1) if experts else data, kind

    def vector(name, size):
        return name, (1 + 0.1 * random.standard_normal(size)).astype(np.float32), Kind.F32

    yield matrix("token_embd.weight", shape["vocabulary"], hidden)
    for n in range(shape["layers"]):
        at = f"blk.{n}."
        yield vector(at + "attn_norm.weight", hidden)
        yield matrix(at + "attn_q.weight", queries, hidden)
        yield matrix(at + "attn_k.weight", keys, hidden)
        yield matrix(at + "attn_v.weight", keys, hidden)
        yield matrix(at + "attn_output.weight", hidden, queries)
        yield vector(at + "ffn_norm.weight", hidden)
        if experts := shape["experts"]:
            yield at + "ffn_gate_inp.weight", encoded(Kind.F32, experts, hidden, 0.3), Kind.F32
            yield matrix(at + "ffn_gate_exps.weight", inner, hidden, experts)
            yield matrix(at + "ffn_down_exps.weight", hidden, inner, experts)
            yield matrix(at + "ffn_up_exps.weight", inner, hidden, experts)
        else:
            yield matrix(at + "ffn_gate.weight", inner, hidden)
            yield matrix(at + "ffn_down.weight", hidden, inner)
            yield matrix(at + "ffn_up.weight", inner, hidden)
    yield vector("output_norm.weight", hidden)
    if not shape["tied"]:
        yield matrix("output.weight", shape["vocabulary"], hidden)


def write(path, shape, all_tensors, **options):
    out = GGUFWriter(path, "llama", **options)
    describe(out, shape, vocabulary(shape["vocabulary"]))
    for name, data, kind in all_tensors:
        out.add_tensor(name, data, raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def turned(x, theta):
    """Rotates the neighbours of each head, `[tokens, heads, dim]`, as llama.cpp does."""
    tokens, _, dim = x.shape
    angles = np.arange(tokens)[:, None] * theta ** (-np.arange(0, dim, 2) / dim)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2], out[..., 1::2] = even * cos - odd * sin, odd * cos + even * sin
    return out


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def logits(paths, shape, ids):
    """A forward pass in doubles over what the package reads in the files."""
    weights = {}
    for path in paths:
        for tensor in GGUFReader(path).tensors:
            weights[tensor.name] = dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
    silu = lambda x: x / (1 + np.exp(-x))
    x = weights["token_embd.weight"][ids]
    tokens, dim, heads = len(ids), shape["dim"], shape["heads"]
    routing = []
    for n in range(shape["layers"]):
        w = lambda name: weights[f"blk.{n}.{name}.weight"]
        y = norm(x, w("attn_norm"))
        q, k, v = (
            (y @ w(f"attn_{name}").T).reshape(tokens, -1, dim) for name in "qkv"
        )
        q, k = turned(q, shape["theta"]), turned(k, shape["theta"])
        k, v = (np.repeat(a, heads // shape["kv_heads"], axis=1) for a in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim)
        scores += np.triu(np.full((tokens, tokens), -np.inf), 1)
        attended = np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(tokens, -1)
        x = x + attended @ w("attn_output").T
        y = norm(x, w("ffn_norm"))
        if not shape["experts"]:
            x = x + (silu(y @ w("ffn_gate").T) * (y @ w("ffn_up").T)) @ w("ffn_down").T
            continue
        router = y @ w("ffn_gate_inp").T
        chosen = np.argsort(-router, axis=-1, kind="stable")[:, :2]
        routing.append(chosen.tolist())
        mixed = np.zeros_like(x)
        for t in range(tokens):
            for e, weight in zip(chosen[t], softmax(router[t, chosen[t]])):
                inner = silu(w("ffn_gate_exps")[e] @ y[t]) * (w("ffn_up_exps")[e] @ y[t])
                mixed[t] += weight * (w("ffn_down_exps")[e] @ inner)
        x = x + mixed
    head = weights.get("output.weight", weights["token_embd.weight"])
    return norm(x, weights["output_norm.weight"]) @ head.T, routing


def save(name, paths, shape):
    ids = random.integers(3, shape["vocabulary"], 12).tolist()
    values, routing = logits(paths, shape, ids)
    values = [[round(float(x), 6) for x in row] for row in values]
    (HERE / f"{name}.json").write_text(json.dumps({"ids": ids, "logits": values, "selected": routing}) + "\n")


def mixtral():
    shape = dict(name="mixtral", layers=2, hidden=256, inner=32, heads=4, kv_heads=2, dim=32, theta=1e5, experts=4,
                 vocabulary=96, context=64, tied=False)
    kinds = [Kind.Q6_K,
             Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.Q4_1, Kind.Q5_K, Kind.Q5_0, Kind.Q4_K,
             Kind.MXFP4, Kind.Q8_0, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q5_1, Kind.MXFP4,
             Kind.Q8_0]
    path = HERE / "mixtral.gguf"
    write(path, shape, tensors(shape, kinds))
    save("mixtral", [path], shape)


def llama():
    shape = dict(name="llama", layers=2, hidden=32, inner=64, heads=2, kv_heads=1, dim=16, theta=1e4, experts=0,
                 vocabulary=64, context=64, tied=True)
    everything = list(tensors(shape, [Kind.F16] + [Kind.Q8_0, Kind.F32, Kind.F16, Kind.F32, Kind.Q4_0, Kind.F32,
                                                  Kind.BF16] * 2))
    write(HERE / "llama.gguf", shape, everything)
    write(HERE / "llama.gguf", shape, everything, split_max_tensors=11)
    save("llama", [HERE / "llama.gguf"], shape)


blocks()
mixtral()
llama()
