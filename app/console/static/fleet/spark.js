// A small graph of the last hour.
import { html } from "../lib/html.js";

const WIDTH = 120;
const HEIGHT = 28;
const SHOWN_MS = 3_600_000;

/** `values`: `[at, value]`, oldest first; null where nothing was measured. `text`: the present value. */
export function Spark({ name, values, low = 0, high = 1, text }) {
  const now = Date.now();
  const measured = values.filter(([, value]) => value !== null && value !== undefined);
  if (!measured.length) return null;
  const points = measured.map(([at, value]) => {
    const x = WIDTH * (1 - (now - at) / SHOWN_MS);
    const share = (Math.min(high, Math.max(low, value)) - low) / (high - low);
    return `${x.toFixed(1)},${(HEIGHT - 1 - share * (HEIGHT - 2)).toFixed(1)}`;
  });
  const [first, last] = [points[0], points.at(-1)].map((point) => point.split(",")[0]);
  return html`
    <div class="spark" data-points=${points.length}><span>${name}</span><b>${text}</b>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true"><polygon points=${`${first},${HEIGHT} ${points.join(" ")} ${last},${HEIGHT}`} /><polyline points=${points.join(" ")} /></svg>
    </div>
  `;
}
