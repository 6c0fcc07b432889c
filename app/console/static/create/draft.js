// What the form holds: the model, its kind, the values that differ from the defaults, and the pictures.
import { files, get } from "../lib/api.js";
import { createStore, remember, remembered } from "../lib/store.js";
import { go } from "../lib/router.js";

const HISTORY = 60;
const EMPTY = { model: "", kind: "", values: {}, image: null, mask: null, mix: [], images: [], controls: [], last_image: null, video: null, audio: null };

/** Return when the job may start, if that is a time ahead (`not_before`: local, as its field has it), else null. */
export function startTime({ not_before: text }) {
  const moment = text ? new Date(text) : null;
  return moment > Date.now() ? moment : null;
}

/** Pictures are not remembered: they may be large. Nor is a time that has passed. */
const stored = remembered("draft", {});
if (stored.values?.not_before && !startTime(stored.values)) delete stored.values.not_before;
export const draft = createStore({ ...EMPTY, model: stored.model ?? "", kind: stored.kind ?? "", values: stored.values ?? {} });
draft.subscribe(({ model, kind, values }) => remember("draft", { model, kind, values }));

export const prompts = createStore(remembered("prompts", []));
export const models = createStore(null);

export const change = (fields) => draft.set((known) => ({ ...known, ...fields }));

/** Set a field; undefined is the model's default. */
export function setValue(name, value) {
  draft.set((known) => {
    const values = { ...known.values, [name]: value };
    if (value === undefined || value === "") delete values[name];
    return { ...known, values };
  });
}

export async function readModels() {
  models.set((await get("/v1/models")).models);
}

/** Put a prompt at the top of the history. */
export function rememberPrompt(text) {
  if (!text?.trim()) return;
  prompts.set((known) => [text, ...known.filter((one) => one !== text)].slice(0, HISTORY));
  remember("prompts", prompts.get());
}

export function forgetPrompts() {
  prompts.set([]);
  remember("prompts", []);
}

/** Fields that a kind has; the others are not sent. */
export function appliesTo(name, kind, model) {
  const isVideo = kind.endsWith("video");
  if (["frames", "fps"].includes(name)) return isVideo;
  if (name === "num_images") return !isVideo && "num_images" in model.limits;
  if (name === "prompt") return kind !== "mix2img";
  if (name === "strength") return ["img2img", "inpaint", "video2video"].includes(kind);
  if (["clip_skip", "distilled_guidance_scale"].includes(name)) return name in model.limits;
  if (name === "quality") return Object.keys(model.quality).length > 0;
  if (name === "audio_output") return isVideo && "audio_output" in model.defaults;
  if (name === "scheduler") return model.schedulers.length > 0;
  if (name === "controls") return model.controls.some((one) => one.kinds.includes(kind));
  if (name === "loras") return model.loras.length > 0;
  return true;
}

/** Return the body of a request; `withPictures` false: for an estimate. */
export function bodyOf({ model, kind, values, image, mask, mix, images, controls, ...files }, spec, withPictures = true) {
  const sent = Object.entries(values).filter(([name]) => appliesTo(name, kind, spec));
  const body = { model, kind, ...Object.fromEntries(sent) };
  if (body.not_before) body.not_before = new Date(body.not_before).toISOString();
  const takesImage = ["img2img", "inpaint", "img2video"].includes(kind);
  if (withPictures && takesImage && image) body.image = image.source;
  if (withPictures && kind === "inpaint" && mask) body.mask = mask;
  for (const name of ["last_image", "video", "audio"]) {
    if (withPictures && files[name] && spec.inputs[kind].includes(name)) body[name] = files[name].source;
  }
  if (withPictures && kind === "edit") body.images = images.map((one) => one.source);
  const chosen = controls.filter((one) => one.image && spec.controls.some(({ name, kinds }) => name === one.name && kinds.includes(kind)));
  if (withPictures && chosen.length) body.controls = chosen.map(({ image: picture, ...one }) => ({ ...one, image: picture.source }));
  if (kind === "mix2img") body.mix = mix.map(({ text, image: part, weight }) => ({ ...(part ? { image: withPictures ? part.source : "" } : { text }), weight }));
  return body;
}

/** Return a picture for the form: how it is shown (`url`) and what is sent (`source`). */
export async function pictureOf(blob) {
  const source = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  return { url: URL.createObjectURL(blob), source, name: blob.name ?? "picture" };
}

/** Return an output of a job as a picture for the form. Nothing is sent again: the server has it. */
export const outputPicture = (job, index = 0) => ({ url: files.result(job, index), source: `job:${job.id}/${index}`, name: `output of ${job.id}` });

/** Take an output as the input image, and go to the form. */
export function useAsInput(job, index = 0) {
  const known = draft.get();
  const spec = models.get()?.find((one) => one.name === known.model);
  const kinds = ["img2img", "inpaint", "edit", "img2video"];
  const fits = (one) => one.kinds.some((kind) => kinds.includes(kind));
  const model = spec && fits(spec) ? spec : models.get()?.find(fits);
  if (!model) throw new Error("No model of this server takes an input image.");
  const kind = model === spec && kinds.includes(known.kind) ? known.kind : model.kinds.find((one) => kinds.includes(one));
  const picture = outputPicture(job, index);
  change({ model: model.name, kind, ...(kind === "edit" ? { images: [picture] } : { image: picture, mask: null }) });
  go("create");
}

/** Put the request of a job into the form, with its input pictures. */
export async function editInForm(job) {
  const { model, kind, mix, controls, ...request } = job.request;
  const values = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== null && value !== ""));
  const filled = { ...EMPTY, model, kind, values };
  if (["img2img", "inpaint", "img2video"].includes(kind)) filled.image = await inputOf(job, "image");
  if (kind === "inpaint") filled.mask = (await inputOf(job, "mask")).source;
  if (kind === "edit") filled.images = await imagesOf(job);
  if (controls) {
    filled.controls = await Promise.all(controls.map(async (one, index) => ({ ...one, image: await inputOf(job, `controls-${index}`) })));
  }
  if (mix) {
    filled.mix = await Promise.all(mix.map(async ({ text, weight }, index) =>
      text === undefined ? { image: await inputOf(job, `mix-${index}`), weight } : { text, weight }));
  }
  draft.set(filled);
  go("create");
}

/** Return the reference pictures of a job: as many as it has. */
async function imagesOf(job) {
  const pictures = [];
  for (;;) {
    try {
      pictures.push(await inputOf(job, `images-${pictures.length}`));
    } catch (error) {
      if (!pictures.length) throw error;
      return pictures;
    }
  }
}

async function inputOf(job, name) {
  const response = await fetch(files.input(job, name));
  if (!response.ok) throw new Error("An input picture of this job is no longer stored.");
  return pictureOf(new File([await response.blob()], name));
}

