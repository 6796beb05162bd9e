/**
 * Receive webhooks of imagemill: verify each, handle it once, answer at once.
 *
 *     WEBHOOK_SECRET=whsec_... node receiver.mjs
 *
 * Runs on Node.js 18 or later without packages. WEBHOOK_SECRET is the endpoint's secret
 * (`whsec_...`) or its public key (`whpk_...`). It listens on 127.0.0.1:PORT, by default port 8000,
 * and prints a line for each event.
 */

import { createHmac, createPublicKey, timingSafeEqual, verify as verifySignature } from "node:crypto";
import { createServer } from "node:http";

// Older or newer posts are refused, so that nobody can send a recorded one again later.
const TOLERANCE_S = 300;
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_KNOWN_IDS = 10_000;
// What stands before the 32 bytes of an ed25519 public key in its DER form (RFC 8410).
const DER_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** Return the event in a post; throw an Error if it is not verified. `body` is a Buffer. */
export function verify(secret, headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!id || !/^\d+$/.test(timestamp)) throw new Error("webhook-id or webhook-timestamp is missing");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) {
    throw new Error(`webhook-timestamp is more than ${TOLERANCE_S} s off`);
  }
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  // Several signatures are separated by spaces: while a secret is rotated, the old one signs too.
  const signatures = (headers["webhook-signature"] ?? "").split(" ");
  if (!signatures.some((signature) => fits(secret, signature, signed))) {
    throw new Error("no signature fits the secret");
  }
  return JSON.parse(body.toString("utf8"));
}

function fits(secret, signature, signed) {
  const [prefix, key] = secret.split("_");
  const [version, value = ""] = signature.split(",");
  const given = Buffer.from(value, "base64");
  if (prefix === "whsec" && version === "v1") {
    const right = createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest();
    // In constant time, so that the time of the answer says nothing about the right signature.
    return given.length === right.length && timingSafeEqual(given, right);
  }
  if (prefix === "whpk" && version === "v1a") {
    const der = Buffer.concat([DER_PREFIX, Buffer.from(key, "base64")]);
    return verifySignature(null, signed, createPublicKey({ key: der, format: "der", type: "spki" }), given);
  }
  return false;
}

/**
 * The ids of the events that were handled: a repeat has the id of the first post. In memory here;
 * keep them where your results are, in the same transaction, for three days.
 */
const known = new Set();

function remember(id) {
  known.add(id);
  if (known.size > MAX_KNOWN_IDS) known.delete(known.values().next().value);
}

/** Use an event. Put it in a queue if that takes long: the sender waits for 15 s only. */
function handle(id, { type, data }) {
  console.log(type, id, data.job_id ?? data.endpoint_id);
}

async function bodyOf(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function receive(request, response) {
  const body = request.method === "POST" ? await bodyOf(request) : null;
  if (body === null) return response.writeHead(request.method === "POST" ? 413 : 405).end();
  const id = request.headers["webhook-id"];
  try {
    const event = verify(process.env.WEBHOOK_SECRET, request.headers, body);
    if (known.has(id)) console.log("repeated", id);
    else {
      handle(id, event);
      remember(id);
    }
  } catch (error) {
    console.error(`refused: ${error.message}`);
    return response.writeHead(400).end();
  }
  return response.writeHead(204).end();
}

if (!/^(whsec|whpk)_/.test(process.env.WEBHOOK_SECRET ?? "")) {
  console.error("Set WEBHOOK_SECRET to the endpoint's secret, whsec_... or whpk_....");
  process.exit(1);
}
const server = createServer((request, response) => {
  receive(request, response).catch((error) => {
    console.error(`broken off: ${error.message}`);
    response.destroy();
  });
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log("listening on port", server.address().port);
});
