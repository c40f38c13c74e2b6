/**
 * Small helpers for the document.  Texts go in as text, never as HTML.
 */

/** Give the element of an id; a missing one is a mistake of this page. @param {string} id @returns {any} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/**
 * Make an element.  `on` holds listeners, `text` its text; other keys are attributes (true: empty, false or null: none).
 * @param {string} tag
 * @param {Record<string, any>} [options]
 * @param {...(Node | string | null | undefined)} children
 * @returns {any}
 */
export function el(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "on") for (const [name, call] of Object.entries(value)) made.addEventListener(name, call);
    else if (key === "text") made.textContent = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an SVG element. @param {string} tag @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} children @returns {any} */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/** Make one of the icons of index.html. @param {string} name */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Show or hide. @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** Set a text only where it changes: live regions speak up at every write. @param {HTMLElement} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
