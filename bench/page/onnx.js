// The race's functions for ONNX Runtime Web on WebGPU. Its two graphs (bench/src/onnx.rs) are open one at a time;
// the keys and values of a prompt are copied from one to the other.
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

// Runs a prompt, or one token after those that have run. Returns the logits after it and the time.
async function step(ids) {
  const total = seen + ids.length;
  const integers = (numbers, sizes) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), sizes);
  const feeds = { ids: integers(ids, [1, ids.length]), ...cache };
  if (session.inputNames.includes("mask")) {
    const size = ids.length, mask = new Float32Array(size * size);
    for (let at = 0; at < mask.length; at++) mask[at] = at % size > Math.floor(at / size) ? -1e9 : 0;
    feeds.mask = new ort.Tensor("float32", mask, [1, 1, size, size]);
    feeds.positions = integers(ids.keys(), [1, size]);
  } else {
    feeds.seen = new ort.Tensor("int32", Int32Array.of(total - 1), [1]);
    feeds.total = new ort.Tensor("int32", Int32Array.of(total), [1]);
  }
  const start = performance.now();
  const { logits, ...rest } = await session.run(feeds);
  const ms = performance.now() - start;
  for (const tensor of Object.values(cache)) tensor.dispose();
  cache = Object.fromEntries(Object.entries(rest).map(([name, tensor]) => [name.replace("new_", ""), tensor]));
  seen = total;
  return { logits: logits.data, ms };
}

// Runs a prompt from its beginning. Returns the milliseconds per token.
async function prefill(ids) {
  reset();
  return (await step(ids)).ms / ids.length;
}

function reset() {
  for (const tensor of Object.values(cache ?? {})) tensor.dispose();
  seen = 0;
  cache = {};
}

// Copies keys and values from the GPU, for the other graph.
async function keep() {
  for (const [name, tensor] of Object.entries(cache)) {
    const data = tensor.location === "gpu-buffer" ? await tensor.getData(true) : tensor.data;
    cache[name] = new ort.Tensor("float32", data.slice(), tensor.dims);
  }
}

// Decodes `tokens` after the prompt. Returns the milliseconds per token.
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

// Runs a prompt from its beginning. Returns the logits after it.
async function prompt(ids) {
  reset();
  return Array.from((await step(ids)).logits);
}

// Runs one more token. Returns the logits after it.
async function next(id) {
  return Array.from((await step([id])).logits);
}

window.peers = { ...window.peers, onnx: { open, prefill, keep, decode, prompt, next } };
