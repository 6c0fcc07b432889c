// Width and height, with the usual shapes of the model's own area.
import { html } from "../lib/html.js";
import { NumberField } from "./inputs.js";

const SHAPES = [["1:1", 1], ["3:2", 1.5], ["2:3", 2 / 3], ["16:9", 16 / 9], ["9:16", 9 / 16]];

export function SizeField({ spec, values, set, problems, fromImage }) {
  const { width, height } = spec.defaults;
  const fit = (value, { min, max }) => Math.min(max, Math.max(min, Math.round(value / spec.size_multiple_px) * spec.size_multiple_px));
  const choose = (ratio) => {
    const side = Math.sqrt(width * height);
    set("width")(fit(side * Math.sqrt(ratio), spec.limits.width));
    set("height")(fit(side / Math.sqrt(ratio), spec.limits.height));
  };
  const now = (values.width ?? width) / (values.height ?? height);
  const isSet = values.width !== undefined || values.height !== undefined;
  const isChosen = (ratio) => (isSet || !fromImage) && Math.abs(Math.log(now / ratio)) < 0.05;
  const sizeOf = (name) => ({ name, value: values[name], onChange: set(name), problem: problems[name], limit: spec.limits[name], step: spec.size_multiple_px, fallback: fromImage && !isSet ? "as input" : spec.defaults[name] });
  return html`
    <div class="size">
      <div class="row shapes" role="group" aria-label="Shape">
        ${SHAPES.map(([name, ratio]) => html`
          <button type="button" class=${`shape ${isChosen(ratio) ? "on" : ""}`} aria-pressed=${isChosen(ratio)} onClick=${() => choose(ratio)}>
            <svg viewBox="0 0 20 20" aria-hidden="true"><rect x=${10 - 7 * Math.min(1, ratio)} y=${10 - 7 / Math.max(1, ratio)} width=${14 * Math.min(1, ratio)} height=${14 / Math.max(1, ratio)} rx="1.5" /></svg>${name}
          </button>
        `)}
      </div>
      <div class="pair"><${NumberField} ...${sizeOf("width")} /><${NumberField} ...${sizeOf("height")} /></div>
    </div>
  `;
}
