// When the reactor did not run, and where it was.

import { run } from "./api.js";
import { clock, h, pane, setText, span } from "./dom.js";

export class Stalls {
  static isThere({ can }) {
    return can("query-stalls");
  }

  constructor() {
    const { element, body, note } = pane("stalls", "Stalls");
    this.element = element;
    this.note = note;
    this.list = h("ul", { class: "rows", tabindex: 0, "aria-label": "Stalls" });
    this.empty = h("p", { class: "empty muted" }, "The reactor has not been late.");
    body.append(this.empty, this.list);
    this.shown = "";
    this.known = false;
  }

  introduced() {
    this.known = false;
  }

  events(events) {
    if (events.some((event) => event.event === "REACTOR_STALL")) this.known = false;
  }

  async look() {
    // What an operator asks for is recorded: it is asked for only when there is something new.
    if (this.known) return;
    this.known = true;
    const stalls = await run("query-stalls");
    const key = JSON.stringify(stalls);
    if (key === this.shown) return;
    this.shown = key;
    this.empty.hidden = stalls.length > 0;
    setText(this.note, stalls.length ? String(stalls.length) : "");
    const open = new Set([...this.list.querySelectorAll("details[open]")].map((one) => one.dataset.number));
    this.list.replaceChildren(...stalls.reverse().map((stall) => this.row(stall, open.has(String(stall.number)))));
  }

  row(stall, open) {
    const innermost = stall.stack[stall.stack.length - 1];
    const where = innermost ? `${innermost.function}, ${innermost.file.split("/").pop()}:${innermost.line}` : "";
    const stack = stall.stack.map((frame) => `${frame.file}:${frame.line} in ${frame.function}`).reverse().join("\n");
    return h(
      "li",
      {},
      h(
        "details",
        { "data-number": stall.number, open },
        h("summary", {}, h("time", {}, clock(stall.since)), h("b", {}, span(stall.seconds)), ` ${where}${stall.over ? "" : " (going on)"}`),
        h("pre", { tabindex: 0 }, stack || "It was not seen in time."),
      ),
    );
  }
}
