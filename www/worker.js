// The engine's worker: the same program as the page's. Its start function sees that this is a worker and starts
// the engine instead of the page.

const asked = new URL(location.href).searchParams;

// The files of the model that the page opens first come while the program does: the engine takes the answers from here
// (page/worker/src/fetch.rs).
self.begun = new Map();
if (asked.has("model")) {
  const url = (file) => new URL(file, asked.get("model")).href;
  const begin = (file, answer) => {
    answer.catch(() => {}); // The engine tells.
    begun.set(url(file), answer);
    return answer;
  };
  const get = (file) => fetch(url(file)).then(taken);
  const config = begin("config.json", get("config.json"));
  begin("model.safetensors", get("model.safetensors"));
  // Models that share a tokenizer say where it is.
  const named = config.then((answer) => answer.clone().json());
  begin("tokenizer.json", named.then(({ tokenizer_file = "tokenizer.json" }) => get(tokenizer_file)));
}

/** An answer whose body comes in before it is read. */
function taken({ body, headers, status }) {
  const room = new ByteLengthQueuingStrategy({ highWaterMark: 2 ** 26 });
  return new Response(body.pipeThrough(new TransformStream({}, undefined, room)), { headers, status });
}

// A program that broke off (out of memory, say) answers nothing any more. The page, which named this channel, hears
// of it here and starts another worker; this one gives its memory back.
const page = new BroadcastChannel(asked.get("channel"));

// What this worker loaded, for the page, which has it kept.
const loaded = new BroadcastChannel("moescope.loaded");
const tell = (entries) => loaded.postMessage(entries.map(({ name }) => name));
loaded.onmessage = ({ data }) => data === "which?" && tell(performance.getEntriesByType("resource"));
new PerformanceObserver((list) => tell(list.getEntries())).observe({ type: "resource" });

/** Makes what browsers do with WebGPU what the program's library expects: a promise, never a throw, and an adapter with
 * all that it reads of one. The program uses subgroups where a device has them; the library cannot ask for them yet. */
function prepare(gpu) {
  const ask = gpu.requestAdapter;
  // Asked twice, a browser may give the same one.
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
  // Not before the model's files are asked for.
  const modules = [import("./moescope.js"), import("./program.js")];
  const [{ default: init, start }, { programUrl }] = await Promise.all(modules);
  await init({ module_or_path: fetch(programUrl()) });
  start();
} catch (error) {
  page.postMessage({ unloadable: String(error?.message ?? error) });
  close();
}
