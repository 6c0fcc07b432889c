// The jobs that a filter shows: those that the page knows, and more pages of the server's list as they are needed.
import { FINAL, title } from "../lib/format.js";
import { useEffect, useRef, useState } from "../lib/html.js";
import { readPage, revision, select } from "../lib/jobs.js";
import { useStore } from "../lib/store.js";

const PAGE = 200;
/** Pages that are read one after the other for a filter that few jobs pass. */
const MAX_READ = 25;
const GROUPS = { active: ["queued", "running", "delivering"], over: FINAL };
const HOURS = { hour: 1, day: 24, week: 168, month: 720 };

/** Return the test of a filter: `{state, model, key, text, time}`, each of which may be empty. */
export function testOf({ state = "", model = "", key = "", text = "", time = "" }) {
  const states = GROUPS[state] ?? (state ? [state] : null);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const since = time in HOURS ? new Date(Date.now() - HOURS[time] * 3_600_000).toISOString() : "";
  return (job) => (!states || states.includes(job.state)) && (!model || job.model === model) && (!key || job.key === key)
    && (!since || job.created_at >= since)
    && words.every((word) => isAbout(job, word));
}

const isAbout = (job, word) => `${title(job)} ${job.error?.message ?? ""}`.toLowerCase().includes(word) || (word.length > 3 && job.id.toLowerCase().startsWith(word));

/**
 * Return `{jobs, more, total, error, busy}` of a filter: `more()` reads further jobs.
 * Jobs that are older than what was read are not shown, because there may be gaps between them.
 */
export function useJobs(filter, extra = () => true) {
  useStore(revision);
  // The server filters by one state; the rest is filtered here.
  const listed = filter.state && !GROUPS[filter.state] ? filter.state : "";
  const [pages, setPages] = useState({ listed, after: "", oldest: null, total: null, error: null, busy: false, read: 0 });
  const busy = useRef(false);
  const alive = useRef(true);
  useEffect(() => () => (alive.current = false), []);
  const present = pages.listed === listed ? pages : { listed, after: "", oldest: null, total: null, error: null, read: 0 };
  const isComplete = present.after === null;
  const test = testOf(filter);
  const jobs = select((job) => test(job) && extra(job) && (isComplete || present.oldest === null || job.created_at >= present.oldest));

  const more = async () => {
    if (busy.current || isComplete) return;
    busy.current = true;
    setPages({ ...present, busy: true, error: null });
    try {
      const page = await readPage({ state: listed, after: present.after, limit: PAGE });
      const oldest = page.jobs.at(-1)?.created_at ?? present.oldest;
      if (alive.current) setPages({ listed, after: page.next, oldest, total: page.total, error: null, busy: false, read: present.read + 1 });
    } catch (error) {
      // The job after which the list went on may be gone: begin anew.
      if (alive.current) setPages({ ...present, after: "", error: error.status === 422 ? null : error, busy: false });
    } finally {
      busy.current = false;
    }
  };
  const isFiltered = Object.values(filter).some(Boolean);
  useEffect(() => {
    if (present.read === 0 || (isFiltered && jobs.length < 30 && present.read < MAX_READ)) more();
  }, [listed, present.read, isFiltered, jobs.length]);
  return { jobs, more, total: present.total, error: present.error, busy: Boolean(present.busy), isComplete };
}
