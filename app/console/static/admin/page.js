// Admin: API keys with their limits and webhooks, the newest webhook deliveries, and the storage.
import { get } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Button, Empty, Problem } from "../lib/ui.js";
import { KeyCard } from "./key.js";
import { Deliveries } from "./deliveries.js";
import { Storage } from "./storage.js";
import { NewKey } from "./new-key.js";

export function AdminPage({ caller }) {
  const [keys, setKeys] = useState(null);
  const [error, setError] = useState(null);
  const [isMaking, setMaking] = useState(false);
  const read = () => get("/v1/admin/keys").then((answer) => { setKeys(answer.keys); setError(null); }, setError);
  useEffect(() => { if (caller.role === "admin") read(); }, []);
  if (caller.role !== "admin") return html`<${Empty} icon="admin" title="For admins">This page needs an admin's key.</${Empty}>`;
  const isOpen = caller.service === "-";
  return html`
    <div class="page-head"><h1>API keys</h1>${!isOpen && html`<${Button} kind="primary" icon="plus" onClick=${() => setMaking(true)}>New key</${Button}>`}</div>
    ${error && html`<${Problem} error=${error} onRetry=${read} />`}
    ${isOpen && html`<${Empty} icon="admin" title="This server has no keys">
      <span>Every program on its machine may do everything. Make the first key on the server's host, then log in with it:</span>
      <code class="block">python -m app.keys create ops --role admin</code>
    </${Empty}>`}
    ${!isOpen && (keys ? html`<div class="key-list">${keys.map((key) => html`<${KeyCard} key=${key.service} of=${key} isOwn=${key.service === caller.service} onChange=${read} />`)}</div>` : !error && html`<div class="card skeleton rows"></div>`)}
    <${Deliveries} />
    <${Storage} />
    ${isMaking && html`<${NewKey} onClose=${() => { setMaking(false); read(); }} />`}
  `;
}
