// The monitor's events, across interruptions, in batches: however many come, there are only a few for the screen to draw.

/** Milliseconds between two batches. */
const INTERVAL = 100;

/** Events in a batch. Of more, the latest: no list shows more than that. */
export const MOST = 300;

/** Milliseconds before another attempt, where the browser makes none. */
const AGAIN = 1000;

export class Feed {
  /**
   * onEvents(events, skipped): what has come; onState(up): the connection is there, or not; onResumed(info): where it begins.
   */
  constructor({ onEvents, onState, onResumed }) {
    this.onEvents = onEvents;
    this.onState = onState;
    this.onResumed = onResumed;
    this.total = 0;
    this.last = "0";
    this.waiting = [];
    this.skipped = 0;
    this.flushing = false;
    this.source = null;
    this.timer = null;
  }

  /** Connect; the history comes first, or what was missed since. */
  open() {
    this.close();
    const source = new EventSource(`/api/events?after=${encodeURIComponent(this.last)}`);
    this.source = source;
    source.onmessage = (message) => this.take(message);
    source.addEventListener("resumed", (message) => {
      const info = JSON.parse(message.data);
      this.last = message.lastEventId;
      this.onResumed(info);
      if (info.lost) this.skip(info.lost);
      this.onState(true);
    });
    source.addEventListener("lost", (message) => {
      this.last = message.lastEventId;
      this.skip(JSON.parse(message.data).lost);
    });
    source.onerror = () => {
      this.onState(false);
      // After an answer that is an error the browser gives up.
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.open(), AGAIN);
      }
    };
  }

  /** Disconnect. */
  close() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
  }

  take(message) {
    this.last = message.lastEventId;
    this.total += 1;
    const event = JSON.parse(message.data);
    event.number = Number(message.lastEventId.slice(message.lastEventId.lastIndexOf("/") + 1));
    this.waiting.push(event);
    if (this.waiting.length > 2 * MOST) {
      this.skipped += this.waiting.length - MOST;
      this.waiting = this.waiting.slice(-MOST);
    }
    this.flushSoon();
  }

  skip(count) {
    this.skipped += count;
    this.flushSoon();
  }

  flushSoon() {
    if (this.flushing) return;
    this.flushing = true;
    setTimeout(() => requestAnimationFrame(() => this.flush()), INTERVAL);
  }

  flush() {
    this.flushing = false;
    const events = this.waiting.slice(-MOST);
    const skipped = this.skipped + this.waiting.length - events.length;
    this.waiting = [];
    this.skipped = 0;
    this.onEvents(events, skipped);
  }
}
