// ONNX Runtime Web on WebGPU. Its two graphs (bench/src/onnx.rs) are open one at a time: a prompt's keys and values are handed from
// the one to the other.
import * as ort from "/npm/onnxruntime-web/dist/ort.webgpu.min.mjs";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = "/npm/onnxruntime-web/dist/";
ort.env.logLevel = "error";

let session, cache, seen, shape;

// `wanted` is { layers, heads, headDim }.
async function open(url, wanted) {
  await session?.release();
  shape = wanted;
  const onGpu = Object.fromEntries(cacheNames("new_").map(name => [name, "gpu-buffer"]));
  session = await ort.InferenceSession.create(url, { executionProviders: ["webgpu"], preferredOutputLocation: onGpu });
}

function cacheNames(prefix) {
  return Array.from({ length: shape.layers }, (_, n) => [`${prefix}key.${n}`, `${prefix}value.${n}`]).flat();
}

// Runs `ids` after what was seen; gives the logits after the last of them and how long it took.
async function step(ids) {
  const total = seen + ids.length;
  const feeds = {
    ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
    seen: new ort.Tensor("int32", Int32Array.of(total - 1), [1]),
    total: new ort.Tensor("int32", Int32Array.of(total), [1]),
    ...cache,
  };
  const start = performance.now();
  const { logits, ...rest } = await session.run(feeds);
  const ms = performance.now() - start;
  for (const tensor of Object.values(cache)) tensor.dispose();
  cache = Object.fromEntries(Object.entries(rest).map(([name, tensor]) => [name.replace("new_", ""), tensor]));
  seen = total;
  return { logits: logits.data, ms };
}

// Milliseconds a token of a prompt from its beginning.
async function prefill(ids) {
  reset();
  return (await step(ids)).ms / ids.length;
}

function reset() {
  for (const tensor of Object.values(cache ?? {})) tensor.dispose();
  seen = 0;
  const empty = () => new ort.Tensor("float32", new Float32Array(0), [1, shape.heads, 0, shape.headDim]);
  cache = Object.fromEntries(cacheNames("").map(name => [name, empty()]));
}

// Takes keys and values off the GPU, for the other graph.
async function keep() {
  for (const [name, tensor] of Object.entries(cache)) {
    const data = tensor.location === "gpu-buffer" ? await tensor.getData(true) : tensor.data;
    cache[name] = new ort.Tensor("float32", data.slice(), tensor.dims);
  }
}

// Milliseconds a token, of `tokens` that follow the prompt.
async function decode(tokens) {
  const times = [];
  let id = 1;
  for (let n = 0; n < tokens; n++) {
    const { logits, ms } = await step([id]);
    id = logits.indexOf(Math.max(...logits));
    times.push(ms);
  }
  return times.reduce((sum, ms) => sum + ms, 0) / tokens;
}

// The most probable tokens after a prompt and then `next` of it, one at a time: [id, natural logarithm of its probability] each.
async function guesses(ids, count) {
  reset();
  return probable((await step(ids)).logits, count);
}

async function nextGuesses(id, count) {
  return probable((await step([id])).logits, count);
}

function probable(logits, count) {
  const most = Math.max(...logits);
  const sum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) + most;
  return Array.from(logits, (logit, id) => [id, logit - sum]).sort((a, b) => b[1] - a[1]).slice(0, count);
}

window.peers = { ...window.peers, onnx: { open, prefill, keep, decode, guesses, nextGuesses } };
