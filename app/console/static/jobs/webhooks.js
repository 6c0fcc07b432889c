// The webhook deliveries of a job: each try and its outcome; send them again.
import { get, post } from "../lib/api.js";
import { moment } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { Button } from "../lib/ui.js";

export function Webhooks({ job }) {
  const [log, setLog] = useState(null);
  const read = () => get(`/v1/jobs/${job.id}/webhooks`).then(setLog, () => {});
  const resend = async (event) => setLog(await post(`/v1/jobs/${job.id}/webhooks/resend`, event ? { event } : {}));
  return html`
    <details onToggle=${(event) => event.target.open && read()}><summary>Webhooks</summary>
      ${log && !log.deliveries.length && html`<p class="hint">${log.url ? "Nothing was sent yet." : "The job has no webhook."}</p>`}
      ${log?.url && html`<p class="hint">${log.url}</p>`}
      ${log?.deliveries.map((one) => html`
        <div class="delivery" key=${one.webhook_id}>
          <div class="row between"><span>${one.event}</span><span class=${`state ${{ delivered: "succeeded", failed: "failed", gone: "failed" }[one.state] ?? ""}`}>${one.state}</span>
            <${Button} kind="quiet small" icon="again" label=${`Send ${one.event} again`} onClick=${() => resend(one.event)} /></div>
          <ul class="hint">${one.tries.map((attempt) => html`<li>${moment(attempt.at)}: ${Object.entries(attempt).filter(([name, value]) => name !== "at" && value !== null && value !== "").map(([name, value]) => `${name} ${value}`).join(", ")}</li>`)}
            ${one.next_try_at && html`<li>Next try ${moment(one.next_try_at)}</li>`}</ul>
        </div>`)}
    </details>
  `;
}
