// The one event stream of the page. It is opened again after every loss, and then everything is brought up to date.
import { base, connection, readSession, session } from "./api.js";
import { find, patch, put, readSoon, resync } from "./jobs.js";

const RETRY_MS = 2000;
/** A browser opens six connections to a server at most: tabs that nobody looks at give theirs back. */
const HIDDEN_MS = 60_000;
let source = null;
let retry = 0;
let sleep = 0;

/** Start to follow all jobs. */
export function follow() {
  if (source) return;
  clearTimeout(retry);
  const stream = new EventSource(`${base}/v1/events`);
  source = stream;
  stream.onopen = async () => {
    try {
      await resync();
      if (source === stream) connection.set("live");
    } catch {
      lost(stream);
    }
  };
  stream.onerror = () => lost(stream);
  for (const name of ["state", "progress", "preview"]) stream.addEventListener(name, (event) => change(JSON.parse(event.data)));
  stream.addEventListener("end", (event) => put(JSON.parse(event.data)));
}

/** Stop to follow. */
export function unfollow() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function lost(stream) {
  if (source !== stream) return;
  const was = connection.get();
  unfollow();
  connection.set(was === "live" ? "connecting" : was);
  reconnect(was === "live" ? 200 : RETRY_MS);
}

function reconnect(delay_ms) {
  retry = setTimeout(async () => {
    try {
      await readSession();
    } catch {
      connection.set("lost");
      reconnect(RETRY_MS);
      return;
    }
    if (session.get().caller) follow();
  }, delay_ms);
}

/** Take over an event, which has a part of the job. */
function change(fields) {
  const job = find(fields.id);
  if (!job) {
    readSoon(fields.id);
    return;
  }
  const was = job.state;
  const next = { ...fields, pausing: fields.pausing ?? false, eta_s: fields.eta_s ?? (fields.state === was ? job.eta_s : null) };
  if (fields.state === "running" && was === "queued") Object.assign(next, { started_at: new Date().toISOString(), position: 0, waiting_for: null });
  const isSetAside = ["queued", "paused"].includes(fields.state);
  if (isSetAside && was !== fields.state) Object.assign(next, { started_at: null, slot: null });
  patch(fields.id, next);
  if (isSetAside) readSoon(fields.id);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(sleep);
  if (document.hidden) sleep = setTimeout(unfollow, HIDDEN_MS);
  else if (session.get()?.caller) follow();
});

