// The calls of the site, those in progress and the last ones, and the story of each.
import { ask } from "./api.js";
import { fill, h, say } from "./dom.js";
import { dialForm, hangUp, jumpForm } from "./steer.js";
import { showStory } from "./story.js";

const EVERY_MS = 2000;
let showsSip = true;
const STATES = { live: "in progress", left: "at Kamailio", ended: "ended" };

export async function callsView(place, [id]) {
  return id ? oneCall(place, id) : allCalls(place);
}

async function allCalls(place) {
  let wanted = "";
  let calls = [];
  const count = h("p", { class: "lead", "aria-live": "polite" });
  const silent = h("p", { class: "warning" });
  const body = h("tbody");
  const show = () => {
    const live = calls.filter(call => call.state === "live").length;
    const before = calls.length - live;
    count.textContent = `${live || "No"} call${live === 1 ? "" : "s"} in progress${before ? `, and the last ${before} before` : ""}.`;
    const found = calls.filter(call => !wanted ||
      [call.caller_number, call.caller_name, call.called_number, call.call_id].some(text => text?.includes(wanted)));
    replaceRows(body, found);
  };
  fill(place,
    h("div", { class: "bar" }, count, h("span", { class: "space" }),
      h("label", { for: "wanted" }, "Find"),
      h("input", { id: "wanted", type: "search", placeholder: "number, name or CallID",
        oninput: event => { wanted = event.target.value.trim(); show(); } })),
    dialForm(), silent,
    h("div", { class: "card list" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Call", "Began", "Caller", "Called", "Where", "Length"].map(title =>
        h("th", { scope: "col" }, title)))), body)));
  return repeat(async () => {
    const told = await ask("/v1/recent");
    calls = told.calls;
    silent.textContent = told.silent.length ? `No answer from ${told.silent.join(", ")}.` : "";
    show();
  });
}

// The row that has the focus keeps it, though the list is made anew.
function replaceRows(body, calls) {
  const focused = document.activeElement?.closest("tr")?.id;
  const kind = document.activeElement?.localName;
  fill(body, calls.length ? calls.map(row) : h("tr", {}, h("td", { colSpan: 6 }, "None.")));
  if (focused) document.getElementById(focused)?.querySelector(kind)?.focus();
}

function row(call) {
  const name = call.caller_name ? ` ${call.caller_name}` : "";
  return h("tr", { id: `call-${call.call_id}` },
    h("td", {}, h("a", { href: `#/calls/${encodeURIComponent(call.call_id)}` }, call.call_id.slice(0, 8)), " ",
      h("span", { class: `badge ${call.state}` }, STATES[call.state] ?? call.state)),
    h("td", {}, call.began_at ? new Date(call.began_at).toLocaleTimeString() : ""),
    h("td", {}, `${call.caller_number ?? ""}${name}`),
    h("td", {}, call.called_number ?? ""),
    h("td", {}, call.context ? `${call.context}: ${call.option}` : ""),
    h("td", {}, lengthOf(call), " ", call.state === "live" && h("button", { type: "button", class: "end small",
      "aria-label": `Hang up ${call.caller_number ?? ""}`, onclick: () => hangUp(`/v1/calls/${encodeURIComponent(call.call_id)}`) }, "Hang up")));
}

function lengthOf({ began_at: began, ended_at: ended, state }) {
  if (!began || (!ended && state !== "live")) return "";
  const seconds = Math.max(0, Math.round(((ended ? Date.parse(ended) : Date.now()) - Date.parse(began)) / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

async function oneCall(place, id) {
  const path = `/v1/calls/${encodeURIComponent(id)}`;
  const title = h("h1", {});
  const facts = h("dl", { class: "facts" });
  const jump = jumpForm(path);
  const end = h("button", { type: "button", class: "end", onclick: () => hangUp(path) }, "Hang up");
  const story = h("section", { class: "card told", "aria-label": "What happened" });
  const withSip = h("input", { type: "checkbox", id: "sip", checked: showsSip, onchange: event => {
    showsSip = event.target.checked;
    draw();
  } });
  let records = [], messages = [];
  const draw = () => showStory(story, records, showsSip ? messages : []);
  const media = h("p", { class: "lead media" });
  let last = "";
  fill(place, h("p", {}, h("a", { href: "#/calls" }, "All calls")),
    h("div", { class: "bar" }, title, h("span", { class: "space" }),
      h("label", { class: "check" }, withSip, "SIP messages"), end), jump, facts, media, story);
  return repeat(async () => {
    ({ records } = await ask(`${path}/records`));
    ({ messages } = await ask(`${path}/sip`).catch(() => ({ messages: [] })));  // too old
    const ended = records.find(record => record.event === "call.ended");
    media.textContent = ended ? soundOf(ended.media ?? []) : await mediaOf(path);
    const now = JSON.stringify([...records, ...messages].map(each => [each.seq, each.at]));
    if (now === last) return true;
    last = now;
    const started = records.find(record => record.event === "call.started") ?? {};
    title.textContent = `${started.caller_number ?? "?"} calls ${started.called_number ?? "?"}`;
    end.hidden = jump.hidden = Boolean(ended);
    fill(facts, factsOf(records, started, ended).filter(([, value]) => value !== undefined && value !== "").map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", { class: name.startsWith("Call") ? "id" : null }, String(value)))));
    draw();
    return !ended;
  });
}

function soundOf(media) {
  return media.map(({ who, packets, octets, errors }) => `Sound from the ${who}: ${packets} packets, ` +
    `${Math.round(octets / 1024)} KiB${errors ? `, ${errors} errors` : ""}.`).join(" ");
}

async function mediaOf(path) {
  try {
    const { media } = await ask(`${path}/media`);
    return soundOf(media);
  } catch {
    return "";  // it has just ended, or Kamailio carries it out
  }
}

function factsOf(records, started, ended) {
  return [
    ["CallID", records[0].call_id], ["CallAPIID", records[0].call_api_id], ["IVR", started.ivr],
    ["Name", started.caller_name], ["Began", new Date(records[0].at).toLocaleString()],
    ["Ended", ended && new Date(ended.at).toLocaleString()], ["By", ended?.by], ["SIP code", ended?.code], ["Why", ended?.cause],
  ];
}

// Do something now, and again and again while the page is seen, until it returns false. The first time may fail.
async function repeat(work) {
  let timer = 0, isOver = false;
  const again = async () => {
    let goesOn = true;
    if (!document.hidden) {
      try {
        goesOn = await work();
      } catch (error) {
        if (!isOver) say(error.message, "bad");
      }
    }
    if (!isOver && goesOn !== false) timer = setTimeout(again, EVERY_MS);
  };
  if (await work() !== false) timer = setTimeout(again, EVERY_MS);
  return () => { isOver = true; clearTimeout(timer); };
}
