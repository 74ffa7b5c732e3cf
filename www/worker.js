// The engine's worker. It runs the same program as the page; the program's start function checks where it runs and
// starts the engine instead of the page.

const asked = new URL(location.href).searchParams;

// Requests the files of the page's first model while the program is loaded. The engine uses these answers
// (page/worker/src/fetch.rs).
self.begun = new Map();
// A GGUF file has its config and its tokenizer in it.
if (asked.has("model") && !/\.gguf($|\?)/.test(asked.get("model"))) {
  const url = (file) => new URL(file, asked.get("model")).href;
  const begin = (file, answer) => {
    answer.catch(() => {}); // The engine reports the error.
    begun.set(url(file), answer);
    return answer;
  };
  const get = (file) => fetch(url(file)).then(taken);
  const config = begin("config.json", get("config.json"));
  begin("model.safetensors", get("model.safetensors"));
  // The config of a model with a shared tokenizer has the tokenizer's path.
  const named = config.then((answer) => answer.clone().json());
  begin("tokenizer.json", named.then(({ tokenizer_file = "tokenizer.json" }) => get(tokenizer_file)));
}

/** An answer whose body is downloaded before it is read, up to 64 MiB. */
function taken({ body, headers, status }) {
  const room = new ByteLengthQueuingStrategy({ highWaterMark: 2 ** 26 });
  return new Response(body.pipeThrough(new TransformStream({}, undefined, room)), { headers, status });
}

// A program that crashed (because of memory, for example) does not answer any more. This channel, which the page
// named, tells the page, which starts another worker; this worker closes, which frees its memory.
const page = new BroadcastChannel(asked.get("channel"));

// Sends the addresses of all files that this worker loaded to the page, which has them cached (boot.js).
const loaded = new BroadcastChannel("moescope.loaded");
const tell = (entries) => loaded.postMessage(entries.map(({ name }) => name));
loaded.onmessage = ({ data }) => data === "which?" && tell(performance.getEntriesByType("resource"));
new PerformanceObserver((list) => tell(list.getEntries())).observe({ type: "resource" });

/** Adapts the browser's WebGPU to the program's library, which expects a promise and never an exception, and an adapter
 * with an `info`. Also requests subgroups for every device that has them, which the library cannot do yet. */
function prepare(gpu) {
  const ask = gpu.requestAdapter;
  // A browser may return the same adapter for two requests.
  const prepared = new WeakSet();
  gpu.requestAdapter = async (...wanted) => {
    const adapter = (await ask.apply(gpu, wanted)) ?? null;
    if (adapter && !prepared.has(adapter)) {
      prepared.add(adapter);
      prepareAdapter(adapter);
    }
    return adapter;
  };
}

function prepareAdapter(adapter) {
  const ask = adapter.requestDevice;
  adapter.requestDevice = async (wanted = {}) => {
    const subgroups = adapter.features.has("subgroups") ? ["subgroups"] : [];
    const requiredFeatures = [...(wanted.requiredFeatures ?? []), ...subgroups];
    return ask.call(adapter, { ...wanted, requiredFeatures });
  };
  if (!adapter.info) {
    Object.defineProperty(adapter, "info", { value: { vendor: "", architecture: "", device: "", description: "" } });
  }
}

if (navigator.gpu) {
  prepare(navigator.gpu);
}

function end(error) {
  page.postMessage(String(error?.message ?? error));
  close();
}

function brokeOff(error) {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}

addEventListener("error", (event) => brokeOff(event.error) && end(event.error));
addEventListener("unhandledrejection", (event) => brokeOff(event.reason) && end(event.reason));

try {
  // After the requests for the model's files.
  const modules = [import("./moescope.js"), import("./program.js")];
  const [{ default: init, start }, { programUrl }] = await Promise.all(modules);
  await init({ module_or_path: fetch(programUrl()) });
  start();
} catch (error) {
  page.postMessage({ unloadable: String(error?.message ?? error) });
  close();
}
