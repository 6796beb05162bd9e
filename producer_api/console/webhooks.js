/** The page of all webhook endpoints, and the form that creates one. */

import { Problem, call } from "./api.js";
import { sendJson } from "./deliveries.js";
import { byId, el, say, statusMark } from "./dom.js";

const EVENTS = {
  "job.finished": "a job has ended",
  "job.failed": "a job has failed",
  "job.started": "a job has started",
  "job.progress": "images of a batch have ended",
  "endpoint.disabled": "another endpoint was disabled",
};
const FIELDS = ["url", "events", "description", "headers"];

/** Show the endpoints; `created` is called with the document of a new one. */
export async function openWebhooks(created) {
  const page = byId("webhooks");
  const error = el("p", { class: "error box", role: "alert", hidden: true });
  const list = el("ul", { class: "list", "aria-label": "Webhook endpoints" });
  const empty = el("p", { class: "empty", hidden: true });
  page.replaceChildren(
    el("a", { class: "back", href: "#/", text: "All jobs" }),
    el("div", { class: "panel-head" }, el("h2", { id: "webhooks-title", text: "Webhook endpoints" })),
    error, list, empty, form(created),
  );
  page.querySelector(".back").focus({ preventScroll: true });
  try {
    const { endpoints } = await call("/v1/webhooks/endpoints");
    list.replaceChildren(...endpoints.map(row));
    say(empty, endpoints.length ? null : "No endpoints yet. One gets the events of all your jobs.");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(error, problem.message);
  }
}

function row(endpoint) {
  return el("li", {}, el("a", { class: "endpoint", href: `#/webhooks/${endpoint.id}` },
    el("span", { class: "names" },
      el("strong", { class: "url", text: endpoint.url }),
      el("span", { class: "hint", text: endpoint.description || endpoint.events.join(", ") })),
    statusMark(endpoint.disabled ? "disabled" : "enabled")));
}

function form(created) {
  const url = el("input", { type: "url", id: "endpoint-url", inputmode: "url", placeholder: "https://", autocomplete: "off", "aria-describedby": "endpoint-url-error" });
  const description = el("input", { type: "text", id: "endpoint-description", autocomplete: "off", "aria-describedby": "endpoint-description-error" });
  const headers = el("textarea", { id: "endpoint-headers", rows: 2, spellcheck: "false", "aria-describedby": "endpoint-headers-hint endpoint-headers-error" });
  const thin = el("input", { type: "checkbox", id: "endpoint-thin" });
  const boxes = Object.entries(EVENTS).map(([name]) => {
    const box = el("input", { type: "checkbox", name: "events", value: name });
    box.checked = name === "job.finished";
    return box;
  });
  const failure = el("p", { id: "endpoint-error", class: "error box", role: "alert", hidden: true });
  const button = el("button", { class: "primary", type: "submit", text: "Create endpoint" });
  const read = () => ({
    url: url.value.trim(),
    events: boxes.filter((box) => box.checked).map((box) => box.value),
    description: description.value.trim(),
    headers: headersOf(headers.value),
    body: thin.checked ? "thin" : "full",
  });
  const made = el("form", { novalidate: true },
    field("url", "Address", url),
    el("fieldset", { class: "field" }, el("legend", { text: "Post when" }),
      ...boxes.map((box) => el("label", { class: "option" }, box, el("span", { text: EVENTS[box.value] }), el("code", { text: box.value }))),
      errorOf("events")),
    field("description", "Description", description),
    field("headers", "Headers to send along", headers, el("p", { id: "endpoint-headers-hint", class: "hint", text: "One a line, such as Authorization: Bearer … They are not shown again." })),
    el("label", { class: "option" }, thin, el("span", { text: "Post ids and links only, without the data" })),
    failure, button);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    create(made, button, read, created);
  });
  return el("details", { class: "webhook-part" }, el("summary", { text: "New endpoint" }), made);
}

const errorOf = (name) => el("p", { id: `endpoint-${name}-error`, class: "error", hidden: true });

function field(name, text, input, ...more) {
  return el("div", { class: "field" }, el("label", { for: input.id, text }), input, ...more, errorOf(name));
}

/** Return the headers in lines of `Name: value`; a line without a colon is a name alone. */
function headersOf(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const [, name, value] = line.match(/^([^:]*):?(.*)$/);
    return [name.trim(), value.trim()];
  }));
}

async function create(made, button, read, created) {
  for (const name of FIELDS) mark(name, null);
  say(byId("endpoint-error"), null);
  button.disabled = true;
  try {
    created(await sendJson("/v1/webhooks/endpoints", "POST", read()));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    refuse(problem);
    made.querySelector("[aria-invalid]")?.focus();
  } finally {
    button.disabled = false;
  }
}

/** Show each error at its field, and others above the button. */
function refuse(problem) {
  let left = !problem.errors.length;
  for (const { field: path, message } of problem.errors) {
    const [name] = path.split(".");
    if (FIELDS.includes(name)) mark(name, message);
    else left = true;
  }
  if (left) say(byId("endpoint-error"), problem.message);
}

function mark(name, message) {
  say(byId(`endpoint-${name}-error`), message);
  const input = byId(`endpoint-${name}`);
  if (message) input?.setAttribute("aria-invalid", "true");
  else input?.removeAttribute("aria-invalid");
}
