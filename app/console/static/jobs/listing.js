// The jobs that a filter shows: those that the page knows, and more pages of the server's list as they are needed.
import { FINAL, title } from "../lib/format.js";
import { useEffect, useRef, useState } from "../lib/html.js";
import { readPage, revision, select } from "../lib/jobs.js";
import { useStore } from "../lib/store.js";

const PAGE = 200;
/** Rows that a list should have before somebody scrolls, and pages that are read one after the other for them. */
const WANTED = 30;
const MAX_READ = 25;
const GROUPS = { active: ["queued", "running", "paused", "delivering"], over: FINAL };
const HOURS = { hour: 1, day: 24, week: 168, month: 720 };

const statesOf = (state) => GROUPS[state] ?? (state ? [state] : []);
const sinceOf = (time) => (time in HOURS ? new Date(Date.now() - HOURS[time] * 3_600_000).toISOString() : "");

/** Return the test of a filter: `{state, model, key, text, time}`, each of which may be empty. The server has the same one. */
export function testOf({ state = "", model = "", key = "", text = "", time = "" }) {
  const states = statesOf(state);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const since = sinceOf(time);
  return (job) => (!states.length || states.includes(job.state)) && (!model || job.model === model) && (!key || job.key === key)
    && (!since || job.created_at >= since)
    && words.every((word) => isAbout(job, word));
}

const isAbout = (job, word) => `${title(job)} ${job.error?.message ?? ""}`.toLowerCase().includes(word) || job.id.toLowerCase().startsWith(word);

/** Return the parameters of the server's list. */
const parametersOf = ({ state = "", model, key, text, time = "" }) => ({ state: statesOf(state).join(), model, key, text, since: sinceOf(time) });

/** What was read of a list: where it goes on (null: nowhere), its oldest job, its length, pages read, and the error of the last one. */
const nothing = (list) => ({ list, after: "", oldest: null, total: null, read: 0, error: null });

/**
 * Return `{jobs, more, total, error, busy, isComplete, isTired}` of a filter: `more()` reads further jobs; `isTired`: it was
 * read often without finding enough.
 * Jobs that are older than what was read are not shown, because there may be gaps between them.
 */
export function useJobs(filter, extra = () => true) {
  useStore(revision);
  const list = JSON.stringify(filter);
  const [pages, setPages] = useState(nothing(list));
  const reading = useRef(null);
  useEffect(() => () => (reading.current = null), []);
  const present = pages.list === list ? pages : nothing(list);
  const isComplete = present.after === null;
  const test = testOf(filter);
  const jobs = select((job) => test(job) && extra(job) && (isComplete || present.oldest === null || job.created_at >= present.oldest));

  const more = async () => {
    if (reading.current === list || isComplete) return;
    reading.current = list;
    let next;
    try {
      const page = await readPage({ ...parametersOf(filter), after: present.after, limit: PAGE });
      next = { ...present, after: page.next, oldest: page.jobs.at(-1)?.created_at ?? present.oldest, total: page.total, read: present.read + 1, error: null };
    } catch (error) {
      next = { ...present, error };
    }
    if (reading.current !== list) return; // another list is shown meanwhile
    reading.current = null;
    setPages(next);
  };
  const wants = present.read === 0 || jobs.length < WANTED;
  useEffect(() => {
    if (wants && present.read < MAX_READ && !present.error) more();
  }, [list, present.read, wants]);
  const isTired = !isComplete && jobs.length < WANTED && present.read >= MAX_READ;
  return { jobs, more, total: present.total, error: present.error, busy: !isComplete && !present.error && wants && !isTired, isComplete, isTired };
}
