/**
 * What is said beside what is shown: to screen readers, in toasts, by notification and sound.
 */

import { byId, el } from "./dom.js";
import { vault } from "./vault.js";

const TOAST_MS = 6000;

/** Say something to screen readers. @param {string} text @param {boolean} [urgent] */
export function announce(text, urgent = false) {
  const region = byId(urgent ? "alarmed" : "said");
  region.textContent = "";
  // The same words twice are spoken twice only when the region was empty in between.
  setTimeout(() => (region.textContent = text), 30);
}

/** Show a short message that goes away. @param {string} title @param {string} [more] @param {"plain" | "bad"} [tone] */
export function toast(title, more = "", tone = "plain") {
  const made = el("div", { class: "toast", "data-tone": tone }, el("strong", { text: title }), more ? el("span", { text: more }) : null);
  byId("toasts").append(made);
  announce(more ? `${title}. ${more}` : title, tone === "bad");
  setTimeout(() => made.remove(), TOAST_MS + (tone === "bad" ? TOAST_MS : 0));
}

/** Two switches, both off until someone turns them on: browser notifications and a tone. */
export class Chime {
  #audio = /** @type {AudioContext | null} */ (null);

  constructor() {
    this.notify = this.#button("notify", () => this.#allow());
    this.sound = this.#button("sound", async () => {
      this.#audio ??= new AudioContext();
      await this.#audio.resume();
      this.#tone();
      return true;
    });
  }

  /** @param {string} title @param {string} body */
  ring(title, body) {
    if (this.sound.on) this.#tone();
    if (this.notify.on && document.hidden && Notification.permission === "granted") {
      try {
        new Notification(title, { body, icon: "icon.svg", tag: "onlooker" });
      } catch {
        // Phones give notifications to service workers only.
      }
    }
  }

  /** @param {string} name @param {() => Promise<boolean>} turnOn */
  #button(name, turnOn) {
    const button = byId(name);
    const state = { on: Boolean(vault.preference(name, false)) };
    if (name === "notify" && (!("Notification" in window) || Notification.permission !== "granted")) state.on = false;
    button.setAttribute("aria-pressed", String(state.on));
    button.addEventListener("click", async () => {
      state.on = state.on ? false : await turnOn();
      vault.prefer(name, state.on);
      button.setAttribute("aria-pressed", String(state.on));
    });
    return state;
  }

  async #allow() {
    if (!("Notification" in window)) {
      toast("This browser shows no notifications", "", "bad");
      return false;
    }
    if ((await Notification.requestPermission()) === "granted") return true;
    toast("Notifications are blocked", "Allow them for this address in the browser's settings.", "bad");
    return false;
  }

  #tone() {
    try {
      this.#audio ??= new AudioContext();
      const from = this.#audio.currentTime;
      for (const [pitch, at] of [[660, 0], [880, 0.12]]) {
        const note = this.#audio.createOscillator();
        const volume = this.#audio.createGain();
        note.frequency.value = pitch;
        volume.gain.setValueAtTime(0.0001, from + at);
        volume.gain.exponentialRampToValueAtTime(0.12, from + at + 0.02);
        volume.gain.exponentialRampToValueAtTime(0.0001, from + at + 0.3);
        note.connect(volume).connect(this.#audio.destination);
        note.start(from + at);
        note.stop(from + at + 0.32);
      }
    } catch {
      // No audio device: the log and the notification remain.
    }
  }
}
