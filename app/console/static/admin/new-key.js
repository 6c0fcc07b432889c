// Make a key: its name, role and limits. Its secret is shown once.
import { models, readModels } from "../create/draft.js";
import { CheckField, NumberField, SelectField, TextField } from "../create/inputs.js";
import { post } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { Button, Dialog } from "../lib/ui.js";
import { Secret } from "./secret.js";

const ROLES = [["client", "Client: its own jobs"], ["worker", "Worker over HTTP"],
  ["metrics", "Metrics: for Prometheus"], ["admin", "Admin: everything"]];
const listed = (text) => (text ?? "").split(/[\s,]+/).filter(Boolean);

export function NewKey({ onClose }) {
  const [values, setValues] = useState({ role: "client" });
  const [problems, setProblems] = useState({});
  const [made, setMade] = useState(null);
  const known = useStore(models);
  useEffect(() => { if (!known) readModels().catch(() => {}); }, []);
  const set = (name) => (value) => {
    setValues((all) => ({ ...all, [name]: value }));
    setProblems(({ [name]: _, ...rest }) => rest);
  };
  const field = (name) => ({ name, value: values[name], onChange: set(name), problem: problems[name] });
  const send = async () => {
    const { endpoints, ...rest } = values;
    const body = { ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined && value !== "")), endpoints: listed(endpoints) };
    try {
      setMade(await post("/v1/admin/keys", body));
    } catch (error) {
      if (!error.fields?.length) throw error;
      setProblems(Object.fromEntries(error.fields.map(({ field: name, rule }) => [name.split(/[.[]/)[0], rule.charAt(0).toUpperCase() + rule.slice(1)])));
    }
  };
  if (made) {
    return html`<${Dialog} title=${`The key of ${made.service}`} onClose=${onClose}>
      <p>Store it now: it is shown this once only.</p>
      <${Secret} name="API key" text=${made.secret} />
      ${made.webhook_secret && html`<${Secret} name="Webhook secret" text=${made.webhook_secret} />`}
      <div class="row end"><${Button} kind="primary" onClick=${onClose}>Done</${Button}></div>
    </${Dialog}>`;
  }
  const chosen = values.models ?? [];
  return html`
    <${Dialog} title="New key" onClose=${onClose}>
      <div class="grid two">
        <${TextField} ...${field("service")} label="Name" placeholder="shop" />
        <${SelectField} ...${field("role")} options=${ROLES} />
      </div>
      <div class="grid three">
        <${NumberField} ...${field("max_waiting")} label="Waiting jobs" limit=${{ min: 0 }} fallback="no limit" />
        <${NumberField} ...${field("max_running")} label="Running at once" limit=${{ min: 0 }} fallback="no limit" />
        <${NumberField} ...${field("max_per_minute")} label="Jobs a minute" limit=${{ min: 0 }} fallback="no limit" />
      </div>
      <div class="grid two">
        <${SelectField} ...${field("class")} options=${["general", "premium", "off-peak"]} fallback="general" />
        <${SelectField} ...${field("retention")} options=${["hours", "days", "keep"]} fallback="The server's" hint="How long its files are kept." />
      </div>
      ${known?.length > 1 && html`<div class="field"><span class="label">Models</span>
        <div class="row wrap">${known.map(({ name }) => html`<${Button} key=${name} kind=${`small ${chosen.includes(name) ? "on" : ""}`} aria-pressed=${chosen.includes(name)}
          onClick=${() => set("models")(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name])}>${name}</${Button}>`)}</div>
        <p class="hint">${chosen.length ? "Only these." : "All, unless you choose some."}</p></div>`}
      <${TextField} ...${field("endpoints")} label="Paths" placeholder="/v1/jobs /v1/models" hint="Only these and what is below them. Empty: all." />
      <${TextField} ...${field("webhook_url")} label="Webhook" placeholder="https://example.com/hook" />
      <${CheckField} name="may_skip_moderation" label="May skip moderation" value=${values.may_skip_moderation ?? false} onChange=${set("may_skip_moderation")} />
      <div class="row end"><${Button} onClick=${onClose}>Cancel</${Button}><${Button} kind="primary" onClick=${send}>Make the key</${Button}></div>
    </${Dialog}>
  `;
}
