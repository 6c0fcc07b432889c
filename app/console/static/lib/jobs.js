// All jobs that the page knows, kept current by the events. Lists show parts of it.
import { ApiError, get } from "./api.js";
import { isFinal } from "./format.js";
import { useEffect, useState } from "./html.js";
import { createStore } from "./store.js";

/** Jobs by id. Every change makes new objects of the changed jobs, so components can compare them. */
const known = new Map();
/** Changes with every change of any job, at most once a frame. */
export const revision = createStore(0);
const watchers = new Map();
let announced = false;

function announce() {
  if (announced) return;
  announced = true;
  // A timer, because frames stop while a tab is hidden.
  setTimeout(() => {
    announced = false;
    revision.set((number) => number + 1);
  }, 16);
}

/** Add or replace jobs. A final state never changes: a response that was on its way before the end is older. */
export function put(...jobs) {
  for (const job of jobs) {
    const present = known.get(job.id);
    if (present && isFinal(present) && !isFinal(job)) continue;
    known.set(job.id, { key: present?.key, ...job, seen_at: Date.now() });
    watchers.get(job.id)?.forEach((watcher) => watcher());
  }
  announce();
}

/** Change fields of a known job. */
export function patch(id, fields) {
  const job = known.get(id);
  if (job) put({ ...job, ...fields });
}

/** Forget a job that was deleted. */
export function forget(id) {
  known.delete(id);
  watchers.get(id)?.forEach((watcher) => watcher());
  announce();
}

export function forgetAll() {
  [...known.keys()].forEach(forget);
}

export const find = (id) => known.get(id);

/** Return the known jobs that pass a test, newest first. */
export function select(test) {
  return [...known.values()].filter(test).sort((a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : a.id < b.id ? 1 : -1));
}

/** Return a job by its id, and render again when it changes. */
export function useJob(id) {
  const [, setNumber] = useState(0);
  useEffect(() => {
    const watcher = () => setNumber((number) => number + 1);
    if (!watchers.has(id)) watchers.set(id, new Set());
    watchers.get(id).add(watcher);
    return () => watchers.get(id).delete(watcher);
  }, [id]);
  return known.get(id);
}

/** Read a job again. Returns undefined if it does not exist any more. */
export async function read(id) {
  try {
    const job = await get(`/v1/jobs/${id}`);
    put(job);
    return job;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) forget(id);
    else if (!(error instanceof ApiError)) throw error;
    return undefined;
  }
}

/** Read one page of the list, and return `{jobs, next, total}`. `filters`: parameters of the list; empty ones are left out. */
export async function readPage({ limit = 100, ...filters } = {}) {
  const query = new URLSearchParams({ limit });
  Object.entries(filters).forEach(([name, value]) => value && query.set(name, value));
  const page = await get(`/v1/jobs?${query}`);
  put(...page.jobs);
  return page;
}

/** Jobs that a page reads first: more than any page shows before it asks for more. */
const FIRST = 24;

/** Bring everything up to date after a gap: the newest jobs, and those that were not over. */
export async function resync() {
  const unfinished = select((job) => !isFinal(job)).map((job) => job.id);
  const page = await readPage(known.size ? {} : { limit: FIRST });
  const listed = new Set(page.jobs.map((job) => job.id));
  const oldest = page.next ? page.jobs.at(-1).created_at : "";
  // What the server no longer lists in this span of time was deleted meanwhile.
  select((job) => job.created_at > oldest && !listed.has(job.id)).forEach((job) => forget(job.id));
  await Promise.all(unfinished.filter((id) => known.has(id) && !listed.has(id)).slice(0, 100).map(read));
}

let asked = new Set();
/** Read jobs that an event named and the page does not know, together and not more often than twice a second. */
export function readSoon(id) {
  asked.add(id);
  if (asked.size > 1) return;
  setTimeout(async () => {
    const ids = [...asked];
    asked = new Set();
    try {
      if (ids.length > 3) await readPage({ limit: Math.min(500, ids.length + 20) });
      else await Promise.all(ids.map(read));
    } catch {
      // the next resync reads them
    }
  }, ids_wait_ms);
}
const ids_wait_ms = 150;

/** Update position and time of jobs that wait. */
export async function refreshWaiting(ids) {
  const waiting = ids.map(find).filter((job) => job?.state === "queued");
  if (!waiting.length || document.hidden) return;
  try {
    if (waiting.length > 5) await readPage({ state: "queued", limit: 200 });
    else await Promise.all(waiting.map((job) => read(job.id)));
  } catch {
    // the next round
  }
}

