// The prompt, with the earlier ones: in a list, or by Alt and the arrow keys.
import { html, useRef, useState } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { Button, Dialog, Field } from "../lib/ui.js";
import { forgetPrompts, prompts } from "./draft.js";

export function PromptField({ value, onChange, onSend, problem }) {
  const known = useStore(prompts);
  const [isOpen, setOpen] = useState(false);
  const place = useRef(-1);
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      onSend();
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown") && known.length) {
      event.preventDefault();
      place.current = Math.min(known.length - 1, Math.max(0, place.current + (event.key === "ArrowUp" ? 1 : -1)));
      onChange(known[place.current]);
    }
  };
  return html`
    <div class="prompt">
      <${Field} name="prompt" label="Prompt" problem=${problem}>
        ${(id, described) => html`<textarea id=${id} rows="4" value=${value ?? ""} placeholder="What should the picture show?"
          aria-invalid=${problem ? "true" : undefined} aria-describedby=${described}
          onKeyDown=${keys} onInput=${(event) => { place.current = -1; onChange(event.target.value); }}></textarea>`}
      </${Field}>
      ${known.length > 0 && html`<${Button} kind="quiet small" icon="history" label="Earlier prompts (Alt+↑)" onClick=${() => setOpen(true)} />`}
      ${isOpen && html`<${History} onClose=${() => setOpen(false)} onChoose=${(text) => { onChange(text); setOpen(false); }} />`}
    </div>
  `;
}

function History({ onClose, onChoose }) {
  const known = useStore(prompts);
  const [text, setText] = useState("");
  const found = known.filter((one) => one.toLowerCase().includes(text.toLowerCase()));
  const clear = () => { forgetPrompts(); onClose(); };
  return html`
    <${Dialog} title="Earlier prompts" onClose=${onClose}>
      <input type="search" placeholder="Search" aria-label="Search the prompts" value=${text} onInput=${(event) => setText(event.target.value)} />
      <ul class="prompt-list">
        ${found.map((one) => html`<li><button type="button" onClick=${() => onChoose(one)}>${one}</button></li>`)}
        ${!found.length && html`<li class="quiet">No prompt has these words.</li>`}
      </ul>
      <div class="row between"><p class="hint">They are kept in this browser only.</p><${Button} kind="quiet small" onClick=${clear}>Forget all</${Button}></div>
    </${Dialog}>
  `;
}
