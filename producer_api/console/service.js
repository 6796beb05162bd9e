/** The state of the service: queues, rates, lag and workers. */

import { Problem, call } from "./api.js";
import { byId, duration, el } from "./dom.js";

const INTERVAL_MS = 3000;

let timer = 0;

/** Show the state, and poll while the page is visible. */
export function startService() {
  document.addEventListener("visibilitychange", refresh);
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const [stats, workers] = await Promise.all([call("/v1/stats"), readWorkers()]);
    health(stats);
    byId("service-facts").replaceChildren(counts(stats), queues(stats), workerList(workers));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    mark("failed", problem.status === 403 ? "Not shown to this key" : "Not reached");
  }
  timer = setTimeout(refresh, INTERVAL_MS);
}

/** Return the workers, null if the key may not read them. */
async function readWorkers() {
  try {
    return (await call("/v1/workers")).workers;
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 403) return null;
    throw problem;
  }
}

function health({ current, workers }) {
  if (!current) mark("failed", "Broker not reached");
  else if (!workers.alive) mark("cancelled", "No worker");
  else mark("succeeded", "Ready");
}

function mark(kind, words) {
  const element = byId("health");
  // Screen readers read a replaced text out again, even if it is the same.
  if (element.textContent === words) return;
  element.replaceChildren(el("span", { class: `status ${kind}`, text: words }));
}

function counts({ jobs, rates, oldest_queued_age_s: oldest }) {
  const facts = [
    ["Queued", jobs.by_status.queued],
    ["Running", jobs.by_status.running],
    ["Ended a minute", Math.round(rates.ended_per_s * 60)],
    ["Oldest waits", oldest === null ? "–" : duration(oldest * 1000)],
  ];
  return el("dl", { class: "tiles" }, ...facts.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value }))));
}

function queues({ jobs, lag }) {
  const heads = ["Queue", "Queued", "Running", "Lag"];
  const rows = Object.entries(jobs.by_priority).map(([priority, states]) => [
    priority, states.queued, states.running, lag?.[priority] ?? "–",
  ]);
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })))),
    el("tbody", {}, ...rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row", text: name }), ...cells.map((text) => el("td", { text }))))));
}

function workerList(workers) {
  if (workers === null) return el("p", { class: "hint", text: "This key may not read the workers (scope models)." });
  if (!workers.length) return el("p", { class: "hint", text: "No worker has reported." });
  return el("ul", { class: "workers", "aria-label": "Workers" }, ...workers.map((worker) => {
    const { worker_id: id, slots = 0, busy = 0, alive, version, age_s: age } = worker;
    const words = alive ? `${busy} of ${slots} slots busy` : `silent for ${duration(age * 1000)}`;
    return el("li", {},
      el("span", { class: `status ${alive ? "succeeded" : "failed"}`, text: id }),
      el("span", { class: "hint", text: words, title: version ? `version ${version}` : null }),
      el("progress", { max: Math.max(slots, 1), value: alive ? busy : 0, "aria-label": words }));
  }));
}
