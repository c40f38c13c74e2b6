/**
 * What this browser gives to watch: a camera or a video file, in the <video> element.
 */

/**
 * @typedef {"none" | "starting" | "playing" | "paused" | "ended" | "failed"} PictureState
 * @typedef {{kind: "none" | "camera" | "file", state: PictureState, label: string, reason: string}} PictureStatus
 */

const AGAIN_MS = 3000;

/** @type {Record<string, string>} */
const CAMERA_TROUBLE = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it beside the address, then try again.",
  NotFoundError: "No camera was found. Plug one in, or play a video file.",
  NotReadableError: "The camera is in use by another program. Close that one, then try again.",
  OverconstrainedError: "That camera is not there any more. Choose another one.",
  AbortError: "The camera stopped while it started. Try again.",
};

export class Picture {
  #again = 0;
  #address = "";
  #opening = 0;

  /** @param {HTMLVideoElement} video @param {() => void} onChange */
  constructor(video, onChange) {
    this.video = video;
    this.onChange = onChange;
    /** @type {PictureStatus} */
    this.status = { kind: "none", state: "none", label: "", reason: "" };
    this.deviceId = "";
    video.addEventListener("playing", () => this.#moved("playing"));
    video.addEventListener("pause", () => this.#moved(video.ended ? "ended" : "paused"));
    video.addEventListener("ended", () => this.#moved("ended"));
    video.addEventListener("error", () => {
      if (this.status.kind === "file") this.#fail("This browser cannot play that file. Try MP4 (H.264) or WebM.");
    });
    navigator.mediaDevices?.addEventListener("devicechange", () => {
      if (this.status.kind === "camera" && this.status.state === "failed") void this.openCamera(this.deviceId);
      else this.onChange();
    });
  }

  /** List the cameras; names are known once one was allowed. */
  async cameras() {
    try {
      const all = await navigator.mediaDevices.enumerateDevices();
      return all.filter((one) => one.kind === "videoinput" && one.deviceId);
    } catch {
      return [];
    }
  }

  /** Watch a camera: one by its id, or the one that looks away from the person. @param {string} [deviceId] */
  async openCamera(deviceId = "") {
    const turn = this.#begin("camera", "Camera");
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#fail("Browsers give cameras to https:// and localhost pages only. Open this page by 127.0.0.1, or start the server with --tls-cert and --tls-key.");
      return;
    }
    const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
    const video = deviceId ? { ...size, deviceId: { exact: deviceId } } : { ...size, facingMode: { ideal: "environment" } };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch (error) {
      if (turn !== this.#opening) return;
      const name = error instanceof DOMException ? error.name : "";
      this.#fail(CAMERA_TROUBLE[name] ?? `The camera could not be opened (${name || error}). Try again.`);
      if (name === "NotReadableError" || name === "NotFoundError") this.#later();
      return;
    }
    if (turn !== this.#opening) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    const [track] = stream.getVideoTracks();
    this.deviceId = track.getSettings().deviceId ?? deviceId;
    this.status.label = track.label || "Camera";
    track.addEventListener("ended", () => {
      if (turn !== this.#opening) return;
      this.#fail("The camera went away. It is opened again when it comes back.");
      this.#later();
    });
    track.addEventListener("mute", () => turn === this.#opening && this.#moved("paused", "The camera sends no picture."));
    track.addEventListener("unmute", () => turn === this.#opening && this.#moved("playing"));
    this.video.srcObject = stream;
    await this.video.play().catch(() => undefined);
  }

  /** Play a file. @param {File} file */
  async openFile(file) {
    this.#begin("file", file.name);
    this.#address = URL.createObjectURL(file);
    this.video.src = this.#address;
    this.video.controls = true;
    await this.video.play().catch(() => undefined);
  }

  /** Stop and give the camera back. */
  close() {
    this.#begin("none", "");
    this.#moved("none");
  }

  /** @param {"none" | "camera" | "file"} kind @param {string} label */
  #begin(kind, label) {
    this.#opening += 1;
    clearTimeout(this.#again);
    const stream = this.video.srcObject;
    if (stream instanceof MediaStream) for (const track of stream.getTracks()) track.stop();
    this.video.srcObject = null;
    this.video.controls = false;
    if (this.#address) {
      this.video.removeAttribute("src");
      this.video.load();
      URL.revokeObjectURL(this.#address);
      this.#address = "";
    }
    this.status = { kind, state: "starting", label, reason: "" };
    this.onChange();
    return this.#opening;
  }

  #later() {
    clearTimeout(this.#again);
    this.#again = window.setTimeout(() => void this.openCamera(this.deviceId), AGAIN_MS);
  }

  /** @param {string} reason */
  #fail(reason) {
    this.status = { ...this.status, state: "failed", reason };
    this.onChange();
  }

  /** @param {PictureState} state @param {string} [reason] */
  #moved(state, reason = "") {
    if (this.status.kind === "none" && state !== "none") return;
    if (this.status.state === "failed" && state === "paused") return;
    this.status = { ...this.status, state, reason };
    this.onChange();
  }
}
