/** Requests to the API; a refused one throws a Problem with the API's own sentence. */

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
  let response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch {
    throw new Problem(0, "unreachable", "The server does not answer. Is it running?");
  }
  const body = await documentOf(response);
  if (response.ok) return body;
  const sentence = body?.detail ?? `The server answered ${response.status}.`;
  throw new Problem(response.status, body?.code ?? "unknown", sentence, body?.errors ?? []);
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
