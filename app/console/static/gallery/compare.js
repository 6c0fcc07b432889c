// Two pictures over each other with a slider between them, and the difference of their parameters.
import { files } from "../lib/api.js";
import { KINDS, isVideo, label, shownValue } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { Button, Dialog } from "../lib/ui.js";

export function Compare({ pair, onClose, onSwap }) {
  const [share, setShare] = useState(50);
  const [left, right] = pair;
  const isSideBySide = pair.some(({ output }) => isVideo(output));
  const ratio = Math.max(...pair.map(({ output }) => (output.width || 1) / (output.height || 1)));
  return html`
    <${Dialog} title="Compare" wide onClose=${onClose} actions=${html`<${Button} kind="quiet small" onClick=${onSwap}>Swap</${Button}>`}>
      ${isSideBySide ? html`<div class="side-by-side">${pair.map((item) => html`<${Shown} item=${item} />`)}</div>` : html`
        <div class="compare" style=${{ "--share": `${share}%`, aspectRatio: String(ratio), maxWidth: `calc(62vh * ${ratio})` }}>
          <${Shown} item=${right} /><div class="compare-left"><${Shown} item=${left} /></div><i></i>
          <input type="range" min="0" max="100" step="0.5" value=${share} aria-label="Share of the left picture" onInput=${(event) => setShare(Number(event.target.value))} />
        </div>
      `}
      <${Differences} pair=${pair} />
    </${Dialog}>
  `;
}

const Shown = ({ item: { job, output, index } }) => (isVideo(output)
  ? html`<video src=${files.result(job, index)} controls loop muted playsinline></video>`
  : html`<img src=${files.result(job, index)} alt=${`${job.request.prompt ?? ""}, seed ${output.seed}`} draggable="false" />`);

/** What is compared of an output: its request, with its own seed. */
function parameters({ job, output }) {
  const { frames, fps, ...request } = job.request;
  return { ...request, ...(frames > 1 ? { frames, fps } : {}), kind: KINDS[job.kind] ?? job.kind, seed: output.seed, width: output.width, height: output.height };
}

function Differences({ pair }) {
  const [left, right] = pair.map(parameters);
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])].filter((name) => name !== "kind" || left.kind !== right.kind);
  const text = (value) => (value === undefined || value === null || value === "" ? "–" : shownValue(value));
  const different = names.filter((name) => text(left[name]) !== text(right[name]));
  const same = names.length - different.length;
  return html`
    <table class="differences">
      <thead><tr><th scope="col"><span class="off-screen">Parameter</span></th><th scope="col">Left</th><th scope="col">Right</th></tr></thead>
      <tbody>${different.map((name) => html`<tr><th scope="row">${label(name)}</th><td>${text(left[name])}</td><td>${text(right[name])}</td></tr>`)}</tbody>
    </table>
    <p class="hint">${different.length ? `${same} other parameters are the same.` : "All parameters are the same."}</p>
  `;
}
