/** The form of a new job: images chosen, dropped or pasted, an operation, its params. */

import { Problem, call } from "./api.js";
import { byId, el, say, size, title } from "./dom.js";
import { Unreadable, paramsForm } from "./params.js";

const chosen = [];
let operations = [];
let params = null;
let idempotencyKey = newKey();

/** Make the form work; `submitted` is called with each job that was accepted. */
export async function startForm(submitted) {
  takeFiles();
  const form = byId("form");
  // An unchanged form that is sent again, as after a broken connection, makes no second job.
  form.addEventListener("input", () => (idempotencyKey = newKey()));
  byId("operation").addEventListener("change", showOperation);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(submitted);
  });
  try {
    operations = (await call("/v1/operations")).operations;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return say(byId("form-error"), problem.message);
  }
  // Operations that take images come first, since most users want one of them.
  operations.sort((a, b) => (a.inputs === "none") - (b.inputs === "none"));
  byId("operation").append(...operations.map(({ name }) => el("option", { value: name, text: title(name) })));
  byId("operation").value = operations.find(({ name }) => name === "remove-background")?.name ?? operations[0]?.name;
  showOperation();
}

function showOperation() {
  const operation = current();
  if (!operation) return;
  byId("summary").textContent = operation.summary;
  byId("images").hidden = operation.inputs === "none";
  params = paramsForm(operation.params);
  byId("params").replaceChildren(params.element);
  accept();
}

const current = () => operations.find(({ name }) => name === byId("operation").value);

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function takeFiles() {
  const input = byId("files");
  const drop = input.closest(".drop");
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    add(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
}

function add(files) {
  for (const file of files) chosen.push({ file, url: URL.createObjectURL(file) });
  if (files.length) changed();
}

function changed() {
  idempotencyKey = newKey();
  say(byId("image-error"), null);
  byId("chosen").replaceChildren(...chosen.map((each) => chosenRow(each)));
}

function chosenRow(each) {
  const picture = el("img", { src: each.url, alt: "" });
  picture.addEventListener("error", () => picture.classList.add("broken"));
  return el("li", {}, picture,
    el("span", { class: "name", text: each.file.name }),
    el("span", { class: "hint", text: size(each.file.size) }),
    el("button", {
      type: "button", class: "quiet", "aria-label": `Remove ${each.file.name}`, text: "Remove",
      on: { click: () => remove(each) },
    }));
}

function remove(each) {
  URL.revokeObjectURL(each.url);
  chosen.splice(chosen.indexOf(each), 1);
  changed();
  byId("files").focus();
}

async function submit(submitted) {
  accept();
  const button = byId("submit");
  button.disabled = true;
  button.textContent = chosen.length ? "Uploading…" : "Starting…";
  try {
    const headers = { Accept: "application/json", "Idempotency-Key": idempotencyKey };
    const job = await call("/v1/jobs", { method: "POST", headers, body: body() });
    empty();
    submitted(job);
  } catch (problem) {
    refuse(problem);
  } finally {
    button.disabled = false;
    button.textContent = "Start";
  }
}

function body() {
  const form = new FormData();
  form.append("operation", byId("operation").value);
  form.append("params", JSON.stringify(params?.values() ?? {}));
  form.append("priority", byId("form").elements.priority.value);
  if (byId("images").hidden) return form;
  for (const { file } of chosen) form.append("image", file, file.name);
  const address = byId("image_url").value.trim();
  if (address) form.append("image_url", address);
  return form;
}

function empty() {
  for (const { url } of chosen.splice(0)) URL.revokeObjectURL(url);
  byId("image_url").value = "";
  changed();
}

function accept() {
  params?.accept();
  for (const name of ["form", "image", "image_url", "operation"]) mark(name, null);
}

/** Show each error at its field. Throws errors that are no answer of the API. */
function refuse(problem) {
  if (problem instanceof Unreadable) params.refuse(problem.field, problem.message);
  else if (!(problem instanceof Problem)) throw problem;
  else if (problem.code.startsWith("image_") && !problem.errors.length) mark("image", problem.message);
  else {
    const left = problem.errors.filter(({ field, message }) => !place(field, sentence(problem, field, message)));
    if (left.length || !problem.errors.length) mark("form", problem.message);
  }
  byId("form").querySelector("[aria-invalid]")?.focus();
}

/** Return the text for a field: the whole sentence of a single error, else its own message. */
function sentence(problem, field, message) {
  const whole = problem.errors.length === 1 && !problem.message.startsWith(`${field}: `);
  return whole ? problem.message : message;
}

function place(field, message) {
  const [first, second, ...deeper] = field.split(".");
  if (first === "params" && second) {
    return params.refuse(second, deeper.length ? `${deeper.join(".")}: ${message}` : message);
  }
  if (first === "inputs") return mark(byId("image_url").value ? "image_url" : "image", message);
  return ["image", "image_url", "operation"].includes(first) && mark(first, message);
}

function mark(name, message) {
  say(byId(`${name}-error`), message);
  const input = byId(name === "image" ? "files" : name);
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  return true;
}
