/** The page of one webhook endpoint: its state, its secret, tests, replays and deliveries. */

import { Problem, call } from "./api.js";
import { Deliveries, outcome, post, sendJson } from "./deliveries.js";
import { announce, byId, el, say, statusMark } from "./dom.js";

const DAY_MS = 24 * 3600_000;

let open = null;

/** Show an endpoint; `secret` is that of one just created. */
export async function openEndpoint(id, secret = null) {
  closeEndpoint();
  const page = byId("webhooks");
  const mine = { id, path: `/v1/webhooks/endpoints/${encodeURIComponent(id)}`, deliveries: new Deliveries({ endpoint_id: id }, "No deliveries yet.") };
  open = mine;
  page.replaceChildren(el("p", { class: "hint", text: "Loading…" }));
  try {
    const endpoint = await call(mine.path);
    if (open !== mine) return;
    build(mine, page);
    show(mine, endpoint);
    if (secret) showSecret(mine, secret);
    mine.deliveries.start();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (open === mine) page.replaceChildren(back(), el("h2", { id: "webhooks-title", text: "Webhook endpoint" }), el("p", { class: "error box", role: "alert", text: problem.message }));
  }
  page.querySelector(".back")?.focus({ preventScroll: true });
}

/** Leave the page. */
export function closeEndpoint() {
  open?.deliveries.stop();
  open = null;
}

const back = () => el("a", { class: "back", href: "#/webhooks", text: "All endpoints" });

function build(mine, page) {
  const action = (text, act) => {
    const button = el("button", { type: "button", class: "quiet", text, on: { click: () => tried(mine, button, act) } });
    return button;
  };
  mine.title = el("h2", { id: "webhooks-title", class: "url" });
  mine.mark = el("span");
  mine.error = el("p", { class: "error box", role: "alert", hidden: true });
  mine.note = el("p", { class: "hint", role: "status", hidden: true });
  mine.secret = el("div", { class: "secret", hidden: true });
  mine.facts = el("dl", { class: "properties" });
  mine.toggle = action("Disable", () => toggle(mine));
  const buttons = [
    action("Send test event", () => test(mine)),
    mine.toggle,
    action("Show secret", async () => showSecret(mine, (await call(`${mine.path}/secret`)).secret)),
    action("Rotate secret", () => rotate(mine)),
    removal(mine, action),
  ];
  page.replaceChildren(
    back(),
    el("div", { class: "panel-head" }, mine.title, mine.mark),
    mine.error,
    el("div", { class: "actions" }, ...buttons),
    mine.note, mine.secret, mine.facts, replayForm(mine, action), mine.deliveries.element,
  );
}

function show(mine, endpoint) {
  mine.endpoint = endpoint;
  mine.title.textContent = endpoint.url;
  mine.mark.replaceChildren(statusMark(endpoint.disabled ? "disabled" : "enabled"));
  mine.toggle.textContent = endpoint.disabled ? "Enable" : "Disable";
  const time = (text) => text && new Date(text).toLocaleString();
  const facts = [
    ["Id", endpoint.id],
    ["Description", endpoint.description],
    ["Events", endpoint.events.join(", ")],
    ["Headers", endpoint.headers.join(", ")],
    ["Body", endpoint.body === "thin" ? "thin: ids and links" : null],
    ["Disabled", endpoint.disabled_reason],
    ["Failing since", time(endpoint.failing_since)],
    ["Secret rotated", time(endpoint.rotated_at)],
    ["Created", time(endpoint.created_at)],
  ].filter(([, value]) => value);
  mine.facts.replaceChildren(...facts.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
}

/** Run an action of a button, and show its problem. */
async function tried(mine, button, act) {
  button.disabled = true;
  say(mine.error, null);
  try {
    await act();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(mine.error, problem.message);
  } finally {
    button.disabled = false;
  }
}

function note(mine, sentence) {
  say(mine.note, sentence);
  announce(sentence);
}

async function test(mine) {
  note(mine, "The test event is being posted…");
  const { attempt } = await post(`${mine.path}/test`);
  note(mine, outcome(attempt));
  mine.deliveries.refresh();
}

async function toggle(mine) {
  show(mine, await sendJson(mine.path, "PATCH", { disabled: !mine.endpoint.disabled }));
  note(mine, mine.endpoint.disabled ? "The endpoint gets no more posts." : "The endpoint gets posts again.");
}

async function rotate(mine) {
  const { secret, previous_expire_at: [until] } = await sendJson(`${mine.path}/secret/rotate`, "POST");
  showSecret(mine, secret);
  show(mine, await call(mine.path));
  note(mine, until ? `The secret before signs too until ${new Date(until).toLocaleString()}.` : "The secret before is no longer used.");
}

function showSecret(mine, secret) {
  const field = el("input", { type: "text", id: "endpoint-secret", readonly: true, autocomplete: "off", spellcheck: "false", on: { focus: () => field.select() } });
  field.value = secret;
  const hide = el("button", { type: "button", class: "quiet", text: "Hide", on: { click: () => (mine.secret.hidden = true) } });
  mine.secret.replaceChildren(
    el("label", { for: "endpoint-secret", text: "Secret: your receiver verifies posts with it" }),
    el("div", { class: "actions" }, field, hide),
  );
  mine.secret.hidden = false;
}

/** Make the button that deletes at its second press. */
function removal(mine, action) {
  let sure = false;
  const button = action("Delete", async () => {
    if (!sure) {
      sure = true;
      button.textContent = "Delete for good";
      return;
    }
    await sendJson(mine.path, "DELETE");
    location.hash = "#/webhooks";
  });
  button.addEventListener("blur", () => {
    sure = false;
    button.textContent = "Delete";
  });
  return button;
}

function replayForm(mine, action) {
  const since = el("input", { type: "datetime-local", id: "replay-since", step: "1" });
  since.value = localTime(new Date(Date.now() - DAY_MS));
  const button = action("Replay failed", async () => {
    const given = new Date(since.value);
    if (Number.isNaN(given.getTime())) {
      say(mine.error, "Choose the date and the time since which deliveries have failed.");
      return;
    }
    const found = await sendJson(`${mine.path}/replay`, "POST", { since: given.toISOString() });
    note(mine, `${found.replayed} failed deliveries are posted once more.`);
    mine.deliveries.refresh();
  });
  return el("div", { class: "field" },
    el("label", { for: "replay-since", text: "Post once more all that have failed since" }),
    el("div", { class: "actions" }, since, button));
}

/** Return a time as a datetime-local input holds it: that of the browser's zone. */
function localTime(time) {
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
