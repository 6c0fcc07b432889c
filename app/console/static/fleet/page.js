// Fleet: every slot and back end, the queue in front of them, and the models.
import { isAdmin } from "../lib/api.js";
import { count } from "../lib/format.js";
import { html } from "../lib/html.js";
import { hrefOf } from "../lib/router.js";
import { useInterval, useStore } from "../lib/store.js";
import { Button, Empty, Problem } from "../lib/ui.js";
import { look, state } from "./history.js";
import { Models } from "./models.js";
import { Slot, pause } from "./slot.js";

const LOOK_MS = 2000;
const EVERYTHING = "*";

export function FleetPage() {
  const { fleet, queue, error } = useStore(state);
  useInterval(look, LOOK_MS);
  if (!fleet) return error ? html`<${Problem} error=${error} onRetry=${look} />` : html`<div class="card skeleton rows"></div>`;
  const isStopped = queue.paused.includes(EVERYTHING);
  return html`
    <div class="page-head"><h1>Fleet</h1>
      ${isAdmin() && html`<${Button} icon=${isStopped ? "play" : "pause"} onClick=${() => pause(null, isStopped)}>${isStopped ? "Resume the queue" : "Pause the queue"}</${Button}>`}
    </div>
    ${isStopped && html`<p class="banner">The queue is paused: no slot gets a new job.</p>`}
    ${queue.waiting_for.length > 0 && html`<p class="banner">Jobs wait for ${queue.waiting_for.join(", ")}, which no worker has.</p>`}
    ${fleet.object_store_away.length > 0 && html`<p class="banner">Outputs of ${fleet.object_store_away.join(", ")} wait for the object store.</p>`}
    ${!fleet.delivery.length && html`<p class="banner">No delivery worker runs: outputs are not stored. Start one with <code>celery -A tasks worker -Q io</code>.</p>`}
    <${Queue} queue=${queue} />
    ${fleet.slots.length ? html`<div class="slots">${fleet.slots.map((slot) => html`<${Slot} key=${slot.name} slot=${slot} isPaused=${queue.paused.includes(slot.name)} />`)}</div>`
      : html`<${Empty} icon="fleet" title="No worker runs"><span>Start one with <code>celery -A tasks worker -Q gpu0</code>; jobs wait meanwhile.</span></${Empty}>`}
    <${Models} />
    <p class="hint">Framemill ${fleet.version}${fleet.delivery.length ? `, outputs are stored by ${fleet.delivery.join(", ")}` : ""}</p>
  `;
}

function Queue({ queue }) {
  const { waiting, counts, eta } = queue;
  const running = counts.running + counts.delivering;
  const rows = (numbers, name) => Object.entries(numbers).filter(([, number]) => number > 0).map(([key, number]) => html`
    <a key=${key} class="amount" href=${name === "model" ? hrefOf("jobs", { state: "queued", model: key }) : undefined}><span>${key}</span><b>${number}</b></a>`);
  return html`
    <section class="figures" aria-label="Queue">
      <div class="figure"><b>${waiting.total}</b><span>waiting</span></div>
      <div class="figure"><b>${running}</b><span>running</span></div>
      <div class="figure"><b>${queue.submitted.toLocaleString()}</b><span>submitted in all</span></div>
      ${eta.jobs > 0 && html`<div class="figure" title=${`Mean error of the time given at submission, of ${count(eta.jobs, "job")}`}><b>± ${Math.round(eta.mean_error_s * 10) / 10} s</b><span>error of times</span></div>`}
      ${waiting.total > 0 && html`<div class="amounts">${rows(waiting.by_model, "model")}${Object.keys(waiting.by_class).length > 1 && rows(waiting.by_class, "class")}</div>`}
    </section>
  `;
}
