"use strict";
// The form of an endpoint, made from what the endpoint says about itself.

const base = document.body.dataset.base;
const endpoint = document.body.dataset.endpoint;
const POLL_MS = 300;
const IMPLICIT = ["key", "client_session_auth_key", "wait_for_result"];
const byId = (id) => document.getElementById(id);
let current = null;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function controlOf(name, spec) {
  const type = spec.type || "string";
  const shared = { id: `in-${name}`, name, required: spec.required };
  if (["integer", "int", "float"].includes(type)) {
    const step = spec.align || (type === "float" ? "any" : 1);
    const min = spec.minimum ?? spec.min, max = spec.maximum ?? spec.max;
    return element("input", { ...shared, type: "number", min, max, step, value: spec.default });
  }
  if (["bool", "boolean"].includes(type)) {
    return element("input", { ...shared, required: false, type: "checkbox", checked: spec.default === true });
  }
  if (type === "selection") {
    const options = spec.supported.map((one, index) =>
      element("option", { value: index, selected: one === spec.default }, String(one)));
    if (!spec.required && spec.default === undefined) options.unshift(element("option", { value: "" }, ""));
    return element("select", shared, ...options);
  }
  if (["image", "audio", "video"].includes(type)) {
    return element("input", { ...shared, type: "file", accept: `${type}/*` });
  }
  return element("textarea", { ...shared, maxlength: spec.max_length }, spec.default ?? "");
}

function hintOf(spec) {
  const parts = [spec.type || "string"];
  const min = spec.minimum ?? spec.min, max = spec.maximum ?? spec.max;
  if (min !== undefined || max !== undefined) parts.push(`${min ?? ""} … ${max ?? ""}`);
  if (spec.align) parts.push(`multiple of ${spec.align}`);
  if (spec.required) parts.push("required");
  return parts.join(", ");
}

function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function valueOf(name, spec) {
  const control = byId(`in-${name}`);
  if (control.type === "checkbox") return control.checked;
  if (control.type === "file") return control.files[0] ? readFile(control.files[0]) : undefined;
  if (control.value === "") return undefined;
  if (control.type === "number") return Number(control.value);
  if (control.tagName === "SELECT") return spec.supported[Number(control.value)];
  return control.value;
}

function shown(value) {
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value === "string" && value.startsWith("data:image/")) return [element("img", { src: value, alt: "result" })];
  if (typeof value === "string" && value.startsWith("data:video/")) return [element("video", { src: value, controls: true })];
  if (typeof value === "string" && value.startsWith("data:audio/")) return [element("audio", { src: value, controls: true })];
  return [typeof value === "object" ? JSON.stringify(value) : String(value)];
}

function list(values, names) {
  const rows = [];
  for (const name of names) {
    if (values[name] === undefined || values[name] === null) continue;
    rows.push(element("dt", {}, name), element("dd", {}, ...shown(values[name]).flat(9)));
  }
  return element("dl", {}, ...rows);
}

function say(text, isError = false) {
  byId("state").textContent = text;
  byId("state").className = isError ? "error" : "";
}

async function call(path, body) {
  const key = byId("key").value;
  const response = await fetch(`${base}/${endpoint}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(key ? { ...body, key } : body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error([].concat(answer.error ?? answer.message ?? response.status).join("\n"));
  return answer;
}

async function follow(jobId, outputs) {
  for (;;) {
    const answer = await call("/progress", { job_id: jobId });
    if (answer.job_state === "done") {
      byId("bar").value = 100;
      byId("preview").replaceChildren();
      const result = answer.job_result;
      byId("result").replaceChildren(list(result, Object.keys(outputs)));
      say(`Done in ${result.total_duration} s.`);
      return;
    }
    const now = answer.progress;
    byId("bar").value = now.progress;
    const place = answer.job_state === "queued" ? `, place ${now.queue_position}` : "";
    const estimate = now.estimate >= 0 ? `, about ${now.estimate} s` : ", no worker is online";
    say(`${answer.job_state}${place}${estimate}`);
    byId("preview").replaceChildren(list(now.progress_data, Object.keys(now.progress_data)));
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function main() {
  const description = await (await fetch(`${base}/api/endpoints/${endpoint}`)).json();
  const { input, output } = description.parameter_description;
  const names = Object.keys(input).filter((name) => !IMPLICIT.includes(name));
  byId("inputs").replaceChildren(...names.map((name) =>
    element("label", { for: `in-${name}` }, name, " ", element("small", {}, `(${hintOf(input[name])})`), controlOf(name, input[name]))));
  byId("cancel").addEventListener("click", () => current && call("/cancel", { job_id: current }).catch(() => {}));
  byId("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    byId("send").disabled = true;
    byId("bar").value = 0;
    byId("result").replaceChildren();
    say("sending …");
    try {
      const body = { wait_for_result: false };
      for (const name of names) body[name] = await valueOf(name, input[name]);
      current = (await call("", body)).job_id;
      byId("cancel").disabled = false;
      await follow(current, output);
    } catch (error) {
      say(error.message, true);
    } finally {
      current = null;
      byId("send").disabled = false;
      byId("cancel").disabled = true;
    }
  });
  byId("form").dataset.ready = "1";
}

main().catch((error) => say(error.message, true));
