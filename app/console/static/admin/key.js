// One key: what it may do, its webhook, and its end.
import { TextField } from "../create/inputs.js";
import { put, remove } from "../lib/api.js";
import { count, moment } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { hrefOf } from "../lib/router.js";
import { Button, Dialog, confirmed, toast } from "../lib/ui.js";
import { Secret } from "./secret.js";

export function KeyCard({ of: key, isOwn, onChange }) {
  const [isOpen, setOpen] = useState(false);
  const revoke = async () => {
    const text = `Requests with this key are refused from now on, and its sessions end. Its jobs stay.${isOwn ? " It is the key that you are logged in with." : ""}`;
    if (!(await confirmed(`Revoke the key of ${key.service}?`, text, "Revoke"))) return;
    await remove(`/v1/admin/keys/${encodeURIComponent(key.service)}`);
    toast(`The key of ${key.service} was revoked`);
    onChange();
  };
  const limits = [
    key.max_waiting && `${count(key.max_waiting, "job")} waiting`, key.max_running && `${key.max_running} running at once`,
    key.max_per_minute && `${key.max_per_minute} a minute`, key.models.length && `models ${key.models.join(", ")}`,
    key.endpoints.length && `paths ${key.endpoints.join(", ")}`, key.retention && `files kept: ${key.retention}`, key.may_skip_moderation && "may skip moderation",
  ].filter(Boolean);
  return html`
    <article class="card key" data-key=${key.service}>
      <header class="row between"><div class="row"><h3>${key.service}</h3><span class=${`state ${key.role === "admin" ? "running" : ""}`}>${key.role}</span>${key.class !== "general" && html`<span class="state succeeded">${key.class}</span>`}</div>
        ${isOwn && html`<span class="hint">You</span>`}</header>
      <p class="quiet">${limits.length ? limits.join(" · ") : "No limits"}</p>
      <p class="hint">${key.webhook ? `Webhook ${key.webhook.url}${key.webhook.gone_at ? `, given up ${moment(key.webhook.gone_at)} because it answered 410` : ""}` : "No webhook"}</p>
      <footer class="row wrap">
        <a class="button quiet small" href=${hrefOf("jobs", { key: key.service })}>Jobs</a>
        <${Button} kind="quiet small" onClick=${() => setOpen(true)}>Webhook</${Button}>
        <${Button} kind="quiet small" onClick=${revoke}>Revoke</${Button}>
      </footer>
      ${isOpen && html`<${WebhookDialog} of=${key} onClose=${() => { setOpen(false); onChange(); }} />`}
    </article>
  `;
}

function WebhookDialog({ of: key, onClose }) {
  const [url, setUrl] = useState(key.webhook?.url ?? "");
  const [problem, setProblem] = useState("");
  const [secret, setSecret] = useState("");
  const path = `/v1/admin/keys/${encodeURIComponent(key.service)}/webhook`;
  const save = async (body) => {
    try {
      const answer = await put(path, body);
      if (answer.secret) setSecret(answer.secret);
      else onClose();
    } catch (error) {
      if (!error.fields?.length) throw error;
      setProblem(error.message);
    }
  };
  const drop = async () => { await remove(path); onClose(); };
  return html`
    <${Dialog} title=${`Webhook of ${key.service}`} onClose=${onClose}>
      ${secret ? html`<p>Store it now: it is shown this once only. It signs the messages.</p><${Secret} name="Webhook secret" text=${secret} /><div class="row end"><${Button} kind="primary" onClick=${onClose}>Done</${Button}></div>` : html`
        <${TextField} name="webhook" label="Receiver of the events of its jobs" placeholder="https://example.com/hook" value=${url} problem=${problem} onChange=${(text) => { setUrl(text); setProblem(""); }} />
        <div class="row end wrap">
          ${key.webhook && html`<${Button} onClick=${drop}>Remove</${Button}><${Button} onClick=${() => save({ new_secret: true })}>New secret</${Button}>`}
          <${Button} kind="primary" disabled=${!url} onClick=${() => save({ url })}>Save</${Button}>
        </div>`}
    </${Dialog}>
  `;
}
