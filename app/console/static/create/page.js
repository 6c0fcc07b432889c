// Create: the form, and the newest jobs beside it.
import { html, useEffect, useState } from "../lib/html.js";
import { revision, select } from "../lib/jobs.js";
import { JobCard } from "../jobs/card.js";
import { hrefOf } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { connection } from "../lib/api.js";
import { Empty, Problem } from "../lib/ui.js";
import { models, readModels } from "./draft.js";
import { Form } from "./form.js";

const NEWEST = 12;

export function CreatePage({ caller }) {
  const known = useStore(models);
  const [error, setError] = useState(null);
  const read = () => readModels().then(() => setError(null), setError);
  useEffect(() => { read(); }, []);
  if (!known) return error ? html`<${Problem} error=${error} onRetry=${read} />` : html`<div class="create"><div class="card skeleton tall"></div><div></div></div>`;
  if (!known.length) return html`<${Empty} icon="create" title="This server has no models">Add one to <code>models.toml</code> and restart it.</${Empty}>`;
  return html`
    <div class="create">
      <h1 class="off-screen">Create</h1>
      <${Form} />
      <${Newest} caller=${caller} />
    </div>
  `;
}

function Newest({ caller }) {
  useStore(revision);
  const state = useStore(connection);
  const jobs = select((job) => !job.command && (!job.key || job.key === caller.service)).slice(0, NEWEST);
  if (!jobs.length && state === "live") {
    return html`<section class="newest"><${Empty} icon="create" title="Your pictures appear here">Write what you want to see, then press <b>Create</b>.</${Empty}></section>`;
  }
  return html`
    <section class="newest" aria-label="Newest jobs">
      ${jobs.map((job) => html`<${JobCard} key=${job.id} id=${job.id} />`)}
      ${jobs.length === NEWEST && html`<p><a href=${hrefOf("jobs")}>All jobs</a></p>`}
    </section>
  `;
}
