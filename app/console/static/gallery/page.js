// Gallery: the pictures and videos of all jobs that succeeded. Arrow keys move, Enter opens, Space chooses two to compare.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { isVideo, title } from "../lib/format.js";
import { Icon } from "../lib/icons.js";
import { go } from "../lib/router.js";
import { Button, Empty, Problem } from "../lib/ui.js";
import { Windowed } from "../lib/windowed.js";
import { Filters, SearchFurther, filterOf } from "../jobs/filters.js";
import { useJobs } from "../jobs/listing.js";
import { Thumbnail } from "../jobs/media.js";
import { openJob } from "../jobs/actions.js";
import { Compare } from "./compare.js";

const TILE_PX = 190;

export function GalleryPage({ query, caller }) {
  const filter = { ...filterOf(query), state: "succeeded" };
  const { jobs, more, error, busy, isTired } = useJobs(filter, (job) => job.outputs.length > 0 && !job.command && Date.parse(job.expires_at ?? "9999") > Date.now());
  const [width, setWidth] = useState(innerWidth);
  const [pair, setPair] = useState([]);
  const [isComparing, setComparing] = useState(false);
  const box = useRef(null);
  useEffect(() => {
    const measure = () => setWidth(box.current?.clientWidth ?? innerWidth);
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const columns = Math.max(2, Math.floor(width / TILE_PX));
  const side = Math.floor(width / columns);
  const items = jobs.flatMap((job) => job.outputs.map((output, index) => ({ job, output, index, id: `${job.id}/${index}` })));
  const chosen = pair.map((id) => items.find((item) => item.id === id)).filter(Boolean);
  const choose = (id) => setPair((known) => (known.includes(id) ? known.filter((one) => one !== id) : [...known.slice(-1), id]));
  const keys = (event) => {
    const tile = event.target.closest("[data-place]");
    if (!tile) return;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step) focus(Math.min(items.length - 1, Math.max(0, Number(tile.dataset.place) + step)), side, columns, box.current);
    else if (event.key === " ") choose(items[Number(tile.dataset.place)].id);
    else return;
    event.preventDefault();
  };
  const isFiltered = Object.values({ ...filterOf(query), state: "" }).some(Boolean);
  return html`
    <div class="page-head"><h1>Gallery</h1></div>
    <${Filters} page="gallery" query=${query} caller=${caller} states=${false} />
    ${error && html`<${Problem} error=${error} onRetry=${more} />`}
    <div class="gallery" ref=${box} onKeyDown=${keys}>
      ${items.length > 0 && html`<${Windowed} items=${items} height_px=${side} columns=${columns} onEnd=${more} label="Pictures"
        row=${(item, place) => html`<${Tile} key=${item.id} item=${item} place=${place} isChosen=${pair.includes(item.id)} onChoose=${choose} />`} />`}
    </div>
    <${SearchFurther} isTired=${isTired} more=${more} />
    ${!items.length && !error && !isTired && (busy ? html`<div class="card skeleton rows"></div>`
      : isFiltered ? html`<${Empty} icon="search" title="No picture matches"><button type="button" class="link" onClick=${() => go("gallery", {}, { replace: true })}>Show all pictures</button></${Empty}>`
        : html`<${Empty} icon="gallery" title="No pictures yet"><a href="#/create">Create the first one</a></${Empty}>`)}
    ${pair.length > 0 && html`<div class="card row chosen-bar">
      <span class="quiet" role="status">${chosen.length === 2 ? "Two chosen" : "Choose one more to compare"}</span>
      <${Button} icon="compare" kind="primary" disabled=${chosen.length !== 2} onClick=${() => setComparing(true)}>Compare</${Button}>
      <${Button} kind="quiet" icon="close" label="Choose none" onClick=${() => setPair([])} />
    </div>`}
    ${isComparing && chosen.length === 2 && html`<${Compare} pair=${chosen} onClose=${() => setComparing(false)} onSwap=${() => setPair(([a, b]) => [b, a])} />`}
  `;
}

function Tile({ item, place, isChosen, onChoose }) {
  const { job, output, index, id } = item;
  return html`
    <div class=${`tile ${isChosen ? "chosen" : ""}`} role="listitem">
      <button type="button" class="tile-open" data-place=${place} aria-label=${`${title(job)}, seed ${output.seed}`} onClick=${() => openJob(job, index)}>
        <${Thumbnail} job=${job} index=${index} />
        ${isVideo(output) && html`<span class="tile-mark"><${Icon} name="play" /></span>`}
      </button>
      <button type="button" class="tile-choose" aria-pressed=${isChosen} aria-label=${`Choose for comparison: ${title(job)}, seed ${output.seed}`} title="Compare" onClick=${() => onChoose(id)}>
        <${Icon} name=${isChosen ? "check" : "compare"} />
      </button>
    </div>
  `;
}

/** Move the focus to a tile, which may not exist before the page has scrolled. */
function focus(place, side, columns, box) {
  const find = () => box.querySelector(`[data-place="${place}"]`);
  const top = box.getBoundingClientRect().top + Math.floor(place / columns) * side;
  if (top < 0 || top + side > innerHeight) scrollBy(0, top - (innerHeight - side) / 2);
  if (find()) find().focus();
  else requestAnimationFrame(() => requestAnimationFrame(() => find()?.focus()));
}
