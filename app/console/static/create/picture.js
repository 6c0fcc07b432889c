// An input picture: dropped, pasted, chosen, or an output of a job.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Icon } from "../lib/icons.js";
import { Button, toast } from "../lib/ui.js";
import { pictureOf } from "./draft.js";

const TYPES = "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff";

/** A place for one picture. `pastes`: whether it takes what is pasted anywhere on the page. */
export function PictureInput({ label, picture, onChange, problem, pastes = false, children }) {
  const [isOver, setOver] = useState(false);
  const input = useRef(null);
  const take = async (files) => {
    const file = [...files].find((one) => one.type.startsWith("image/"));
    if (file) onChange(await pictureOf(file));
    else toast("This is not a picture.", "bad");
  };
  useEffect(() => {
    if (!pastes) return undefined;
    const paste = (event) => event.clipboardData?.files.length && take(event.clipboardData.files);
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, [pastes]);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  };
  const over = (event) => {
    event.preventDefault();
    setOver(true);
  };
  return html`
    <div class=${`field picture ${problem ? "wrong" : ""}`} data-field="image" onDragOver=${over} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <div class="row between"><span class="label">${label}</span>
        ${picture && html`<div class="row">
          <${Button} kind="quiet small" icon="upload" onClick=${() => input.current.click()}>Replace</${Button}>
          <${Button} kind="quiet small" icon="close" label="Remove the picture" onClick=${() => onChange(null)} />
        </div>`}
      </div>
      <input ref=${input} class="off-screen" type="file" accept=${TYPES} aria-label=${label} tabindex=${picture ? -1 : 0}
        onChange=${(event) => { take(event.target.files); event.target.value = ""; }} />
      ${picture ? children ?? html`<img class="chosen-picture" src=${picture.url} alt=${picture.name} />`
        : html`<button type="button" class=${`drop ${isOver ? "over" : ""}`} onClick=${() => input.current.click()} tabindex="-1">
            <${Icon} name="upload" /><span>Drop a picture, paste it, or choose a file</span>
          </button>`}
      ${problem && html`<p class="field-problem">${problem}</p>`}
    </div>
  `;
}
