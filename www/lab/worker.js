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
  const modules = [import("./lab.js"), import("../program.js")];
  const [{ default: init, start }, { programUrl }] = await Promise.all(modules);
  await init({ module_or_path: programUrl("lab/lab") });
  start();
} catch (error) {
  end(error);
}
