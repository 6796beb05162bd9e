/** Form controls from the JSON Schema of an operation's params. */

import { el, say, title } from "./dom.js";

/** The text of a control is no value of its param; `field` is the param's name. */
export class Unreadable extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** Make controls for a schema: required ones first, the others folded away as options. */
export function paramsForm(schema) {
  const required = new Set(schema.required ?? []);
  const controls = Object.entries(schema.properties ?? {}).map(([name, facts]) =>
    control(name, understand(facts, schema), required.has(name)),
  );
  const options = controls.filter((each) => !required.has(each.name));
  const folded = el("details", { class: "options" }, el("summary", { text: "Options" }));
  folded.append(...options.map((each) => each.element));
  const element = el("div", {}, ...controls.filter((each) => required.has(each.name)).map((each) => each.element));
  if (options.length) element.append(folded);
  const named = new Map(controls.map((each) => [each.name, each]));
  return {
    element,
    /** Return the params that differ from their defaults. Throws Unreadable. */
    values: () => Object.fromEntries(controls.map((each) => [each.name, each.read()]).filter(([, value]) => value !== undefined)),
    /** Show a sentence at a param; return false if there is no such param. */
    refuse(name, message) {
      const found = named.get(name);
      if (!found) return false;
      if (folded.contains(found.element)) folded.open = true;
      found.refuse(message);
      return true;
    },
    accept: () => controls.forEach((each) => each.refuse(null)),
  };
}

/** Return the kind of control for a param, and the limits that it shows and keeps. */
function understand(facts, root) {
  const whole = follow(facts, root);
  const choices = (whole.anyOf ?? whole.oneOf)?.map((choice) => follow(choice, root));
  if (!choices) return { ...whole, kind: kindOf(whole, root) };
  const others = choices.filter((choice) => choice.type !== "null");
  if (others.length === 1) {
    const [only] = others;
    return { ...only, ...whole, kind: whole.discriminator ? "json" : understand(only, root).kind };
  }
  const textual = others.some((choice) => choice.type === "string");
  return { ...whole, kind: textual ? "text-or-json" : "json" };
}

function follow(facts, root) {
  if (!facts.$ref) return facts;
  const name = facts.$ref.split("/").at(-1);
  const { $ref: _, ...beside } = facts;
  return { ...root.$defs[name], ...beside };
}

function kindOf(facts, root) {
  if (facts.enum) return "select";
  if (facts.type === "boolean") return "checkbox";
  if (facts.type === "integer" || facts.type === "number") return "number";
  if (facts.type === "string") return facts.maxLength > 1000 ? "long-text" : "text";
  const items = facts.type === "array" && facts.items ? follow(facts.items, root) : null;
  return items?.type === "string" ? "list" : "json";
}

const READERS = {
  select: (input) => (input.value === "" ? undefined : JSON.parse(input.value)),
  checkbox: (input) => input.checked,
  number(input, name) {
    if (input.validity.badInput) throw new Unreadable(name, "expected a number");
    return input.value === "" ? undefined : Number(input.value);
  },
  text: (input) => (input.value === "" ? undefined : input.value),
  list(input) {
    const words = input.value.split(",").map((word) => word.trim()).filter(Boolean);
    return words.length ? words : undefined;
  },
  json(input, name) {
    if (input.value.trim() === "") return undefined;
    try {
      return JSON.parse(input.value);
    } catch (error) {
      throw new Unreadable(name, `not valid JSON: ${error.message}`);
    }
  },
};
READERS["long-text"] = READERS.text;
READERS["text-or-json"] = (input, name) =>
  (/^\s*[[{]/.test(input.value) ? READERS.json : READERS.text)(input, name);

function control(name, facts, required) {
  const id = `param-${name}`;
  const input = INPUTS[facts.kind]?.(facts) ?? el("input", { type: "text", autocomplete: "off" });
  for (const [key, value] of Object.entries({ id, name, "aria-describedby": `${id}-hint ${id}-error` })) {
    input.setAttribute(key, value);
  }
  if (required) input.setAttribute("aria-required", "true");
  const label = el("label", { for: id, text: title(name) });
  const hint = el("p", { id: `${id}-hint`, class: "hint", text: hintOf(facts) });
  const error = el("p", { id: `${id}-error`, class: "error", hidden: true });
  const box = facts.kind === "checkbox";
  const element = el("div", { class: box ? "field check" : "field" }, ...(box ? [input, label] : [label, input]), hint, error);
  const initial = JSON.stringify(facts.default ?? undefined);
  return {
    name,
    element,
    read() {
      const value = READERS[facts.kind](input, name);
      return JSON.stringify(value) === initial ? undefined : value;
    },
    refuse(message) {
      say(error, message);
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
  };
}

const INPUTS = {
  select(facts) {
    const nothing = facts.default ?? null;
    const select = el("select", {}, ...(nothing === null ? [el("option", { value: "", text: "default" })] : []));
    for (const value of facts.enum) {
      select.append(el("option", { value: JSON.stringify(value), text: String(value), selected: value === nothing }));
    }
    return select;
  },
  checkbox: (facts) => el("input", { type: "checkbox", checked: facts.default === true }),
  number: (facts) =>
    el("input", {
      type: "number", min: facts.minimum, max: facts.maximum, value: facts.default,
      step: facts.type === "integer" ? 1 : "any", inputmode: "decimal",
    }),
  "long-text": (facts) => el("textarea", { rows: 3, text: facts.default ?? "" }),
  text: (facts) => el("input", { type: "text", value: facts.default, autocomplete: "off" }),
  list: (facts) => el("input", { type: "text", value: (facts.default ?? []).join(", "), autocomplete: "off" }),
  json: (facts) =>
    el("textarea", {
      class: "code", rows: 4, spellcheck: "false",
      text: facts.default?.length || Object.keys(facts.default ?? {}).length ? JSON.stringify(facts.default, null, 1) : "",
      placeholder: facts.examples?.length ? JSON.stringify(facts.examples[0]) : null,
    }),
};

function hintOf(facts) {
  const form = { list: "Separate by commas.", json: "Written as JSON." }[facts.kind];
  const tag = facts.items?.discriminator;
  const choices = tag && `Each is an object with "${tag.propertyName}": ${Object.keys(tag.mapping).join(", ")}.`;
  return [facts.description, form, choices].filter(Boolean).join(" ");
}
