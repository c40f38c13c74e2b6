/**
 * The choice of what is watched: a camera or a file of this browser, or a camera of the server.
 */

import { byId, el, icon, show } from "./dom.js";
import { vault } from "./vault.js";

/**
 * @typedef {{attach: (source: string) => void, stop: () => void, wanted: (fps: number) => void}} Hands
 */

export class SourcePicker {
  #cameras = "";

  /** @param {import("./picture.js").Picture} picture @param {Hands} hands */
  constructor(picture, hands) {
    this.picture = picture;
    this.hands = hands;
    this.source = byId("source");
    this.camera = byId("camera");
    this.file = byId("file");
    byId("use-camera").addEventListener("click", () => this.useCamera());
    byId("use-file").addEventListener("click", () => this.file.click());
    byId("stop").addEventListener("click", () => this.stop());
    byId("flip").addEventListener("click", () => void this.#flip());
    this.source.addEventListener("change", () => this.#choose(this.source.value));
    this.camera.addEventListener("change", () => this.useCamera(this.camera.value));
    this.file.addEventListener("change", () => {
      const [file] = this.file.files;
      this.file.value = "";
      if (!file) return;
      this.hands.attach("frames");
      vault.picture = { kind: "file" };
      void picture.openFile(file);
    });
    this.file.addEventListener("cancel", () => this.refresh([], vault.source));
    const fps = byId("fps");
    fps.value = String(vault.preference("fps", 4));
    if (!fps.value) fps.value = "4";
    fps.addEventListener("change", () => {
      vault.prefer("fps", Number(fps.value));
      hands.wanted(Number(fps.value));
    });
  }

  get fps() {
    return Number(byId("fps").value);
  }

  /** @param {string} [deviceId] */
  useCamera(deviceId = "") {
    this.hands.attach("frames");
    vault.picture = { kind: "camera", deviceId };
    void this.picture.openCamera(deviceId).then(() => {
      if (this.picture.deviceId) vault.picture = { kind: "camera", deviceId: this.picture.deviceId };
    });
  }

  /** Stop watching; the session and what it remembers stay. */
  stop() {
    vault.picture = null;
    this.picture.close();
    this.hands.stop();
  }

  /** After a reload: go on with the camera where the browser allows it without asking again. */
  async goOn() {
    if (vault.source !== "frames" || vault.picture?.kind !== "camera") return;
    try {
      const asked = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") });
      if (asked.state === "granted") this.useCamera(vault.picture.deviceId ?? "");
    } catch {
      // Firefox has no such permission to ask for; the button is there.
    }
  }

  /** Show what there is. @param {{name: string, state?: string}[]} declared @param {string} attached */
  refresh(declared, attached) {
    const { kind } = this.picture.status;
    const own = attached === "frames";
    const value = own ? kind : `server:${attached}`;
    const options = [
      ["none", "Nothing"],
      ["camera", "Camera"],
      ["file", "Video file"],
      ...declared.filter((one) => one.name !== "frames").map((one) => [`server:${one.name}`, `${one.name} (server)`]),
    ];
    if (!own && !options.some(([key]) => key === value)) options.push([value, `${attached} (server)`]);
    const wanted = options.map(([key, words]) => `${key}=${words}`).join("|");
    if (this.source.dataset.options !== wanted) {
      this.source.dataset.options = wanted;
      this.source.replaceChildren(...options.map(([key, words]) => el("option", { value: key, text: words })));
      byId("use-server").replaceChildren(
        ...options.filter(([key]) => key.startsWith("server:")).map(([key, words]) =>
          el("button", { class: "primary", type: "button", on: { click: () => this.#choose(key) } }, icon("server"), words),
        ),
      );
    }
    this.source.value = value;
    show(byId("stop"), own && kind !== "none");
    show(byId("fps-field"), own);
    void this.#listCameras(own && kind === "camera" && this.picture.deviceId !== "");
  }

  /** @param {boolean} shown */
  async #listCameras(shown) {
    const cameras = shown ? await this.picture.cameras() : [];
    show(byId("camera-field"), shown && cameras.length > 0);
    show(byId("flip"), shown && cameras.length > 1);
    const wanted = cameras.map((one) => `${one.deviceId}=${one.label}`).join("|");
    if (wanted !== this.#cameras) {
      this.#cameras = wanted;
      this.camera.replaceChildren(...cameras.map((one, n) => el("option", { value: one.deviceId, text: one.label || `Camera ${n + 1}` })));
    }
    if (shown) this.camera.value = this.picture.deviceId;
  }

  async #flip() {
    const cameras = await this.picture.cameras();
    const at = cameras.findIndex((one) => one.deviceId === this.picture.deviceId);
    const next = cameras[(at + 1) % cameras.length];
    if (next) this.useCamera(next.deviceId);
  }

  /** @param {string} value */
  #choose(value) {
    if (value === "camera") this.useCamera();
    else if (value === "file") this.file.click();
    else if (value === "none") {
      this.hands.attach("frames");
      this.stop();
    } else {
      vault.picture = null;
      this.picture.close();
      this.hands.attach(value.slice("server:".length));
    }
  }
}
