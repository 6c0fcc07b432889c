// The newest webhook deliveries of all jobs: those that failed can be sent again.
import { get, post } from "../lib/api.js";
import { ago, count, moment } from "../lib/format.js";
import { html, useRef, useState } from "../lib/html.js";
import { useInterval } from "../lib/store.js";
import { openJob } from "../jobs/actions.js";
import { Button, Problem, toast } from "../lib/ui.js";

const READ_MS = 10_000;
const SHOWN = 100;
const STATES = { delivered: ["succeeded", "Delivered"], failed: ["failed", "Failed"], gone: ["failed", "Not wanted"], pending: ["expired", "Trying"] };

export function Deliveries() {
  const [isFailed, setFailed] = useState(false);
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const wanted = useRef(isFailed);
  wanted.current = isFailed;
  const read = async () => {
    try {
      const answer = await get(`/v1/admin/webhooks?limit=${SHOWN}&failed=${isFailed}`);
      if (wanted.current === isFailed) setFound(answer.deliveries);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  useInterval(read, READ_MS, [isFailed]);
  const resend = async ({ job_id: id, event }) => {
    await post(`/v1/jobs/${id}/webhooks/resend`, { event });
    toast(`${event} is sent again`);
    await read();
  };
  const resendAll = async () => {
    for (const one of found) await post(`/v1/jobs/${one.job_id}/webhooks/resend`, { event: one.event });
    toast(`${count(found.length, "message")} sent again`);
    await read();
  };
  if (!found?.length && !isFailed && !error) return null;
  return html`
    <section class="deliveries" aria-label="Webhook deliveries">
      <div class="row between wrap"><h2>Webhooks</h2>
        <div class="row wrap"><label class="row"><input type="checkbox" checked=${isFailed} onChange=${(event) => setFailed(event.target.checked)} /><span>Only those that were given up</span></label>
          ${isFailed && found?.length > 1 && html`<${Button} kind="small" icon="again" onClick=${resendAll}>Send all again</${Button}>`}</div>
      </div>
      ${error && html`<${Problem} error=${error} onRetry=${read} />`}
      ${found && !found.length && html`<p class="quiet">None was given up.</p>`}
      ${found?.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Newest deliveries"><table>
        <thead><tr>${["Job", "Event", "Receiver", "Outcome", "Tries"].map((name) => html`<th scope="col" key=${name}>${name}</th>`)}<th scope="col"><span class="off-screen">Commands</span></th></tr></thead>
        <tbody>${found.map((one) => html`<${Row} key=${`${one.job_id} ${one.event}`} of=${one} onResend=${() => resend(one)} />`)}</tbody>
      </table></div>`}
    </section>
  `;
}

function Row({ of: one, onResend }) {
  const [colour, name] = STATES[one.state];
  return html`
    <tr data-delivery=${one.state}>
      <td><button type="button" class="link" onClick=${() => openJob({ id: one.job_id })}>${one.job_id}</button>${one.key !== "-" && html` <span class="quiet">${one.key}</span>`}</td>
      <td>${one.event}</td>
      <td>${one.receiver}</td>
      <td><span class=${`state ${colour}`}>${name}</span> <span class="quiet">${one.error ?? one.status ?? ""}</span></td>
      <td title=${moment(one.tried_at)}>${one.attempts}, ${ago(one.tried_at)}${one.next_try_at && html`<p class="hint">Next ${moment(one.next_try_at)}</p>`}</td>
      <td><${Button} kind="quiet small" icon="again" label=${`Send ${one.event} of ${one.job_id} again`} onClick=${onResend} /></td>
    </tr>
  `;
}
