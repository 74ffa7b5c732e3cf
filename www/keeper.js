// The service worker: keeps whole versions of the site, so that there is a page without a network too.
//
// A version is index.html and the directory of files that it names (`data-build`), whose name is the hash of what is
// in them: files of two versions never have one address. Each version has a cache of its own.
// The newest whole version answers where there is no network; others stay as long as a page of theirs is open.
// While there is a network, it answers; a file that a newer version replaced there comes from the cache.

/** Caches of versions are named so, followed by the version's directory. */
const VERSION = "moescope:";

/** The cache of the models, shared by all versions; each file has the server's ETag. */
const MODELS = "moescope.models";

/** The cache of one entry, which says what the newest whole version is. */
const NEWEST = "moescope.newest";

/** Bytes of a model's file that is kept, at most: larger ones are left to the browser's own cache, which knows how
 * much room there is. */
const MOST = 64e6;

const SITE = registration.scope;

/** Whether there was no network for the last page, or for the last file. */
let isCut = false;

/** The address under which a response is cached: without parameters, which only the page and the worker use. */
function keyOf(address) {
  const key = new URL(address);
  key.hash = key.search = "";
  return key.href;
}

/** Whether an answer is the file at `address`: some hosts answer with a web page for what is not there. */
function isFile(answer, address) {
  const isPage = answer.headers.get("content-type")?.startsWith("text/html");
  return answer.status === 200 && (!isPage || new URL(address).pathname.endsWith(".html"));
}

/** Fetches a file that was just loaded, and so is in the browser's own cache. */
async function fetchFile(address) {
  const answer = await fetch(address, { cache: "force-cache" });
  if (!isFile(answer, address)) {
    throw new Error(`there is no file at ${address}`);
  }
  return answer;
}

/** Keeps a version whose page is open at the address `page` and has loaded `names`. */
async function keepVersion({ page, build, names }) {
  const cache = await caches.open(VERSION + build);
  const directory = new URL(build, SITE).href;
  const listed = await (await fetchFile(new URL("files.json", directory))).json();
  const loaded = names.filter((name) => name.startsWith(directory)).map(keyOf);
  // Learn and Lab are kept once they were visited. Of the programs a browser keeps those that it has run.
  const isOfLab = (name) => name.startsWith("lab/") || name.startsWith("chapters/");
  const hasLab = loaded.some((name) => name.startsWith(`${directory}lab/`));
  const wanted = listed.filter((name) => !name.endsWith(".wasm") && (hasLab || !isOfLab(name)));
  const files = wanted.map((name) => new URL(name, directory).href);
  for (const file of new Set([...files, ...loaded])) {
    if (!(await cache.match(file))) {
      await cache.put(file, await fetchFile(file));
    }
  }
  const isWhole = (await cache.keys()).some(({ url }) => url.endsWith(".wasm"));
  if (isWhole && ((await cache.match(SITE)) ?? (await keepPage(cache, page, build)))) {
    await (await caches.open(NEWEST)).put(SITE, new Response(build));
    await dropOthers(build);
  }
}

/** Keeps the page of the version `build`; false where the server has another by now. */
async function keepPage(cache, page, build) {
  for (const mode of ["force-cache", "no-cache"]) {
    const answer = await fetch(page, { cache: mode });
    if (answer.ok && (await answer.clone().text()).includes(`data-build="${build}"`)) {
      await cache.put(SITE, answer);
      return true;
    }
  }
  return false;
}

/** Drops the versions that are not `build` and of which no page is open, and what earlier keepers kept. */
async function dropOthers(build) {
  const { held } = await navigator.locks.query();
  const open = held.map(({ name }) => name);
  const isOld = (name) => name === "moescope" || (name.startsWith(VERSION) && name !== VERSION + build);
  const names = await caches.keys();
  await Promise.all(names.filter((name) => isOld(name) && !open.includes(name)).map((name) => caches.delete(name)));
}

/** Keeps a model's file, unless just that is kept already. */
async function keepModelFile(address) {
  const [kept, answer] = await Promise.all([caches.open(MODELS), fetchFile(address)]);
  const tag = ({ headers }) => headers.get("etag") ?? headers.get("last-modified");
  const old = await kept.match(keyOf(address));
  const isSame = old && tag(answer) && tag(answer) === tag(old);
  if (Number(answer.headers.get("content-length")) <= MOST && !isSame) {
    await kept.put(keyOf(address), answer);
  } else {
    await answer.body?.cancel(); // Nobody reads it.
  }
}

async function keep(loaded) {
  // Where there is no room for one, or no network any more, the rest is of use still.
  await keepVersion(loaded).catch(() => {});
  const models = new URL("models/", SITE).href;
  for (const name of loaded.names.filter((name) => name.startsWith(models))) {
    await keepModelFile(name).catch(() => {});
  }
}

async function keptPage() {
  const newest = await (await (await caches.open(NEWEST)).match(SITE))?.text();
  return newest && (await caches.open(VERSION + newest)).match(SITE);
}

async function answer(request) {
  const isPage = request.mode === "navigate";
  // Private windows may have no cache storage: then the network answers as it would without this.
  const kept = async () => (isPage ? keptPage() : caches.match(keyOf(request.url)));
  const keptIfAny = () => kept().catch(() => undefined);
  // A server that cannot be reached may keep a request waiting for minutes.
  if (!isPage && (isCut || !navigator.onLine)) {
    const first = await keptIfAny();
    if (first) {
      return first;
    }
  }
  try {
    const fresh = await fetch(request);
    isCut = false;
    const isOfBuild = request.url.startsWith(new URL("build/", SITE).href);
    const isReplaced = isOfBuild && fresh.status !== 304 && !isFile(fresh, request.url);
    return (isReplaced && (await keptIfAny())) || fresh;
  } catch {
    isCut = true;
    return (await keptIfAny()) ?? Response.error();
  }
}

// A keeper has no state of one version, so a newer one may replace an older one at any time.
addEventListener("install", () => skipWaiting());

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

/** Runs one after the other, because two pages may report the same files. */
let work = Promise.resolve();

addEventListener("message", (event) => {
  work = work.then(() => keep(event.data));
  event.waitUntil(work);
});

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(SITE)) {
    event.respondWith(answer(request));
  }
});
