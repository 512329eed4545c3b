// One line of the human monitor.

import { run } from "./api.js";
import { h, pane, setText } from "./dom.js";

/** Characters that the output has. */
const MOST = 40000;

export class Console {
  static isThere({ can }) {
    return can("human-monitor-command");
  }

  constructor() {
    const { element, body } = pane("console", "Console");
    this.element = element;
    this.output = h("pre", { tabindex: 0, role: "log", "aria-label": "Output of the console" }, "Type help, or info summary. The key : leads here.");
    this.line = h("input", {
      id: "console-line",
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "aria-label": "Line for the human monitor",
      placeholder: "info summary",
      onkeydown: (event) => this.key(event),
    });
    this.form = h("form", { onsubmit: (event) => this.submit(event) }, h("span", { "aria-hidden": "true" }, "❯"), this.line);
    body.append(this.output, this.form);
    this.history = [];
    this.at = 0;
    this.text = "";
  }

  key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.at = Math.min(this.history.length, Math.max(0, this.at + step));
    this.line.value = this.history[this.at] ?? "";
  }

  async submit(event) {
    event.preventDefault();
    const line = this.line.value.trim();
    if (!line) return;
    this.line.value = "";
    if (this.history[this.history.length - 1] !== line) this.history.push(line);
    if (this.history.length > 100) this.history.shift();
    this.at = this.history.length;
    this.print(`❯ ${line}\n`);
    try {
      this.print(await run("human-monitor-command", { "command-line": line }));
    } catch (error) {
      this.print(`${error.message}\n`);
    }
  }

  print(text) {
    const whole = `${this.text}${text.replaceAll("\r\n", "\n")}`;
    this.text = (whole.endsWith("\n") ? whole : `${whole}\n`).slice(-MOST);
    setText(this.output, this.text);
    this.output.scrollTop = this.output.scrollHeight;
  }
}
