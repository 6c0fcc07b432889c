// A list of which only the rows near the screen exist, so that thousands scroll smoothly.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";

const SPARE_ROWS = 6;

/**
 * Rows of equal height, in the scrolling of the page.
 * `row(item, index)` makes one; `onEnd` is called when the last rows come near.
 */
export function Windowed({ items, height_px, row, onEnd, columns = 1, label, role = "list" }) {
  const ref = useRef(null);
  const [range, setRange] = useState([0, 20]);
  const rows = Math.ceil(items.length / columns);
  const measure = () => {
    if (!ref.current) return;
    const top = ref.current.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height_px) - SPARE_ROWS);
    const last = Math.min(rows, Math.ceil((innerHeight - top) / height_px) + SPARE_ROWS);
    setRange((known) => (known[0] === first && known[1] === last ? known : [first, last]));
  };
  useLayoutEffect(measure, [items.length, columns, height_px]);
  useEffect(() => {
    let asked = false;
    const later = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; measure(); });
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => { removeEventListener("scroll", later); removeEventListener("resize", later); };
  }, [items.length, columns, height_px]);
  const [first, last] = range;
  useEffect(() => { if (last >= rows - SPARE_ROWS) onEnd?.(); }, [last, rows]);
  const shown = items.slice(first * columns, last * columns);
  return html`
    <div class="windowed" ref=${ref} role=${role} aria-label=${label} style=${{ height: `${rows * height_px}px` }}>
      <div class="window" style=${{ transform: `translateY(${first * height_px}px)`, "--columns": columns }}>
        ${shown.map((item, place) => row(item, first * columns + place))}
      </div>
    </div>
  `;
}
