// Every command, with a form for its arguments and a place for its result.

import { cancel, me, request, start } from "./api.js";
import { bar, cut, h, pane, setText } from "./dom.js";
import { Form } from "./form.js";

/** Milliseconds between two looks at a command that takes its time. */
const INTERVAL = 400;

/** Characters of a result that are shown. */
const MOST = 200000;

/** Commands that a page has no use for: they are about a session of QMP. */
const NOT_HERE = new Set(["qmp_capabilities", "select-events"]);

export class Commands {
  static isThere() {
    return me.commands.size > 0;
  }

  constructor() {
    this.search = h("input", {
      id: "command-search",
      type: "search",
      placeholder: "Search  ( / )",
      "aria-label": "Search commands",
      autocomplete: "off",
      oninput: () => this.filter(),
      onkeydown: (event) => this.searchKey(event),
    });
    const { element, body, note } = pane("commands", "Commands", this.search);
    this.element = element;
    this.note = note;
    this.list = h("ul", { class: "rows names", "aria-label": "Commands" });
    this.detail = h("div", { class: "detail", tabindex: 0, role: "region", "aria-label": "The chosen command" });
    body.append(h("div", { class: "split" }, this.list, this.detail));
    this.buttons = new Map();
    this.chosen = null;
    this.running = null;
  }

  introduced() {
    const names = [...me.commands.keys()].filter((name) => !NOT_HERE.has(name)).sort();
    this.buttons = new Map(
      names.map((name) => {
        const button = h("button", { type: "button", class: "plain", onclick: () => this.choose(name) }, name);
        button.title = me.commands.get(name).help ?? "";
        return [name, button];
      }),
    );
    this.list.replaceChildren(...[...this.buttons.values()].map((button) => h("li", {}, button)));
    setText(this.note, String(names.length));
    this.filter();
    const first = ["query-status", "query-version"].find((name) => this.buttons.has(name)) ?? names[0];
    if (!this.buttons.has(this.chosen)) this.choose(first);
    else this.mark();
  }

  filter() {
    const text = this.search.value.trim().toLowerCase();
    for (const [name, button] of this.buttons) {
      button.parentElement.hidden = !name.includes(text) && !button.title.toLowerCase().includes(text);
    }
  }

  searchKey(event) {
    if (event.key !== "Enter") return;
    // Or the field that gets the focus takes the key as well.
    event.preventDefault();
    const first = [...this.buttons].find(([, button]) => !button.parentElement.hidden);
    if (first) {
      this.choose(first[0]);
      (this.form.fields[0]?.input ?? this.go).focus();
    }
  }

  mark() {
    for (const [name, button] of this.buttons) {
      if (name === this.chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  choose(name) {
    this.chosen = name;
    this.running = null;
    const command = me.commands.get(name);
    this.form = new Form(command);
    this.go = h("button", { type: "submit", class: "primary" }, "Run");
    this.stop = h("button", { type: "button", hidden: true, onclick: () => this.cancel() }, "Cancel");
    this.bar = bar(`Progress of ${name}`);
    this.bar.element.hidden = true;
    this.result = h("pre", { class: "result", tabindex: 0, role: "log", "aria-label": "Result", hidden: true });
    const doc = command.doc ? h("p", { class: "muted doc" }, command.doc) : null;
    this.detail.replaceChildren(
      h("h3", {}, name, h("span", { class: `level ${command.level}` }, command.level)),
      h("p", {}, command.help ?? ""),
      h(
        "form",
        { novalidate: true, onsubmit: (event) => this.submit(event) },
        ...this.form.elements,
        h("div", { class: "actions" }, this.go, this.stop, this.bar.element),
      ),
      this.result,
      ...(doc ? [h("details", {}, h("summary", {}, "More about it"), doc)] : []),
    );
    this.mark();
  }

  show(text, kind) {
    this.result.hidden = false;
    this.result.className = `result ${kind}`;
    setText(this.result, cut(text, MOST));
  }

  async submit(event) {
    event.preventDefault();
    const text = this.form.text();
    if (text === null || this.running) return;
    const mark = {};
    this.running = mark;
    this.go.disabled = true;
    this.show("…", "waiting");
    try {
      const number = await start(this.chosen, text);
      await this.follow(number, mark);
    } catch (error) {
      if (this.running === mark) this.show(error.message, "failed");
    } finally {
      if (this.running === mark) this.rest();
    }
  }

  async follow(number, mark) {
    mark.number = number;
    for (let look = 0; this.running === mark; look += 1) {
      const state = await request(number);
      if (this.running !== mark) return;
      if (state.state !== "pending") {
        if (state.error) this.show(state.error.desc, "failed");
        else this.show(JSON.stringify(state.return, null, 2), "done");
        return;
      }
      this.stop.hidden = false;
      this.bar.element.hidden = false;
      this.bar.set(state.progress?.current ?? 0, state.progress?.total ?? 0);
      await new Promise((resolve) => setTimeout(resolve, look < 3 ? 100 : INTERVAL));
    }
  }

  rest() {
    this.running = null;
    this.go.disabled = false;
    this.stop.hidden = true;
    this.bar.element.hidden = true;
  }

  async cancel() {
    if (this.running?.number) await cancel(this.running.number).catch((error) => this.show(error.message, "failed"));
  }
}
