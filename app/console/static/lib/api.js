// Calls of the native API. The session cookie authenticates them; the page never holds a key.
import { createStore } from "./store.js";

export const base = document.body.dataset.base;

/** Who is logged in: `undefined` until it is known, `null` for nobody. */
export const session = createStore(undefined);
/** Whether the server answers: "live", "connecting" or "lost". */
export const connection = createStore("connecting");

/** A response that is an error, or no response at all (status 0). */
export class ApiError extends Error {
  constructor(status, error, retry_after_s = 0) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.fields = error.fields ?? [];
    this.retry_after_s = retry_after_s;
  }
}

/** Call a route and return its JSON. Throws ApiError. */
export async function call(method, path, body, headers = {}) {
  let response;
  try {
    response = await fetch(base + path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, { code: "offline", message: "The server does not answer." });
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && path !== "/v1/session") session.set((known) => known && { ...known, caller: null });
  const error = answer.error ?? { code: `http_${response.status}`, message: `The server answered ${response.status}.` };
  throw new ApiError(response.status, error, Number(response.headers.get("Retry-After")) || 0);
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}, headers = {}) => call("POST", path, body, headers);
export const put = (path, body = {}) => call("PUT", path, body);
export const remove = (path) => call("DELETE", path);

/** Return a random text. crypto.randomUUID is not available to pages over plain HTTP. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Addresses of a job's files: routes of this server, whatever the object store is. */
export const files = {
  result: (job, index = 0) => `${base}/v1/jobs/${job.id}/result?index=${index}`,
  thumbnail(job, index = 0) {
    const output = job.outputs[index];
    if (output.thumbnail_url) return `${base}/v1/jobs/${job.id}/thumbnail?index=${index}`;
    return output.media_type.startsWith("image/") ? files.result(job, index) : null;
  },
  poster: (job, index = 0) =>
    job.outputs[index].poster_url ? `${base}/v1/jobs/${job.id}/poster?index=${index}` : undefined,
  preview: (job) => `${base}/v1/jobs/${job.id}/preview?step=${job.preview.step}`,
  input: (job, name) => `${base}/v1/jobs/${job.id}/inputs/${name}`,
};

export const isAdmin = () => session.get()?.caller?.role === "admin";

/** Ask who is logged in. */
export async function readSession() {
  session.set(await get("/v1/session"));
}
