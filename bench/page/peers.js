// What the race asks of the other engines, a function each. One model is open at a time.
import { Wllama } from "/npm/@wllama/wllama/esm/index.js";

let wllama;

// Token `id` is the sign `FIRST_SIGN + id` in the GGUF files (bench/src/gguf.rs), because wllama takes texts alone.
const FIRST_SIGN = 0x4e00;

async function open(url) {
  await wllama?.exit();
  wllama = new Wllama({ default: "/npm/@wllama/wllama/esm/wasm/wllama.wasm" }, { suppressNativeLog: true });
  const model = await (await fetch(url)).blob();
  await wllama.loadModel([model], { n_threads: 1, n_gpu_layers: 0, n_ctx: 1024, n_batch: 512, n_ubatch: 512, n_parallel: 1 });
}

async function complete(ids, options) {
  return wllama.createCompletion({
    prompt: String.fromCodePoint(...ids.map(id => FIRST_SIGN + id)),
    temperature: 0, ignore_eos: true, cache_prompt: false, stream: false, ...options,
  });
}

// Milliseconds a token, by llama.cpp's own clock: it starts the second where the first ends.
async function run(ids, tokens) {
  const { timings } = await complete(ids, { max_tokens: tokens });
  return { prefill: timings.prompt_ms / timings.prompt_n, decode: timings.predicted_ms / Math.max(timings.predicted_n - 1, 1) };
}

// The most probable next tokens: [id, natural logarithm of its probability] each.
async function guesses(ids, count) {
  const answer = await complete(ids, { max_tokens: 1, logprobs: count });
  return answer.choices[0].logprobs.content[0].top_logprobs.map(guess => [guess.id, guess.logprob]);
}

window.peers = { ...window.peers, wllama: { open, run, guesses } };
