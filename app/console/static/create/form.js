// The form, made from what each model offers.
import { call, randomId, session } from "../lib/api.js";
import { KINDS, label } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { put } from "../lib/jobs.js";
import { Button, toast } from "../lib/ui.js";
import { useStore } from "../lib/store.js";
import { Cost, useEstimate } from "./cost.js";
import { appliesTo, bodyOf, change, draft, models, rememberPrompt, setValue, startTime } from "./draft.js";
import { CheckField, NumberField, Segments, SelectField, TextField } from "./inputs.js";
import { MaskEditor } from "./mask.js";
import { Controls, Images, Loras, Mix } from "./parts.js";
import { PictureInput } from "./picture.js";
import { PromptField } from "./prompt.js";
import { SizeField } from "./size.js";

const TAKES_IMAGE = ["img2img", "inpaint", "img2video"];
const FORMATS = { image: ["png", "webp", "jpeg"], video: ["mp4", "webm", "gif", "webp"] };
const LOSSY = ["webp", "jpeg", "mp4", "webm"];

/** Return the model and kind that the draft names, or the first ones. */
function chosen({ model, kind }, all) {
  const spec = all.find((one) => one.name === model) ?? all[0];
  return { spec, kind: spec.kinds.includes(kind) ? kind : spec.kinds[0] };
}

export function Form() {
  const form = useStore(draft);
  const all = useStore(models);
  const { spec, kind } = chosen(form, all);
  const [refused, setRefused] = useState({});
  const body = bodyOf({ ...form, kind, model: spec.name }, spec, false);
  const estimate = useEstimate(body);
  const early = Object.fromEntries((estimate?.problems ?? []).filter(({ field }) => form.values[field] !== undefined).map((one) => [rootOf(one.field), sentence(one)]));
  const problems = { ...early, ...refused };
  const set = (name) => (value) => {
    setValue(name, value);
    setRefused(({ [name]: _, ...rest }) => rest);
  };
  const take = (fields) => {
    change(fields);
    setRefused(({ image: _, mask: __, mix: ___, kind: ____, model: _____, images: ______, last_image: _l, video: _v, audio: _a, controls: _c, ...rest }) => rest);
  };
  const send = async () => {
    setRefused({});
    try {
      const job = await submit(bodyOf({ ...form, kind, model: spec.name }, spec));
      put(job);
      rememberPrompt(form.values.prompt);
      job.warnings.forEach((warning) => toast(warning));
    } catch (error) {
      if (!error.fields?.length) throw error;
      setRefused(Object.fromEntries(error.fields.map((one) => [rootOf(one.field), sentence(one)])));
      requestAnimationFrame(() => document.querySelector(".wrong input, .wrong textarea, .wrong select")?.focus());
    }
  };
  const field = (name) => ({ name, value: form.values[name], onChange: set(name), problem: problems[name], limit: spec.limits[name], fallback: spec.defaults[name] });
  const has = (name) => appliesTo(name, kind, spec);
  const takes = (name) => spec.inputs[kind].includes(name);
  const isVideo = kind.endsWith("video");
  const format = form.values.output_format;
  const unplaced = Object.entries(problems).filter(([name]) => !PLACED.has(name));
  return html`
    <form class="create-form" onSubmit=${(event) => event.preventDefault()} novalidate>
      <div class="card">
        <${SelectField} name="model" value=${spec.name} options=${all.map((one) => one.name)} hint=${spec.description} problem=${problems.model} onChange=${(name) => take({ model: name })} />
        ${spec.kinds.length > 1 && html`<${Segments} name="kind" label="Kind" value=${kind} options=${spec.kinds.map((one) => [one, KINDS[one]])} onChange=${(one) => take({ kind: one })} />`}
        ${kind === "edit" && html`<${Images} value=${form.images} most=${spec.limits.images.max} problem=${problems.images} onChange=${(images) => take({ images })} />`}
        ${kind === "mix2img" && html`<${Mix} value=${form.mix} problem=${problems.mix} onChange=${(mix) => take({ mix })} />`}
        ${TAKES_IMAGE.includes(kind) && html`
          <${PictureInput} label="Input picture" picture=${form.image} pastes problem=${problems.image ?? problems.mask} onChange=${(image) => take({ image, mask: null })}>
            ${kind === "inpaint" && form.image && html`<${MaskEditor} picture=${form.image} mask=${form.mask} onChange=${(mask) => take({ mask })} />`}
          </${PictureInput}>
        `}
        ${takes("last_image") && html`<${PictureInput} label="Last picture" field="last_image" picture=${form.last_image} problem=${problems.last_image} onChange=${(picture) => take({ last_image: picture })} />`}
        ${takes("video") && html`<${PictureInput} label="Input video" field="video" picture=${form.video} media="video" problem=${problems.video} onChange=${(video) => take({ video })} />`}
        ${takes("audio") && html`<${PictureInput} label="Sound" field="audio" picture=${form.audio} media="audio" problem=${problems.audio} onChange=${(audio) => take({ audio })} />`}
        ${has("controls") && html`<${Controls} model=${spec} kind=${kind} value=${form.controls} problem=${problems.controls} onChange=${(controls) => take({ controls })} />`}
        ${has("prompt") && html`<${PromptField} value=${form.values.prompt} problem=${problems.prompt} onChange=${set("prompt")} onSend=${() => document.getElementById("send").click()} />`}
        ${has("strength") && html`<${NumberField} ...${field("strength")} slider step=${0.05} hint="0 keeps the picture, 1 ignores it." />`}
      </div>
      <div class="card grid">
        <${SizeField} spec=${spec} values=${form.values} set=${set} problems=${problems} fromImage=${TAKES_IMAGE.includes(kind) || ["edit", "video2video"].includes(kind)} />
        ${has("num_images") && html`<${NumberField} ...${field("num_images")} />`}
        ${isVideo && html`<${NumberField} ...${field("frames")} step=${spec.frames_step} /><${NumberField} ...${field("fps")} />`}
        <${NumberField} ...${field("seed")} fallback="random" limit=${{ min: 0 }} />
        ${has("quality") && html`<${SelectField} ...${field("quality")} options=${Object.keys(spec.quality).filter((one) => one !== "standard")} fallback="standard" />`}
        <${NumberField} ...${field("steps")} slider />
        <${NumberField} ...${field("guidance_scale")} slider step=${0.5} />
      </div>
      <details class="card more">
        <summary>More</summary>
        <div class="grid">
          <${TextField} ...${field("negative_prompt")} rows=${2} label="What not to show" />
          ${has("scheduler") && html`<${SelectField} ...${field("scheduler")} options=${spec.schedulers} fallback=${spec.defaults.scheduler ?? "The model's own"} />`}
          ${has("loras") && html`<${Loras} model=${spec} value=${form.values.loras} problem=${problems.loras} onChange=${set("loras")} />`}
          ${has("clip_skip") && html`<${NumberField} ...${field("clip_skip")} />`}
          ${has("distilled_guidance_scale") && html`<${NumberField} ...${field("distilled_guidance_scale")} step=${0.5} />`}
          <${SelectField} ...${field("output_format")} options=${FORMATS[isVideo ? "video" : "image"]} fallback="The server's" />
          ${LOSSY.includes(format) && html`<${NumberField} ...${field("output_quality")} limit=${{ min: 1, max: 100 }} />`}
          <${SelectField} ...${field("retention")} options=${["hours", "days", "keep"]} fallback="The server's" hint="How long the files are kept." />
          <${NumberField} ...${field("priority")} limit=${{ min: -100, max: 100 }} fallback=${0} hint="Higher runs first, among your own jobs." />
          <${NumberField} ...${field("pause_at_step")} limit=${{ min: 1, max: (form.values.steps ?? spec.defaults.steps) - 1 }} fallback="never" label="Pause after step" hint="Shows a draft, and computes the rest when you resume it." />
          <${SelectField} ...${field("class")} options=${usableClasses(session.get().caller)} fallback="The key's" hint="Off-peak: only while nothing else waits." />
          <${TextField} ...${field("not_before")} type="datetime-local" label="Start not before" hint="Your local time." />
        </div>
        ${has("audio_output") && html`<${CheckField} name="audio_output" label="Sound" value=${form.values.audio_output ?? spec.defaults.audio_output} onChange=${set("audio_output")} />`}
        <${CheckField} name="embed_metadata" label="Store the parameters in the file" value=${form.values.embed_metadata ?? true} onChange=${(value) => set("embed_metadata")(value ? undefined : false)} />
      </details>
      <div class="send">
        ${unplaced.length > 0 && html`<ul class="field-problem">${unplaced.map(([name, text]) => html`<li>${label(name)} ${text}</li>`)}</ul>`}
        <${Cost} estimate=${estimate} notBefore=${startTime(form.values)} />
        <div class="row">
          <${Button} id="send" kind="primary grow" icon="create" onClick=${send}>Create</${Button}>
          <${Button} kind="quiet" label="Start anew: all fields as the model has them" icon="undo" onClick=${() => { change({ values: {}, image: null, mask: null, mix: [], images: [], controls: [], last_image: null, video: null, audio: null }); setRefused({}); }} />
        </div>
        <p class="hint keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd> in the prompt creates, too.</p>
      </div>
    </form>
  `;
}

/** Fields that show their problem themselves. */
const PLACED = new Set([
  "model", "image", "images", "mask", "mix", "controls", "last_image", "video", "audio", "prompt", "strength", "width", "height", "num_images", "frames", "fps", "seed", "quality", "steps",
  "guidance_scale", "negative_prompt", "scheduler", "loras", "clip_skip", "distilled_guidance_scale", "output_format",
  "output_quality", "retention", "priority", "class", "pause_at_step", "not_before",
]);

/** The scheduling classes that a caller's jobs may have: its own and lower ones. */
const CLASSES = ["premium", "general", "off-peak"];
const usableClasses = (caller) => (caller.role === "admin" ? CLASSES : CLASSES.slice(CLASSES.indexOf(caller.class)));

const rootOf = (name) => name.split(/[.[]/)[0];
const sentence = ({ rule }) => rule.charAt(0).toUpperCase() + rule.slice(1) + (/[.!?]$/.test(rule) ? "" : ".");

/** Submit a job. Its key makes a second try after a lost connection harmless. */
async function submit(body) {
  const headers = { "Idempotency-Key": randomId() };
  const send = () => call("POST", "/v1/jobs", { ...body, preview: true }, headers);
  try {
    return await send();
  } catch (error) {
    if (error.status !== 0 && error.status !== 503) throw error;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return send();
  }
}
