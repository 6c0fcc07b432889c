// The filters of a list. They stand in the address, so a list can be kept and shared.
import { models, readModels } from "../create/draft.js";
import { get } from "../lib/api.js";
import { STATES } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Icon } from "../lib/icons.js";
import { revision, select } from "../lib/jobs.js";
import { go } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { Button } from "../lib/ui.js";

const TIMES = [["hour", "Last hour"], ["day", "Last day"], ["week", "Last week"], ["month", "Last 30 days"]];
const TYPING_MS = 250;

export const filterOf = ({ state, model, key, text, time }) => ({ state, model, key, text, time });

/** `page`: whose filters these are. `states`: whether one can choose the state. */
export function Filters({ page, query, caller, states = true }) {
  const known = useStore(models);
  useStore(revision);
  const [keyNames, setKeyNames] = useState([]);
  const hasKeys = caller.role === "admin" && caller.service !== "-";
  useEffect(() => {
    if (!known) readModels().catch(() => {});
    if (hasKeys) get("/v1/admin/keys").then((answer) => setKeyNames(answer.keys.map((key) => key.service)), () => {});
  }, []);
  const set = (name, value) => go(page, { ...query, [name]: value }, { replace: true });
  const ofJobs = hasKeys ? select((job) => job.key).map((job) => job.key) : []; // also of keys that were revoked
  const keys = [...new Set([...keyNames, ...ofJobs, ...(query.key ? [query.key] : [])])].sort();
  const names = [...new Set([...(known ?? []).map((one) => one.name), ...(query.model ? [query.model] : [])])];
  const choices = [
    states && ["state", "All states", [["active", "Not over"], ["over", "Over"], ...Object.entries(STATES)]],
    names.length > 1 && ["model", "All models", names.map((name) => [name, name])],
    keys.length > 0 && ["key", "All keys", keys.map((name) => [name, name])],
    ["time", "Any time", TIMES],
  ].filter(Boolean);
  const isFiltered = Object.values(filterOf(query)).some(Boolean);
  return html`
    <div class="filters" role="search" aria-label="Filter">
      <${Search} value=${query.text ?? ""} onChange=${(text) => set("text", text)} />
      ${choices.map(([name, all, options]) => html`
        <select key=${name} aria-label=${all} class=${query[name] ? "on" : ""} onChange=${(event) => set(name, event.target.value)}>
          <option value="">${all}</option>
          ${options.map(([value, text]) => html`<option value=${value} selected=${query[name] === value}>${text}</option>`)}
        </select>
      `)}
      ${isFiltered && html`<${Button} kind="quiet" icon="close" onClick=${() => go(page, { job: query.job }, { replace: true })}>Clear</${Button}>`}
    </div>
  `;
}

/** Offers to go on where a list was read often without finding much. */
export const SearchFurther = ({ isTired, more }) => isTired && html`
  <p class="row centre"><span class="quiet">Many jobs were looked at.</span><${Button} icon="search" onClick=${more}>Search older jobs</${Button}></p>`;

function Search({ value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onChange(text), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<label class="search"><${Icon} name="search" /><span class="off-screen">Search in prompts, ids and errors</span>
    <input type="search" placeholder="Search" value=${text} onInput=${(event) => setText(event.target.value)} /></label>`;
}
