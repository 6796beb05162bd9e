/** Server-sent events over fetch: an EventSource can send no key. */

import { Problem, send } from "./api.js";

const AGAIN_MS = 3000;

/** Call `on[event](data)` for the events of a path until `close()`; connects again when it breaks. */
export function follow(path, on) {
  const stop = new AbortController();
  run(path, on, stop.signal);
  return { close: () => stop.abort() };
}

async function run(path, on, signal) {
  let last = "";
  while (!signal.aborted) {
    try {
      const response = await send(path, { headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) }, signal });
      // There are no more events.
      if (response.status === 204) return;
      last = await read(response.body, on, last);
    } catch (error) {
      if (signal.aborted) return;
      // Not there any more, or not for this key: to ask again would not help.
      if (error instanceof Problem && error.status >= 400 && error.status < 500) return;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** Hand the events of a body on until it ends; return the id of the last one. */
async function read(body, on, last) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return last;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const { id = last, event = "message", data } = fields(block);
      last = id;
      if (data !== undefined) on[event]?.(data);
    }
  }
}

/** Read the fields of one event; comments have none. */
function fields(block) {
  const found = {};
  for (const line of block.split("\n")) {
    const [, name, value] = line.match(/^(\w+): ?(.*)$/) ?? [];
    if (name) found[name] = name in found ? `${found[name]}\n${value}` : value;
  }
  return found;
}
