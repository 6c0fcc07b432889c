// One slot: its device, what it computes, what is in its memory.
import { isAdmin, post } from "../lib/api.js";
import { bytes, count, title } from "../lib/format.js";
import { html, useEffect } from "../lib/html.js";
import { read, useJob } from "../lib/jobs.js";
import { Icon } from "../lib/icons.js";
import { useStore } from "../lib/store.js";
import { models } from "../create/draft.js";
import { Button, confirmed, toast } from "../lib/ui.js";
import { openJob } from "../jobs/actions.js";
import { Progress } from "../jobs/progress.js";
import { historyOf, look } from "./history.js";
import { Spark } from "./spark.js";

const STATES = { idle: "Idle", busy: "Computing", paused: "Drained", waiting: "Waiting", draining: "Draining", lost: "Lost" };
const PLACES = { device: "", parked: "in RAM", offloaded: "offloaded" };

/** Send a model command, and say what it does. */
export async function command(model, name, slot) {
  const answer = await post(`/v1/models/${encodeURIComponent(model)}/${name}`, slot ? { slot } : {});
  toast(answer.slots.map((one) => `${one.slot}: ${one.will}`).join("; "));
  await look();
}

export async function pause(slot, isPaused) {
  await post(`/v1/admin/${isPaused ? "resume" : "pause"}`, slot ? { slot } : {});
  await look();
}

/** Let a slot finish its job and take no other. */
async function drain(slot) {
  const text = slot.job_id || slot.state === "busy" ? "It finishes its job and takes no new one" : "It takes no new job";
  if (!(await confirmed(`Drain ${slot.name}?`, `${text} until somebody resumes it.`, "Drain"))) return;
  await post(`/v1/admin/slots/${encodeURIComponent(slot.name)}/drain`);
  await look();
}

export function Slot({ slot, isPaused }) {
  const history = historyOf(slot);
  const valuesOf = (name) => history.map((one) => [one.at, one[name]]);
  const facts = slot.device_facts;
  return html`
    <article class="card slot" data-slot=${slot.name} data-state=${slot.state}>
      <header class="row between">
        <div><h3>${slot.name}</h3><p class="hint">${[slot.device_name || facts.name || slot.device, slot.node].filter(Boolean).join(" · ")}</p></div>
        <span class=${`state ${{ busy: "running", lost: "failed", paused: "expired", draining: "expired", waiting: "expired" }[slot.state] ?? ""}`}>${STATES[slot.state] ?? slot.state}</span>
      </header>
      ${slot.job_id ? html`<${SlotJob} id=${slot.job_id} />` : html`<p class="quiet slot-job">${slot.waiting_for ? `Waits for ${slot.waiting_for}` : ["busy", "draining"].includes(slot.state) ? "Computes a job of another key" : "No job"}</p>`}
      <div class="sparks">
        <${Spark} name="Memory" values=${valuesOf("memory")} text=${facts.memory_used_bytes !== undefined ? `${bytes(facts.memory_used_bytes)} of ${bytes(facts.memory_total_bytes)}` : ""} />
        <${Spark} name="Load" values=${valuesOf("busy")} text=${facts.utilization_percent === undefined ? `${facts.load_1min} on ${count(facts.cores ?? 1, "core")}` : `${facts.utilization_percent} %`} />
        <${Spark} name="Temperature" values=${valuesOf("temperature")} low=${20} high=${95} text=${`${facts.temperature_c} °C`} />
      </div>
      <${Held} slot=${slot} />
      <footer class="row between">
        <span class="hint">${[slot.loads ? count(slot.loads, "load") : "", slot.out_of_memory ? `${slot.out_of_memory} × out of memory` : ""].filter(Boolean).join(" · ")}</span>
        ${isAdmin() && (isPaused ? html`<${Button} kind="quiet small" icon="play" onClick=${() => pause(slot.name, true)}>Resume</${Button}>`
          : html`<${Button} kind="quiet small" icon="pause" onClick=${() => drain(slot)}>Drain</${Button}>`)}
      </footer>
    </article>
  `;
}

function SlotJob({ id }) {
  const job = useJob(id);
  useEffect(() => { if (!job) read(id); }, [id]);
  if (!job) return html`<p class="quiet slot-job">…</p>`;
  return html`<div class="slot-job"><button type="button" class="job-title" onClick=${() => openJob(job)}>${title(job)}</button><${Progress} job=${job} /></div>`;
}

function Held({ slot }) {
  const known = useStore(models);
  const isLoadable = (name) => known?.find((model) => model.name === name)?.loadable;
  if (!slot.held.length) return html`<p class="hint">No model in memory</p>`;
  return html`
    <ul class="held">${slot.held.map((held) => html`
      <li class="row between" key=${held.model}>
        <span class="row">${held.pinned && html`<${Icon} name="pin" />`}<span>${held.model}</span><small class="quiet">${[held.bytes ? bytes(held.bytes) : "", PLACES[held.place]].filter(Boolean).join(" ")}</small></span>
        ${isAdmin() && isLoadable(held.model) && html`<span class="row">
          <${Button} kind="quiet small" icon=${held.pinned ? "unpin" : "pin"} label=${held.pinned ? `Unpin ${held.model}` : `Pin ${held.model}`} onClick=${() => command(held.model, held.pinned ? "unpin" : "pin", slot.name)} />
          ${!held.pinned && html`<${Button} kind="quiet small" icon="close" label=${`Unload ${held.model}`} onClick=${() => command(held.model, "unload", slot.name)} />`}
        </span>`}
      </li>`)}
    </ul>
  `;
}
