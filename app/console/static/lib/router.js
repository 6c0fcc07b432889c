// The page that the address names: #/jobs?state=failed
import { createStore } from "./store.js";

function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page: page || "create", rest: rest.map(decodeURIComponent), query: Object.fromEntries(new URLSearchParams(query)) };
}

export const route = createStore(parse());
addEventListener("hashchange", () => route.set(parse()));

/** Return the address of a page. Empty values are left out. */
export function hrefOf(page, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const text = new URLSearchParams(kept).toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

/** Go to a page; `replace` leaves no step in the history of the browser. */
export function go(page, query = {}, { replace = false } = {}) {
  const href = hrefOf(page, query);
  if (href === location.hash) return;
  if (replace) {
    history.replaceState(null, "", href);
    route.set(parse());
  } else location.hash = href;
}
