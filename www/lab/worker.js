// The worker that trains: the same program as the page's of Learn and Lab. Its start function sees that this is a
// worker.

/** Tells the page, which starts another worker, and gives the memory back. */
function end(error) {
  postMessage(`died: ${error?.message ?? error}`);
  close();
}

addEventListener("error", (event) => end(event.error ?? event.message));
addEventListener("unhandledrejection", (event) => end(event.reason));

try {
  const { default: init, start } = await import("./lab.js");
  await init({ module_or_path: new URL("lab_bg.wasm", import.meta.url) });
  start();
} catch (error) {
  end(error);
}
