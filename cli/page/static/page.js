// Which view is shown: the fragment of the address says it, so the browser's own keys for back and forward work.
import { ask, hasToken, keepToken, Refused, takeToken } from "./api.js";
import { callsView } from "./calls.js";
import { fill, h, say } from "./dom.js";
import { answerView, ivrView } from "./editor.js";
import { phoneView } from "./phone.js";

const VIEWS = [
  { path: "calls", title: "Calls", show: callsView },
  { path: "phone", title: "Phone", show: phoneView },
  { path: "ivr", title: "ivr.yaml", show: ivrView },
  { path: "answer", title: "XML answer", show: answerView },
];
const main = document.getElementById("main");
let leave = () => {};
let turn = 0;

async function show() {
  const mine = ++turn;
  takeToken();
  const [, path = "", ...rest] = location.hash.split("/");
  const view = VIEWS.find(each => each.path === path) ?? VIEWS[0];
  leave();
  leave = () => {};
  fill(document.querySelector("nav"), VIEWS.map(each => h("a", {
    href: `#/${each.path}`, "aria-current": each === view ? "page" : null,
  }, each.title)));
  document.title = `${view.title} – Call Interactive`;
  const place = h("div", { class: `view ${view.path}` });
  fill(main, place);
  try {
    const ends = (await view.show(place, rest.map(decodeURIComponent))) ?? (() => {});
    if (mine === turn) leave = ends;
    else ends();  // the person has gone on meanwhile
  } catch (error) {
    failed(error, place);
  }
}

function failed(error, place) {
  if (error instanceof Refused && error.status === 401) return fill(place, login(hasToken() ? error.message : null));
  const what = error instanceof Refused ? error.message : `The API does not answer: ${error.message}`;
  return fill(place, h("p", { class: "problem", role: "alert" }, what),
    h("button", { type: "button", onclick: show }, "Try again"));
}

function login(problem) {
  const token = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const enter = async event => {
    event.preventDefault();
    keepToken(token.value);
    try {
      await ask("/v1/recent");
      say("");
      show();
    } catch (error) {
      say(error.message, "bad");
    }
  };
  return h("form", { class: "card login", onsubmit: enter },
    h("h1", {}, "Who is there?"),
    h("p", {}, "Open the link that ", h("code", {}, "callinteractive page"), " prints, or give the API's token:"),
    problem && h("p", { class: "problem", role: "alert" }, problem),
    h("label", { for: "token" }, "Token"), token, h("button", { class: "primary" }, "Enter"));
}

window.addEventListener("hashchange", () => { if (location.hash !== "#main") show(); });
show();
