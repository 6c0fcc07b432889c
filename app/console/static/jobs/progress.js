// How far a job is, in words and as a bar.
import { STATES, duration, isFinal, moment } from "../lib/format.js";
import { html } from "../lib/html.js";
import { useNow } from "../lib/store.js";

/** Return the seconds left now: the server's figure, less the time since then; null if it is not known. */
export function secondsLeft(job, now) {
  return job.eta_s === null || job.eta_s === undefined ? null : Math.max(0, job.eta_s - (now - job.seen_at) / 1000);
}

/** Return what a job does now, in words. */
export function stage(job) {
  const { stage: name, step, steps, stage_percent: percent } = job.progress;
  if (job.state === "queued") {
    if (job.waiting_for?.startsWith("the time ")) return `Not before ${moment(job.not_before)}`;
    if (job.waiting_for) return `Waiting for ${job.waiting_for}`;
    return job.position > 0 ? `Place ${job.position} in the queue` : "About to start";
  }
  if (job.state === "paused") return step ? `Paused at step ${step} of ${steps}` : "Paused";
  if (job.state === "delivering") return job.waiting_for ? `Saving, waiting for ${job.waiting_for}` : "Saving";
  if (job.state !== "running") return STATES[job.state];
  if (name === "loading") return percent === null ? "Loading the model" : `Loading the model, ${percent} %`;
  if (name === "decoding") return "Decoding";
  if (name?.startsWith("waiting")) return name.charAt(0).toUpperCase() + name.slice(1);
  const resumed = job.resumed_from_step ? `, resumed after ${job.resumed_from_step}` : "";
  const end = job.pausing ? ", stops at the next one" : resumed;
  return step ? `Step ${step} of ${steps}${end}` : "Starting";
}

export function Progress({ job, quiet = false }) {
  const now = useNow(!isFinal(job));
  const left = secondsLeft(job, now);
  const { stage: name, stage_percent: percent, percent: whole } = job.progress;
  const share = job.state === "queued" ? 0 : name === "loading" && percent !== null ? percent : job.state === "delivering" ? 100 : whole;
  const isOpen = job.state === "delivering" || (job.state === "running" && share === 0);
  return html`
    <div class=${`progress ${job.state}`}>
      <div class="row between">
        <span>${stage(job)}</span>
        ${left !== null && job.state !== "delivering" && html`<span class="quiet">${duration(Math.round(left))} left</span>`}
      </div>
      ${!quiet && html`<div class=${`bar ${isOpen ? "open" : ""}`} role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${isOpen ? undefined : share}>
        <i style=${{ width: `${share}%` }}></i></div>`}
    </div>
  `;
}

export const State = ({ job }) => html`<span class=${`state ${job.state}`}>${STATES[job.state]}</span>`;
