// What can be done with a job: calls of the API, and the buttons for them.
import { editInForm, models, readModels, useAsInput } from "../create/draft.js";
import { files, isAdmin, post, remove } from "../lib/api.js";
import { isFinal, isVideo } from "../lib/format.js";
import { html } from "../lib/html.js";
import { Icon } from "../lib/icons.js";
import { forget, put } from "../lib/jobs.js";
import { go, route } from "../lib/router.js";
import { Button, confirmed, toast } from "../lib/ui.js";

export async function stop(job) {
  const { cancelled, ...stopped } = await post(`/v1/jobs/${job.id}/cancel`);
  put(stopped);
  if (!cancelled) toast("The job had finished before.");
}

export async function pause(job) {
  put(await post(`/v1/jobs/${job.id}/pause`));
}

export async function resume(job) {
  put(await post(`/v1/jobs/${job.id}/resume`));
}

async function repeat(job, seed) {
  const made = await post(`/v1/jobs/${job.id}/repeat`, seed === undefined ? {} : { seed });
  put(made);
  toast(seed === undefined ? "Submitted again" : "Submitted with a new seed");
  return made;
}

export async function retry(job) {
  put(await post(`/v1/jobs/${job.id}/retry`));
  toast("Submitted again");
}

export async function toFront(job) {
  put(await post(`/v1/jobs/${job.id}/front`));
}

/** Delete a job after asking. Returns whether it was deleted. */
export async function erase(job) {
  if (!(await confirmed("Delete this job?", "Its files are removed for good.", "Delete"))) return false;
  await remove(`/v1/jobs/${job.id}`);
  forget(job.id);
  return true;
}

export const openJob = (job) => go(route.get().page, { ...route.get().query, job: job.id });
export const closeJob = () => go(route.get().page, { ...route.get().query, job: "" });

async function edit(job) {
  if (!models.get()) await readModels();
  await editInForm(job);
}

async function asInput(job, index) {
  if (!models.get()) await readModels();
  useAsInput(job, index);
}

const canRepeat = (job) => !job.command && job.kind !== "custom";
const pictures = (job) => job.state === "succeeded" && job.outputs.length > 0 && Date.parse(job.expires_at ?? "9999") > Date.now();

/** The buttons of a job; `index` is the output that is shown. `only`: names of the actions to show. */
export function Actions({ job, index = 0, small = false, after = () => {}, only }) {
  const output = job.outputs[index];
  const shows = (name) => !only || only.includes(name);
  const kind = small ? "quiet small" : "";
  const actions = [
    shows("stop") && !isFinal(job) && ["stop", "Stop", () => stop(job)],
    shows("pause") && ["queued", "running"].includes(job.state) && !job.pausing && !job.command && ["pause", "Pause", () => pause(job)],
    shows("resume") && (job.state === "paused" || job.pausing) && ["play", "Resume", () => resume(job)],
    shows("front") && job.state === "queued" && job.position > 0 && isAdmin() && ["front", "To the front", () => toFront(job)],
    shows("vary") && isFinal(job) && canRepeat(job) && job.state === "succeeded" && ["dice", "Vary", () => repeat(job, -1)],
    shows("again") && canRepeat(job) && (job.state === "succeeded" || !isFinal(job)) && ["again", "Run again", () => repeat(job)],
    shows("retry") && ["failed", "cancelled", "expired"].includes(job.state) && ["again", "Retry", () => retry(job)],
    shows("edit") && canRepeat(job) && ["edit", "Edit in the form", () => edit(job)],
    shows("input") && pictures(job) && output && !isVideo(output) && ["input", "Use as input", () => asInput(job, index)],
  ].filter(Boolean);
  return html`
    <div class="row wrap actions">
      ${actions.map(([icon, text, act]) => html`<${Button} key=${text} kind=${kind} icon=${icon} label=${text} onClick=${act}>${small ? null : text}</${Button}>`)}
      ${shows("download") && pictures(job) && html`
        <a class=${`button ${kind} ${small ? "only-icon" : ""}`} href=${files.result(job, index)} download=${`${job.id}-${index}`} aria-label="Download" title="Download"><${Icon} name="download" />${!small && html`<span>Download</span>`}</a>
      `}
      ${shows("delete") && html`<${Button} kind=${kind} icon="trash" label="Delete" onClick=${async () => (await erase(job)) && after()}>${small ? null : "Delete"}</${Button}>`}
    </div>
  `;
}
