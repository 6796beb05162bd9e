/** Webhook deliveries with their attempts: on the page of a job, and of an endpoint. */

import { Problem, call } from "./api.js";
import { ago, announce, duration, el, say, statusMark } from "./dom.js";

const PAGE = 20;
const MOST = 100;
const INTERVAL_MS = 3000;
// A replay is answered with its attempt; receivers have 15 s by default.
const WAIT_S = 20;
const FORBIDDEN = 403;

/** Post JSON to a path of the API; return the answer. Throws Problem. */
export function sendJson(path, method, body = {}, headers = {}) {
  return call(path, {
    method,
    headers: { Accept: "application/json", "Content-Type": "application/json", ...headers },
    body: method === "DELETE" ? undefined : JSON.stringify(body),
  });
}

/** Post and wait for the attempt: a test event, or a replay. Throws Problem. */
export function post(path, body) {
  return sendJson(path, "POST", body, { Prefer: `wait=${WAIT_S}` });
}

/** Return the outcome of an attempt, null if it has not ended, as a sentence. */
export function outcome(attempt) {
  if (!attempt) return "It is about to be posted.";
  return attempt.message ?? `The receiver accepted it with status ${attempt.status}.`;
}

/** The deliveries of a job or of an endpoint, read again every 3 s from `start` to `stop`. */
export class Deliveries {
  /** `filter` has `job_id` or `endpoint_id`; `empty` is shown without deliveries, null hides all. */
  constructor(filter, empty) {
    this.filter = filter;
    this.rows = new Map();
    this.limit = PAGE;
    this.running = false;
    this.empty = el("p", { class: "hint", text: empty, hidden: true });
    this.error = el("p", { class: "error box", role: "alert", hidden: true });
    this.list = el("ul", { class: "deliveries", "aria-label": "Webhook deliveries" });
    this.more = el("button", { type: "button", class: "quiet", text: "Show more", hidden: true, on: { click: () => this.showMore() } });
    this.element = el("section", { class: "webhook-part", "aria-label": "Webhook deliveries", hidden: empty === null },
      el("h3", { text: "Webhook deliveries" }), this.error, this.empty, this.list, this.more);
  }

  start() {
    this.running = true;
    this.refresh();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      if (!document.hidden) await this.read();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      // A key without the scope may look at the job all the same.
      if (problem.status === FORBIDDEN) return;
      say(this.error, problem.message);
    }
    if (this.running) this.timer = setTimeout(() => this.refresh(), INTERVAL_MS);
  }

  async read() {
    const query = new URLSearchParams({ ...this.filter, limit: this.limit });
    const found = await call(`/v1/webhooks/deliveries?${query}`);
    if (!this.running) return;
    say(this.error, null);
    if (found.deliveries.length) this.element.hidden = false;
    this.empty.hidden = found.deliveries.length > 0;
    this.more.hidden = !found.next_cursor || this.limit >= MOST;
    const listed = new Set(found.deliveries.map(({ id }) => id));
    for (const [id, row] of this.rows) {
      if (listed.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    found.deliveries.forEach((delivery, position) => this.place(delivery, position));
  }

  place(delivery, position) {
    const row = this.rows.get(delivery.id) ?? new Row(delivery.id);
    this.rows.set(delivery.id, row);
    row.show(delivery);
    // A moved element loses the keyboard focus, so those that are in place stay.
    if (this.list.children[position] !== row.element) this.list.insertBefore(row.element, this.list.children[position] ?? null);
  }

  showMore() {
    this.limit = Math.min(MOST, this.limit + PAGE);
    this.refresh();
  }
}

/** One delivery: a line that opens to its attempts. */
class Row {
  constructor(id) {
    this.path = `/v1/webhooks/deliveries/${encodeURIComponent(id)}`;
    this.summary = el("summary");
    this.note = el("p", { class: "hint", role: "status", hidden: true });
    this.error = el("p", { class: "error box", role: "alert", hidden: true });
    this.attempts = el("div", { class: "table" });
    this.replay = el("button", { type: "button", class: "quiet", text: "Post it once more", on: { click: () => this.repeat() } });
    this.id = el("p", { class: "hint code", text: id });
    this.details = el("details", { on: { toggle: () => this.details.open && this.read() } },
      this.summary, this.id, this.note, this.error, this.attempts, this.replay);
    this.element = el("li", {}, this.details);
  }

  show(delivery) {
    const shown = JSON.stringify(delivery);
    if (this.shown !== shown) {
      this.shown = shown;
      this.summary.replaceChildren(
        statusMark(delivery.status),
        el("strong", { text: delivery.event ?? "event" }),
        el("span", { class: "hint url", text: delivery.url }),
        el("time", { class: "hint", datetime: delivery.last_at, title: new Date(delivery.last_at).toLocaleString() }),
      );
      say(this.note, delivery.next_at ? `The next attempt is due at ${new Date(delivery.next_at).toLocaleString()}.` : delivery.reason);
      this.replay.hidden = !delivery.replayable;
      if (this.details.open) this.read();
    }
    this.summary.querySelector("time").textContent = ago(delivery.last_at);
  }

  async read() {
    await this.tried(async () => {
      const { attempts } = await call(`${this.path}/attempts`);
      this.attempts.replaceChildren(attempts.length ? table(attempts) : el("p", { class: "hint", text: "No attempt was made." }));
    });
  }

  async repeat() {
    this.replay.disabled = true;
    await this.tried(async () => {
      const { attempt } = await post(`${this.path}/replay`);
      say(this.note, outcome(attempt));
      announce(outcome(attempt));
      await this.read();
    });
    this.replay.disabled = false;
  }

  async tried(act) {
    try {
      await act();
      say(this.error, null);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      say(this.error, problem.message);
    }
  }
}

function table(attempts) {
  const heads = ["Attempt", "Cause", "Took", "Outcome"];
  return el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })))),
    el("tbody", {}, ...attempts.map((attempt) => el("tr", {},
      el("td", { text: new Date(attempt.at).toLocaleString() }),
      el("td", { text: attempt.trigger }),
      el("td", { text: duration(attempt.duration_ms) }),
      el("td", {}, attempt.message ?? `Accepted with status ${attempt.status}.`,
        attempt.response ? el("pre", {}, el("code", { text: attempt.response })) : null)))));
}
