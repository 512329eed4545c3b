// The requests that are not answered yet.

import { can, cancel, me, run } from "./api.js";
import { bar, h, pane, setText, span, toast } from "./dom.js";

/** How many are shown. */
const MOST = 100;

/** Seconds in which what the page itself looks at is not worth showing. */
const SOON = 1;

const isOwnLook = ({ session, command, seconds }) =>
  session === me.session.session && command.startsWith("query-") && seconds < SOON;

class Row {
  constructor(pane) {
    this.pane = pane;
    this.command = h("td", { class: "name" });
    this.session = h("td", { class: "muted" });
    this.age = h("td", { class: "number muted" });
    this.bar = bar("Progress");
    this.button = h("button", { type: "button", class: "small", onclick: () => this.click() }, "Cancel");
    this.progress = h("td", { class: "progress" }, this.bar.element);
    this.element = h("tr", {}, this.command, this.session, this.age, this.progress, h("td", {}, this.button));
  }

  show(request) {
    this.request = request;
    setText(this.command, request.command);
    this.command.title = `request ${request.number}`;
    setText(this.session, request.abandoned ? `${request.session}, abandoned` : request.session);
    this.session.title = request.peer;
    setText(this.age, span(request.seconds));
    this.bar.set(request.progress?.current ?? 0, request.progress?.total ?? 0);
    this.bar.element.hidden = request.abandoned;
    this.own = request.session === me.session.session;
    this.button.hidden = request.abandoned || !(this.own || (me.session.level === "admin" && can("cancel-command")));
    this.button.setAttribute("aria-label", `Cancel ${request.command}, request ${request.number}`);
  }

  async click() {
    this.button.disabled = true;
    try {
      if (this.own) await cancel(this.request.number);
      else await run("cancel-command", { number: this.request.number });
    } catch (error) {
      toast(error.message);
    } finally {
      this.button.disabled = false;
      this.pane.look().catch(() => {});
    }
  }
}

export class Pending {
  static isThere({ can }) {
    return can("query-pending");
  }

  constructor() {
    const { element, body, note } = pane("pending", "Pending");
    this.element = element;
    this.note = note;
    this.rows = new Map();
    this.table = h("tbody");
    this.empty = h("p", { class: "empty muted" }, "No request is pending.");
    const heads = ["Command", "Session", "Since", "Progress", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "unseen" }, "Cancel")));
    this.whole = h("table", { hidden: true }, h("thead", {}, h("tr", {}, ...heads)), this.table);
    body.append(h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Pending requests" }, this.empty, this.whole));
  }

  events(events) {
    if (events.some((event) => event.event === "JOB_STATUS_CHANGE")) this.look().catch(() => {});
  }

  async look() {
    const found = (await run("query-pending", { limit: MOST })).filter((request) => !isOwnLook(request));
    const rows = new Map();
    for (const request of found) {
      const row = this.rows.get(request.number) ?? new Row(this);
      row.show(request);
      rows.set(request.number, row);
    }
    const elements = [...rows.values()].map((row) => row.element);
    if (elements.length !== this.table.children.length || elements.some((one, at) => this.table.children[at] !== one)) {
      this.table.replaceChildren(...elements);
    }
    this.rows = rows;
    this.whole.hidden = !rows.size;
    this.empty.hidden = rows.size > 0;
    setText(this.note, rows.size ? `${rows.size}${rows.size === MOST ? " or more" : ""}` : "");
  }
}
