// An input picture: dropped, pasted, chosen, or an output of a job.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Icon } from "../lib/icons.js";
import { Button, toast } from "../lib/ui.js";
import { pictureOf } from "./draft.js";

const ACCEPTED = {
  image: "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff",
  video: "video/mp4,video/webm,image/gif",
  audio: "audio/wav,audio/mpeg,audio/ogg,audio/mp4,audio/webm",
};

const WORDS = { image: "picture", video: "video", audio: "sound" };

/** A place for one picture, or another file by `media`. `pastes`: whether it takes what is pasted anywhere on the page. */
export function PictureInput({ label, picture, onChange, problem, pastes = false, field = "image", media = "image", children }) {
  const [isOver, setOver] = useState(false);
  const input = useRef(null);
  const take = async (files) => {
    const file = [...files].find((one) => one.type.startsWith(`${media}/`) || (media === "video" && one.type === "image/gif"));
    if (file) onChange(await pictureOf(file));
    else toast(`This is not a ${WORDS[media]}.`, "bad");
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
    <div class=${`field picture ${problem ? "wrong" : ""}`} data-field=${field} onDragOver=${over} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <div class="row between"><span class="label">${label}</span>
        ${picture && html`<div class="row">
          <${Button} kind="quiet small" icon="upload" onClick=${() => input.current.click()}>Replace</${Button}>
          <${Button} kind="quiet small" icon="close" label=${`Remove the ${WORDS[media]}`} onClick=${() => onChange(null)} />
        </div>`}
      </div>
      <input ref=${input} class="off-screen" type="file" accept=${ACCEPTED[media]} aria-label=${label} tabindex=${picture ? -1 : 0}
        onChange=${(event) => { take(event.target.files); event.target.value = ""; }} />
      ${picture ? children ?? (media === "image" ? html`<img class="chosen-picture" src=${picture.url} alt=${picture.name} />` : html`<p class="hint">${picture.name}</p>`)
        : html`<button type="button" class=${`drop ${isOver ? "over" : ""}`} onClick=${() => input.current.click()} tabindex="-1">
            <${Icon} name="upload" /><span>${media === "image" ? "Drop a picture, paste it, or choose a file" : `Drop a ${WORDS[media]}, or choose a file`}</span>
          </button>`}
      ${problem && html`<p class="field-problem">${problem}</p>`}
    </div>
  `;
}
