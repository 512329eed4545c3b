// What happens, as it happens: the monitor's events, and its log.

import { run } from "./api.js";
import { clock, cut, h, pane, setText } from "./dom.js";

/** Rows that a list has. */
const ROWS = 200;

/** Characters of one row. */
const LENGTH = 400;

const PLAIN = /^[^\s"={}[\]]+$/;

/** The data of an event for people: name=value, as JSON where that would not be clear. */
function words(data) {
  const parts = Object.entries(data).map(([name, value]) => {
    const text = typeof value === "string" && PLAIN.test(value) ? value : JSON.stringify(value);
    return `${name}=${text}`;
  });
  return cut(parts.join(" "), LENGTH);
}

/** One row: when, what, and the rest. */
function row(attributes, timestamp, title, text, hint = undefined) {
  return h(
    "li",
    attributes,
    h("time", {}, clock(timestamp)),
    " ",
    h("b", {}, title),
    " ",
    h("span", { class: "data", title: hint }, text),
  );
}

class List {
  constructor(id, title) {
    this.paused = false;
    this.toggle = h("button", { type: "button", class: "small", "aria-pressed": "false", onclick: () => this.pause() }, "Pause");
    this.filter = h("input", {
      type: "search",
      class: "small",
      placeholder: "Filter",
      "aria-label": `Filter ${title.toLowerCase()}`,
      oninput: () => this.refilter(),
    });
    const { element, body, note } = pane(id, title, this.filter, this.toggle);
    this.element = element;
    this.note = note;
    this.list = h("ol", { class: "rows log", tabindex: 0, "aria-label": title });
    this.empty = h("p", { class: "empty muted" }, "Nothing yet.");
    body.append(this.empty, this.list);
    this.total = 0;
  }

  pause() {
    this.paused = !this.paused;
    this.toggle.setAttribute("aria-pressed", String(this.paused));
    setText(this.toggle, this.paused ? "Go on" : "Pause");
  }

  matches(row) {
    const text = this.filter.value.toLowerCase();
    return !text || row.textContent.toLowerCase().includes(text);
  }

  refilter() {
    for (const row of this.list.children) row.hidden = !this.matches(row);
  }

  /** Put rows on top, the last of them uppermost, and drop what is too much. */
  add(rows) {
    this.total += rows.length;
    this.empty.hidden = this.total > 0;
    if (this.paused || !rows.length) return;
    const shown = rows.slice(-ROWS);
    const filtered = this.filter.value !== "";
    if (filtered) for (const row of shown) row.hidden = !this.matches(row);
    const before = this.list.scrollTop;
    const height = before > 0 ? this.list.scrollHeight : 0;
    this.list.prepend(...shown.reverse());
    while (this.list.children.length > ROWS) this.list.lastChild.remove();
    // Who reads further down is not moved.
    if (before > 0) this.list.scrollTop = before + this.list.scrollHeight - height;
  }
}

export class EventList extends List {
  static isThere() {
    return true;
  }

  constructor() {
    super("events", "Events");
  }

  events(events, skipped, feed) {
    const rows = events
      .slice(-ROWS)
      .map((event) => row({ "data-number": event.number }, event.timestamp, event.event, words(event.data ?? {})));
    if (skipped) rows.unshift(h("li", { class: "gap" }, `${skipped} more, not shown`));
    this.add(rows);
    setText(this.note, `${feed.total}`);
  }
}

export class LogList extends List {
  static isThere({ can }) {
    return can("query-log");
  }

  constructor() {
    super("log", "Log");
    this.last = 0;
  }

  introduced() {
    // The numbers of another process begin anew.
    this.last = 0;
  }

  async look() {
    const entries = await run("query-log", { after: this.last, limit: ROWS });
    if (!entries.length) return;
    this.last = entries[entries.length - 1].number;
    this.add(
      entries.map((entry) =>
        row({ class: `at-${entry.level}` }, entry.timestamp, entry.level, cut(entry.text, 4 * LENGTH), entry.namespace),
      ),
    );
  }
}
