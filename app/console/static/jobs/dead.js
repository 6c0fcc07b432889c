// Dead letters: jobs whose workers died in every attempt. They can be sent again.
import { get } from "../lib/api.js";
import { count } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { connection } from "../lib/api.js";
import { useStore } from "../lib/store.js";
import { Icon } from "../lib/icons.js";
import { Button } from "../lib/ui.js";
import { openJob, retry } from "./actions.js";

export function DeadLetters() {
  const [letters, setLetters] = useState([]);
  const state = useStore(connection);
  const read = () => get("/v1/admin/dead").then((answer) => setLetters(answer.dead), () => {});
  useEffect(() => { read(); }, [state]);
  if (!letters.length) return null;
  const sendAll = async () => {
    for (const letter of letters) await retry(letter);
    await read();
  };
  return html`
    <details class="dead">
      <summary><${Icon} name="alert" /><span>${count(letters.length, "job")} failed because the workers died in every attempt</span></summary>
      <ul>${letters.map((letter) => html`
        <li class="row between" key=${letter.id}>
          <button type="button" class="link" onClick=${() => openJob(letter)}>${letter.id}</button>
          <span class="quiet grow">${letter.model}: ${letter.error?.message}</span>
          <${Button} kind="small" icon="again" onClick=${() => retry(letter).then(read)}>Send again</${Button}>
        </li>`)}</ul>
      ${letters.length > 1 && html`<${Button} kind="small" icon="again" onClick=${sendAll}>Send all again</${Button}>`}
    </details>
  `;
}
