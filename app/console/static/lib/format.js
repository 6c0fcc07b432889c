// Times, sizes and words for people.

export const KINDS = {
  text2img: "Text to image", img2img: "Image to image", inpaint: "Inpaint", mix2img: "Mix", edit: "Edit",
  text2video: "Text to video", img2video: "Image to video", video2video: "Video to video", custom: "Endpoint",
};
export const STATES = {
  queued: "Waiting", running: "Running", paused: "Paused", delivering: "Saving", succeeded: "Done", failed: "Failed",
  cancelled: "Stopped", expired: "Expired",
};
export const FINAL = ["succeeded", "failed", "cancelled", "expired"];

export const isFinal = (job) => FINAL.includes(job.state);
export const isVideo = (output) => output.media_type.startsWith("video/");
/** Return a job's name for people: its prompt, the texts of its mix, or its command. */
export function title(job) {
  if (job.command) return `${job.command} ${job.model}`;
  const texts = (job.request.mix ?? []).map((part) => part.text).filter(Boolean);
  return job.request.prompt || texts.join(" + ") || job.request.endpoint || "No prompt";
}

/** 75 → "1 min 15 s" */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 10) return `${Math.max(0, Math.round(seconds * 10) / 10)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  const minutes = Math.round(whole / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** 1536 → "1.5 KiB" */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Time since a moment: "just now", "5 min ago", "yesterday", a date. */
export function ago(iso, now = Date.now()) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  if (seconds < 172800) return "yesterday";
  return new Date(iso).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

export const moment = (iso) => (iso ? new Date(iso).toLocaleString() : "");
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

/** Seconds that a job computed; null if it did not. */
export function computedSeconds(job) {
  const end = job.computed_at ?? job.finished_at;
  return job.started_at && end ? (Date.parse(end) - Date.parse(job.started_at)) / 1000 : null;
}

const LABELS = {
  guidance_scale: "Guidance", distilled_guidance_scale: "Distilled guidance", num_images: "Images", fps: "Frames per second",
  clip_skip: "Skipped layers", negative_prompt: "Negative prompt", output_format: "Format", output_quality: "Quality",
  embed_metadata: "Embed parameters", audio_output: "Sound", loras: "LoRAs",
};

/** "output_format" → "Format" */
export function label(name) {
  const words = name.replaceAll("_", " ");
  return LABELS[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** Return a value of a request as a line of text. */
export function shownValue(value) {
  if (Array.isArray(value)) return value.map((part) => (typeof part === "object" ? named(part) : String(part))).join(", ");
  if (value !== null && typeof value === "object") return Object.entries(value).map(([k, v]) => `${k} ${v}`).join(", ");
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

const named = (part) => [part.name ?? part.text ?? "image", part.weight].filter((text) => text !== undefined).join(" × ");
