// A job as a card: it waits, loads, steps, and ends as a picture.
import { KINDS, ago, computedSeconds, count, duration, isFinal, title } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { refreshWaiting, useJob } from "../lib/jobs.js";
import { Icon } from "../lib/icons.js";
import { useNow } from "../lib/store.js";
import { Actions, openJob } from "./actions.js";
import { Output, Preview } from "./media.js";
import { Progress, State } from "./progress.js";

/** Positions change with every job that starts elsewhere: those that are shown are asked for. */
export const POSITION_MS = 3000;

export function JobCard({ id }) {
  const job = useJob(id);
  const [index, setIndex] = useState(0);
  const isWaiting = job?.state === "queued";
  useEffect(() => {
    if (!isWaiting) return undefined;
    const timer = setInterval(() => refreshWaiting([id]), POSITION_MS);
    return () => clearInterval(timer);
  }, [id, isWaiting]);
  if (!job) return null;
  const shown = Math.min(index, job.outputs.length - 1);
  return html`
    <article class="card job" aria-label=${title(job)} data-job=${job.id} data-state=${job.state}>
      <${Top} job=${job} shown=${shown} onShow=${setIndex} />
      <div class="job-text">
        <button type="button" class="job-title" onClick=${() => openJob(job)}>${title(job)}</button>
        ${isFinal(job) ? html`<${Facts} job=${job} />` : html`<${Progress} job=${job} />`}
        ${job.error && html`<p class="job-error"><${Icon} name="alert" /><span>${job.error.message}</span></p>`}
        <${Actions} job=${job} index=${Math.max(0, shown)} small />
      </div>
    </article>
  `;
}

function Top({ job, shown, onShow }) {
  if (job.state === "succeeded" && job.outputs.length) {
    return html`
      <button type="button" class="job-media" onClick=${() => openJob(job)} aria-label=${`Show ${title(job)}`}><${Output} job=${job} index=${shown} controls=${false} /></button>
      ${job.outputs.length > 1 && html`<${Pages} job=${job} shown=${shown} onShow=${onShow} />`}
    `;
  }
  return isFinal(job) || job.command ? null : html`<${Preview} job=${job} />`;
}

/** A row of small pictures for a job with several. */
export const Pages = ({ job, shown, onShow }) => html`
  <div class="row pages" role="group" aria-label="Outputs">
    ${job.outputs.map((_, place) => html`<button type="button" class=${place === shown ? "on" : ""} aria-pressed=${place === shown} onClick=${() => onShow(place)}>${place + 1}</button>`)}
  </div>
`;

/** Keep a number and its unit on one line. */
const whole = (text) => text.replaceAll(" ", "\u00a0");

function Facts({ job }) {
  const now = useNow(true, 30_000);
  const seconds = computedSeconds(job);
  const parts = [
    job.command ? job.model : `${job.model}, ${KINDS[job.kind]?.toLowerCase() ?? job.kind}`,
    job.outputs.length > 1 ? count(job.outputs.length, "picture") : "",
    job.state === "succeeded" && seconds !== null ? whole(duration(seconds)) : "",
    whole(ago(job.finished_at ?? job.created_at, now)),
  ].filter(Boolean);
  return html`<p class="facts">${job.state !== "succeeded" && html`<${State} job=${job} />`}${parts.join("\u00a0· ")}</p>`;
}
