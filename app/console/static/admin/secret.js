// A secret that is shown once.
import { html } from "../lib/html.js";
import { Button, copy } from "../lib/ui.js";

export const Secret = ({ name, text }) => html`
  <div class="secret"><span class="label">${name}</span>
    <div class="row"><code class="block grow">${text}</code><${Button} icon="copy" label=${`Copy: ${name}`} onClick=${() => copy(text)} /></div>
  </div>
`;
