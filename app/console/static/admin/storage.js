// Where files are stored, how long, and the space that is left.
import { get } from "../lib/api.js";
import { ago, bytes, count } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";

const NAMES = { outputs: "Outputs and inputs", spool: "Frames on their way to the encoder", redis: "Redis" };

export function Storage() {
  const [storage, setStorage] = useState(null);
  useEffect(() => { get("/v1/admin/storage").then(setStorage, () => {}); }, []);
  if (!storage) return null;
  const { bucket, retention, disks, stored } = storage;
  const kept = { hours: `${retention.hours} h`, days: `${retention.days} days`, keep: "until the job is deleted" };
  return html`
    <section class="storage" aria-label="Storage"><h2>Storage</h2>
      <p>Files are kept ${kept[retention.default]} after the end of their job, unless the job or its key says otherwise.
        ${bucket ? ` They are stored in the bucket ${bucket}.` : ""}</p>
      ${stored ? html`<div class="figures">
          <div class="figure"><b>${bytes(stored.outputs.bytes)}</b><span>${count(stored.outputs.files, "output file")}</span></div>
          <div class="figure"><b>${bytes(stored.inputs.bytes)}</b><span>${count(stored.inputs.files, "input picture")}</span></div>
          <p class="hint">Counted ${ago(stored.counted_at)}, with thumbnails</p>
        </div>` : html`<p class="hint">Files are not counted yet. Delivery workers count them.</p>`}
      ${disks.map(({ name, free_bytes: free, total_bytes: total }) => html`
        <div class="disk" key=${name}>
          <div class="row between"><span>${NAMES[name] ?? name}</span><span class="quiet">${bytes(total - free)} used, ${bytes(free)} free</span></div>
          <div class="bar" role="meter" aria-label=${`Used: ${NAMES[name] ?? name}`} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round((1 - free / total) * 100)}><i style=${{ width: `${(1 - free / total) * 100}%` }}></i></div>
        </div>`)}
    </section>
  `;
}
