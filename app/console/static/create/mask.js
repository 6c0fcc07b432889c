// Paint the mask of inpaint over its picture: white is repainted.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Button } from "../lib/ui.js";

/** Longest side of the mask, pixels; the server scales it to the picture. */
const MAX_SIDE_PX = 1536;
const MAX_UNDO = 20;
const PAINT = "#ff3d6e";

/** `mask` is a data URL or null; `onChange` gets the new one after each stroke. */
export function MaskEditor({ picture, mask, onChange }) {
  const canvas = useRef(null);
  const [tool, setTool] = useState("brush");
  const [share, setShare] = useState(12);
  const [size, setSize] = useState(null);
  const undo = useRef([]);
  const last = useRef(null);
  const written = useRef(null);

  useEffect(() => {
    const image = new Image();
    image.onload = () => {
      const scale = Math.min(1, MAX_SIDE_PX / Math.max(image.naturalWidth, image.naturalHeight));
      setSize({ width: Math.max(1, Math.round(image.naturalWidth * scale)), height: Math.max(1, Math.round(image.naturalHeight * scale)) });
    };
    image.src = picture.url;
    undo.current = [];
  }, [picture.url]);
  useEffect(() => {
    if (size && mask !== written.current) draw(canvas.current, mask);
    written.current = mask;
  }, [size, mask]);

  const context = () => canvas.current.getContext("2d", { willReadFrequently: true });
  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * size.width, y: ((event.clientY - box.top) / box.height) * size.height };
  };
  const line = (from, to) => {
    const pen = context();
    pen.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    pen.strokeStyle = PAINT;
    pen.lineCap = "round";
    pen.lineJoin = "round";
    pen.lineWidth = (share / 100) * Math.min(size.width, size.height);
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.01, to.y);
    pen.stroke();
  };
  const begin = (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.current.setPointerCapture(event.pointerId);
    undo.current = [...undo.current.slice(1 - MAX_UNDO), context().getImageData(0, 0, size.width, size.height)];
    last.current = at(event);
    line(last.current, last.current);
  };
  const move = (event) => {
    if (!last.current) return;
    const next = at(event);
    line(last.current, next);
    last.current = next;
  };
  const end = () => {
    if (!last.current) return;
    last.current = null;
    publish();
  };
  const publish = () => {
    written.current = maskOf(canvas.current);
    onChange(written.current);
  };
  const takeBack = () => {
    const before = undo.current.pop();
    if (!before) return;
    context().putImageData(before, 0, 0);
    publish();
  };
  const clear = () => {
    undo.current = [...undo.current.slice(1 - MAX_UNDO), context().getImageData(0, 0, size.width, size.height)];
    context().clearRect(0, 0, size.width, size.height);
    publish();
  };
  const keys = (event) => {
    const key = event.key.toLowerCase();
    if (key === "b" || key === "e") setTool(key === "b" ? "brush" : "eraser");
    else if (key === "[" || key === "]") setShare(Math.min(60, Math.max(2, share + (key === "]" ? 3 : -3))));
    else if (key === "z" && (event.ctrlKey || event.metaKey)) takeBack();
    else return;
    event.preventDefault();
  };
  return html`
    <div class="mask" onKeyDown=${keys}>
      <div class="mask-stage">
        <img src=${picture.url} alt=${picture.name} draggable="false" />
        ${size && html`<canvas ref=${canvas} width=${size.width} height=${size.height} tabindex="0"
          aria-label="Mask: paint what is to be drawn anew. B brush, E eraser, [ and ] size, Ctrl+Z takes back."
          onPointerDown=${begin} onPointerMove=${move} onPointerUp=${end} onPointerCancel=${end}></canvas>`}
      </div>
      <div class="row wrap mask-tools">
        <${Button} kind=${tool === "brush" ? "small on" : "small"} icon="brush" aria-pressed=${tool === "brush"} onClick=${() => setTool("brush")}>Paint</${Button}>
        <${Button} kind=${tool === "eraser" ? "small on" : "small"} icon="eraser" aria-pressed=${tool === "eraser"} onClick=${() => setTool("eraser")}>Erase</${Button}>
        <label class="row brush-size"><span class="off-screen">Size of the brush</span>
          <input type="range" min="2" max="60" value=${share} onInput=${(event) => setShare(Number(event.target.value))} /></label>
        <${Button} kind="quiet small" icon="undo" label="Take back" onClick=${takeBack} />
        <${Button} kind="quiet small" icon="trash" label="Clear the mask" onClick=${clear} />
      </div>
      ${!mask && html`<p class="hint">Paint over what is to be drawn anew.</p>`}
    </div>
  `;
}

/** Show a mask on the canvas: its white becomes paint. */
function draw(canvas, mask) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.globalCompositeOperation = "source-over";
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!mask) return;
  const image = new Image();
  image.onload = () => {
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const data = pen.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.data.length; i += 4) data.data.set([255, 61, 110, data.data[i] > 127 ? 255 : 0], i);
    pen.putImageData(data, 0, 0);
  };
  image.src = mask;
}

/** Return the mask as a PNG: white where there is paint; null if there is none. */
function maskOf(canvas) {
  const { width, height } = canvas;
  const source = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
  let painted = false;
  for (let i = 0; i < source.data.length; i += 4) {
    const value = source.data[i + 3] > 127 ? 255 : 0;
    painted ||= value > 0;
    source.data.set([value, value, value, 255], i);
  }
  if (!painted) return null;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  copy.getContext("2d").putImageData(source, 0, 0);
  return copy.toDataURL("image/png");
}
