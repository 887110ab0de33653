// A phone for a simulated call: the browser plays the sounds and waits, the server runs the script.
import { ask, send } from "./api.js";
import { fill, h, say } from "./dom.js";
import { NO_IVR, unsaved } from "./editor.js";
import { showStory } from "./story.js";

const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];
const LETTERS = { 2: "ABC", 3: "DEF", 4: "GHI", 5: "JKL", 6: "MNO", 7: "PQRS", 8: "TUV", 9: "WXYZ", 0: "+" };
const OUTCOMES = { answered: "answers", busy: "is busy", no_answer: "does not answer", rejected: "declines", failed: "can't be reached" };
const remembered = { number: "", caller: "+15550100", name: "", quick: false };

export async function phoneView(place) {
  const { files, numbers } = await ask("/page/ivr");
  if (!files.length) return void fill(place, NO_IVR());
  if (!numbers.includes(remembered.number)) remembered.number = numbers[0] ?? "";
  const phone = new Phone(numbers);
  fill(place, phone.element);
  document.addEventListener("keydown", phone.onKey);
  return () => {
    document.removeEventListener("keydown", phone.onKey);
    phone.leave();
  };
}

class Phone {
  constructor(numbers) {
    this.state = null;
    this.records = [];
    this.last = Promise.resolve();
    this.display = h("div", { class: "display", role: "status" });
    this.choices = h("div", { class: "choices" });
    this.story = h("section", { class: "card told", "aria-label": "What happens" });
    this.callButton = h("button", { type: "button", class: "call", onclick: () => this.begin() }, "Call");
    this.endButton = h("button", { type: "button", class: "end", title: "Esc", onclick: () => this.act("hangup") }, "Hang up");
    this.audio = new Audio();
    this.audio.onended = () => this.over();
    this.audio.onerror = () => { if (this.audio.src) this.waitFor(this.state?.waits?.left_s ?? 0); };
    const field = (id, label, type, more) => [h("label", { for: id }, label),
      h("input", { id, type, value: remembered[id], oninput: event => { remembered[id] = event.target.value; }, ...more })];
    this.element = h("div", { class: "columns" },
      h("section", { class: "card phone-set", "aria-label": "Phone" },
        h("div", { class: "fields" },
          h("label", { for: "number" }, "Number"),
          h("input", { id: "number", list: "numbers", value: remembered.number, autocomplete: "off",
            oninput: event => { remembered.number = event.target.value; } }),
          h("datalist", { id: "numbers" }, numbers.map(number => h("option", { value: number }))),
          field("caller", "Caller", "tel", { title: "An extension's number makes the call internal" }),
          field("name", "Name", "text")),
        this.display,
        h("div", { class: "keys" }, KEYS.map(key => h("button", {
          type: "button", "aria-label": key, onclick: () => this.press(key),
        }, key, h("small", {}, LETTERS[key] ?? "")))),
        h("div", { class: "ends" }, this.callButton, this.endButton),
        this.choices,
        h("label", { class: "check" }, h("input", { type: "checkbox", id: "quick", checked: remembered.quick,
          onchange: event => { remembered.quick = event.target.checked; this.wait(); } }), "Leave out sounds and pauses")),
      this.story);
    this.onKey = event => this.key(event);
    this.shown();
  }

  get isOn() { return this.state !== null && !this.state.over; }

  begin() {
    this.records = [];
    this.state = null;
    fill(this.story);
    fill(this.display, h("strong", {}, "Calls …"));
    say("");
    const { number, caller, name } = remembered;
    this.post("/page/phone", { number, caller, caller_name: name, edits: Object.fromEntries(unsaved) });
  }

  press(key) {
    if (!this.isOn) return;
    if (this.state.waits?.stops) this.audio.pause();
    this.act("digit", key);
  }

  over() { if (this.isOn) this.act("done"); }

  act(what, value = "") {
    if (!this.isOn) return;
    const { call } = this;
    const body = () => ({ step: this.state.step, after: this.records.length, what, value });
    // A hang-up doesn't wait for an answer of the web application; all else keeps its order.
    this.post(`/page/phone/${call}`, what === "done" ? body() : body, what === "hangup");
  }

  post(path, body, atOnce = false) {
    const ask_ = async () => {
      try {
        this.take(await ask(path, typeof body === "function" ? body() : body));
      } catch (error) {
        say(error.message, "bad");
      }
    };
    if (atOnce) return ask_();
    this.last = this.last.then(ask_);
    return this.last;
  }

  take(state) {
    if (state.call) this.call = state.call;
    const isNew = state.call || state.step !== this.state?.step;
    const seen = this.records.length ? this.records.at(-1).seq : 0;
    this.records.push(...state.records.filter(record => record.seq > seen));
    this.state = state;
    showStory(this.story, this.records);
    if (isNew) this.wait();
    this.shown();
  }

  // Begin to wait for what the call waits for.
  wait() {
    this.stop();
    if (!this.isOn) return;
    const { waits } = this.state;
    if (remembered.quick && (waits.kind === "sound" || waits.kind === "pause")) return this.over();
    if (waits.kind === "sound") return this.play(waits.sound, this.state.step);
    if (waits.kind === "digits" && remembered.quick) return undefined;
    if (waits.kind === "digits" || waits.kind === "pause") return this.waitFor(waits.left_s);
    return undefined;
  }

  async play(name, step) {
    try {
      const response = await send(`/page/sounds/${encodeURIComponent(name)}`);
      const blob = await response.blob();
      if (step !== this.state?.step) return;
      this.audio.src = URL.createObjectURL(blob);
      await this.audio.play();
    } catch (error) {
      if (step === this.state?.step && error.name !== "AbortError") this.waitFor(this.state.waits?.left_s ?? 0);
    }
  }

  waitFor(seconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.over(), seconds * 1000);
  }

  stop() {
    clearTimeout(this.timer);
    this.audio.pause();
    if (this.audio.src) {
      URL.revokeObjectURL(this.audio.src);
      this.audio.removeAttribute("src");
    }
  }

  shown() {
    const waits = this.isOn ? this.state.waits : null;
    this.callButton.disabled = this.isOn;
    this.endButton.disabled = !this.isOn;
    fill(this.display, h("strong", {}, this.text(waits)), h("span", {}, this.hint(waits)));
    const skip = h("button", { type: "button", onclick: () => this.over() }, waits?.kind === "digits" ? "Dial nothing" : "Skip");
    fill(this.choices, waits?.kind === "transfer"
      ? Object.entries(OUTCOMES).map(([outcome, text]) =>
        h("button", { type: "button", onclick: () => this.act("transfer", outcome) }, text))
      : waits && waits.kind !== "request" ? skip : null);
  }

  text(waits) {
    if (!this.state) return unsaved.size ? "Calls the text in the editor" : "Ready";
    if (!waits) return "The call is over";
    switch (waits.kind) {
      case "sound": return waits.sound;
      case "digits": return waits.dialled ? `Dialled ${waits.dialled}` : "Listens for digits";
      case "pause": return "Pause";
      case "transfer": return `Rings ${waits.numbers.join(", ")}`;
      default: return "Asks the web application";
    }
  }

  hint(waits) {
    if (!waits) return this.state ? this.records.at(-1)?.cause ?? "" : "Enter calls, 0–9 * # dial, Esc hangs up";
    switch (waits.kind) {
      case "sound": return waits.stops ? "A digit stops it" : "Digits don't count yet";
      case "digits": return waits.left_s ? `for ${waits.left_s} s` : "";
      case "transfer": return `as ${waits.caller}. How does it end?`;
      default: return "";
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") this.act("hangup");
    else if (event.key === "Enter" && !this.isOn && (isTyping || event.target === document.body || event.target.id === "main")) this.begin();
    else if (!isTyping && KEYS.includes(event.key)) this.press(event.key);
    else return;
    event.preventDefault();
  }

  leave() {
    this.act("hangup");
    this.stop();
  }
}
