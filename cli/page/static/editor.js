// The editors: ivr.yaml with its findings, and an answer of the web application with its own.
import { ask } from "./api.js";
import { fill, h, say } from "./dom.js";

const CHECK_AFTER_MS = 300;
const FIRST_ANSWER = `<?xml version="1.0" encoding="UTF-8"?>
<Response>
  <PlaySound where="background" digitvar="order">enter-order.wav</PlaySound>
  <Jump context="1"/>
</Response>
`;

export const NO_IVR = () => h("p", { class: "card" }, "This API has been started without ", h("code", {}, "--ivr"),
  ": there is no ivr.yaml to edit or to call.");

// What stands in the editor and is not saved, by file; the phone uses it too.
export const unsaved = new Map();
let answer = FIRST_ANSWER;

window.addEventListener("beforeunload", event => { if (unsaved.size) event.preventDefault(); });

export async function ivrView(place) {
  const { files, is_fetched: isFetched } = await ask("/page/ivr");
  if (!files.length) return void fill(place, NO_IVR());
  if (isFetched) say("This file comes from a web server: what you change can be tried on the phone, but not saved.");
  let file = files[0];
  const editor = new Editor("ivr", text => {
    if (text === file.text) unsaved.delete(file.name); else unsaved.set(file.name, text);
    mark();
    return { name: file.name, edits: Object.fromEntries(unsaved) };
  });
  const state = h("span", { class: "state" });
  const mark = () => { state.textContent = unsaved.has(file.name) ? "not saved" : ""; };
  const open = name => {
    file = files.find(each => each.name === name);
    if (file.wrong) say(file.wrong, "bad");
    editor.text = unsaved.get(file.name) ?? file.text;
  };
  const save = async () => {
    const text = editor.text;
    try {
      const { version } = await ask("/page/save", { name: file.name, text, version: file.version });
      Object.assign(file, { version, text });
      if (editor.text === text) unsaved.delete(file.name);
      mark();
      say("Saved. New calls use it after a reload.", "good");
      return true;
    } catch (error) {
      if (error.body?.findings) editor.show(error.body);
      say(error.message, "bad");
      return false;
    }
  };
  const use = async () => {
    if (!await save()) return;
    say("Reloading …");
    const { ok, said } = await ask("/page/reload", {});
    say(said || (ok ? "New calls use it." : "It could not be activated."), ok ? "good" : "bad");
  };
  const takeAgain = async () => {
    unsaved.delete(file.name);
    place.replaceChildren();
    await ivrView(place);
  };
  const choice = h("select", { id: "file", onchange: event => open(event.target.value) },
    files.map(each => h("option", { value: each.name }, each.name)));
  editor.element.addEventListener("keydown", event => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); save(); }
  });
  fill(place,
    h("div", { class: "bar" }, h("label", { for: "file" }, "File"), choice, state,
      h("span", { class: "space" }),
      h("button", { type: "button", onclick: takeAgain }, "Load again"),
      h("button", { type: "button", onclick: save, title: "Ctrl+S" }, "Save"),
      h("button", { type: "button", class: "primary", onclick: use }, "Save and use")),
    editor.element);
  open(file.name);
  return () => editor.stop();
}

export async function answerView(place) {
  await ask("/page/check", { answer });  // or there is no token yet
  const editor = new Editor("answer", text => {
    answer = text;
    return { answer, edits: Object.fromEntries(unsaved) };
  });
  fill(place,
    h("p", { class: "lead" }, "What your web application answers, as a caller's call would read it."), editor.element);
  editor.text = answer;
  return () => editor.stop();
}

// A text with the numbers of its lines, checked while somebody writes. `asks` makes a text the body of the check.
class Editor {
  constructor(name, asks) {
    this.asks = asks;
    this.area = h("textarea", {
      id: `text-${name}`, spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off",
      "aria-label": name === "ivr" ? "ivr.yaml" : "XML answer", "aria-describedby": `findings-${name}`,
      oninput: () => this.changed(), onscroll: () => { this.gutter.scrollTop = this.area.scrollTop; },
    });
    this.gutter = h("div", { class: "gutter", "aria-hidden": "true" });
    this.findings = h("div", { class: "findings", id: `findings-${name}`, "aria-live": "polite" });
    this.element = h("div", { class: "editor" }, h("div", { class: "paper" }, this.gutter, this.area), this.findings);
    this.turn = 0;
  }

  get text() { return this.area.value; }

  set text(text) {
    this.area.value = text;
    this.changed(0);
  }

  changed(after = CHECK_AFTER_MS) {
    const body = this.asks(this.text);
    this.number(new Map());
    clearTimeout(this.timer);
    const turn = ++this.turn;
    this.timer = setTimeout(async () => {
      try {
        const said = await ask("/page/check", body);
        if (turn === this.turn) this.show(said);
      } catch (error) {
        if (turn === this.turn) fill(this.findings, h("p", { class: "problem" }, error.message));
      }
    }, after);
  }

  stop() {
    clearTimeout(this.timer);
    this.turn++;
  }

  show({ findings, warnings, summary }) {
    const wrong = new Map(findings.map(finding => [finding.line, finding.text]));
    this.number(wrong);
    fill(this.findings,
      findings.length ? h("ul", {}, findings.map(({ line, text }) => h("li", { class: "problem" },
        line ? h("button", { type: "button", class: "line", onclick: () => this.goTo(line) }, `line ${line}`) : null,
        text))) : null,
      warnings.map(text => h("p", { class: "warning" }, text)),
      summary ? h("p", { class: "good" }, summary) : null);
  }

  number(wrong) {
    const count = this.text.split("\n").length;
    fill(this.gutter, Array.from({ length: count }, (_, index) =>
      h("span", { class: wrong.has(index + 1) ? "wrong" : null, title: wrong.get(index + 1) ?? "" }, String(index + 1))));
    this.gutter.scrollTop = this.area.scrollTop;
  }

  goTo(line) {
    const lines = this.text.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    this.area.focus();
    this.area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    this.area.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(this.area).lineHeight));
  }
}
