// The HTTP interface: commands, requests, the session.

/** An answer that is an error. */
export class ApiError extends Error {
  constructor(status, error) {
    super(error.desc);
    this.status = status;
    this.class = error.class;
  }
}

let refused = () => {};

/** Have a function called when the session is no longer valid. */
export function onRefused(callback) {
  refused = callback;
}

/** One request; its body is JSON text. Resolves with the value of the answer, null if it has none. */
export async function ask(method, path, body = undefined, headers = {}) {
  const options = { method, headers: { ...headers }, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    options.body = body;
    options.headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, options);
  const text = await response.text();
  const value = text ? JSON.parse(text) : null;
  if (!response.ok) {
    const error = new ApiError(response.status, value?.error ?? { class: "GenericError", desc: response.statusText });
    if (response.status === 401) refused(error);
    throw error;
  }
  return value;
}

const path = (name) => `/api/commands/${encodeURIComponent(name)}`;

/** Run a command and wait for it. */
export async function run(name, args = {}) {
  const answer = await ask("POST", path(name), typeof args === "string" ? args : JSON.stringify(args));
  return answer.return;
}

/** Start a command. Resolves with the number of its request. */
export async function start(name, text) {
  return (await ask("POST", path(name), text, { Prefer: "respond-async" })).number;
}

/** One request of ours, with its outcome if it is done. */
export const request = (number) => ask("GET", `/api/requests/${number}`);

/** Cancel a request of ours. */
export const cancel = (number) => ask("DELETE", `/api/requests/${number}`);

/** What the page knows of who it is, and what it may run. */
export const me = { session: null, commands: new Map() };

/** Whether a command is there, and may be run. */
export const can = (name) => me.commands.has(name);

/** Find out who we are, and what there is. */
export async function introduce() {
  me.session = await ask("GET", "/api/session");
  const commands = await ask("GET", "/api/commands");
  me.commands = new Map(commands.map((command) => [command.name, command]));
}

/** Whether the monitor fronts a QEMU. */
export const frontsQemu = () => [...me.commands.values()].some((command) => command.origin === "qemu");
