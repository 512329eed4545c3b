// The tree of services.

import { can, run } from "./api.js";
import { h, pane, setText, toast } from "./dom.js";

/** Milliseconds in which a second click stops a service. */
const SURE = 4000;

class Row {
  constructor(pane) {
    this.pane = pane;
    this.dot = h("span", { class: "dot", "aria-hidden": "true" });
    this.name = h("span", { class: "name" });
    this.state = h("span", { class: "muted" });
    this.button = h("button", { type: "button", class: "small", onclick: () => this.click() });
    this.element = h("li", {}, this.dot, this.name, this.state, this.button);
    this.sure = null;
  }

  show(service) {
    this.service = service;
    const depth = service.path ? service.path.split("/").length : 0;
    this.element.className = `depth-${Math.min(depth, 6)}`;
    setText(this.name, service.name || service.class.split(".").pop());
    this.name.title = `${service.path || "/"}: ${service.class}`;
    this.dot.classList.toggle("on", service.running);
    setText(this.state, service.running ? "running" : "stopped");
    const command = service.running ? "service-stop" : "service-start";
    // Those that serve the monitor can't be stopped through it.
    this.button.hidden = !can(command) || !service.path || service.class.startsWith("twisted_qmon.");
    if (!this.sure) setText(this.button, service.running ? "Stop" : "Start");
    this.button.setAttribute("aria-label", `${service.running ? "Stop" : "Start"} ${service.name}`);
  }

  async click() {
    const { path, running } = this.service;
    if (running && !this.sure) {
      setText(this.button, "Sure?");
      this.sure = setTimeout(() => this.calm(), SURE);
      return;
    }
    this.calm();
    this.button.disabled = true;
    try {
      await run(running ? "service-stop" : "service-start", { path });
    } catch (error) {
      toast(error.message);
    } finally {
      this.button.disabled = false;
      this.button.focus();
      this.pane.look();
    }
  }

  calm() {
    clearTimeout(this.sure);
    this.sure = null;
    this.show(this.service);
  }
}

export class Services {
  static isThere({ can }) {
    return can("query-services");
  }

  constructor() {
    const { element, body, note } = pane("services", "Services");
    this.element = element;
    this.note = note;
    this.list = h("ul", { class: "rows", tabindex: 0, "aria-label": "Services" });
    body.append(this.list);
    this.rows = new Map();
  }

  events(events) {
    if (events.some((event) => event.event === "SERVICE_CHANGE")) this.look().catch(() => {});
  }

  async look() {
    const services = await run("query-services");
    const rows = new Map();
    for (const service of services) {
      const row = this.rows.get(service.path) ?? new Row(this);
      row.show(service);
      rows.set(service.path, row);
    }
    const elements = [...rows.values()].map((row) => row.element);
    // What has the focus keeps it.
    if (elements.length !== this.list.children.length || elements.some((one, at) => this.list.children[at] !== one)) {
      this.list.replaceChildren(...elements);
    }
    this.rows = rows;
    const down = services.filter((service) => !service.running).length;
    setText(this.note, down ? `${down} of ${services.length} stopped` : `${services.length}`);
  }
}
