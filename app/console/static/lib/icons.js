// Line icons on a grid of 24.
import { html } from "./html.js";

const PATHS = {
  create: "M12 3v4M12 17v4M3 12h4M17 12h4M6.3 6.3l2 2M15.7 15.7l2 2M17.7 6.3l-2 2M8.3 15.7l-2 2",
  jobs: "M4 6h16M4 12h16M4 18h10",
  gallery: "M4 5h16v14H4zM4 16l5-5 4 4 2.5-2.5L20 17M15.5 9.5h.01",
  fleet: "M4 5h16v6H4zM4 13h16v6H4zM7.5 8h.01M7.5 16h.01M11 8h6M11 16h6",
  admin: "M15 7a3 3 0 1 1-2.8 4L9 14.2V17H6.5v2.5H4V17l5.8-5.8A3 3 0 0 1 15 7zM15.5 9.5h.01",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  moon: "M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  stop: "M7 7h10v10H7z",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M15 9h.01M9 15h.01M12 12h.01",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  input: "M14 5h5v14h-5M4 12h10M10.5 8.5L14 12l-3.5 3.5",
  download: "M12 4v11M7.5 11L12 15.5 16.5 11M5 20h14",
  trash: "M5 7h14M9.5 7V4.5h5V7M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  close: "M6 6l12 12M18 6L6 18",
  code: "M9 8l-4 4 4 4M15 8l4 4-4 4",
  front: "M12 20V7M6.5 12.5L12 7l5.5 5.5M5 4h14",
  history: "M4 12a8 8 0 1 0 2.5-5.8L4 8.5M4 4v4.5h4.5M12 8v4.5l3 2",
  plus: "M12 5v14M5 12h14",
  brush: "M19 4l-8.5 9M10.5 13c2 .5 3 2 2 4s-4.5 3-8 2c2-1 1.5-2.5 2-4s2-2.5 4-2z",
  eraser: "M8 19h11M5 15l8.5-9.5 5.5 5L11 19H8z",
  undo: "M8 5L4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11H9",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 4l9 16H3zM12 10v4M12 17h.01",
  upload: "M12 16V5M7.5 9L12 4.5 16.5 9M5 20h14",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.5L20 20",
  pause: "M8 6v12M16 6v12",
  play: "M8 5l11 7-11 7z",
  pin: "M12 15v6M8 4h8l-1 6 2.5 3v2H6.5v-2L9 10z",
  unpin: "M12 15v6M8 4h8l-1 6 2.5 3v2H6.5v-2L9 10zM4 4l16 16",
  compare: "M4 6h7v12H4zM13 6h7v12h-7z",
  out: "M10 5H5v14h5M10 12h10M16 8l4 4-4 4",
  docs: "M6 3h9l4 4v14H6zM14.5 3v4.5H19M9 12h7M9 16h7",
  send: "M4 12l16-8-6 16-3-6.5z",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.5l3 2",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>
`;
