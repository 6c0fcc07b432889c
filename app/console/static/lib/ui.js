// Parts that every page uses.
import { html, useEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { createStore, useStore } from "./store.js";

/** A button; `onClick` may return a promise, during which the button is busy. */
export function Button({ icon, children, onClick, kind = "", label, busy, ...rest }) {
  const [isBusy, setBusy] = useState(false);
  const alive = useRef(true);
  useEffect(() => () => (alive.current = false), []);
  const click = async (event) => {
    setBusy(true);
    try {
      await onClick?.(event);
    } catch (error) {
      toast(error.message, "bad");
    } finally {
      if (alive.current) setBusy(false);
    }
  };
  return html`
    <button type="button" class=${`button ${kind} ${children ? "" : "only-icon"}`} onClick=${click} aria-label=${label} title=${label}
      disabled=${isBusy || busy} ...${rest}>
      ${icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}
    </button>
  `;
}

/** What a list shows when it has nothing to show. */
export const Empty = ({ icon, title, children }) => html`
  <div class="empty"><${Icon} name=${icon} /><h2>${title}</h2><p>${children}</p></div>
`;

/** A message over the page. */
export const Problem = ({ error, onRetry }) => html`
  <div class="problem" role="alert">
    <${Icon} name="alert" /><p>${error.message}</p>
    ${onRetry && html`<${Button} onClick=${onRetry}>Try again</${Button}>`}
  </div>
`;

const toasts = createStore([]);

/** Show a short message for a few seconds. */
export function toast(text, kind = "") {
  const entry = { text, kind };
  toasts.set((shown) => [...shown.slice(-2), entry]);
  setTimeout(() => toasts.set((shown) => shown.filter((one) => one !== entry)), kind === "bad" ? 8000 : 4000);
}

export function Toasts() {
  const shown = useStore(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown.map(({ text, kind }) => html`<p class=${`toast ${kind}`}>${text}</p>`)}
  </div>`;
}

/** A window over the page; Escape and a click beside it close it. */
export function Dialog({ title, onClose, children, wide = false, actions }) {
  const ref = useRef(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog.showModal();
    dialog.querySelector(".dialog-body :is(input, select, textarea)")?.focus();
    return () => dialog.close();
  }, []);
  return html`
    <dialog ref=${ref} class=${wide ? "wide" : ""} aria-label=${title}
      onCancel=${(event) => { event.preventDefault(); onClose(); }}
      onClick=${(event) => event.target === ref.current && onClose()}>
      <div class="dialog">
        <header><h2>${title}</h2><div class="row">${actions}<${Button} icon="close" label="Close" kind="quiet" onClick=${onClose} /></div></header>
        <div class="dialog-body">${children}</div>
      </div>
    </dialog>
  `;
}

const question = createStore(null);

/** Ask before something that cannot be undone. Returns a promise of true or false. */
export const confirmed = (title, text, action) => new Promise((answer) => question.set({ title, text, action, answer }));

export function Question() {
  const asked = useStore(question);
  if (!asked) return null;
  const close = (yes) => { question.set(null); asked.answer(yes); };
  return html`
    <${Dialog} title=${asked.title} onClose=${() => close(false)}>
      <p>${asked.text}</p>
      <div class="row end"><${Button} onClick=${() => close(false)}>Keep</${Button}><${Button} kind="danger" onClick=${() => close(true)}>${asked.action}</${Button}></div>
    </${Dialog}>
  `;
}

/** A labelled field with its problem beside it. */
export function Field({ name, label, hint, problem, children, inline = false }) {
  const id = `f-${name}`;
  return html`
    <div class=${`field ${inline ? "inline" : ""} ${problem ? "wrong" : ""}`} data-field=${name}>
      <label for=${id}>${label}</label>
      ${children(id, problem ? `${id}-problem` : hint ? `${id}-hint` : undefined)}
      ${problem ? html`<p class="field-problem" id=${`${id}-problem`}>${problem}</p>` : hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    </div>
  `;
}

/** Copy a text; pages over plain HTTP have no clipboard API. */
export async function copy(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "off-screen" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied");
}
