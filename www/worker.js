// The engine's worker: the same program as the page's. Its start function sees that this is a worker and starts
// the engine instead of the page.

import init from "./moescope.js";

await init({ module_or_path: fetch(new URL("moescope_bg.wasm", import.meta.url)) });
