// A form for a command, made of the types of its arguments.

import { h } from "./dom.js";

/** What is wrong with a value that was typed. */
export class FieldError extends Error {}

const INTEGER = /^\s*(-?\d+)\s*$/;
const NUMBER = /^\s*-?\d+(\.\d+)?([eE][+-]?\d+)?\s*$/;

const KINDS = { str: "text", size: "bytes", int: "integer", bool: "true or false", any: "JSON", enum: "one of these", alternate: "JSON" };

/** What people call a type. QEMU's types have numbers for names, which say nothing. */
function typeName(type) {
  if (type.kind === "list") return `list of ${typeName(type.element ?? { kind: "any" })}`;
  const named = type.name && !/^\d+$/.test(type.name) && type.kind !== "str" && type.kind !== "size";
  return named ? type.name : (KINDS[type.kind] ?? type.kind);
}

/** One argument. Its text() is JSON; undefined: it is left out. */
class Field {
  constructor(parameter, id) {
    this.parameter = parameter;
    this.id = id;
    const { type, optional, name } = parameter;
    this.input = this.control(type, optional);
    this.input.id = id;
    this.input.setAttribute("aria-describedby", `${id}-type`);
    if (!optional && type.kind !== "str") this.input.required = true;
    this.error = h("p", { class: "error", role: "alert", id: `${id}-error` });
    this.element = h(
      "div",
      { class: "field" },
      h("label", { for: id }, name, optional ? null : h("span", { class: "needed" }, " *")),
      h("div", {}, this.input, this.error),
      h("span", { class: "muted type", id: `${id}-type` }, typeName(type)),
    );
  }

  control(type, optional) {
    const choices = { enum: type.values, bool: ["true", "false"] }[type.kind];
    if (choices) {
      const options = choices.map((value) => h("option", { value }, value));
      if (optional) options.unshift(h("option", { value: "" }, "–"));
      return h("select", {}, ...options);
    }
    const plain = { autocomplete: "off", spellcheck: "false" };
    if (["int", "size"].includes(type.kind)) return h("input", { type: "text", inputmode: "numeric", ...plain });
    if (type.kind === "number") return h("input", { type: "text", inputmode: "decimal", ...plain });
    if (type.kind === "str") return h("input", { type: "text", ...plain });
    return h("textarea", { rows: 2, placeholder: "JSON", spellcheck: "false" });
  }

  text() {
    const { value } = this.input;
    const { type, optional } = this.parameter;
    if (optional && value === "") return undefined;
    switch (type.kind) {
      case "str":
      case "enum":
        return JSON.stringify(value);
      case "bool":
        return value;
      case "int":
      case "size": {
        // As it was typed: beyond 2^53 JavaScript's own numbers are not exact.
        const match = INTEGER.exec(value);
        if (!match) throw new FieldError("an integer is needed");
        return match[1].replace(/^(-?)0+(?=\d)/, "$1");
      }
      case "number":
        if (!NUMBER.test(value)) throw new FieldError("a number is needed");
        return value.trim();
      default:
        try {
          JSON.parse(value);
        } catch {
          throw new FieldError("JSON is needed");
        }
        return value;
    }
  }

  complain(text) {
    this.error.textContent = text;
    this.input.setAttribute("aria-invalid", String(Boolean(text)));
  }
}

/** The fields of a command. */
export class Form {
  constructor(command) {
    const parameters = command.parameters;
    this.free = parameters === undefined;
    const list = this.free ? [{ name: "arguments", type: { kind: "object" }, optional: true }] : parameters;
    this.fields = list.map((parameter, index) => new Field(parameter, `argument-${index}`));
    this.elements = this.fields.map((field) => field.element);
  }

  /** The arguments as JSON text; null: something typed is wrong, and it was said where. */
  text() {
    const members = [];
    let wrong = null;
    for (const field of this.fields) {
      field.complain("");
      try {
        const text = field.text();
        if (text !== undefined) members.push(this.free ? text : `${JSON.stringify(field.parameter.name)}:${text}`);
      } catch (error) {
        if (!(error instanceof FieldError)) throw error;
        field.complain(error.message);
        wrong ??= field;
      }
    }
    if (wrong) {
      wrong.input.focus();
      return null;
    }
    return this.free ? (members[0] ?? "{}") : `{${members.join(",")}}`;
  }
}
