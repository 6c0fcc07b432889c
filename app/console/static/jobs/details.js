// Everything about one job, in a window over the page: ?job=<id>.
import { base, files, session } from "../lib/api.js";
import { KINDS, bytes, computedSeconds, count, duration, isFinal, label, moment, shownValue, title } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { patch, read, refreshWaiting, useJob } from "../lib/jobs.js";
import { Button, Dialog, copy } from "../lib/ui.js";
import { Actions, closeJob } from "./actions.js";
import { POSITION_MS, Pages } from "./card.js";
import { Output, Preview } from "./media.js";
import { Progress, State } from "./progress.js";
import { Snippets } from "./snippets.js";
import { Webhooks } from "./webhooks.js";

export function JobDetails({ id }) {
  const job = useJob(id);
  const [isMissing, setMissing] = useState(false);
  const [index, setIndex] = useState(0);
  const isRunning = job && !isFinal(job);
  useEffect(() => {
    setMissing(false);
    setIndex(0);
    read(id).then((found) => setMissing(!found));
  }, [id]);
  usePreviews(id, isRunning);
  if (isMissing && !job) return html`<${Dialog} title="Job" onClose=${closeJob}><p>There is no job with this id, or it belongs to another key.</p></${Dialog}>`;
  if (!job) return null;
  const shown = Math.max(0, Math.min(index, job.outputs.length - 1));
  return html`
    <${Dialog} title=${title(job)} onClose=${closeJob} wide>
      <div class="details">
        <div class="details-media">
          ${job.state === "succeeded" && job.outputs.length ? html`<${Output} key=${shown} job=${job} index=${shown} />` : isRunning && !job.command && html`<${Preview} job=${job} />`}
          ${job.outputs.length > 1 && html`<${Pages} job=${job} shown=${shown} onShow=${setIndex} />`}
        </div>
        <div class="details-text">
          <div class="row between"><${State} job=${job} /><span class="quiet">${job.model}</span></div>
          ${isRunning && html`<${Progress} job=${job} />`}
          ${job.error && html`<div class="job-error long"><p>${job.error.message}</p>${job.error.cause && !job.error.message.includes(job.error.cause) && html`<pre>${job.error.cause}</pre>`}<p class="quiet">${job.error.code}</p></div>`}
          ${job.warnings.map((warning) => html`<p class="hint">${warning}</p>`)}
          <${Actions} job=${job} index=${shown} after=${closeJob} />
          <${Parameters} job=${job} index=${shown} />
          <${Snippets} job=${job} withKey=${session.get().has_keys} />
          <${Webhooks} key=${job.id} job=${job} />
        </div>
      </div>
    </${Dialog}>
  `;
}

/** Make previews of a running job that was not submitted with them, and show them, while it is open. */
function usePreviews(id, isRunning) {
  useEffect(() => {
    if (!isRunning) return undefined;
    const source = new EventSource(`${base}/v1/jobs/${id}/events?preview=1`);
    source.addEventListener("preview", (event) => patch(id, JSON.parse(event.data)));
    source.addEventListener("end", () => source.close());
    const timer = setInterval(() => refreshWaiting([id]), POSITION_MS);
    return () => { source.close(); clearInterval(timer); };
  }, [id, isRunning]);
}

function Parameters({ job, index }) {
  const output = job.outputs[index];
  const { prompt, negative_prompt: negative, model: _, kind: __, frames, fps, ...rest } = job.request;
  if (frames > 1) Object.assign(rest, { frames, fps });
  const request = Object.entries(rest).filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  const about = [
    ["Kind", KINDS[job.kind]],
    ...request.map(([name, value]) => [label(name), name === "seed" && output ? output.seed : shownValue(value)]),
    ["File", output && `${output.width} × ${output.height}, ${output.media_type}, ${bytes(output.bytes)}`],
  ];
  const history = [
    ["Submitted", moment(job.created_at)], ["Not before", moment(job.not_before)], ["Started", moment(job.started_at)], ["Finished", moment(job.finished_at)],
    ["Expires unless resumed by", moment(job.resume_by)], ["Computed in", computedSeconds(job) !== null ? duration(computedSeconds(job)) : ""], ["Files kept until", moment(job.expires_at)],
    ["Slot", [job.slot, job.device].filter(Boolean).join(", ")], ["Class", job.class], ["Attempt", job.attempt > 1 ? job.attempt : ""], ["Preempted", job.preemptions ? count(job.preemptions, "time") : ""],
    ["Key", job.key !== "-" && session.get().caller.role === "admin" ? job.key : ""], ["Id", job.id],
  ];
  return html`
    ${prompt && html`<div class="text-block"><p>${prompt}</p><${Button} kind="quiet small" icon="copy" label="Copy the prompt" onClick=${() => copy(prompt)} /></div>`}
    ${negative && html`<div class="text-block"><p><span class="quiet">Not: </span>${negative}</p></div>`}
    <${Inputs} job=${job} />
    <${Table} rows=${about} />
    <${Table} rows=${history} />
    ${job.report && html`<details><summary>Report</summary><pre>${JSON.stringify(job.report, null, 2)}</pre></details>`}
  `;
}

function Inputs({ job }) {
  const names = { img2img: ["image"], inpaint: ["image", "mask"], edit: ["images-0"], img2video: ["image"] }[job.kind]
    ?? (job.request.mix ?? []).map((part, place) => (part.text === undefined ? `mix-${place}` : "")).filter(Boolean);
  names.push(...(job.request.controls ?? []).map((_, place) => `controls-${place}`));
  if (!names.length) return null;
  return html`<div class="row inputs">${names.map((name) => html`
    <figure><img src=${files.input(job, name)} alt="" loading="lazy" /><figcaption>${name}</figcaption></figure>`)}</div>`;
}

const Table = ({ rows }) => html`
  <dl class="facts-table">${rows.filter(([, value]) => value).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
`;
