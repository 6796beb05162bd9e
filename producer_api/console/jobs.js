/** The list of jobs, newest first; polls while the page is visible. */

import { Problem, call, pictureAddress, release } from "./api.js";
import { ago, byId, duration, el, ended, say, statusMark, title, whenNear } from "./dom.js";

const PAGE = 20;
const MOST = 100;
const ACTIVE_MS = 1000;
const IDLE_MS = 4000;
// Largest picture that is loaded whole for its thumbnail.
const THUMBNAIL_BYTES = 1_500_000;

const rows = new Map();
let limit = PAGE;
let timer = 0;
let asked = 0;

/** Set the list up, and start to poll. */
export function startJobs() {
  byId("status").addEventListener("change", () => {
    limit = PAGE;
    refreshJobs();
  });
  byId("more").addEventListener("click", () => {
    limit = Math.min(MOST, limit + PAGE);
    refreshJobs();
  });
  document.addEventListener("visibilitychange", refreshJobs);
  refreshJobs();
}

/** Read the list now, and again after 1 s while jobs run, after 4 s otherwise. */
export async function refreshJobs() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = ++asked;
  let wait = IDLE_MS;
  try {
    const status = byId("status").value;
    const query = new URLSearchParams({ limit, ...(status && { status }) });
    const found = await call(`/v1/jobs?${query}`);
    // A later request is in flight: show its answer, not this one.
    if (mine !== asked) return;
    say(byId("jobs-error"), null);
    show(found);
    if (found.jobs.some((job) => !ended(job.status))) wait = ACTIVE_MS;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(byId("jobs-error"), problem.message);
  }
  if (mine === asked) timer = setTimeout(refreshJobs, wait);
}

function show({ jobs, next_cursor: more }) {
  const list = byId("list");
  const listed = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) {
    if (listed.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  jobs.forEach((job, position) => {
    const row = rows.get(job.id) ?? newRow(job.id);
    update(row, job);
    // A moved element loses the keyboard focus, so those that are in place stay.
    if (list.children[position] !== row) list.insertBefore(row, list.children[position] ?? null);
  });
  byId("more").hidden = !more || limit >= MOST;
  const filtered = byId("status").value !== "";
  say(byId("empty"), jobs.length ? null : filtered ? "No such jobs." : "No jobs yet. Start one with a picture.");
}

function newRow(id) {
  const row = el("li", {}, el("a", { href: `#/jobs/${id}` }));
  rows.set(id, row);
  return row;
}

function update(row, job) {
  const shown = JSON.stringify([job.status, job.progress, job.finished_at]);
  if (row.dataset.shown !== shown) {
    row.dataset.shown = shown;
    row.firstChild.replaceChildren(thumbnail(job), names(job), facts(job));
  }
  const time = row.querySelector("time");
  time.textContent = ago(job.created_at);
  time.title = new Date(job.created_at).toLocaleString();
}

function thumbnail(job) {
  const box = el("span", { class: "thumb", "aria-hidden": "true" });
  const item = job.items.find(({ result }) => result?.content_type?.startsWith("image/"));
  if (item && item.result.bytes <= THUMBNAIL_BYTES) {
    box.classList.add("checker");
    const picture = el("img", { alt: "", loading: "lazy", decoding: "async" });
    box.append(picture);
    whenNear(box, () => load(picture, item.links.result));
  } else box.textContent = job.operation.charAt(0).toUpperCase();
  return box;
}

async function load(picture, path) {
  const address = await pictureAddress(path);
  if (address === null) return;
  picture.addEventListener("load", () => release(address));
  picture.src = address;
}

function names(job) {
  const [first] = job.items;
  const files = first?.filename ?? "";
  const others = job.items.length > 1 ? ` and ${job.items.length - 1} more` : "";
  return el("span", { class: "names" },
    el("strong", { text: title(job.operation) }),
    el("span", { class: "hint", text: files ? files + others : job.id }));
}

function facts(job) {
  const { total, processed, failed } = job.progress;
  const parts = el("span", { class: "facts" }, statusMark(job.status));
  if (total > 1 && !ended(job.status)) parts.append(el("progress", { value: processed, max: total, "aria-label": `${processed} of ${total} done` }));
  const detail = [];
  if (failed && failed < total) detail.push(`${failed} failed`);
  if (job.finished_at) detail.push(duration(Date.parse(job.finished_at) - Date.parse(job.created_at)));
  else if (total > 1) detail.push(`${processed} of ${total}`);
  parts.append(el("span", { class: "hint" }, detail.length ? `${detail.join(", ")} · ` : "", el("time", { datetime: job.created_at })));
  return parts;
}
