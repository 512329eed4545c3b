// The state of the process at a glance.

import { can, run } from "./api.js";
import { Sparkline } from "./chart.js";
import { byId, bytes, h, pane, setText, span } from "./dom.js";

class Tile {
  constructor(label) {
    this.value = h("span", {}, "–");
    this.note = h("small", { class: "muted" });
    this.chart = new Sparkline();
    this.element = h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, this.value, " ", this.note), this.chart.element);
  }

  set(text, number, { state = "", note = "" } = {}) {
    setText(this.value, text);
    setText(this.note, note);
    this.element.className = `tile ${state}`;
    this.chart.push(number);
  }
}

export class Summary {
  static isThere({ can }) {
    return can("query-summary") || can("query-version");
  }

  constructor() {
    const { element, body, note } = pane("summary", "Summary");
    this.element = element;
    this.note = note;
    this.tiles = {
      late: new Tile("Reactor late"),
      memory: new Tile("Memory"),
      processor: new Tile("Processor"),
      connections: new Tile("Connections"),
      events: new Tile("Events"),
      pending: new Tile("Pending"),
      errors: new Tile("Errors"),
      stalls: new Tile("Stalls"),
    };
    this.list = h("dl", { class: "tiles" }, ...Object.values(this.tiles).map((tile) => tile.element));
    body.append(this.list);
    this.count = 0;
    this.counted = performance.now();
  }

  introduced() {
    if (can("query-version")) {
      run("query-version").then((version) => {
        const { major, minor, micro } = version.qemu;
        setText(byId("version"), version.package || `QEMU ${major}.${minor}.${micro}`);
      }, () => {});
    }
  }

  events(events, skipped) {
    this.count += events.length + skipped;
  }

  async look() {
    const { tiles } = this;
    const now = performance.now();
    const rate = (1000 * this.count) / Math.max(1, now - this.counted);
    this.count = 0;
    this.counted = now;
    tiles.events.set(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} /s`, rate);
    if (!can("query-summary")) return;
    const summary = await run("query-summary");
    const { latency, pending, stalls } = summary;
    setText(this.note, `process ${summary.pid}, up ${span(summary.uptime)}`);
    if (latency) {
      const { mean, worst } = latency;
      tiles.late.set(span(mean), mean, { state: worst > 0.5 ? "warn" : "", note: `max ${span(worst)}` });
    }
    this.optional(tiles.memory, summary["resident-memory"], bytes);
    this.optional(tiles.processor, summary.processor, (share) => `${(100 * share).toFixed(1)} %`);
    tiles.connections.set(String(summary.connections), summary.connections);
    tiles.pending.set(String(pending.count), pending.count, { note: pending.abandoned ? `${pending.abandoned} abandoned` : "" });
    tiles.errors.set(String(summary.errors), summary.errors, { state: summary.errors ? "warn" : "", note: "last minute" });
    const count = stalls?.count ?? 0;
    tiles.stalls.set(String(count), count, count ? { state: "warn", note: `max ${span(stalls.worst)}` } : {});
    tiles.stalls.element.hidden = !stalls && !can("query-stalls");
  }

  optional(tile, value, text) {
    tile.element.hidden = value === undefined || value === null;
    if (!tile.element.hidden) tile.set(text(value), value);
  }
}
