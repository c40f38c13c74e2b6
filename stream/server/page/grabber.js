/**
 * Takes frames from the <video> as JPEG, with the time at which they were captured.
 */

import { DISCONTINUITY, frameMessage } from "./wire.js";

const LONGER_SIDE = 640;
const QUALITIES = [0.86, 0.72, 0.55];
const OLDEST_MS = 5000;

export class Grabber {
  #canvas = document.createElement("canvas");
  #busy = false;
  #sequence = 0;
  #lastUs = 0;
  #broken = true;
  #running = false;
  #quality = 0;

  /**
   * @param {HTMLVideoElement} video
   * @param {import("./pacer.js").Pacer} pacer
   * @param {{send: (message: ArrayBuffer) => boolean, ready: () => boolean, waiting: () => number,
   *   skewUs: () => number, limits: () => {max_frame_bytes?: number, max_pixels?: number}}} link
   */
  constructor(video, pacer, link) {
    this.video = video;
    this.pacer = pacer;
    this.link = link;
    this.sent = 0;
  }

  /** Take frames until stop(). */
  start() {
    if (this.#running) return;
    this.#running = true;
    this.cut();
    if ("requestVideoFrameCallback" in this.video) {
      const step = (/** @type {number} */ now, /** @type {any} */ meta) => {
        if (!this.#running) return;
        this.video.requestVideoFrameCallback(step);
        void this.#take(now, meta.captureTime);
      };
      this.video.requestVideoFrameCallback(step);
    } else {
      const step = () => {
        if (!this.#running) return;
        setTimeout(step, 40);
        if (!this.video.paused) void this.#take(performance.now(), undefined);
      };
      step();
    }
  }

  stop() {
    this.#running = false;
  }

  /** What comes next does not follow what came before: another picture, or a pause. */
  cut() {
    this.#broken = true;
    this.pacer.reset();
  }

  /** @param {number} nowMs of performance.now() @param {number | undefined} captureMs the same clock */
  async #take(nowMs, captureMs) {
    if (this.#busy || document.hidden || !this.link.ready() || !this.video.videoWidth) return;
    if (!this.pacer.due(nowMs, this.link.waiting())) return;
    this.#busy = true;
    try {
      const at = captureMs !== undefined && captureMs <= nowMs && nowMs - captureMs < OLDEST_MS ? captureMs : nowMs;
      // performance.now() may stand still while a machine sleeps, so it is tied to the wall clock at every frame.
      const wallUs = (at + Date.now() - performance.now()) * 1000 + this.link.skewUs();
      const image = await this.#encode();
      if (!image) return;
      this.#lastUs = Math.max(Math.round(wallUs), this.#lastUs + 1);
      const message = frameMessage(this.#sequence, this.#lastUs, this.#broken ? DISCONTINUITY : 0, image);
      if (!this.link.send(message)) return;
      this.#sequence += 1;
      this.#broken = false;
      this.sent += 1;
    } finally {
      this.#busy = false;
    }
  }

  /** @returns {Promise<ArrayBuffer | null>} */
  async #encode() {
    const { max_frame_bytes: mostBytes = Infinity, max_pixels: mostPixels = Infinity } = this.link.limits();
    const { videoWidth: wide, videoHeight: tall } = this.video;
    const scale = Math.min(1, LONGER_SIDE / Math.max(wide, tall), Math.sqrt(mostPixels / (wide * tall)));
    this.#canvas.width = Math.max(1, Math.floor(wide * scale));
    this.#canvas.height = Math.max(1, Math.floor(tall * scale));
    const context = this.#canvas.getContext("2d", { alpha: false });
    if (!context) return null;
    context.drawImage(this.video, 0, 0, this.#canvas.width, this.#canvas.height);
    /** @type {Blob | null} */
    const blob = await new Promise((give) => this.#canvas.toBlob(give, "image/jpeg", QUALITIES[this.#quality]));
    if (!blob) return null;
    if (blob.size > mostBytes) {
      this.#quality = Math.min(this.#quality + 1, QUALITIES.length - 1);
      return null;
    }
    return blob.arrayBuffer();
  }
}
