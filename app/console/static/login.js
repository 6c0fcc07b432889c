// Log in with an API key. The key is sent once; the browser keeps a cookie that scripts cannot read.
import { post, session } from "./lib/api.js";
import { html, useState } from "./lib/html.js";
import { Field } from "./lib/ui.js";

export function Login() {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event) => {
    event.preventDefault();
    if (!key.trim()) {
      setProblem("Enter a key.");
      return;
    }
    setBusy(true);
    try {
      session.set(await post("/v1/session", { key: key.trim() }));
    } catch (error) {
      setProblem(error.status === 401 ? "This key is unknown. It may have been revoked." : error.message);
      setBusy(false);
    }
  };
  return html`
    <main class="login">
      <form onSubmit=${send} novalidate>
        <img src=${document.querySelector("link[rel=icon]").href} alt="" width="48" height="48" />
        <h1>Framemill</h1>
        <p class="quiet">Log in with an API key of this server.</p>
        <${Field} name="key" label="API key" problem=${problem}>
          ${(id, described) => html`<input id=${id} type="password" autocomplete="current-password" autofocus spellcheck="false"
            value=${key} aria-invalid=${problem ? "true" : undefined} aria-describedby=${described}
            onInput=${(event) => { setKey(event.target.value); setProblem(""); }} />`}
        </${Field}>
        <button class="button primary wide" disabled=${busy}><span>${busy ? "Logging in…" : "Log in"}</span></button>
      </form>
    </main>
  `;
}
