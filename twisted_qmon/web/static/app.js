// The page: who we are, which panes there are, and what keeps them up to date.

import { ask, can, frontsQemu, introduce, me, onRefused } from "./api.js";
import { Commands } from "./commands.js";
import { Console } from "./console.js";
import { byId, setText, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { EventList, LogList } from "./lists.js";
import { Machine } from "./machine.js";
import { Pending } from "./pending.js";
import { Services } from "./services.js";
import { Stalls } from "./stalls.js";
import { Summary } from "./summary.js";

/** Milliseconds between two looks at what has no events. */
const INTERVAL = 2000;

let panes = [];
let up = false;
let timer = null;
let looking = false;

const feed = new Feed({
  onEvents(events, skipped) {
    for (const pane of panes) pane.events?.(events, skipped, feed);
  },
  onState(state) {
    up = state;
    showState(state ? "running" : "disconnected");
    if (state) look();
  },
  async onResumed(info) {
    if (me.session && me.session.monitor !== info.monitor) {
      // It is another process by now: with other commands, perhaps.
      try {
        await introduce();
        build();
      } catch (error) {
        if (error.status !== 401) toast(error.message);
      }
    }
  },
});

function showState(text) {
  const chip = byId("state");
  setText(chip, text);
  chip.className = `chip ${text === "running" ? "good" : text === "disconnected" ? "bad" : "warn"}`;
}

/** The panes that the server has commands for, in their columns. */
function build() {
  const columns = {
    left: [Summary, Services],
    middle: [Machine, Pending, Commands, Console],
    right: [EventList, LogList, Stalls],
  };
  const kept = new Map(panes.map((pane) => [pane.constructor, pane]));
  panes = [];
  for (const [id, classes] of Object.entries(columns)) {
    const made = classes.filter((one) => one.isThere({ can, frontsQemu })).map((one) => kept.get(one) ?? new one());
    byId(id).replaceChildren(...made.map((pane) => pane.element));
    panes.push(...made);
  }
  for (const pane of panes) pane.introduced?.();
  const { session } = me;
  const name = session.name ?? location.host;
  setText(byId("name"), name);
  document.title = `${name} · qmon`;
  setText(byId("who"), `${session.identity} · ${session.level}`);
  byId("logout").hidden = false;
}

/** Have each pane look again at what it shows. */
async function look() {
  clearTimeout(timer);
  timer = setTimeout(look, INTERVAL);
  if (looking || !up || document.hidden) return;
  looking = true;
  try {
    await Promise.all(panes.map((pane) => pane.look?.(look)));
  } catch (error) {
    if (error.status === 403) await again();
    else if (error.status && error.status !== 401 && error.status !== 503) toast(error.message);
  } finally {
    looking = false;
  }
}

async function again() {
  await introduce().then(build, () => {});
}

async function begin() {
  try {
    await introduce();
  } catch (error) {
    if (error.status === 403) {
      showState("no access");
      toast(error.message);
    } else if (error.status !== 401) {
      showState("disconnected");
      setTimeout(begin, INTERVAL);
    }
    return;
  }
  byId("login").hidden = true;
  byId("monitor").hidden = false;
  build();
  feed.open();
}

function end(error) {
  feed.close();
  clearTimeout(timer);
  up = false;
  byId("monitor").hidden = true;
  byId("logout").hidden = true;
  byId("login").hidden = false;
  setText(byId("who"), "");
  setText(byId("login-error"), location.search.includes("token=") ? error.message : "");
  showState("logged out");
  byId("token").focus();
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  try {
    await ask("POST", "/api/session", undefined, { Authorization: `Bearer ${token}` });
    byId("token").value = "";
    history.replaceState(null, "", "/");
    begin();
  } catch (error) {
    setText(byId("login-error"), error.message);
  }
});

byId("logout").addEventListener("click", async () => {
  await ask("DELETE", "/api/session").catch((error) => toast(error.message));
  end({ message: "" });
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = { "/": "command-search", ":": "console-line" }[event.key];
  if (target && byId(target)) {
    event.preventDefault();
    byId(target).focus();
  }
});

onRefused(end);
begin();
