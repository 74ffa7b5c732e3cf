// Keeps what visits loaded from this site, each file with the server's ETag, so that there is a page without a network too.
// While there is one, a browser's own cache is faster, and nothing is answered from here.

const KEPT = "moescope";

/** Bytes of a file that is kept, at most: larger ones are left to the browser's own cache, which knows how much room there is. */
const MOST = 64e6;

/** No network was there for the last page. */
let cut = false;

/** Under which address an answer is kept: parameters are the page's and the worker's, not the server's. */
function keyOf(address) {
  const key = new URL(address);
  key.hash = key.search = "";
  return key.href;
}

/** Keeps what was just loaded from an address, and so is in the browser's own cache, unless just that is kept already. */
async function keep(address) {
  const [kept, response] = await Promise.all([caches.open(KEPT), fetch(address, { cache: "force-cache" })]);
  const tag = (answer) => answer?.headers.get("etag") ?? answer?.headers.get("last-modified");
  const same = tag(response) && tag(response) === tag(await kept.match(keyOf(address)));
  const small = Number(response.headers.get("content-length")) <= MOST;
  if (response.status === 200 && small && !same) {
    await kept.put(keyOf(address), response);
  } else {
    await response.body?.cancel(); // Nobody reads it.
  }
}

async function keepAll(addresses) {
  for (const address of addresses) {
    // Where there is no room for it, or no network any more, the rest is of use still.
    await keep(address).catch(() => {});
  }
}

async function keptAnswer({ url }) {
  const answer = await (await caches.open(KEPT)).match(keyOf(url));
  return answer ?? Response.error();
}

async function page(request) {
  try {
    const answer = await fetch(request);
    cut = false;
    return answer;
  } catch {
    cut = true;
    return keptAnswer(request);
  }
}

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("message", (event) => event.waitUntil(keepAll(event.data)));

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(registration.scope)) {
    return;
  }
  if (request.mode === "navigate") {
    event.respondWith(page(request));
  } else if (cut || !navigator.onLine) {
    event.respondWith(keptAnswer(request));
  }
});
