// Jobs: the queue and the history, newest first, with filters and actions on many.
import { remove } from "../lib/api.js";
import { KINDS, ago, computedSeconds, count, duration, isFinal, moment, title } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { find, forget, refreshWaiting, useJob } from "../lib/jobs.js";
import { go } from "../lib/router.js";
import { useNow } from "../lib/store.js";
import { Button, Empty, Problem, confirmed, toast } from "../lib/ui.js";
import { Windowed } from "../lib/windowed.js";
import { Actions, openJob, stop } from "./actions.js";
import { DeadLetters } from "./dead.js";
import { Filters, SearchFurther, filterOf } from "./filters.js";
import { useJobs } from "./listing.js";
import { Thumbnail } from "./media.js";
import { Progress, State } from "./progress.js";

const ROW_PX = 76;
const AT_ONCE = 6;

export function JobsPage({ query, caller }) {
  const { jobs, more, total, error, busy, isComplete, isTired } = useJobs(filterOf(query));
  const [chosen, setChosen] = useState(new Set());
  const present = jobs.filter((job) => chosen.has(job.id));
  const toggle = (id, isOn) => setChosen((known) => { const next = new Set(known); next[isOn ? "add" : "delete"](id); return next; });
  const isFiltered = Object.values(filterOf(query)).some(Boolean);
  return html`
    <div class="page-head"><h1>Jobs</h1><span class="quiet">${isComplete ? count(jobs.length, "job") : total === null ? "" : count(total, "job")}</span></div>
    <${Filters} page="jobs" query=${query} caller=${caller} />
    ${caller.role === "admin" && html`<${DeadLetters} />`}
    <${Bulk} jobs=${jobs} chosen=${present} onChoose=${(ids) => setChosen(new Set(ids))} />
    ${error && html`<${Problem} error=${error} onRetry=${more} />`}
    ${jobs.length > 0 && html`
      <${Windowed} items=${jobs} height_px=${ROW_PX} onEnd=${more} label="Jobs"
        row=${(job) => html`<${Row} key=${job.id} id=${job.id} isChosen=${chosen.has(job.id)} onChoose=${toggle} />`} />
      ${busy && html`<p class="quiet centre">Reading more…</p>`}
    `}
    <${SearchFurther} isTired=${isTired} more=${more} />
    ${jobs.length > 0 || error || isTired ? null : busy ? html`<div class="card skeleton rows"></div>`
      : isFiltered ? html`<${Empty} icon="search" title="No job matches"><button type="button" class="link" onClick=${() => go("jobs", {}, { replace: true })}>Show all jobs</button></${Empty}>`
        : html`<${Empty} icon="jobs" title="No jobs yet"><a href="#/create">Create the first one</a></${Empty}>`}
  `;
}

function Row({ id, isChosen, onChoose }) {
  const job = useJob(id);
  const isWaiting = job?.state === "queued";
  const now = useNow(true, 30_000);
  useEffect(() => {
    if (!isWaiting) return undefined;
    waiting.add(id);
    return () => waiting.delete(id);
  }, [id, isWaiting]);
  if (!job) return null;
  const seconds = computedSeconds(job);
  return html`
    <div class=${`job-row ${isChosen ? "chosen" : ""}`} role="listitem" data-job=${job.id} data-state=${job.state}>
      <input type="checkbox" aria-label=${`Choose ${title(job)}`} checked=${isChosen} onChange=${(event) => onChoose(id, event.target.checked)} />
      <button type="button" class="row-open" onClick=${() => openJob(job)}>
        <span class="row-picture"><${Thumbnail} job=${job} /></span>
        <span class="row-text"><b>${title(job)}</b>
          <small>${[job.model, job.command ? "" : KINDS[job.kind]?.toLowerCase(), job.key && job.key !== "-" ? job.key : ""].filter(Boolean).join(" · ")}</small></span>
      </button>
      <div class="row-state">
        ${isFinal(job) ? html`<${State} job=${job} /><small title=${moment(job.finished_at)}>${job.error ? job.error.message : [seconds === null ? "" : duration(seconds), ago(job.finished_at ?? job.created_at, now)].filter(Boolean).join(" · ")}</small>` : html`<${Progress} job=${job} />`}
      </div>
      <${Actions} job=${job} small only=${["stop", "pause", "resume", "front", "retry", "again", "delete"]} />
    </div>
  `;
}

/** Waiting jobs that are shown: their places are read together. */
const waiting = new Set();
setInterval(() => waiting.size && refreshWaiting([...waiting]), 3000);

function Bulk({ jobs, chosen, onChoose }) {
  if (!jobs.length) return null;
  const open = chosen.filter((job) => !isFinal(job));
  const stopAll = () => each(open, stop, "stopped");
  const eraseAll = async () => {
    if (!(await confirmed(`Delete ${count(chosen.length, "job")}?`, "Their files are removed for good; those that run are stopped.", "Delete"))) return;
    await each(chosen, async (job) => { await remove(`/v1/jobs/${job.id}`); forget(job.id); }, "deleted");
    onChoose([]);
  };
  return html`
    <div class="bulk">
      <label class="row"><input type="checkbox" checked=${chosen.length === jobs.length} indeterminate=${chosen.length > 0 && chosen.length < jobs.length}
        onChange=${(event) => onChoose(event.target.checked ? jobs.map((job) => job.id) : [])} />
        <span>${chosen.length ? `${chosen.length} chosen` : "Choose all"}</span></label>
      ${chosen.length > 0 && html`
        <${Button} kind="small" icon="stop" disabled=${!open.length} onClick=${stopAll}>Stop ${open.length || ""}</${Button}>
        <${Button} kind="small danger" icon="trash" onClick=${eraseAll}>Delete ${chosen.length}</${Button}>
      `}
    </div>
  `;
}

/** Do something with many jobs, a few at a time. */
async function each(jobs, act, done) {
  const left = [...jobs];
  let failed = 0;
  const work = async () => {
    for (let job = left.shift(); job; job = left.shift()) {
      try {
        await act(find(job.id) ?? job);
      } catch {
        failed += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  toast(failed ? `${count(jobs.length - failed, "job")} ${done}, ${failed} not` : `${count(jobs.length, "job")} ${done}`, failed ? "bad" : "");
}

