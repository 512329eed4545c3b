// Elements and texts. Whatever comes from the monitor becomes text, never markup.

/** Make an element: h("button", {type: "button", onclick: go}, "Go"). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Find an element by its id. */
export const byId = (id) => document.getElementById(id);

/** A pane with a heading; returns its parts. */
export function pane(id, title, ...tools) {
  const body = h("div", { class: "body" });
  const note = h("span", { class: "note muted" });
  const heading = h("h2", { id: `${id}-title` }, title);
  const element = h(
    "section",
    { class: "pane", id, "aria-labelledby": `${id}-title` },
    h("div", { class: "head" }, heading, note, ...tools),
    body,
  );
  return { element, body, note };
}

/** Change an element's text only if it is another: what is selected stays selected. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 52965376 as "50.5 MiB". */
export function bytes(number) {
  let unit = 0;
  let value = number;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && Math.abs(value) < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** Seconds as "2 h 3 min", "4.2 s", "13 ms". */
export function span(seconds) {
  if (seconds < 0.9995) return `${seconds < 0.00995 ? (seconds * 1000).toFixed(1) : Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const pad = (number, width = 2) => String(number).padStart(width, "0");

/** The time of a timestamp of the monitor, as on a clock here. */
export function clock(timestamp) {
  const date = new Date(timestamp.seconds * 1000);
  const millis = Math.max(0, Math.floor(timestamp.microseconds / 1000));
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(millis, 3)}`;
}

/** Cut a text that is too long for its place. */
export const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

/** Say something that passes: an error of a button, say. */
export function toast(text, kind = "error") {
  const box = byId("toasts");
  const one = h("p", { class: `toast ${kind}` }, cut(text, 500));
  box.append(one);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => one.remove(), 8000);
}

/** A bar: current of total; without a total it only says that something goes on. */
export function bar(label) {
  const progress = h("progress", { "aria-label": label, max: 100 });
  const text = h("span", { class: "muted" });
  const element = h("div", { class: "bar" }, progress, text);
  return {
    element,
    set(current, total) {
      if (total > 0) {
        progress.value = Math.min(100, (100 * current) / total);
        setText(text, `${Math.floor(progress.value)} %`);
      } else {
        progress.removeAttribute("value");
        setText(text, current ? String(current) : "");
      }
    },
  };
}
