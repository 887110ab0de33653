// Elements of texts. Whatever comes from a call or a web application becomes a text node here, never HTML.

// An element. `props` are its properties (`class` and `aria-…` are attributes); what is no element becomes text.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class" || name === "role" || name === "for" || name === "list" || name.startsWith("aria-")) {
      element.setAttribute(name, value);
    } else {
      element[name] = value;
    }
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

export const fill = (element, ...children) => element.replaceChildren(...children.flat().filter(Boolean));

// Tell the person something in passing, by eye and by ear.
export function say(text, kind = "") {
  const said = document.getElementById("said");
  said.className = kind;
  said.textContent = text;
  clearTimeout(say.timer);
  if (text) say.timer = setTimeout(() => { said.textContent = ""; }, 8000);
}
