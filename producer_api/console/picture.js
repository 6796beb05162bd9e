/** Pictures: a result over its original, marks drawn on an original, or an original alone. */

import { pictureAddress, release } from "./api.js";
import { el, svg } from "./dom.js";

const LABEL_PIXELS = 13;

/** Show the result over a checkerboard; then the original, beside it or under a divider. */
export async function compare(stage, before, after, { width, height }) {
  const address = await pictureAddress(after);
  if (!address) return;
  const result = el("img", { class: "after", src: address, alt: "Result", decoding: "async" });
  result.addEventListener("load", () => release(address));
  const frame = framed(width, height, result);
  frame.classList.add("checker");
  stage.replaceChildren(frame);
  const original = await loaded(before, "Original");
  if (!original) return;
  const same = Math.abs(original.naturalWidth / original.naturalHeight / (width / height) - 1) < 0.01;
  if (same) divide(frame, original);
  else beside(stage, frame, original);
}

/** Show the original with objects and text outlined. */
export async function marked(stage, address, shapes) {
  const original = await loaded(address, "Original");
  if (!original) return;
  const { naturalWidth: width, naturalHeight: height } = original;
  const frame = framed(width, height, original);
  stage.replaceChildren(frame);
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "marks", "aria-hidden": "true" });
  // In pixels of the picture, so that labels have the size of other small print on the screen.
  const letter = (LABEL_PIXELS * width) / Math.max(frame.clientWidth, 1);
  for (const { corners, label, kind = "" } of shapes) {
    layer.append(svg("polygon", { points: corners.map((corner) => corner.join(",")).join(" "), class: kind }));
    if (kind !== "found") layer.append(tag(corners[0], label, letter));
  }
  frame.append(layer);
}

function tag([x, y], label, letter) {
  const text = svg("text", { x: x + letter * 0.3, y: Math.max(y, letter * 1.4) - letter * 0.35, "font-size": letter });
  text.textContent = label.length > 40 ? `${label.slice(0, 39)}…` : label;
  return text;
}

/** Show the original alone; `waiting` dims it. */
export async function plain(stage, address, waiting) {
  const original = await loaded(address, "Original");
  if (!original) return;
  const frame = framed(original.naturalWidth, original.naturalHeight, original);
  frame.classList.toggle("waiting", waiting);
  stage.replaceChildren(frame);
}

/** Load and decode a picture; null without an address, and if the browser cannot show it. */
async function loaded(address, alt) {
  if (!address) return null;
  const source = await pictureAddress(address);
  if (!source) return null;
  const picture = el("img", { src: source, alt });
  try {
    await picture.decode();
    return picture;
  } catch {
    return null;
  } finally {
    release(source);
  }
}

function framed(width, height, ...children) {
  const frame = el("div", { class: "frame" }, ...children);
  frame.style.setProperty("--width", width);
  frame.style.setProperty("--height", height);
  return frame;
}

function divide(frame, original) {
  original.classList.add("before");
  const handle = el("span", { class: "handle", "aria-hidden": "true" });
  const range = el("input", { type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": "Show more of the original, or more of the result" });
  const move = () => frame.style.setProperty("--cut", range.value);
  range.addEventListener("input", move);
  move();
  frame.append(original, range, handle,
    el("span", { class: "chip left", text: "Original" }), el("span", { class: "chip right", text: "Result" }));
}

function beside(stage, frame, original) {
  const other = framed(original.naturalWidth, original.naturalHeight, original);
  other.append(el("span", { class: "chip left", text: "Original" }));
  frame.append(el("span", { class: "chip right", text: "Result" }));
  stage.classList.add("pair");
  stage.replaceChildren(other, frame);
}
