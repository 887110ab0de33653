// A call as a ladder: who said what to whom, one row an event, from the records of the call.
import { fill, h } from "./dom.js";

const CALLER = "caller", IVR = "ivr", APP = "app";
const TITLES = { [CALLER]: "Caller", [IVR]: "IVR", [APP]: "Web application" };
const ACTION_FIELDS_HIDDEN = ["event", "at", "call_id", "call_api_id", "seq", "action"];
const FAILED = { busy: "busy", no_answer: "no answer", rejected: "declined", failed: "failed" };

// Show the records in `place`, and the SIP messages between them. What the person has unfolded there stays so.
export function showStory(place, records, messages = []) {
  const open = new Set([...place.querySelectorAll("details[open]")].map(each => each.id));
  fill(place, storyOf(records, messages));
  place.querySelectorAll("details").forEach(each => { each.open = open.has(each.id); });
}

// The whole ladder: a heading with the lanes and a row for each record.
function storyOf(records, messages) {
  const lanes = lanesOf(records);
  const began = Math.min(...[...records, ...messages].map(each => Date.parse(each.at)));
  const legs = [...lanes.keys()].filter(name => ![CALLER, IVR, APP].includes(name));
  const rows = [
    ...records.map(record => [record.at, () => rowOf(`r${record.seq}`, record, lanes, began, describe(record))]),
    ...messages.map((message, index) => [message.at,
      () => rowOf(`m${message.at}-${index}`, message, lanes, began, sipRow(message, legs))]),
  ].sort(([one], [other]) => Date.parse(one) - Date.parse(other));  // those of the same time stay as they are
  const ladder = h("ol", { class: "rows" }, rows.flatMap(([, row]) => row() ?? []));
  const heads = h("div", { class: "row heads", "aria-hidden": "true" }, [...lanes.values()].map(({ title, index }) =>
    placed(h("span", { class: "head" }, title), index, index)));
  const lines = [...lanes.values()].map(({ index }) => {
    const line = h("span", { class: "lane", "aria-hidden": "true" });
    line.style.setProperty("--at", index + 0.5);
    return line;
  });
  const story = h("div", { class: "story" }, heads, h("div", { class: "lanes" }, lines, ladder));
  story.style.setProperty("--lanes", lanes.size);
  return story;
}

function lanesOf(records) {
  const lanes = new Map();
  const add = (name, title) => { if (!lanes.has(name)) lanes.set(name, { title, index: lanes.size }); };
  const started = records.find(record => record.event === "call.started");
  add(CALLER, started?.caller_number ?? TITLES[CALLER]);
  add(IVR, TITLES[IVR]);
  if (records.some(record => record.event === "call.request")) add(APP, TITLES[APP]);
  for (const record of records) {
    if (record.event.startsWith("leg.")) {
      add(record.leg, (record.targets ?? [record.leg]).join(", "));
      if (record.by) lanes.get(record.leg).title = record.by;
    }
  }
  return lanes;
}

// `row`: what `describe` says of it. `id`: of its details.
function rowOf(id, record, lanes, began, row) {
  if (!row) return null;
  const { from, to = from, title, kind = "", bodies = [] } = row;
  const [first, last] = [lanes.get(from).index, lanes.get(to).index];
  const ms = Date.parse(record.at) - began;
  const names = from === to ? lanes.get(from).title : `${lanes.get(from).title} → ${lanes.get(to).title}`;
  const what = h("span", { class: `what ${kind} ${from === to ? "note" : first < last ? "right" : "left"}` },
    h("span", { class: "who" }, names), h("span", { class: "text" }, title));
  return h("li", { class: "row" },
    h("time", { dateTime: record.at, title: record.at }, `${(ms / 1000).toFixed(1)} s`),
    placed(what, Math.min(first, last), Math.max(first, last)),
    bodies.filter(([, text]) => text).map(([label, text], index) =>
      h("details", { id: `${id}-${index}` }, h("summary", {}, label), h("pre", {}, text))));
}

// Between the middles of two lanes; in one lane over its whole width. Column 1 is the time; each lane has two.
function placed(element, first, last) {
  element.style.gridColumn = first === last ? `${2 * first + 2} / ${2 * first + 4}` : `${2 * first + 3} / ${2 * last + 3}`;
  return element;
}

// A message as it was. Leg 0 is the caller's; the others have the lanes of those that were called, as far as they match.
function sipRow({ leg, sent, peer, title, text }, legs) {
  const other = leg === 0 ? CALLER : legs[leg - 1] ?? IVR;
  const [method, uri] = title.split(" ");
  const short = /^\d/.test(method) ? title : `${method} ${uri ?? ""}`.trim();
  const ends = sent ? { from: IVR, to: other } : { from: other, to: IVR };
  return { ...ends, title: short, kind: "message", bodies: [[`${short}, ${sent ? "to" : "from"} ${peer}`, text]] };
}

function describe(record) {
  const leg = record.leg;
  switch (record.event) {
    case "call.started": return { from: CALLER, to: IVR, title: `INVITE ${record.called_number ?? ""}`, kind: "sip" };
    case "call.answered": return { from: IVR, to: CALLER, title: "200 OK", kind: "sip" };
    case "call.context": return { from: IVR, title: `${record.name || `context ${record.context}`}: ${record.option}`, kind: "menu" };
    case "call.action": return actionRow(record);
    case "call.digit": return { from: CALLER, to: IVR, title: `key ${record.digit}`, kind: "digit" };
    case "call.request": return requestRow(record);
    case "call.note": return { from: IVR, title: `${record.line ? `line ${record.line}: ` : ""}${record.reason}`, kind: record.level };
    case "leg.started": return { from: IVR, to: leg, title: `INVITE ${(record.targets ?? []).join(", ")}`, kind: "sip" };
    case "leg.ringing": return { from: leg, to: IVR, title: `${record.code ?? 180} ringing`, kind: "sip" };
    case "leg.answered": return { from: leg, to: IVR, title: `200 OK${record.by ? ` by ${record.by}` : ""}`, kind: "sip good" };
    case "leg.ended": return legEnded(record, leg);
    case "call.ended": return callEnded(record);
    default: return { from: IVR, title: record.event };
  }
}

function actionRow(record) {
  if (record.action === "AwaitChoice" || record.action === "CallInteractive") return null;  // others tell it
  const fields = Object.entries(record).filter(([name, value]) => !ACTION_FIELDS_HIDDEN.includes(name) &&
    value !== false && value !== null && value !== "");
  const said = fields.map(([name, value]) => name === "file" ? value : value === true ? name : `${name} ${Array.isArray(value) ? value.join(", ") : value}`);
  const isHeard = record.action === "PlaySound";
  return { from: IVR, to: isHeard ? CALLER : IVR, title: `${isHeard ? "♪" : record.action} ${said.join(", ")}`, kind: isHeard ? "sound" : "action" };
}

function requestRow(record) {
  const isGood = record.outcome === "ok";
  const result = record.status ?? record.outcome;
  const why = record.reason ? `: ${record.reason}` : "";
  const took = record.duration_ms === undefined ? "" : ` in ${Math.round(record.duration_ms)} ms`;
  return {
    from: IVR, to: APP, kind: isGood ? "http" : "http bad", title: `${record.method} → ${result}${took}${why}`,
    bodies: [["Request", record.request ?? record.url], ["Answer", record.response]],
  };
}

function legEnded(record, leg) {
  const why = record.outcome ? FAILED[record.outcome] ?? record.outcome : record.reason ?? "";
  return { from: leg, to: IVR, title: `${record.code && record.code !== 200 ? record.code : "BYE"} ${why}`.trim(), kind: record.outcome ? "sip bad" : "sip" };
}

function callEnded(record) {
  const cause = record.cause ? ` – ${record.cause}` : "";
  const title = `${record.code && record.code >= 300 ? record.code : "BYE"}${cause}`;
  return record.by === "caller" ? { from: CALLER, to: IVR, title, kind: "sip" } : { from: IVR, to: CALLER, title, kind: "sip" };
}
