"""Writes `llama_cpp.json`: what llama.cpp computes for the ids of `mixtral.json`.

    moescope quantise tests/gguf/mixtral.gguf --to f32 --out /tmp/mixtral.gguf
    pip install llama-cpp-python==0.3.36
    python tests/gguf/with_llama_cpp.py /tmp/mixtral.gguf

The file has the same numbers in f32, so that llama.cpp rounds no activations as it does for products with blocks.
"""

import json
import sys
from pathlib import Path

import llama_cpp.llama_cpp as lib

HERE = Path(__file__).parent


def logits(path, ids):
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    options = lib.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = 256
    options.type_k = options.type_v = 0  # f32
    context = lib.llama_init_from_model(model, options)
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for n, token in enumerate(ids):
        batch.token[n], batch.pos[n], batch.logits[n] = token, n, 1
        batch.n_seq_id[n], batch.seq_id[n][0] = 1, 0
    assert lib.llama_decode(context, batch) == 0
    size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    rows = (lib.llama_get_logits_ith(context, n) for n in range(len(ids)))
    return [[round(row[n], 6) for n in range(size)] for row in rows]


ids = json.loads((HERE / "mixtral.json").read_text())["ids"]
(HERE / "llama_cpp.json").write_text(json.dumps({"ids": ids, "logits": logits(sys.argv[1], ids)}) + "\n")
