/** The page of one job; follows the job's events until it ends. */

import { Problem, call } from "./api.js";
import { Deliveries } from "./deliveries.js";
import { announce, byId, duration, el, ended, say, statusMark, title } from "./dom.js";
import { follow as followEvents } from "./events.js";
import { itemView } from "./item.js";

// A batch sends ten progress events a second; its items are read once in this time.
const ITEMS_MS = 1000;

let open = null;

/** Show a job in place of the list. */
export async function openJob(id) {
  closeJob();
  const page = byId("job");
  const mine = { id, items: new Map(), events: null, timer: 0, status: null, deliveries: new Deliveries({ job_id: id }, null) };
  open = mine;
  page.replaceChildren(el("p", { class: "hint", text: "Loading…" }));
  try {
    const job = await call(`/v1/jobs/${encodeURIComponent(id)}`);
    if (open !== mine) return;
    build(mine, page);
    show(mine, job);
    mine.deliveries.start();
    if (!ended(job.status)) follow(mine, job);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (open === mine) page.replaceChildren(back(), el("h2", { id: "job-title", text: "Job" }), el("p", { class: "error box", role: "alert", text: problem.message }));
  }
  page.querySelector(".back")?.focus({ preventScroll: true });
}

/** Leave the page. */
export function closeJob() {
  open?.events?.close();
  open?.deliveries.stop();
  clearTimeout(open?.timer);
  open = null;
}

const back = () => el("a", { class: "back", href: "#/", text: "All jobs" });

function build(mine, page) {
  mine.title = el("h2", { id: "job-title" });
  mine.mark = el("span");
  mine.cancel = el("button", { type: "button", class: "quiet", text: "Cancel job", on: { click: () => cancel(mine) } });
  mine.error = el("p", { class: "error box", role: "alert", hidden: true });
  mine.facts = el("dl", { class: "properties" });
  mine.progress = el("progress", { "aria-label": "Images done", hidden: true });
  mine.list = el("div", { class: "items" });
  page.replaceChildren(
    back(),
    el("div", { class: "panel-head" }, mine.title, mine.mark, mine.cancel),
    mine.error, mine.progress, mine.list, mine.facts, mine.deliveries.element,
  );
}

function show(mine, job) {
  mine.title.textContent = title(job.operation);
  progress(mine, job);
  say(mine.error, job.items.length > 1 ? job.error?.message : null);
  mine.facts.replaceChildren(...facts(job).flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
  for (const item of job.items) {
    const shown = JSON.stringify(item);
    const before = mine.items.get(item.index);
    if (before?.shown === shown) continue;
    const element = itemView(job, item);
    if (before) before.element.replaceWith(element);
    else mine.list.append(element);
    mine.items.set(item.index, { shown, element });
  }
}

function progress(mine, { status, progress: counts }) {
  mine.mark.replaceChildren(statusMark(status));
  mine.cancel.hidden = ended(status);
  mine.progress.hidden = counts.total === 1 || ended(status);
  mine.progress.max = counts.total;
  mine.progress.value = counts.processed;
  if (mine.status !== null && mine.status !== status) announce(`The job is ${status}.`);
  mine.status = status;
}

function facts(job) {
  const time = (text) => new Date(text).toLocaleString();
  const model = job.model?.name;
  const options = Object.entries(job.params).filter(([, value]) => value !== null);
  return [
    ["Id", job.id],
    ["Priority", job.priority],
    ["Images", job.progress.total > 1 ? `${job.progress.processed} of ${job.progress.total}, ${job.progress.failed} failed` : null],
    ["Created", time(job.created_at)],
    ["Took", job.finished_at ? duration(Date.parse(job.finished_at) - Date.parse(job.created_at)) : null],
    ["Attempts", job.attempts > 1 ? job.attempts : null],
    ["Model", model ? [model, job.model.precision, job.model.provider].filter(Boolean).join(", ") : null],
    ["Template", job.template],
    ["Came by", job.dialect],
    ["Steps", job.operations?.map(({ operation }) => operation).join(", ")],
    ["Options", options.length ? options.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", ") : null],
    ["Metadata", Object.keys(job.metadata).length ? JSON.stringify(job.metadata) : null],
  ].filter(([, value]) => value !== null && value !== undefined);
}

function follow(mine, job) {
  const whole = (data) => {
    if (open !== mine) return;
    const now = JSON.parse(data);
    show(mine, now);
    if (ended(now.status)) mine.events.close();
  };
  mine.events = followEvents(job.links.events, {
    status: whole,
    finished: whole,
    progress(data) {
      if (open !== mine) return;
      progress(mine, JSON.parse(data));
      mine.timer ||= setTimeout(() => readItems(mine), ITEMS_MS);
    },
  });
}

async function readItems(mine) {
  mine.timer = 0;
  try {
    const job = await call(`/v1/jobs/${encodeURIComponent(mine.id)}`);
    if (open === mine) show(mine, job);
  } catch (problem) {
    // The events go on, or they connect again; the next one reads the items again.
    if (!(problem instanceof Problem)) throw problem;
    say(mine.error, problem.message);
  }
}

async function cancel(mine) {
  mine.cancel.disabled = true;
  try {
    show(mine, await call(`/v1/jobs/${encodeURIComponent(mine.id)}/cancel`, { method: "POST" }));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(mine.error, problem.message);
  } finally {
    mine.cancel.disabled = false;
  }
}
