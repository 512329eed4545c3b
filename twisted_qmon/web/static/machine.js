// The virtual machine of the QEMU that the monitor fronts: its state, its block jobs, its migration.

import { can, run } from "./api.js";
import { bar, bytes, h, pane, setText, toast } from "./dom.js";

const MOVING = new Set(["setup", "active", "device", "pre-switchover", "postcopy-active", "wait-unplug"]);

export class Machine {
  static isThere({ can, frontsQemu }) {
    return frontsQemu() && can("query-status");
  }

  constructor() {
    const { element, body, note } = pane("machine", "Virtual machine");
    this.element = element;
    this.note = note;
    this.state = h("p", { class: "chip", id: "machine-state", role: "status" }, "–");
    this.buttons = [
      ["stop", "Pause", (running) => running],
      ["cont", "Resume", (running) => !running],
      ["system_reset", "Reset", () => true],
      ["system_powerdown", "Power down", () => true],
    ].map(([command, text, when]) => ({
      command,
      when,
      element: h("button", { type: "button", class: "small", onclick: () => this.go(command) }, text),
    }));
    this.migration = h("p", { class: "muted" });
    this.migrated = bar("Migration");
    this.moving = h("div", { class: "job", hidden: true }, this.migration, this.migrated.element);
    this.jobs = h("ul", { class: "rows", "aria-label": "Block jobs" });
    body.append(h("div", { class: "actions" }, this.state, ...this.buttons.map((one) => one.element)), this.moving, this.jobs);
    this.rows = new Map();
  }

  events(events) {
    if (events.some((event) => /^(STOP|RESUME|SHUTDOWN|RESET|POWERDOWN|BLOCK_JOB_|JOB_|MIGRATION)/.test(event.event))) this.look().catch(() => {});
  }

  async go(command) {
    try {
      await run(command);
      await this.look();
    } catch (error) {
      toast(error.message);
    }
  }

  async look() {
    const status = await run("query-status").catch((error) => ({ status: error.message, running: false }));
    setText(this.state, status.status);
    this.state.className = `chip ${status.running ? "good" : "warn"}`;
    for (const { command, when, element } of this.buttons) element.hidden = !can(command) || !when(status.running);
    if (can("query-migrate")) this.showMigration(await run("query-migrate").catch(() => ({})));
    if (can("query-block-jobs")) this.showJobs(await run("query-block-jobs").catch(() => []));
  }

  showMigration(info) {
    this.moving.hidden = !info.status || info.status === "none";
    if (this.moving.hidden) return;
    const { ram } = info;
    const speed = ram?.mbps ? `, ${Math.round(ram.mbps)} Mbit/s` : "";
    setText(this.migration, `Migration: ${info.status}${ram ? `, ${bytes(ram.transferred)} sent${speed}` : ""}`);
    this.migrated.element.hidden = !ram && !MOVING.has(info.status);
    if (info.status === "completed") this.migrated.set(1, 1);
    else if (ram) this.migrated.set(ram.total - ram.remaining, ram.total);
  }

  showJobs(jobs) {
    const rows = new Map();
    for (const job of jobs) {
      const row = this.rows.get(job.device) ?? this.makeJob(job.device);
      setText(row.text, `${job.device}: ${job.type}${job.paused ? ", paused" : ""}${job.ready ? ", ready" : ""}`);
      row.bar.set(job.offset, job.len);
      rows.set(job.device, row);
    }
    this.rows = rows;
    this.jobs.replaceChildren(...[...rows.values()].map((row) => row.element));
    setText(this.note, jobs.length ? `${jobs.length} block job${jobs.length === 1 ? "" : "s"}` : "");
  }

  makeJob(device) {
    const text = h("span", { class: "name" });
    const progress = bar(`Block job ${device}`);
    return { text, bar: progress, element: h("li", { class: "job" }, text, progress.element) };
  }
}
