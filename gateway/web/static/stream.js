// The gateway's event stream: resumes where it left off, and notices when it has fallen silent.
const SILENCE = 40_000; // the gateway sends a heartbeat every 15 s
const LONGEST_WAIT = 15_000;

export class Stream {
  constructor({ types, after, epoch, onEvent, onLink, onRestored, onRejected }) {
    Object.assign(this, { types, seq: after, epoch, onEvent, onLink, onRestored, onRejected });
    this.heardAt = 0;
    this.skew = 0; // the gateway's clock minus ours, in milliseconds
    this.wait = 500;
    setInterval(() => this.watch(), 2000);
    addEventListener("online", () => this.open());
    document.addEventListener("visibilitychange", () => document.hidden || this.watch());
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = (this.source = new EventSource(`/api/v1/stream?after=${this.seq}`));
    const on = (type, act) => source.addEventListener(type, (event) => source === this.source && act(event));
    on("resumed", (event) => this.greeted(JSON.parse(event.data)));
    on("hello", (event) => this.greeted(JSON.parse(event.data)));
    on("heartbeat", (event) => this.heard(JSON.parse(event.data).at));
    for (const type of this.types) on(type, (event) => this.happened(type, event));
    on("error", () => this.lost());
  }

  greeted(hello) {
    this.wait = 500;
    this.heard(hello.at);
    if (hello.epoch !== this.epoch || hello.seq < this.seq) return this.onRestored();
    this.seq = Math.max(this.seq, hello.seq);
    this.onLink(true);
  }

  happened(type, event) {
    this.heard();
    const seq = Number(event.lastEventId);
    if (seq <= this.seq) return;
    this.seq = seq;
    this.onEvent(type, JSON.parse(event.data));
  }

  heard(at) {
    this.heardAt = Date.now();
    if (at) this.skew = Date.parse(at) - this.heardAt;
  }

  watch() {
    if (this.source.readyState === EventSource.OPEN && Date.now() - this.heardAt > SILENCE) this.lost();
  }

  async lost() {
    const source = this.source;
    source.close();
    this.onLink(false);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    try {
      const answer = await fetch("/api/v1/visits?open=true", { cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) this.onRejected();
    } catch {
      // The gateway does not answer: the timer tries again.
    }
  }

  now() {
    return Date.now() + this.skew;
  }
}
