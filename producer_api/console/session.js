/** The caller's API key or token: asked for when the API wants one, kept for this tab's session. */

import { byId, say } from "./dom.js";

const STORED = "imagemill.key";

let asking = null;

/** Return the key, null without one. */
export const key = () => sessionStorage.getItem(STORED);

/** Return the headers that a request with this key has. */
export const authorization = (used) => (used ? { Authorization: `Bearer ${used}` } : {});

/** Make the way out work. */
export function startSession() {
  const button = byId("logout");
  button.hidden = !key();
  button.addEventListener("click", () => {
    sessionStorage.removeItem(STORED);
    // Nothing that was read with the key stays on the page.
    location.reload();
  });
}

/** Wait until the person gives another key than the one that was refused with this sentence. */
export function newKey(refused, sentence) {
  // Another request was refused before, and has the new key by now.
  if (key() !== refused) return Promise.resolve();
  // Requests that are refused while the dialog is open share its answer.
  asking ??= ask(refused ? sentence : null).finally(() => (asking = null));
  return asking;
}

function ask(sentence) {
  const dialog = byId("login");
  const input = byId("key");
  say(byId("key-error"), sentence);
  byId("logout").hidden = true;
  input.value = "";
  input.toggleAttribute("aria-invalid", Boolean(sentence));
  dialog.showModal();
  return new Promise((resolve) => {
    const stay = (event) => event.preventDefault();
    // Behind the dialog is nothing that could be used without a key.
    dialog.addEventListener("cancel", stay);
    byId("login-form").addEventListener("submit", function given(event) {
      event.preventDefault();
      const typed = input.value.trim();
      if (!typed) return;
      event.currentTarget.removeEventListener("submit", given);
      dialog.removeEventListener("cancel", stay);
      sessionStorage.setItem(STORED, typed);
      input.value = "";
      byId("logout").hidden = false;
      dialog.close();
      resolve();
    });
  });
}
