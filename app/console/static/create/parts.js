// Fields that are lists: LoRAs with their weights, reference pictures, controls, and the texts and pictures of a mix.
import { html } from "../lib/html.js";
import { Button } from "../lib/ui.js";
import { PictureInput } from "./picture.js";

const Weight = ({ value, onChange, label, limit = { min: 0, max: 5 } }) => html`
  <input class="weight" type="number" step="0.05" min=${limit.min} max=${limit.max} aria-label=${label} value=${value ?? ""} placeholder="1"
    onInput=${(event) => onChange(event.target.value === "" ? undefined : Number(event.target.value))} />
`;

export function Loras({ model, value, onChange, problem }) {
  const chosen = value ?? model.defaults.loras;
  const free = model.loras.filter((name) => !chosen.some((one) => one.name === name));
  const replace = (index, fields) => onChange(chosen.map((one, place) => (place === index ? { ...one, ...fields } : one)));
  return html`
    <div class=${`field ${problem ? "wrong" : ""}`} data-field="loras">
      <span class="label">LoRAs</span>
      ${chosen.map((one, index) => html`
        <div class="row part">
          <span class="part-name">${one.name}</span>
          <${Weight} label=${`Weight of ${one.name}`} value=${one.weight} limit=${model.limits.lora_weight} onChange=${(weight) => replace(index, { weight })} />
          <${Button} kind="quiet small" icon="close" label=${`Remove ${one.name}`} onClick=${() => onChange(chosen.filter((_, place) => place !== index))} />
        </div>
      `)}
      ${free.length > 0 && html`<select aria-label="Add a LoRA" value="" onChange=${(event) => { onChange([...chosen, { name: event.target.value }]); event.target.value = ""; }}>
        <option value="">Add a LoRA…</option>${free.map((name) => html`<option value=${name}>${name}</option>`)}
      </select>`}
      ${problem && html`<p class="field-problem">${problem}</p>`}
    </div>
  `;
}

/** Reference pictures in order, at most `most`. */
export function Images({ value, most, onChange, problem }) {
  const shown = value.length < most ? [...value, null] : value;
  const replace = (index, picture) => onChange(picture ? shown.map((one, place) => (place === index ? picture : one)).filter(Boolean) : value.filter((_, place) => place !== index));
  return html`
    <div class=${`field ${problem ? "wrong" : ""}`} data-field="images">
      ${shown.map((one, index) => html`<${PictureInput} key=${index} label=${most > 1 ? `Picture ${index + 1}` : "Picture"} picture=${one} pastes=${one === null}
        onChange=${(picture) => replace(index, picture)} />`)}
      ${problem && html`<p class="field-problem">${problem}</p>`}
    </div>
  `;
}

/** Controls of the model, each with its picture and scale, at most as many as the model allows. */
export function Controls({ model, kind, value, onChange, problem }) {
  const offered = model.controls.filter((one) => one.kinds.includes(kind));
  const replace = (index, fields) => onChange(value.map((one, place) => (place === index ? { ...one, ...fields } : one)));
  return html`
    <div class=${`field ${problem ? "wrong" : ""}`} data-field="controls">
      <span class="label">Control pictures</span>
      ${value.map((one, index) => html`
        <div class="mix-part" key=${index}>
          <${PictureInput} label=${one.name} field="control" picture=${one.image} onChange=${(image) => replace(index, { image })} />
          <${Weight} label=${`Scale of ${one.name}`} value=${one.scale} limit=${offered.find(({ name }) => name === one.name)?.limits.scale}
            onChange=${(scale) => replace(index, { scale })} />
          <${Button} kind="quiet small" icon="close" label=${`Remove ${one.name}`} onClick=${() => onChange(value.filter((_, place) => place !== index))} />
        </div>
      `)}
      ${value.length < model.limits.controls.max && html`<select aria-label="Add a control" value="" onChange=${(event) => { onChange([...value, { name: event.target.value, image: null }]); event.target.value = ""; }}>
        <option value="">Add a control…</option>${offered.map(({ name, description }) => html`<option value=${name} title=${description}>${name}</option>`)}
      </select>`}
      ${problem && html`<p class="field-problem">${problem}</p>`}
    </div>
  `;
}

export function Mix({ value, onChange, problem }) {
  const replace = (index, fields) => onChange(value.map((one, place) => (place === index ? { ...one, ...fields } : one)));
  const drop = (index) => onChange(value.filter((_, place) => place !== index));
  return html`
    <div class=${`field ${problem ? "wrong" : ""}`} data-field="mix">
      <span class="label">Mix of texts and pictures</span>
      ${value.map((one, index) => html`
        <div class="mix-part" key=${index}>
          ${"image" in one
            ? html`<${PictureInput} label=${`Picture ${index + 1}`} picture=${one.image} onChange=${(image) => replace(index, { image })} />`
            : html`<input type="text" aria-label=${`Text ${index + 1}`} placeholder="A text" value=${one.text} onInput=${(event) => replace(index, { text: event.target.value })} />`}
          <${Weight} label=${`Weight of part ${index + 1}`} value=${one.weight} onChange=${(weight) => replace(index, { weight })} />
          <${Button} kind="quiet small" icon="close" label=${`Remove part ${index + 1}`} onClick=${() => drop(index)} />
        </div>
      `)}
      <div class="row">
        <${Button} kind="small" icon="plus" onClick=${() => onChange([...value, { text: "" }])}>Text</${Button}>
        <${Button} kind="small" icon="plus" onClick=${() => onChange([...value, { image: null }])}>Picture</${Button}>
      </div>
      ${problem && html`<p class="field-problem">${problem}</p>`}
    </div>
  `;
}

