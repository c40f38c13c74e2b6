/**
 * Light, dark, or what the system says.
 */

import { byId } from "./dom.js";
import { vault } from "./vault.js";

const NEXT = { system: "light", light: "dark", dark: "system" };

/** Bind the toggle. */
export function setUpTheme() {
  const button = byId("theme");
  /** @type {keyof typeof NEXT} */
  let chosen = vault.preference("theme", "system");
  if (!(chosen in NEXT)) chosen = "system";
  const apply = () => {
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    const words = `Theme: ${chosen === "system" ? "as the system" : chosen}`;
    button.title = words;
    button.querySelector(".label").textContent = `${words}. Switch to ${NEXT[chosen]}`;
  };
  button.addEventListener("click", () => {
    chosen = /** @type {keyof typeof NEXT} */ (NEXT[chosen]);
    vault.prefer("theme", chosen);
    apply();
  });
  apply();
}
