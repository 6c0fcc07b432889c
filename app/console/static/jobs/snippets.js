// The request of a job as a program would send it.
import { base } from "../lib/api.js";
import { html, useState } from "../lib/html.js";
import { Segments } from "../create/inputs.js";
import { Button, copy } from "../lib/ui.js";

const KINDS = [["curl", "curl"], ["python", "Python"], ["openai", "OpenAI JSON"]];
const INPUTS = { img2img: ["image"], inpaint: ["image", "mask"], edit: ["images"], img2video: ["image"], video2video: ["video"] };

/** Return the fields of a request that differ from nothing, with placeholders for its pictures. */
function fieldsOf(job) {
  const { frames, fps, ...request } = job.request;
  if (frames > 1) Object.assign(request, { frames, fps });
  const kept = Object.entries(request).filter(([name, value]) => value !== null && value !== "" && !(name === "num_images" && value === 1));
  const fields = Object.fromEntries(kept);
  for (const name of INPUTS[job.kind] ?? []) fields[name] = name === "images" ? "image.png" : `${name}.${name === "video" ? "mp4" : "png"}`;
  return fields;
}

const address = () => location.origin + base;
/** A text in single quotes for a shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(job, withKey) {
  const fields = fieldsOf(job);
  const files = INPUTS[job.kind] ?? [];
  const head = [`curl ${address()}/v1/jobs`, withKey && '-H "Authorization: Bearer $FRAMEMILL_API_KEY"'];
  if (!files.length) return [...head, "-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(fields, null, 2))}`].filter(Boolean).join(" \\\n  ");
  const parts = Object.entries(fields).map(([name, value]) =>
    `-F ${quoted(files.includes(name) ? `${name}=@${value}` : `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`)}`);
  return [...head, ...parts].filter(Boolean).join(" \\\n  ");
}

/** Return a value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** Return the path of an input, in a list if the field is one. */
const path = (name, value) => (name === "images" ? `[Path(${literal(value)})]` : `Path(${literal(value)})`);

function python(job, withKey) {
  const files = INPUTS[job.kind] ?? [];
  const lines = Object.entries(fieldsOf(job)).map(([name, value]) => `        ${name}=${files.includes(name) ? path(name, value) : literal(value)},`);
  const suffix = job.outputs[0]?.media_type.split("/")[1] ?? "png";
  return [
    ...(withKey ? ["import os"] : []), ...(files.length ? ["from pathlib import Path"] : []), ...(withKey || files.length ? [""] : []),
    "import framemill", "",
    `with framemill.Client(${literal(address())}${withKey ? ', api_key=os.environ["FRAMEMILL_API_KEY"]' : ""}) as client:`,
    "    job = client.submit(", ...lines, "    )", "    job = client.wait(job.id)",
    `    client.result(job.id, "output.${suffix === "jpeg" ? "jpg" : suffix}")`, "",
  ].join("\n");
}

/** The body that clients of OpenAI's images know; what they do not know keeps its name here. */
function openai(job) {
  const { model, prompt, width, height, num_images: n, output_format: format, output_quality: quality, kind: _, ...rest } = fieldsOf(job);
  const body = { model, prompt, n: n ?? 1, size: `${width}x${height}` };
  if (format) body.output_format = format;
  if (quality) body.output_compression = quality;
  return JSON.stringify({ ...body, ...rest }, null, 2);
}

const WRITERS = { curl, python, openai };

/** `withKey`: whether the server has keys. */
export function Snippets({ job, withKey }) {
  const [kind, setKind] = useState("curl");
  if (job.command || job.kind === "custom") return null;
  const text = WRITERS[kind](job, withKey);
  return html`
    <details class="snippets"><summary>As code</summary>
      <div class="row between"><${Segments} name="snippet" label="Language" value=${kind} options=${KINDS} onChange=${setKind} />
        <${Button} kind="quiet small" icon="copy" label="Copy the code" onClick=${() => copy(text)} /></div>
      <pre tabindex="0">${text}</pre>
    </details>
  `;
}
