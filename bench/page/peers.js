// The race's functions for wllama. One model is open at a time.
import { Wllama } from "/npm/@wllama/wllama/esm/index.js";

let wllama;

// Token `id` is the character `FIRST_SIGN + id` in the GGUF files (bench/src/gguf.rs), because wllama takes only texts.
const FIRST_SIGN = 0x4e00;

async function open(url) {
  await wllama?.exit();
  wllama = new Wllama({ default: "/npm/@wllama/wllama/esm/wasm/wllama.wasm" }, { suppressNativeLog: true });
  const model = await (await fetch(url)).blob();
  const sizes = { n_ctx: 1024, n_batch: 512, n_ubatch: 512 };
  await wllama.loadModel([model], { n_threads: 1, n_gpu_layers: 0, n_parallel: 1, ...sizes });
}

async function complete(ids, options) {
  return wllama.createCompletion({
    prompt: String.fromCodePoint(...ids.map(id => FIRST_SIGN + id)),
    temperature: 0, ignore_eos: true, cache_prompt: false, stream: false, ...options,
  });
}

// Milliseconds per token, by llama.cpp's own clock. The decoding time begins where the prefill time ends.
async function run(ids, tokens) {
  const { timings } = await complete(ids, { max_tokens: tokens });
  const decoded = Math.max(timings.predicted_n - 1, 1);
  return { prefill: timings.prompt_ms / timings.prompt_n, decode: timings.predicted_ms / decoded };
}

// The most probable next tokens, each as [id, natural logarithm of its probability].
async function guesses(ids, count) {
  const answer = await complete(ids, { max_tokens: 1, logprobs: count });
  return answer.choices[0].logprobs.content[0].top_logprobs.map(guess => [guess.id, guess.logprob]);
}

window.peers = { ...window.peers, wllama: { open, run, guesses } };
