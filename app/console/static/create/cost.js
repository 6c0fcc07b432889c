// What the job would cost now: its place, the seconds that it waits and computes.
import { post } from "../lib/api.js";
import { duration, moment } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { revision } from "../lib/jobs.js";
import { Icon } from "../lib/icons.js";

const PAUSE_MS = 350;
const AGAIN_MS = 5000;

/** Return the estimate of a body, which is asked for again when the body or the queue changes; null until it is known. */
export function useEstimate(body) {
  const [estimate, setEstimate] = useState(null);
  const text = body ? JSON.stringify(body) : "";
  const latest = useRef("");
  latest.current = text;
  useEffect(() => {
    if (!text) return undefined;
    const ask = async () => {
      try {
        const answer = await post("/v1/jobs/estimate", JSON.parse(text));
        if (latest.current === text) setEstimate(answer);
      } catch {
        if (latest.current === text) setEstimate(null);
      }
    };
    let changed = false;
    const soon = setTimeout(ask, PAUSE_MS);
    const often = setInterval(() => {
      if (changed && !document.hidden) ask();
      changed = false;
    }, AGAIN_MS);
    const stop = revision.subscribe(() => (changed = true));
    return () => { clearTimeout(soon); clearInterval(often); stop(); };
  }, [text]);
  return estimate;
}

/** `notBefore`: the time before which the job may not start, or null. */
export function Cost({ estimate, notBefore }) {
  if (notBefore) return html`<p class="cost"><${Icon} name="clock" /><span>Not before ${moment(notBefore)}</span></p>`;
  if (!estimate || estimate.starts_at_once === null) return html`<p class="cost">\u00a0</p>`;
  const { starts_at_once: now, position, eta_s } = estimate;
  return html`
    <p class="cost" aria-live="polite">
      <${Icon} name="clock" />
      <span>${now ? "Starts at once" : `Place ${position} in the queue`}${eta_s !== null ? `, done in about ${duration(eta_s)}` : ""}</span>
    </p>
  `;
}
