// Two soft notes, again and again until the alert is answered. A browser lets a page sound only after a touch.
const EVERY = 4000;

export class Bell {
  constructor(button, onChange) {
    this.onChange = onChange;
    this.wanted = localStorage.getItem("sound") !== "off";
    button.addEventListener("click", () => this.toggle());
    addEventListener("pointerdown", (event) => {
      if (this.wanted && !button.contains(event.target)) this.unlock();
    });
  }

  get on() {
    return this.wanted && this.context?.state === "running";
  }

  async toggle() {
    this.wanted = !this.on;
    localStorage.setItem("sound", this.wanted ? "on" : "off");
    if (this.wanted) await this.unlock();
    if (this.on) this.ring();
    this.onChange(this.on);
  }

  async unlock() {
    if (this.on) return;
    this.context ??= new AudioContext();
    await this.context.resume();
    this.onChange(this.on);
  }

  until(calling) {
    clearInterval(this.timer);
    if (calling && !this.calling) this.ring();
    if (calling) this.timer = setInterval(() => this.ring(), EVERY);
    this.calling = calling;
  }

  ring() {
    if (!this.on) return;
    this.note(659.25, 0);
    this.note(880, 0.18);
  }

  note(frequency, delay) {
    const start = this.context.currentTime + delay;
    const tone = this.context.createOscillator();
    const level = this.context.createGain();
    tone.frequency.value = frequency;
    level.gain.setValueAtTime(0, start);
    level.gain.linearRampToValueAtTime(0.25, start + 0.02);
    level.gain.exponentialRampToValueAtTime(0.001, start + 0.5);
    tone.connect(level).connect(this.context.destination);
    tone.start(start);
    tone.stop(start + 0.55);
  }
}
