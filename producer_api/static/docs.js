"use strict";
// Shows /openapi.json. All text goes in as text, never as markup.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function code(text) {
  return element("code", text);
}

/** A schema in a few words: its type, or the name of the model it refers to. */
function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items)}, repeatable`;
  return schema.format === "binary" ? "file" : schema.type || "any";
}

function rows(title, entries) {
  if (!entries.length) return [];
  const table = element("table", null);
  for (const [name, schema] of entries) {
    const about = element("td", schema.description || "");
    table.append(element("tr", null, element("td", null, code(name)),
      element("td", typeOf(schema)), about));
  }
  return [element("strong", title), table];
}

function properties(schema, models) {
  const model = schema.$ref ? models[typeOf(schema)] : schema;
  return Object.entries((model && model.properties) || {});
}

function body(operation, models) {
  const content = (operation.requestBody && operation.requestBody.content) || {};
  return Object.entries(content).flatMap(([type, { schema }]) =>
    rows(`Body, ${type}`, properties(schema, models)));
}

function answers(operation, models) {
  return Object.entries(operation.responses).flatMap(([status, response]) => {
    const [type, media] = Object.entries(response.content || {})[0] || ["no body", {}];
    const schema = media.schema || {};
    return rows(`Answer ${status}: ${typeOf(schema) || type}`, properties(schema, models))
      .concat(properties(schema, models).length ? [] :
        [element("p", `Answer ${status}: ${response.description}, ${type}`)]);
  });
}

function shown(path, method, operation, models) {
  const word = element("span", method.toUpperCase());
  word.className = "method";
  const about = element("span", operation.summary);
  about.className = "dim";
  const inner = element("div", null);
  if (operation.description) inner.append(element("p", operation.description));
  const parameters = (operation.parameters || []).map(
    (parameter) => [`${parameter.in} ${parameter.name}`, parameter.schema]);
  inner.append(...rows("Parameters", parameters), ...body(operation, models),
    ...answers(operation, models));
  return element("details", null, element("summary", null, word, code(path), about), inner);
}

async function main() {
  const answer = await fetch("/openapi.json");
  const api = await answer.json();
  const models = api.components.schemas;
  const place = document.getElementById("paths");
  for (const { name } of api.tags) {
    place.append(element("h2", name));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(name)) place.append(shown(path, method, operation, models));
      }
    }
  }
}

main();
