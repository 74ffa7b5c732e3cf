// Starts the program: checks that the browser can run it, then loads it with a progress bar. All else is Rust.
//
// A classic script, not a module: it runs in frames and browsers that load no modules, and says so there.

/** Where the files of this version of the program are. */
const HERE = new URL("./", document.currentScript.src);

/** Whether an address belongs to Learn or Lab, a separate program: `#/learn`, `#/learn/NAME`, `#/lab/NAME`. */
const isLab = () => /^#\/(learn|lab)(?![^/?])/.test(location.hash);

/** Whether this page is Learn or Lab. A link to the other program loads the page anew. */
const LAB = isLab();
addEventListener("hashchange", (event) => {
  if (isLab() !== LAB) {
    event.stopImmediatePropagation(); // The program that goes does not know such an address.
    location.reload();
  }
});

/** Why this browser cannot run the page, or "" if it can. */
function obstacle() {
  const advice = "A current Chrome, Edge, Firefox or Safari can.";
  if (self.origin === "null") {
    return "This page is in a frame with the attribute sandbox, in which browsers start no workers; the model " +
      "needs one. Open the page in a tab of its own, or add allow-same-origin to that attribute.";
  }
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD_PROBE)) {
    return `This browser cannot run WebAssembly with SIMD, which the model needs. ${advice}`;
  }
  if (!canRunModuleWorkers()) {
    return `This browser cannot run modules in workers, which the model needs. ${advice}`;
  }
  return "";
}

// A module with one function: () -> v128, i32.const 0, i8x16.splat.
const SIMD_PROBE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // magic, version 1
  1, 5, 1, 0x60, 0, 1, 0x7b, // one type: no parameters, one v128
  3, 2, 1, 0, // one function of that type
  10, 8, 1, 6, 0, 0x41, 0, 0xfd, 15, 0x0b, // its code
]);

/** A browser that knows `type` reads it before it makes the worker, and the throw leaves none behind. */
function canRunModuleWorkers() {
  let reads = false;
  try {
    const options = {
      get type() {
        reads = true;
        throw new Error("no worker wanted");
      },
    };
    new Worker(new URL("worker.js", HERE), options).terminate();
  } catch {
    // Expected where `type` is read.
  }
  return reads;
}

/** Only the Worker object gets the event that its script cannot be loaded, and the program's library hides that object:
 * the event is forwarded on the worker's channel (`Connection` in page/src/worker_client.rs). */
function reportWorkersThatDoNotStart() {
  window.Worker = class extends Worker {
    constructor(address, options) {
      super(address, options);
      const url = new URL(address, document.baseURI);
      const failed = () => {
        const channel = new BroadcastChannel(url.searchParams.get("channel"));
        channel.postMessage({ unloadable: `${url.origin}${url.pathname} is missing or is no script` });
        channel.close();
      };
      this.addEventListener("error", failed, { once: true });
      // A worker that runs says itself what goes wrong.
      this.addEventListener("message", () => this.removeEventListener("error", failed), { once: true });
    }
  };
}

/** The text that the page will start with, where that is not the opening example: the link's text, or the one before a
 * reload, as `first_text` in page/src/app.rs chooses. */
function firstText() {
  // Links have the text in the fragment (page/state/src/address.rs); older ones in the query.
  const parts = [location.hash.replace(/^[#/?]+/, ""), location.search];
  const asked = parts.map((part) => new URLSearchParams(part).get("text")).find((text) => text);
  const [navigation] = performance.getEntriesByType("navigation");
  if (asked || navigation?.type !== "reload") {
    return asked;
  }
  try {
    return JSON.parse(localStorage.getItem("moescope.text"));
  } catch {
    // Storage is refused, or holds something else: the program deals with it.
    return null;
  }
}

function showFirstText() {
  const text = firstText();
  if (text) {
    const box = document.getElementById("boot-text");
    box.value = box.defaultValue = text;
  }
}

/** Fetches the program. The copy of the response only drives the progress bar; the original compiles as it streams. */
async function fetchProgram(url) {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`the server answered ${response.status} for ${url.pathname}`);
  }
  showProgress(response.clone().body.getReader());
  return response;
}

async function showProgress(reader) {
  const bar = document.getElementById("boot-progress");
  let bytes = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      bytes += part.value.length;
      bar.value = bytes;
    }
  } catch {
    // The original fails too, and that error is reported.
  }
}

/** Shows that the program has broken off: it does not answer any more, and cannot say so itself. */
function showEnd({ error, reason }) {
  const why = error ?? reason;
  if (!(why instanceof WebAssembly.RuntimeError) || document.getElementById("boot-end")) {
    return;
  }
  document.body.dataset.state = "error";
  const end = document.createElement("p");
  end.id = "boot-end";
  end.className = "notice problem";
  end.dataset.testid = "error";
  end.setAttribute("role", "alert");
  end.textContent = `The page's program has broken off (${why.message}). Load the page again; your text is kept.`;
  document.body.prepend(end);
}

function showProblem(message) {
  document.body.dataset.state = "error";
  // Where the program has replaced this screen, it shows its own errors.
  const problem = document.getElementById("boot-problem");
  if (problem) {
    document.querySelector(".boot-progress").hidden = true;
    problem.dataset.testid = "error";
    problem.hidden = false;
    problem.textContent = message;
  }
}

/** When this screen can be seen; at once in a tab that nobody looks at, where nothing is painted. */
function painted() {
  return Promise.race([
    new Promise((done) => new PerformanceObserver(done).observe({ type: "paint", buffered: true })),
    new Promise((done) => setTimeout(done, document.hidden ? 0 : 500)),
  ]);
}

/** What comes after this is a task of its own: the page answers in between. */
function nextTask() {
  return new Promise((done) => setTimeout(done));
}

/** Keeps what is loaded from this site, here and by the engine's worker, for a visit without a network (keeper.js). */
async function keep() {
  const container = navigator.serviceWorker; // None at an unsafe address.
  await container.register("keeper.js");
  const { active } = await container.ready;
  const { build } = document.body.dataset;
  // While this page is open, its version is kept: keeper.js looks for this lock.
  navigator.locks?.request(`moescope:${build}`, { mode: "shared" }, () => new Promise(() => {}));
  const page = location.href.split("#")[0];
  const tell = (names) => active.postMessage({ page, build, names });
  const observer = new PerformanceObserver((list) => tell(list.getEntries().map(({ name }) => name)));
  observer.observe({ type: "resource", buffered: true });
  const loaded = new BroadcastChannel("moescope.loaded");
  loaded.onmessage = ({ data }) => Array.isArray(data) && tell(data);
  loaded.postMessage("which?");
}

/** Calls `then` once the page has drawn its first text, or said why it cannot. */
function whenOpened(then) {
  new MutationObserver((_, observer) => {
    if ("opened" in document.body.dataset) {
      observer.disconnect();
      then();
    }
  }).observe(document.body, { attributes: true });
}

/** The program of Learn and Lab, with its styles. */
async function loadLab() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("lab/style.css", HERE);
  const styled = new Promise((done) => (style.onload = style.onerror = done));
  document.head.append(style);
  const { programUrl } = await import("./program.js");
  const program = fetchProgram(programUrl("lab/lab"));
  program.catch(() => {}); // The error is shown below.
  const { default: init, start } = await import("./lab/lab.js");
  await Promise.all([init({ module_or_path: program }), styled]);
  return start;
}

/** The program of Explore. */
async function loadExplore() {
  reportWorkersThatDoNotStart();
  showFirstText();
  const { programUrl } = await import("./program.js");
  const program = fetchProgram(programUrl());
  program.catch(() => {}); // The error is shown below.
  const { default: init, start } = await import("./moescope.js");
  // Starting the program holds the page up: what is there can be seen and typed in before.
  await painted();
  await init({ module_or_path: program });
  return start;
}

/** The first screen has Explore's text box and the size of its program. */
function prepareForLab() {
  document.getElementById("boot-text").hidden = true;
  document.getElementById("boot-progress").max = Number(document.body.dataset.labBytes);
}

async function boot() {
  addEventListener("error", showEnd);
  addEventListener("unhandledrejection", showEnd);
  document.querySelector(".boot-late").remove();
  const problem = obstacle();
  if (problem) {
    showProblem(problem);
    return;
  }
  if (LAB) {
    prepareForLab();
  }
  try {
    const start = await (LAB ? loadLab() : loadExplore());
    await nextTask();
    // A browser may forbid it: then there is nothing to be kept.
    whenOpened(() => setTimeout(() => keep().catch(() => {}), 1000));
    start();
  } catch (error) {
    showProblem(
      `The program could not be loaded: ${error.message}. Check the connection and load the page again. ` +
        "If a new version is being uploaded to the site, that helps in a minute.",
    );
    throw error;
  }
}

boot();
