// The models: where they are in memory, and commands for admins.
import { models, readModels } from "../create/draft.js";
import { isAdmin } from "../lib/api.js";
import { KINDS, bytes } from "../lib/format.js";
import { html } from "../lib/html.js";
import { useInterval, useStore } from "../lib/store.js";
import { Button } from "../lib/ui.js";
import { command } from "./slot.js";

const READ_MS = 5000;

export function Models() {
  const known = useStore(models);
  const read = () => readModels().catch(() => {});
  useInterval(read, READ_MS);
  if (!known?.length) return null;
  const act = (model, name) => command(model.name, name).then(read);
  return html`
    <section class="models"><h2>Models</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Models and where they are in memory"><table>
        <thead><tr><th scope="col">Model</th><th scope="col">Makes</th><th scope="col">In memory</th>${isAdmin() && html`<th scope="col"><span class="off-screen">Commands</span></th>`}</tr></thead>
        <tbody>${known.map((model) => html`
          <tr key=${model.name}>
            <th scope="row"><b>${model.name}</b><p class="hint">${model.description}</p></th>
            <td>${model.kinds.map((kind) => KINDS[kind]).join(", ")}</td>
            <td>${(model.memory ?? []).map((copy) => `${copy.slot}${copy.bytes ? ` (${bytes(copy.bytes)})` : ""}${copy.place === "device" ? "" : ` ${copy.place}`}`).join(", ") || html`<span class="quiet">–</span>`}
              ${model.pinned?.length > 0 && html`<span class="quiet"> · pinned on ${model.pinned.join(", ")}</span>`}</td>
            ${isAdmin() && html`<td class="commands">${model.loadable && html`
              <${Button} kind="quiet small" onClick=${() => act(model, "load")}>Load</${Button}>
              ${model.pinned?.length ? html`<${Button} kind="quiet small" onClick=${() => act(model, "unpin")}>Unpin</${Button}>` : html`<${Button} kind="quiet small" onClick=${() => act(model, "pin")}>Pin</${Button}>`}
              ${(model.memory ?? []).length > 0 && html`<${Button} kind="quiet small" onClick=${() => act(model, "unload")}>Unload</${Button}>`}
              <${Button} kind="quiet small" onClick=${() => act(model, "check")}>Check</${Button}>
            `}</td>`}
          </tr>`)}
        </tbody>
      </table></div>
    </section>
  `;
}
