// A small graph of the last minutes.
import { html } from "../lib/html.js";

const WIDTH = 120;
const HEIGHT = 28;
const POINTS = 150;

/** `values`: oldest first, null where nothing was measured. `text`: the present value. */
export function Spark({ name, values, low = 0, high = 1, text }) {
  const step = WIDTH / (POINTS - 1);
  const start = WIDTH - (values.length - 1) * step;
  const points = values.map((value, place) => (value === null ? null : `${(start + place * step).toFixed(1)},${(HEIGHT - 1 - ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (HEIGHT - 2)).toFixed(1)}`)).filter(Boolean);
  if (!points.length) return null;
  const area = `${points[0].split(",")[0]},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`;
  return html`
    <div class="spark"><span>${name}</span><b>${text}</b>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true"><polygon points=${area} /><polyline points=${points.join(" ")} /></svg>
    </div>
  `;
}
