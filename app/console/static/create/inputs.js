// Controls of the form. `undefined` is the model's default, which they show in grey.
import { html } from "../lib/html.js";
import { label as labelOf } from "../lib/format.js";
import { Field } from "../lib/ui.js";

const numberOf = (text) => (text === "" || Number.isNaN(Number(text)) ? undefined : Number(text));

/** A number, with a slider if it has a range that people slide through. */
export function NumberField({ name, label = labelOf(name), value, onChange, limit, fallback, step = 1, slider = false, hint, problem }) {
  const shown = value ?? fallback;
  const clear = slider && value !== undefined && value !== fallback;
  return html`
    <${Field} name=${name} label=${label} hint=${hint} problem=${problem}>
      ${(id, described) => html`
        <div class="number">
          ${slider && html`<input type="range" aria-label=${`${label}, slider`} min=${limit.min} max=${limit.max} step=${step}
            value=${shown ?? limit.min} onInput=${(event) => onChange(Number(event.target.value))} />`}
          <input id=${id} type="number" inputmode=${step < 1 ? "decimal" : "numeric"} min=${limit?.min} max=${limit?.max} step=${step}
            class=${clear ? "changed" : ""} value=${value ?? ""} placeholder=${fallback ?? ""}
            aria-invalid=${problem ? "true" : undefined} aria-describedby=${described}
            onInput=${(event) => onChange(numberOf(event.target.value))} />
        </div>
      `}
    </${Field}>
  `;
}

export function SelectField({ name, label = labelOf(name), value, onChange, options, fallback, hint, problem }) {
  return html`
    <${Field} name=${name} label=${label} hint=${hint} problem=${problem}>
      ${(id, described) => html`
        <select id=${id} value=${value ?? ""} aria-describedby=${described} onChange=${(event) => onChange(event.target.value || undefined)}>
          ${fallback !== undefined && html`<option value="">${fallback}</option>`}
          ${options.map((option) => {
            const [key, text] = Array.isArray(option) ? option : [option, option];
            return html`<option value=${key} selected=${key === value}>${text}</option>`;
          })}
        </select>
      `}
    </${Field}>
  `;
}

export function TextField({ name, label = labelOf(name), value, onChange, placeholder, hint, problem, rows, onKeyDown, type = "text" }) {
  const common = (id, described) => ({
    id, placeholder, spellcheck: Boolean(rows), "aria-invalid": problem ? "true" : undefined, "aria-describedby": described,
    value: value ?? "", onKeyDown, onInput: (event) => onChange(event.target.value),
  });
  return html`
    <${Field} name=${name} label=${label} hint=${hint} problem=${problem}>
      ${(id, described) => (rows ? html`<textarea rows=${rows} ...${common(id, described)}></textarea>` : html`<input type=${type} autocomplete="off" ...${common(id, described)} />`)}
    </${Field}>
  `;
}

export const CheckField = ({ name, label, value, onChange, hint }) => html`
  <div class="check" data-field=${name}>
    <input id=${`f-${name}`} type="checkbox" checked=${value} onChange=${(event) => onChange(event.target.checked)} />
    <label for=${`f-${name}`}>${label}${hint && html`<small>${hint}</small>`}</label>
  </div>
`;

/** A choice of few: buttons in a row, of which arrow keys choose. */
export const Segments = ({ name, label, value, options, onChange }) => html`
  <fieldset class="segments">
    <legend class="off-screen">${label}</legend>
    ${options.map(([key, text]) => html`
      <label class=${key === value ? "chosen" : ""}>
        <input type="radio" name=${name} value=${key} checked=${key === value} onChange=${() => onChange(key)} /><span>${text}</span>
      </label>
    `)}
  </fieldset>
`;
