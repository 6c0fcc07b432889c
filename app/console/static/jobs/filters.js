// The filters of a list. They stand in the address, so a list can be kept and shared.
import { models, readModels } from "../create/draft.js";
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
  useEffect(() => { if (!known) readModels().catch(() => {}); }, []);
  const set = (name, value) => go(page, { ...query, [name]: value }, { replace: true });
  const keys = caller.role === "admin" ? [...new Set(select((job) => job.key && job.key !== "-").map((job) => job.key))].sort() : [];
  if (query.key && !keys.includes(query.key)) keys.push(query.key);
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
