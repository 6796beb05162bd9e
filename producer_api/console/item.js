/** One item of a job: its input, its result or error, and its timings. */

import { pictureAddress, release } from "./api.js";
import { duration, el, ended, size, statusMark, whenNear } from "./dom.js";
import { compare, marked, plain } from "./picture.js";
import { key } from "./session.js";

/** Make the section that shows an item. */
export function itemView(job, item) {
  const input = item.links.input ?? null;
  const data = item.result?.data ?? null;
  const parts = data === null ? [] : ofEachStep(job, data);
  const view = el("section", { class: "item", "aria-label": item.filename ?? `Image ${item.index + 1}` }, head(job, item));
  if (item.error) view.append(failure(item.error));
  const stage = el("div", { class: "stage" });
  view.append(stage);
  whenNear(stage, () => fill(stage, item, input, parts));
  for (const part of parts) view.append(...dataViews(part));
  if (data !== null) view.append(raw(data, item));
  const timings = timingsView(item.timings_ms);
  if (timings) view.append(timings);
  return view;
}

/** List the data of all steps; a pipeline has it under the names of its operations. */
function ofEachStep(job, data) {
  return job.operations ? Object.values(data).flat().filter((part) => part !== null) : [data];
}

function fill(stage, item, input, parts) {
  const picture = item.result?.content_type?.startsWith("image/") ? item.links.result : null;
  if (picture) compare(stage, input, picture, item.result);
  else if (parts.length) marked(stage, input, parts.flatMap(shapes));
  else plain(stage, input, !ended(item.status));
}

function head(job, item) {
  const several = job.items.length > 1;
  const name = item.filename ?? (several ? `Image ${item.index + 1}` : "");
  const row = el("div", { class: "item-head" }, el("h3", { text: name }));
  if (several) row.append(statusMark(item.status));
  if (item.result?.key) {
    const { content_type: type, bytes, width, height } = item.result;
    const facts = [width ? `${width} × ${height}` : null, type?.split("/")[1], bytes ? size(bytes) : null];
    row.append(
      el("span", { class: "hint", text: facts.filter(Boolean).join(" · ") }),
      downloadLink(item),
    );
  }
  return row;
}

function downloadLink(item) {
  const link = el("a", { class: "button", href: item.links.result, download: "", text: "Download" });
  link.addEventListener("click", async (event) => {
    if (!key()) return;
    // A link sends no key.
    event.preventDefault();
    const address = await pictureAddress(item.links.result);
    if (address === null) return;
    el("a", { href: address, download: resultName(item) }).click();
    // The browser reads the address after this function has returned.
    setTimeout(() => release(address), 60_000);
  });
  return link;
}

function resultName(item) {
  const stem = (item.filename ?? `image-${item.index + 1}`).replace(/\.[^.]*$/, "");
  return `${stem}.${item.result.key.split(".").at(-1)}`;
}

function failure({ message, code }) {
  return el("p", { class: "error box" }, message, el("code", { text: code }));
}

function timingsView(timings) {
  const parts = Object.entries(timings ?? {});
  if (!parts.length) return null;
  const list = el("dl", { class: "timings", "aria-label": "Timings" });
  for (const [name, ms] of parts) list.append(el("div", {}, el("dt", { text: name }), el("dd", { text: duration(ms) })));
  return list;
}

/** List the boxes of objects and the outlines of text that the data has. */
function shapes(data) {
  const objects = (data.predictions ?? data.image?.objects ?? []).map((found) => {
    const { x, y, width, height } = found.box;
    const corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
    return { corners, label: `${found.class} ${percent(found.confidence)}` };
  });
  const lines = (data.lines ?? data.recognised?.lines ?? []).map(({ text, box }) => ({ corners: box, label: text, kind: "line" }));
  const places = [...(data.find ?? []), ...(data.found ?? [])];
  const finds = places.flatMap(({ text, boxes }) => boxes.map((box) => ({ corners: box, label: text, kind: "found" })));
  return [...objects, ...lines, ...finds];
}

const percent = (share) => `${Math.round(share * 100)} %`;

function dataViews(data) {
  const views = [];
  const objects = data.predictions ?? data.image?.objects;
  const lines = data.lines ?? data.recognised?.lines;
  const finds = data.find?.length ? data.find : data.found;
  if (data.message) views.push(el("p", { class: "lead", text: data.message }));
  if (objects) views.push(objects.length ? objectTable(objects) : el("p", { class: "hint", text: "No objects were found." }));
  if (finds?.length) views.push(table("Found", ["Text", "Similarity"], finds.map(({ text, similarity }) => [text, percent(similarity)])));
  if (lines) {
    const rows = lines.map(({ text, confidence }) => [text, percent(confidence)]);
    views.push(rows.length ? table("Text", ["Line", "Confidence"], rows) : el("p", { class: "hint", text: "No text was found." }));
  }
  return views;
}

function objectTable(objects) {
  const rows = objects.map((found) => {
    const { x, y, width, height } = found.box;
    const box = [x, y, width, height].map(Math.round);
    return [found.class, percent(found.confidence), `${box[2]} × ${box[3]} at ${box[0]}, ${box[1]}`];
  });
  return table("Objects", ["Class", "Confidence", "Box"], rows);
}

function table(caption, heads, rows) {
  return el("div", { class: "table" }, el("table", {},
    el("caption", { text: caption }),
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })))),
    el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((text) => el("td", { text })))))));
}

function raw(data, item) {
  const text = JSON.stringify(data, null, 2);
  const save = el("button", { type: "button", class: "quiet", text: "Download JSON", on: { click: () => download(text, item) } });
  return el("details", { class: "raw" }, el("summary", { text: "Data as JSON" }), save, el("pre", {}, el("code", { text })));
}

function download(text, item) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const stem = (item.filename ?? `image-${item.index + 1}`).replace(/\.[^.]*$/, "");
  el("a", { href: url, download: `${stem}.json` }).click();
  // The browser reads the URL after this function has returned.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
