// The outputs of a job, its preview, or what stands in their place.
import { files } from "../lib/api.js";
import { isFinal, isVideo } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Icon } from "../lib/icons.js";

const PREVIEW_MS = 80;
const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** One output in full size. */
export function Output({ job, index, controls = true }) {
  const [isGone, setGone] = useState(false);
  const output = job.outputs[index];
  useEffect(() => setGone(false), [job.id, index]);
  if (isGone || Date.parse(job.expires_at ?? "9999") < Date.now()) return html`<div class="media gone"><${Icon} name="gallery" /><span>The file was removed.</span></div>`;
  const shape = output.width ? { aspectRatio: `${output.width} / ${output.height}` } : {};
  if (isVideo(output)) {
    return html`<video class="media" style=${shape} src=${files.result(job, index)} poster=${files.poster(job, index)} controls=${controls} loop muted playsinline
      autoplay=${!reducesMotion.matches} onError=${() => setGone(true)}></video>`;
  }
  if (!output.media_type.startsWith("image/")) return html`<div class="media gone"><${Icon} name="docs" /><span>${output.media_type}</span></div>`;
  return html`<img class="media" style=${shape} src=${files.result(job, index)} alt=${job.request.prompt ?? "Output"} decoding="async" onError=${() => setGone(true)} />`;
}

/** A small picture of a job for lists. */
export function Thumbnail({ job, index = 0 }) {
  const [isGone, setGone] = useState(false);
  const url = job.outputs.length ? files.thumbnail(job, index) : null;
  if (url && !isGone && Date.parse(job.expires_at ?? "9999") > Date.now()) return html`<img class="thumbnail" src=${url} alt="" loading="lazy" decoding="async" onError=${() => setGone(true)} />`;
  const icon = job.state === "failed" ? "alert" : job.command ? "fleet" : job.outputs.length && isVideo(job.outputs[0]) ? "play" : "gallery";
  return html`<span class=${`thumbnail none ${job.state}`}><${Icon} name=${icon} /></span>`;
}

/** The newest preview of a running job, over a place of the output's shape. The last picture stays until the next one is there. */
export function Preview({ job }) {
  const [shown, setShown] = useState(null);
  const url = job.preview && !isFinal(job) ? files.preview(job) : null;
  useEffect(() => {
    if (!url) return undefined;
    const image = new Image();
    image.onload = () => setShown(url);
    // The last previews of a short job are gone before they could be read.
    const timer = setTimeout(() => (image.src = url), PREVIEW_MS);
    return () => { clearTimeout(timer); image.onload = null; };
  }, [url]);
  const { width = 1, height = 1 } = job.request.hires ?? job.request;
  return html`<div class=${`media pending ${job.state}`} style=${{ aspectRatio: `${width || 1} / ${height || 1}` }}>
    ${shown ? html`<img src=${shown} alt="Preview" />` : html`<i></i>`}
  </div>`;
}
