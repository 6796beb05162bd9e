/** Requests to the API; a refused one throws a Problem with the API's own sentence. */

import { authorization, key, newKey } from "./session.js";

export class Problem extends Error {
  /** `errors` lists {field, message} if the API names fields; status 0 stands for no answer. */
  constructor(status, code, detail, errors = []) {
    super(detail);
    this.status = status;
    this.code = code;
    this.errors = errors;
  }
}

/** Return the JSON answer of a path. Throws Problem. */
export async function call(path, options = {}) {
  const response = await send(path, { headers: { Accept: "application/json" }, ...options });
  return documentOf(response);
}

/** Return the answer of a path, once the caller has a key if one is needed. Throws Problem. */
export async function send(path, { headers, ...options } = {}) {
  for (;;) {
    const used = key();
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...headers, ...authorization(used) } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "unreachable", "The server does not answer. Is it running?");
    }
    if (response.ok) return response;
    const body = await documentOf(response);
    const sentence = body?.detail ?? `The server answered ${response.status}.`;
    if (response.status !== 401) throw new Problem(response.status, body?.code ?? "unknown", sentence, body?.errors ?? []);
    await newKey(used, sentence);
  }
}

/**
 * Return an address of a picture that an image element can load, null if it cannot be had.
 *
 * Images send no key, so with one the picture is fetched here. A store of its own is not asked by
 * a script: then the answer is the address that it has there.
 */
export async function pictureAddress(path) {
  if (!key()) return path;
  try {
    const response = await send(path, { headers: { Accept: "image/*, text/uri-list" } });
    const type = response.headers.get("Content-Type") ?? "";
    if (type.startsWith("text/uri-list")) return (await response.text()).trim();
    return URL.createObjectURL(await response.blob());
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return null;
  }
}

/** Free the memory of an address, once its picture is loaded. */
export function release(address) {
  if (address?.startsWith("blob:")) URL.revokeObjectURL(address);
}

async function documentOf(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (!type.includes("json")) return null;
  try {
    return await response.json();
  } catch {
    throw new Problem(0, "unreachable", "The connection broke before the answer was complete.");
  }
}
