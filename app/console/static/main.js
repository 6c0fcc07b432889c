// The shell: navigation, connection, who is logged in, and the page that the address names.
import { AdminPage } from "./admin/page.js";
import { CreatePage } from "./create/page.js";
import { FleetPage } from "./fleet/page.js";
import { GalleryPage } from "./gallery/page.js";
import { JobsPage } from "./jobs/page.js";
import { JobDetails } from "./jobs/details.js";
import { base, connection, readSession, remove, session } from "./lib/api.js";
import { follow, unfollow } from "./lib/events.js";
import { html, render, useEffect, useState } from "./lib/html.js";
import { Icon } from "./lib/icons.js";
import { forgetAll } from "./lib/jobs.js";
import { hrefOf, route } from "./lib/router.js";
import { useStore } from "./lib/store.js";
import { Button, Empty, Question, Toasts } from "./lib/ui.js";
import { Login } from "./login.js";

const PAGES = {
  create: { title: "Create", icon: "create", view: CreatePage },
  jobs: { title: "Jobs", icon: "jobs", view: JobsPage },
  gallery: { title: "Gallery", icon: "gallery", view: GalleryPage },
  fleet: { title: "Fleet", icon: "fleet", view: FleetPage },
  admin: { title: "Admin", icon: "admin", view: AdminPage, admin: true },
};
const THEMES = { auto: "As the system", light: "Light", dark: "Dark" };
const THEME_ICONS = { auto: "auto", light: "sun", dark: "moon" };

function ThemeSwitch() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? "auto");
  const next = { auto: "light", light: "dark", dark: "auto" }[theme];
  const change = () => {
    // theme.js reads this before the page is drawn, so it is plain text.
    if (next === "auto") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("framemill.theme");
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("framemill.theme", next);
    }
    setTheme(next);
  };
  return html`<${Button} kind="quiet" icon=${THEME_ICONS[theme]} label=${`Colours: ${THEMES[theme]}`} onClick=${change} />`;
}

function Connection() {
  const state = useStore(connection);
  const words = { live: "Connected", connecting: "Connecting…", lost: "No connection" }[state];
  return html`<span class=${`connection ${state}`} title=${words}><i></i><span>${words}</span></span>`;
}

function Navigation({ page, caller }) {
  const shown = Object.entries(PAGES).filter(([, one]) => !one.admin || caller.role === "admin");
  const logOut = async () => {
    await remove("/v1/session");
    session.set((known) => ({ ...known, caller: null }));
  };
  return html`
    <nav class="side" aria-label="Pages">
      <a class="brand" href="#/create" aria-label="Framemill"><img src=${document.querySelector("link[rel=icon]").href} alt="" /><span>Framemill</span></a>
      <ul>
        ${shown.map(([name, one]) => html`
          <li><a href=${hrefOf(name)} aria-label=${one.title} title=${one.title} aria-current=${page === name ? "page" : undefined}><${Icon} name=${one.icon} /><span>${one.title}</span></a></li>
        `)}
      </ul>
      <div class="side-end">
        <${Connection} />
        ${caller.service !== "-" && html`<span class="who" title=${caller.role}>${caller.service}</span>`}
        <div class="row">
          <${ThemeSwitch} />
          <a class="button quiet only-icon" href=${`${base}/docs`} aria-label="API documentation" title="API documentation"><${Icon} name="docs" /></a>
          ${caller.service !== "-" && html`<${Button} kind="quiet" icon="out" label="Log out" onClick=${logOut} />`}
        </div>
      </div>
    </nav>
  `;
}

function Shell({ caller }) {
  const { page, rest, query } = useStore(route);
  const state = useStore(connection);
  const shown = PAGES[page];
  useEffect(() => {
    document.title = shown ? `${shown.title} · Framemill` : "Framemill";
    document.querySelector("main")?.scrollTo(0, 0);
  }, [page]);
  const View = shown?.view;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <div class="shell">
      <${Navigation} page=${page} caller=${caller} />
      <main id="main" tabindex="-1">
        ${state === "lost" && html`<p class="banner" role="status"><${Icon} name="alert" />The server does not answer. This page connects again by itself; jobs go on meanwhile.</p>`}
        ${View ? html`<${View} key=${page} rest=${rest} query=${query} caller=${caller} />`
          : html`<${Empty} icon="search" title="There is no such page"><a href="#/create">Back to the start</a></${Empty}>`}
      </main>
    </div>
    ${query.job && html`<${JobDetails} key=${query.job} id=${query.job} />`}
    <${Toasts} /><${Question} />
  `;
}

function App() {
  const known = useStore(session);
  const caller = known?.caller;
  const [isAway, setAway] = useState(false);
  const start = () => readSession().then(() => setAway(false), () => { setAway(true); setTimeout(start, 2000); });
  useEffect(() => { start(); }, []);
  useEffect(() => {
    if (!caller) return undefined;
    follow();
    return () => { unfollow(); forgetAll(); };
  }, [caller?.service]);
  if (isAway && !known) return html`<main class="login"><${Empty} icon="alert" title="The server does not answer">This page tries again every two seconds.</${Empty}></main>`;
  if (!known) return null;
  return caller ? html`<${Shell} caller=${caller} />` : html`<${Login} />`;
}

render(html`<${App} />`, document.getElementById("app"));
